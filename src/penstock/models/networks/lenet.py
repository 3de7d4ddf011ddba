"""LeNet: the convolutional network that convolutional networks come from."""

from __future__ import annotations

import torch
from torch import nn

from penstock.models.networks.activations import Activation
from penstock.models.networks.activations import activation as activation_named

_ORIGINAL = 32
"""The side of a picture in the paper [pixels]; smaller ones are padded, MNIST's 28 to just this."""
_LAST = 5
"""The side of the last maps: a filter of C5 sees all of them."""


class LeNet(nn.Module):
    """LeNet-5's form (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86, 1998, section II.B), for pictures of any size.

    Where it differs from the paper: each filter of C3 sees all maps before it, not the few of table I; poolings have
    no weights of their own; the output is a plain linear layer, put on it elsewhere, not radial basis functions; maps
    of other sizes are pooled to the 5x5 that C5 is made for.

    Shapes, of 28 (padded by 2) or 32 pixels:
        pictures (batch, channels, 28, 28)
        -> C1: 6 filters 5x5, activation (batch, 6, 28, 28) -> S2: means of 2x2 (batch, 6, 14, 14)
        -> C3: 16 filters 5x5, activation (batch, 16, 10, 10) -> S4: means (batch, 16, 5, 5)
        -> C5: 120 filters 5x5, activation (batch, 120) -> F6, activation: features (batch, 84)

    Args:
        channels: of a picture: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        activation: after each layer; the paper's is "tanh".

    Example:
        >>> LeNet(1, 28, 28)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 84])
    """

    features = 84

    def __init__(self, channels: int, height: int, width: int, *, activation: Activation = "tanh") -> None:
        super().__init__()
        smaller = min(height, width) < _ORIGINAL
        halved = (min(height, width) - (0 if smaller else 4) + 1) // 2
        self.c1 = nn.Conv2d(channels, 6, 5, padding=2 if smaller else 0)
        self.s2 = nn.AvgPool2d(2, ceil_mode=True)
        self.c3 = nn.Conv2d(6, 16, 5, padding=0 if halved >= 2 * _LAST else 2)
        self.s4 = nn.AdaptiveAvgPool2d(_LAST)
        self.c5 = nn.Conv2d(16, 120, _LAST)
        self.f6 = nn.Linear(120, self.features)
        self.activation = activation_named(activation)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width) to (batch, 84)."""
        maps = self.s2(self.activation(self.c1(pictures)))
        maps = self.s4(self.activation(self.c3(maps)))
        features: torch.Tensor = self.activation(self.f6(self.activation(self.c5(maps)).flatten(1)))
        return features
