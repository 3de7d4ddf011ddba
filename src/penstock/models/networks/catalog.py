"""The trunks that columns go through, by name: a closed list, and what installed packages register.

A trunk is a ``torch.nn.Module`` with an attribute ``features``, the width of what it gives: shape (batch, features).
What it is made of are its constructor's arguments, JSON values. Kinds, and what goes in:

- ``picture``: ``Trunk(channels, height, width, **settings)``, floats (batch, channels, height, width), standardized.
- ``clip``: ``Trunk(frames, channels, height, width, **settings)``, floats (batch, frames, channels, height, width).
- ``tokens``: ``Trunk(vocabulary, **settings)``, int64 (batch, length): 0 is padding at the end, a token's place in the
  vocabulary + 1 elsewhere.

To add one: a file here, its line in `NETWORKS`, its sizes in the tests. Other packages register under the entry points
``penstock.networks``, as ``name = "package.module:Class"``, with a class attribute ``kind``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.models.networks.settings import refuse_other_types

if TYPE_CHECKING:
    from torch import nn

GROUP = "penstock.networks"
_FIXED = {"picture": 3, "clip": 4, "tokens": 1}
"""How many arguments of a trunk are sizes, by kind."""
_TOKENS, _COUNTED = 256, 16
"""Tokens that a row is taken for, and those that are counted; see `size_of`."""


@dataclass(frozen=True)
class Entry:
    """A trunk.

    Attributes:
        kind: "picture", "clip" or "tokens".
        where: its class, as "module:Class".
    """

    kind: str
    where: str


NETWORKS: dict[str, Entry] = {
    "lenet": Entry("picture", "penstock.models.networks.lenet:LeNet"),
    "convnet": Entry("picture", "penstock.models.networks.convnet:ConvNet"),
    "conv4": Entry("picture", "penstock.models.networks.conv4:Conv4"),
    "resnet18": Entry("picture", "penstock.models.networks.resnet:ResNet18"),
    "picture_autoencoder": Entry("picture", "penstock.models.networks.autoencoder:PictureAutoencoder"),
    "pooled_frames": Entry("clip", "penstock.models.networks.frames:PooledFrames"),
    "recurrent_frames": Entry("clip", "penstock.models.networks.frames:RecurrentFrames"),
    "embedding_bag": Entry("tokens", "penstock.models.networks.embedding_bag:EmbeddingBag"),
    "text_conv": Entry("tokens", "penstock.models.networks.text_conv:TextConv"),
    "lstm": Entry("tokens", "penstock.models.networks.recurrent:LSTM"),
    "gru": Entry("tokens", "penstock.models.networks.recurrent:GRU"),
}


@dataclass(frozen=True)
class Size:
    """What a trunk holds for a row.

    Attributes:
        weights: how many.
        activations: numbers that all its layers give for one row.
    """

    weights: int
    activations: int


def names(kind: str | None = None) -> tuple[str, ...]:
    """The names of the trunks of a kind, sorted; of all where none is said."""
    own = [name for name, entry in NETWORKS.items() if kind in (None, entry.kind)]
    others = [point.name for point in entry_points(group=GROUP) if kind in (None, _registered(point.name).kind)]
    return tuple(sorted({*own, *others}))


def kind_of(name: str) -> str:
    """The kind of columns that a trunk is for.

    Raises:
        UsageError: there is none of this name; the message gives the nearest.
    """
    if name in NETWORKS:
        return NETWORKS[name].kind
    return str(_registered(name).kind)


@cache
def _registered(name: str) -> Any:
    for point in entry_points(group=GROUP, name=name):
        found = point.load()
        if getattr(found, "kind", None) not in _FIXED:
            raise UsageError(
                "a registered network says not what it is for",
                where=f"{GROUP}: {name}",
                expected="a class attribute kind: " + ", ".join(map(repr, _FIXED)),
                got=repr(getattr(found, "kind", None)),
            )
        return found
    known = (*NETWORKS, *(point.name for point in entry_points(group=GROUP)))
    near = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        "no network of this name",
        where="network: module",
        expected="one of " + ", ".join(sorted(known)),
        got=repr(name),
        remedy=f"did you mean {near[0]!r}?" if near else "",
    )


def _class_of(name: str) -> Any:
    if name not in NETWORKS:
        return _registered(name)
    module, _, attribute = NETWORKS[name].where.partition(":")
    return getattr(importlib.import_module(module), attribute)


def check(name: str, settings: Mapping[str, Any]) -> None:
    """See that there is a trunk of this name; that it takes the settings is seen when it is made.

    Raises:
        UsageError: there is none; a setting has no name.
    """
    kind_of(name)
    if not all(isinstance(key, str) and key.isidentifier() for key in settings):
        raise UsageError("not names of settings", where=f"network {name!r}: settings", got=str(dict(settings)))


def complete(name: str, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every default written out, as JSON values: what an artifact keeps, whatever defaults become."""
    parameters = list(inspect.signature(_class_of(name)).parameters.values())[_FIXED[kind] :]
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    return {**plain, **settings}


def trunk(name: str, kind: str, *sizes: int, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """A trunk for columns of these sizes, its weights drawn.

    Raises:
        UsageError: it is for another kind of columns, or does not take a setting.
    """
    if kind_of(name) != kind:
        raise UsageError(
            f"the network {name!r} is not for this column",
            where="network: module",
            expected=f"one for {kind}: " + ", ".join(names(kind)),
            got=f"one for {kind_of(name)}",
        )
    made = _class_of(name)
    settings = dict(settings or {})
    allowed = list(inspect.signature(made).parameters)[_FIXED[kind] :]
    unknown = [key for key in settings if key not in allowed]
    if unknown:
        near = difflib.get_close_matches(unknown[0], allowed, n=1)
        raise UsageError(
            f"the network {name!r} has no such setting",
            where="network: settings",
            expected=", ".join(allowed) or "none",
            got=", ".join(unknown),
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )
    refuse_other_types(name, made, settings)
    try:
        found: nn.Module = made(*sizes, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the network {name!r} can't be made so",
            where="network: settings",
            expected="values that its layers can have",
            got=f"sizes {list(sizes)}, settings {settings}: {error}",
        ) from error
    return found


def size_of(
    name: str, kind: str, sizes: Sequence[int], settings: Mapping[str, Any], tokens: float | None = None
) -> Size:
    """What a trunk holds: its weights, and what its layers give for one row; nothing is computed for that.

    Tokens are taken for 256 to a row, or for so many: 16 are counted, and as many times more, since each of them takes
    its time.
    """
    import torch

    given: list[int] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        tensors = [output] if isinstance(output, torch.Tensor) else [*output] if isinstance(output, tuple) else []
        given.extend(each.numel() for each in tensors if isinstance(each, torch.Tensor))

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        made = trunk(name, kind, *sizes, settings=settings).eval()
        weights = sum(each.numel() for each in made.parameters())
        for each in made.modules():
            if not list(each.children()):
                each.register_forward_hook(note)
        row = torch.zeros((1, _COUNTED), dtype=torch.int64) if kind == "tokens" else torch.zeros((1, *sizes))
        with torch.no_grad():
            made(row)
    times = (_TOKENS if tokens is None else tokens) / _COUNTED if kind == "tokens" else 1
    return Size(weights, round(sum(given) * times))
