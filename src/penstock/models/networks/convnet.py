"""A fast convolutional network for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from penstock.errors import UsageError
from penstock.models.arguments import real_number, whole_number
from penstock.models.networks.activations import Activation
from penstock.models.networks.activations import activation as activation_named

_HALVED = 48
"""The side beyond which the stem halves a picture [pixels]."""


class ConvNet(nn.Module):
    """A few convolutions with batch norms and poolings: what learns most in a minute of pictures of 16 to 96 pixels.

    The form is that of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498): groups of two
    convolutions without connections around them, the first one pooled before its norm, and at the end the greatest
    answer of each filter over the picture. It has fewer filters and an ordinary first layer, not one set to whiten the
    data.

    Shapes, for sides up to 48 pixels; a larger picture is halved by the stem:
        pictures (batch, channels, height, width)
        -> stem: convolution 3x3 (beyond 48 pixels 4x4 with stride 2), norm, activation (batch, stem, height, width)
        -> each of ``filters``: convolution 3x3, the greatest of 2x2, norm, activation, then convolution 3x3, norm,
           activation (batch, filters[n], height / 2^(n + 1), width / 2^(n + 1)), rounded down, 1 at least
        -> the greatest over the picture, dropout: features (batch, filters[-1])

    Args:
        channels: of a picture: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        filters: of the convolutions of each group; each group halves the sides.
        stem: filters of the first convolution.
        activation: after each norm.
        dropout: the share (0 to below 1) of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> ConvNet(1, 28, 28)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        filters: Sequence[int] = (32, 64, 128),
        stem: int = 16,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not filters:
            raise UsageError("no group of filters", where="network 'convnet': filters", expected="one at least")
        for count in (stem, *filters):
            whole_number("network 'convnet': stem and filters", count, 1, 65_536)
        real_number("network 'convnet': dropout", dropout, 0, 0.9999)
        self.features = filters[-1]
        sides = (height, width)
        halved = min(sides) > _HALVED
        if halved:
            sides = (height // 2, width // 2)
        kernel, stride = (4, 2) if halved else (3, 1)
        layers = [nn.Conv2d(channels, stem, kernel, stride=stride, padding=1, bias=False), *_normed(stem, activation)]
        before = stem
        for count in filters:
            layers.append(nn.Conv2d(before, count, 3, padding=1, bias=False))
            window = (min(2, sides[0]), min(2, sides[1]))
            if window != (1, 1):
                layers.append(nn.MaxPool2d(window))
            layers += _normed(count, activation)
            layers += [nn.Conv2d(count, count, 3, padding=1, bias=False), *_normed(count, activation)]
            before, sides = count, (sides[0] // window[0], sides[1] // window[1])
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width) to (batch, features)."""
        features: torch.Tensor = self.dropout(self.layers(pictures).amax((2, 3)))
        return features


def _normed(filters: int, name: str) -> list[nn.Module]:
    return [nn.BatchNorm2d(filters), activation_named(name)]
