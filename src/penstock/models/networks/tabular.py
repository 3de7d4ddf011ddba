"""A network for tables: embeddings of categories beside numbers, then fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from penstock.models.networks.activations import activation

_CLIP = 3.0


@dataclass(frozen=True)
class TabularArchitecture:
    """Everything that says which layers there are: JSON values.

    Attributes:
        width: columns of the matrix that goes in.
        numbers: places of the numbers in it.
        missing: those of them that may be missing: each gets an indicator beside it.
        categories: places of the codes of categories, how many categories each has, and how long its embedding is.
        vectors: places of parts of vectors, taken as they are.
        hidden: units of each hidden layer.
        activation: after each hidden layer.
        normalization: before each activation: "none", "layer" or "batch".
        dropout: the share of units set to 0 in training.
        outputs: how many scores come out.
    """

    width: int
    numbers: tuple[int, ...]
    missing: tuple[int, ...]
    categories: tuple[tuple[int, int, int], ...]
    vectors: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: str
    normalization: str
    dropout: float
    outputs: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        whole = ("numbers", "missing", "vectors", "hidden")
        return cls(
            **{
                **value,
                **{name: tuple(int(each) for each in value[name]) for name in whole},
                "categories": tuple(tuple(int(each) for each in one) for one in value["categories"]),
            }
        )

    @property
    def encoded(self) -> int:
        """How many numbers a row is after embedding."""
        return len(self.numbers) + len(self.missing) + sum(size for _, _, size in self.categories) + len(self.vectors)

    def spans(self) -> list[tuple[tuple[int, ...], slice]]:
        """Which columns of the matrix each part of an encoded row comes from: (columns, places), in order."""
        found: list[tuple[tuple[int, ...], slice]] = []
        start = 0
        for place in (*self.numbers, *self.missing):
            found.append(((place,), slice(start, start + 1)))
            start += 1
        for place, _, size in self.categories:
            found.append(((place,), slice(start, start + size)))
            start += size
        for place in self.vectors:
            found.append(((place,), slice(start, start + 1)))
            start += 1
        return found


class TabularNetwork(nn.Module):
    """Numbers, softly clipped, and embeddings of categories, side by side into fully connected layers.

    A missing number is 0, the mean of a standardized column, with an indicator beside it. Numbers are clipped softly,
    ``x / sqrt(1 + (x / 3)^2)``, so that no outlier drowns the others (Holzmüller et al., "Better by default: strong
    pre-tuned MLPs and boosted trees on tabular data", NeurIPS 2024). A category that is missing or was not seen has an
    embedding of its own (Guo and Berkhahn, "Entity embeddings of categorical variables", arXiv 1604.06737).

    Shapes: features (batch, width) -> encoded (batch, encoded) -> scores (batch, outputs).
    """

    def __init__(self, architecture: TabularArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.embeddings = nn.ModuleList(nn.Embedding(count + 1, size) for _, count, size in architecture.categories)
        layers: list[nn.Module] = []
        width = architecture.encoded
        for units in architecture.hidden:
            layers.append(nn.Linear(width, units))
            if architecture.normalization == "layer":
                layers.append(nn.LayerNorm(units))
            elif architecture.normalization == "batch":
                layers.append(nn.BatchNorm1d(units))
            layers.append(activation(architecture.activation))
            if architecture.dropout:
                layers.append(nn.Dropout(architecture.dropout))
            width = units
        layers.append(nn.Linear(width, architecture.outputs))
        self.layers = nn.Sequential(*layers)
        for embedding in self.embeddings.parameters():
            nn.init.normal_(embedding, std=0.1)

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (batch, width) to (batch, encoded)."""
        parts: list[torch.Tensor] = []
        if self.architecture.numbers:
            numbers = torch.nan_to_num(features[:, list(self.architecture.numbers)], nan=0.0)
            parts.append(numbers / torch.sqrt(1.0 + (numbers / _CLIP) ** 2))
        if self.architecture.missing:
            parts.append(torch.isnan(features[:, list(self.architecture.missing)]).to(features.dtype))
        for (place, count, _), embedding in zip(self.architecture.categories, self.embeddings, strict=True):
            codes = torch.nan_to_num(features[:, place], nan=-1.0).long() + 1
            parts.append(embedding(codes.clamp(0, count)))
        if self.architecture.vectors:
            parts.append(features[:, list(self.architecture.vectors)])
        return torch.cat(parts, dim=1)

    def score(self, encoded: torch.Tensor) -> torch.Tensor:
        """Shape (batch, encoded) to (batch, outputs)."""
        scores: torch.Tensor = self.layers(encoded)
        return scores

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (batch, width) to (batch, outputs)."""
        return self.score(self.encode(features))


def embedding_size(categories: int) -> int:
    """How long the embedding of so many categories is: fastai's rule, ``min(600, round(1.6 * n^0.56))``.

    Howard and Gugger, "fastai: A layered API for deep learning", Information 11, 2020.

    Example:
        >>> [embedding_size(n) for n in (2, 10, 1000)]
        [2, 6, 77]
    """
    return min(600, round(1.6 * math.pow(categories, 0.56)))


def weights_of(modules: Sequence[nn.Module]) -> list[torch.Tensor]:
    """The weight matrices of fully connected layers, which a penalty is for; biases, norms and embeddings are not."""
    return [each.weight for module in modules for each in module.modules() if isinstance(each, nn.Linear)]
