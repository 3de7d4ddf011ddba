"""Four convolutions for large pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from penstock.models.arguments import real_number, whole_number
from penstock.models.networks.activations import Activation
from penstock.models.networks.activations import activation as activation_named


class Conv4(nn.Module):
    """Four convolutions, each with a stride, and means over the picture: the least that tells large pictures apart, for
    a million of them at once.

    Shapes, of 224 pixels:
        pictures (batch, channels, 224, 224)
        -> convolution 7x7 with stride 4, norm, activation (batch, filters[0], 56, 56)
        -> three convolutions 3x3 with stride 2, norm, activation (batch, filters[1], 28, 28),
           (batch, filters[2], 14, 14), (batch, filters[3], 7, 7)
        -> means over the picture, dropout: features (batch, filters[3])

    Args:
        channels: of a picture: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        filters: of the four convolutions.
        activation: after each norm.
        dropout: the share (0 to below 1) of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> Conv4(3, 224, 224)(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 256])
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        filters: Sequence[int] = (32, 64, 128, 256),
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        whole_number("network 'conv4': how many filters", len(filters), 4, 4)
        for count in filters:
            whole_number("network 'conv4': filters", count, 1, 65_536)
        real_number("network 'conv4': dropout", dropout, 0, 0.9999)
        self.features = filters[-1]
        layers: list[nn.Module] = []
        before = channels
        for place, count in enumerate(filters):
            kernel, stride = (7, 4) if place == 0 else (3, 2)
            layers.append(nn.Conv2d(before, count, kernel, stride=stride, padding=kernel // 2, bias=False))
            layers += [nn.BatchNorm2d(count), activation_named(activation)]
            before = count
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width) to (batch, features)."""
        features: torch.Tensor = self.dropout(self.layers(pictures).mean((2, 3)))
        return features
