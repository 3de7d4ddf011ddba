"""An autoencoder of pictures: what they have in common, in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from penstock.errors import UsageError
from penstock.models.arguments import whole_number
from penstock.models.networks.activations import Activation
from penstock.models.networks.activations import activation as activation_named

_FIRST, _MOST = 32, 256
"""Filters of the first convolution, and the most of any, where none are said."""
_SMALLEST = 7
"""The side down to which pictures are halved, where no filters are said."""


class PictureAutoencoder(nn.Module):
    """Pictures to a few features and back (Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural
    networks", Science 313, 2006), by convolutions.

    `forward` is the encoder alone: a trunk like others. Learned without labels by the error of `reconstruct`, of clean
    pictures or of noisy ones against the clean (Vincent et al., "Extracting and composing robust features with
    denoising autoencoders", ICML 2008), its `errors` tell what is unlike everything it has learned from. The decoder
    enlarges by repeating and then convolves, which leaves no checkerboard (Odena et al., Distill 2016).

    Shapes:
        pictures (batch, channels, height, width)
        -> each of ``filters``: convolution 3x3 with stride 2, norm, activation
           (batch, filters[n], height / 2^(n + 1), width / 2^(n + 1)), rounded up
        -> linear: features (batch, size)
        -> linear, activation (batch, filters[-1], ...)
        -> the same sizes backwards, each: enlarged, convolution 3x3, norm, activation; without norm and activation at
           the end: pictures (batch, channels, height, width)

    Args:
        channels: of a picture: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        size: how many features.
        filters: of the convolutions, each of which halves the sides; None for 32, 64, 128 and then 256, down to sides
            of 7 pixels.
        activation: after each norm.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> pictures = torch.zeros(2, 1, 28, 28)
        >>> PictureAutoencoder(1, 28, 28)(pictures).shape
        torch.Size([2, 64])
        >>> PictureAutoencoder(1, 28, 28).reconstruct(pictures).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        size: int = 64,
        filters: Sequence[int] | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        where = "network 'picture_autoencoder'"
        filters = _filters_for(min(height, width)) if filters is None else tuple(filters)
        if not filters:
            raise UsageError("no filters", where=f"{where}: filters", expected="one at least, or none said")
        for count in filters:
            whole_number(f"{where}: filters", count, 1, 65_536)
        whole_number(f"{where}: size", size, 1, 65_536)
        self.features = size
        sides = [(height, width)]
        layers: list[nn.Module] = []
        for before, count in zip((channels, *filters), filters, strict=False):
            layers.append(nn.Conv2d(before, count, 3, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(count), activation_named(activation)]
            sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
        last = (filters[-1], *sides[-1])
        values = last[0] * last[1] * last[2]
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(values, size))
        back: list[nn.Module] = [nn.Linear(size, values), nn.Unflatten(1, last), activation_named(activation)]
        for place in reversed(range(len(filters))):
            count = filters[place - 1] if place else channels
            back += [_Enlarged(sides[place]), nn.Conv2d(filters[place], count, 3, padding=1, bias=place == 0)]
            if place:
                back += [nn.BatchNorm2d(count), activation_named(activation)]
        self.decoder = nn.Sequential(*back)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width) to (batch, size)."""
        features: torch.Tensor = self.encoder(pictures)
        return features

    def reconstruct(self, pictures: torch.Tensor) -> torch.Tensor:
        """To features and back: shape (batch, channels, height, width), both."""
        found: torch.Tensor = self.decoder(self.encoder(pictures))
        return found

    def errors(self, pictures: torch.Tensor) -> torch.Tensor:
        """How far each picture is from what comes back: the mean squared error, float32, shape (batch,)."""
        return (self.reconstruct(pictures).float() - pictures.float()).square().mean((1, 2, 3))


class _Enlarged(nn.Module):
    """Pixels repeated up to these sides: (batch, filters, h, w) -> (batch, filters, height, width)."""

    def __init__(self, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(maps, self.sides, mode="nearest")


def _filters_for(side: int) -> tuple[int, ...]:
    """
    >>> _filters_for(28), _filters_for(224)
    ((32, 64), (32, 64, 128, 256, 256))
    """
    found = [_FIRST]
    side = (side + 1) // 2
    while side > _SMALLEST:
        found.append(min(_MOST, 2 * found[-1]))
        side = (side + 1) // 2
    return tuple(found)
