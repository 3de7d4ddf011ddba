"""Activations by name, for the layers of every architecture."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import nn

from penstock.models.arguments import one_of

Activation: TypeAlias = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]
NAMES: tuple[str, ...] = get_args(Activation)

_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str) -> nn.Module:
    """The activation of this name, element by element: the shape stays.

    Raises:
        UsageError: there is none of this name.

    Example:
        >>> activation("gelu")
        GELU(approximate='none')
    """
    one_of("network: activation", name, NAMES)
    return _MODULES[name]()
