"""An architecture, as JSON values, to the network that it says. A helper of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from penstock.errors import UsageError
from penstock.models.network_inputs import MATRIX
from penstock.models.networks.combined import CombinedArchitecture, CombinedNetwork, OwnNetwork, Part
from penstock.models.networks.tabular import TabularArchitecture, TabularNetwork


def build(architecture: Mapping[str, Any], own: nn.Module | None = None) -> nn.Module:
    """The network, its weights drawn.

    Raises:
        UsageError: it is a module of the user's, and none is given.
    """
    kind = architecture.get("kind", "tabular")
    if kind == "combined":
        return CombinedNetwork(CombinedArchitecture.from_json(architecture))
    if kind == "own":
        if own is None:
            raise UsageError(
                "the network is a module that is not part of Penstock, and an artifact never imports one",
                expected=f"the module {architecture['module']!r}, made as it was for the training",
                remedy="penstock.load(PATH, module=...), or register it under the entry points penstock.networks",
            )
        parts = [Part(**{**one, "sizes": tuple(one["sizes"])}) for one in architecture["parts"]]
        return OwnNetwork(own, parts, int(architecture["outputs"]), architecture.get("mirrored", ()))
    return TabularNetwork(TabularArchitecture.from_json(architecture))


def scores_of(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Raw scores, float32, shape (rows, outputs).

    Outside training, where the architecture says so, the mean of a picture's and of its mirror image's.
    """
    if isinstance(network, TabularNetwork):
        found: torch.Tensor = network(inputs[MATRIX])
        return found.float()
    found = network(inputs).float()
    mirrored = () if network.training else cast("tuple[str, ...]", network.mirrored)
    if mirrored:
        other = {name: value.flip(-2) if name in mirrored else value for name, value in inputs.items()}
        found = (found + network(other).float()) / 2
    return found


def features_of(network: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the last hidden layer gives, float32, shape (rows, features)."""
    if isinstance(network, TabularNetwork):
        *hidden, _ = network.layers
        values = network.encode(inputs[MATRIX])
        for layer in hidden:
            values = layer(values)
        return values
    found: torch.Tensor = network.features(inputs)  # type: ignore[operator]
    return found.float()


def scores_and_features(
    network: nn.Module, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Both, by one pass: `scores_of`, and what the last hidden layer gives; None of tables, and of a module of the
    user's without a linear layer."""
    if isinstance(network, TabularNetwork):
        return scores_of(network, inputs), None
    layer = cast("nn.Linear | None", network.last_layer)
    if layer is None:
        return scores_of(network, inputs), None
    caught: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, given: caught.append(given[0]))
    try:
        scores = scores_of(network, inputs)
    finally:
        handle.remove()
    return scores, caught[0].flatten(1)
