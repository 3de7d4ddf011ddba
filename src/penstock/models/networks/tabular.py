"""A network for tables: embeddings of numbers and categories side by side, then fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from penstock.models.networks.activations import activation
from penstock.models.networks.even_linear import EvenLinear

_CLIP = 3.0
_FARTHEST = 1e9
_NUMBER_SIZE = 8
_SLOWEST, _FASTEST = 0.1, 30.0
"""Deviations of the frequencies of number embeddings, from and to: waves per deviation of the column."""


@dataclass(frozen=True)
class TabularArchitecture:
    """Everything that says which layers there are: JSON values.

    Attributes:
        width: columns of the matrix that goes in.
        numbers: places of the numbers in it.
        missing: those of them that may be missing: each gets an indicator beside it.
        categories: places of the codes of categories, how many categories each has, and how long its embedding is.
        vectors: where vectors begin and end, taken as they are.
        hidden: units of each hidden layer.
        activation: after each hidden layer.
        normalization: before each activation: "none", "layer" or "batch".
        dropout: the share of units set to 0 in training.
        outputs: how many scores come out.
        frequencies: waves in the embedding of a number; 0 for numbers without one.
    """

    width: int
    numbers: tuple[int, ...]
    missing: tuple[int, ...]
    categories: tuple[tuple[int, int, int], ...]
    vectors: tuple[tuple[int, int], ...]
    hidden: tuple[int, ...]
    activation: str
    normalization: str
    dropout: float
    outputs: int
    frequencies: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        whole = ("numbers", "missing", "hidden")
        return cls(
            **{
                **value,
                **{name: tuple(int(each) for each in value[name]) for name in whole},
                **{
                    name: tuple(tuple(int(each) for each in one) for one in value[name])
                    for name in ("categories", "vectors")
                },
            }
        )

    @property
    def encoded(self) -> int:
        """How many numbers a row is after embedding."""
        return max((places.stop for _, places in self.spans()), default=0)

    def spans(self) -> list[tuple[int, slice]]:
        """Where each part of an encoded row is: (the column of the matrix where it begins, places), in order."""
        embedded = self.numbers if self.frequencies else ()
        sizes = [
            *((place, 1) for place in self.numbers),
            *((place, _NUMBER_SIZE) for place in embedded),
            *((place, 1) for place in self.missing),
            *((place, size) for place, _, size in self.categories),
            *((start, stop - start) for start, stop in self.vectors),
        ]
        found: list[tuple[int, slice]] = []
        begin = 0
        for place, size in sizes:
            found.append((place, slice(begin, begin + size)))
            begin += size
        return found


class NumberEmbeddings(nn.Module):
    """Each number as waves, mixed into a few features: what lets a network be as steep as a tree where it must.

    ``relu(cos(2 pi f x + p) W + b)``, with frequencies ``f``, phases ``p``, weights ``W`` and offsets ``b`` of its own
    for each number, all learned (Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
    learning", NeurIPS 2022; with a phase after Holzmüller et al. 2024). There all frequencies have one deviation, which
    is searched for; here they are spread from 0.1 to 30, evenly in their logarithm, so that both a trend over the whole
    column and a single value in it can be told. Fast waves begin with smaller weights, so that few rows are not
    learned by heart.

    Shapes: numbers (batch, numbers) -> (batch, numbers * 8).
    """

    def __init__(self, numbers: int, frequencies: int) -> None:
        super().__init__()
        spread = torch.logspace(math.log10(_SLOWEST), math.log10(_FASTEST), frequencies)
        bound = 1 / math.sqrt(frequencies)
        self.frequency = nn.Parameter(torch.randn(numbers, frequencies) * spread)
        self.phase = nn.Parameter((2 * torch.rand(numbers, frequencies) - 1) * math.pi)
        gentle = (1 + spread[:, None]) ** -0.25
        self.weight = nn.Parameter((2 * torch.rand(numbers, frequencies, _NUMBER_SIZE) - 1) * bound * gentle)
        self.bias = nn.Parameter((2 * torch.rand(numbers, _NUMBER_SIZE) - 1) * bound)

    def forward(self, numbers: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Shape (batch, numbers), both, to (batch, numbers * 8); zeros where a number is not known."""
        waves = torch.cos(2 * math.pi * numbers[:, :, None] * self.frequency + self.phase)
        mixed = torch.einsum("bnk,nkd->bnd", waves, self.weight) + self.bias
        return (torch.relu(mixed) * known[:, :, None]).flatten(1)


class TabularNetwork(nn.Module):
    """Numbers, softly clipped, their embeddings, and those of categories, side by side into fully connected layers.

    A missing number is 0, the mean of a standardized column, without waves and with an indicator beside it (where it
    was never missing in training: as though it were the mean). Numbers are clipped softly, ``x / sqrt(1 + (x / 3)^2)``,
    so that no outlier drowns the others (Holzmüller et al., "Better by default: strong pre-tuned MLPs and boosted trees
    on tabular data", NeurIPS 2024). A category that is missing or was not seen has an embedding of its own (Guo and
    Berkhahn, "Entity embeddings of categorical variables", arXiv 1604.06737).

    Shapes: features (batch, width) -> encoded (batch, encoded) -> scores (batch, outputs).
    """

    def __init__(self, architecture: TabularArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embeddings = nn.ModuleList(nn.Embedding(count + 1, size) for _, count, size in architecture.categories)
        self.gappy: torch.Tensor
        self.waves = (
            NumberEmbeddings(len(architecture.numbers), architecture.frequencies)
            if architecture.frequencies and architecture.numbers
            else None
        )
        gappy = torch.tensor([place in architecture.missing for place in architecture.numbers], dtype=torch.bool)
        self.register_buffer("gappy", gappy, persistent=False)
        layers: list[nn.Module] = []
        width = architecture.encoded
        for units in architecture.hidden:
            layers.append(EvenLinear(width, units))
            if architecture.normalization == "layer":
                layers.append(nn.LayerNorm(units))
            elif architecture.normalization == "batch":
                layers.append(nn.BatchNorm1d(units))
            layers.append(activation(architecture.activation))
            if architecture.dropout:
                layers.append(nn.Dropout(architecture.dropout))
            width = units
        layers.append(EvenLinear(width, architecture.outputs))
        self.layers = nn.Sequential(*layers)
        for embedding in self.embeddings.parameters():
            nn.init.normal_(embedding, std=0.1)

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (batch, width) to (batch, encoded)."""
        parts: list[torch.Tensor] = []
        if self.architecture.numbers:
            given = features[:, list(self.architecture.numbers)]
            numbers = torch.nan_to_num(given, nan=0.0).clamp(-_FARTHEST, _FARTHEST)  # what float32 can square
            numbers = numbers / torch.sqrt(1.0 + (numbers / _CLIP) ** 2)
            parts.append(numbers)
            if self.waves is not None:
                parts.append(self.waves(numbers, ~(torch.isnan(given) & self.gappy)))
        if self.architecture.missing:
            parts.append(torch.isnan(features[:, list(self.architecture.missing)]).to(features.dtype))
        for (place, count, _), embedding in zip(self.architecture.categories, self.embeddings, strict=True):
            codes = torch.nan_to_num(features[:, place], nan=-1.0).long() + 1
            parts.append(embedding(codes.clamp(0, count)))
        parts += [features[:, start:stop] for start, stop in self.architecture.vectors]
        return torch.cat(parts, dim=1)

    def score(self, encoded: torch.Tensor) -> torch.Tensor:
        """Shape (batch, encoded) to (batch, outputs)."""
        scores: torch.Tensor = self.layers(encoded)
        return scores

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (batch, width) to (batch, outputs)."""
        return self.score(self.encode(features))


def weights_of(modules: Sequence[nn.Module]) -> list[torch.Tensor]:
    """The weight matrices of fully connected layers, which a penalty is for; biases, norms and embeddings are not."""
    return [each.weight for module in modules for each in module.modules() if isinstance(each, nn.Linear)]
