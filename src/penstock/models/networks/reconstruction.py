"""Networks that give back what goes in, through a few numbers: of a table's rows, or of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from penstock.models.network_inputs import MATRIX
from penstock.models.networks.activations import activation as activation_named
from penstock.models.networks.autoencoder import PictureAutoencoder
from penstock.models.networks.combined import Scaled
from penstock.models.networks.even_linear import EvenLinear

_FARTHEST = 1e4
"""What a number of a table counts as at most: the squares of its errors are finite."""


class TableAutoencoder(nn.Module):
    """Rows of a matrix to a few features and back (Hinton and Salakhutdinov, Science 313, 2006).

    Both ways there is a linear map beside the layers, so that what principal components would do is learned at once.

    Shapes:
        rows (batch, width)
        -> linear, activation for each of ``hidden``, linear to ``size``; plus linear from ``width`` to ``size``
           features (batch, size)
        -> the same sizes backwards; plus linear from ``size`` to ``width``: rows (batch, width)

    Args:
        width: numbers of a row.
        size: how many features.
        hidden: units of each hidden layer of the encoder.
        activation: after each hidden layer.
    """

    def __init__(self, width: int, *, size: int, hidden: Sequence[int], activation: str) -> None:
        super().__init__()
        self.features = size
        self.encoder = _layers([width, *hidden, size], activation)
        self.decoder = _layers([size, *reversed(hidden), width], activation)
        self.straight, self.back = EvenLinear(width, size, bias=False), EvenLinear(size, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Shape (batch, width) to (batch, size)."""
        found: torch.Tensor = self.straight(rows)
        return found if self.encoder is None else found + self.encoder(rows)

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (batch, size) to (batch, width)."""
        found: torch.Tensor = self.back(features)
        return found if self.decoder is None else found + self.decoder(features)


def _layers(sizes: Sequence[int], activation: str) -> nn.Sequential | None:
    """Linear layers with activations between them; None where there would be no hidden one."""
    if len(sizes) < 3:
        return None
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [EvenLinear(before, after), activation_named(activation)]
    return nn.Sequential(*layers[:-1])


class Reconstruction(nn.Module):
    """Inputs by name, as they are stored, to features, to what comes back, and to how far that is from what went in.

    Numbers of a table are taken less their mean, which stands for what is missing; pictures standardized by channel.

    Args:
        architecture: ``parts``: the column of pictures with its sizes and settings, or none; ``table``: width, size,
            hidden, activation and ``center``, or None.
    """

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.column = MATRIX
        self.scaled: Scaled | None = None
        self.coder: nn.Module
        self.center: torch.Tensor
        if architecture["parts"]:
            (part,) = architecture["parts"]
            self.column = str(part["column"])
            self.scaled = Scaled(int(part["sizes"][0]))
            self.coder = PictureAutoencoder(*part["sizes"], **part["settings"])
            self.register_buffer("center", torch.zeros(0))
        else:
            table = architecture["table"]
            made = {name: table[name] for name in ("size", "hidden", "activation")}
            self.coder = TableAutoencoder(int(table["width"]), **made)
            self.register_buffer("center", torch.tensor(table["center"], dtype=torch.float32))

    def standardized(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What is to come back: (batch, width), or pictures (batch, channels, height, width)."""
        values = inputs[self.column]
        if self.scaled is not None:
            pictures: torch.Tensor = self.scaled(values)
            return pictures
        found = torch.nan_to_num(values, nan=0.0, posinf=_FARTHEST, neginf=-_FARTHEST)
        return found.clamp(-_FARTHEST, _FARTHEST) - self.center

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Shape (batch, size)."""
        found: torch.Tensor = self.coder(self.standardized(inputs))
        return found

    def restored(self, features: torch.Tensor) -> torch.Tensor:
        """What comes back of features: standardized."""
        decode = self.coder.decoder if self.scaled is not None else self.coder.decode
        found: torch.Tensor = decode(features)  # type: ignore[operator]
        return found

    def pictures_back(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Pictures that come back, in the range of those that went in: (batch, height, width, channels)."""
        assert self.scaled is not None
        found = self.restored(self.features(inputs)).float().movedim(-3, -1)
        return found * self.scaled.deviation + self.scaled.mean

    def errors(self, inputs: Mapping[str, torch.Tensor], noise: float = 0.0) -> torch.Tensor:
        """The mean squared error of each row, float32, shape (batch,); with noise of that deviation in what goes in,
        against what is clean."""
        clean = self.standardized(inputs)
        given = clean + noise * torch.randn_like(clean) if noise else clean
        return mean_squares(self.restored(self.coder(given)).float() - clean.float())

    def told(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of each row its error, how far it is from the mean, and its features: float32, shape (batch, 2 + size)."""
        clean = self.standardized(inputs)
        features = self.coder(clean)
        error = mean_squares(self.restored(features).float() - clean.float())
        spread = mean_squares(clean.float())
        return torch.cat([error[:, None], spread[:, None], features.float()], dim=1)


def mean_squares(values: torch.Tensor) -> torch.Tensor:
    """The mean of the squares of all but the first dimension, shape (batch,)."""
    return values.flatten(1).square().mean(1)
