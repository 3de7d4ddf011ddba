"""A network over columns of several kinds: each through a trunk of its own, then side by side into one layer.

Late fusion. With a single column it is that column's trunk and a layer on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import torch
from torch import nn

from penstock.models.network_inputs import MATRIX
from penstock.models.networks.catalog import trunk
from penstock.models.networks.even_linear import EvenLinear
from penstock.models.networks.tabular import TabularArchitecture, TabularNetwork

_TABLE_FEATURES = 64


@dataclass(frozen=True)
class Part:
    """A column of tensors or tokens, and the trunk that it goes through.

    Attributes:
        column: its name.
        kind: "picture", "clip" or "tokens".
        network: the trunk's name in the catalog.
        sizes: of a picture (channels, height, width), of a clip (frames, channels, height, width), of tokens (size of
            the vocabulary,).
        settings: of the trunk.
        scaled: whether values are standardized by channel when they go in.
    """

    column: str
    kind: str
    network: str
    sizes: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False


@dataclass(frozen=True)
class CombinedArchitecture:
    """Everything that says which layers there are: JSON values.

    Attributes:
        parts: the columns with trunks of their own.
        table: the layers for numbers, codes and vectors; None where there are none.
        outputs: how many scores come out.
        dropout: the share of the last hidden layer set to 0 in training.
        mirrored: columns that are predicted by the mean over what is there and its mirror image, left to right.
    """

    parts: tuple[Part, ...]
    table: TabularArchitecture | None
    outputs: int
    dropout: float = 0.0
    mirrored: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "combined", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        parts = [Part(**{**one, "sizes": tuple(int(size) for size in one["sizes"])}) for one in value["parts"]]
        table = None if value["table"] is None else TabularArchitecture.from_json(value["table"])
        return cls(
            tuple(parts), table, int(value["outputs"]), float(value["dropout"]), tuple(value.get("mirrored", ()))
        )


class Scaled(nn.Module):
    """Pictures or clips as they are stored, channels last, to standardized floats, channels first.

    ``(x - mean) / deviation`` by channel. Shapes: (batch, ..., height, width, channels) -> (batch, ..., channels,
    height, width), in torch's memory format "channels last" for pictures.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """See the class."""
        *before, width, channels = values.shape
        # Whole lines of pixels at a time, in one buffer: a loop over two or three channels takes nine times as long.
        lines = values.reshape(*before, width * channels).to(torch.float32, copy=True)
        lines = lines.sub_(self.mean.repeat(width)).div_(self.deviation.repeat(width))
        return lines.reshape(values.shape).movedim(-1, -3)


class CombinedNetwork(nn.Module):
    """Trunks side by side, then one layer.

    Shapes: by name, matrix (batch, width), pictures (batch, height, width, channels), clips (batch, frames, height,
    width, channels), tokens (batch, length) -> features (batch, features) -> scores (batch, outputs).
    """

    def __init__(self, architecture: CombinedArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.mirrored = architecture.mirrored
        self.scaled = nn.ModuleList()
        self.trunks = nn.ModuleList()
        width = 0
        for part in architecture.parts:
            channels = part.sizes[-3] if part.kind != "tokens" else 1
            self.scaled.append(Scaled(channels) if part.kind != "tokens" else nn.Identity())
            made = trunk(part.network, part.kind, *part.sizes, settings=part.settings)
            self.trunks.append(made)
            width += int(cast(int, made.features))
        self.table = None if architecture.table is None else TabularNetwork(architecture.table)
        if architecture.table is not None:
            width += architecture.table.outputs
        self.dropout = nn.Dropout(architecture.dropout)
        self.head = EvenLinear(width, architecture.outputs)

    @property
    def last_layer(self) -> nn.Linear:
        """The last layer."""
        return self.head

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the last hidden layer gives, shape (batch, features)."""
        found: list[torch.Tensor] = []
        for part, scaled, made in zip(self.architecture.parts, self.scaled, self.trunks, strict=True):
            values = scaled(inputs[part.column])
            found.append(made(values))
        if self.table is not None:
            found.append(torch.relu(self.table(inputs[MATRIX])))
        return torch.cat(found, dim=1) if len(found) > 1 else found[0]

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Shape (batch, outputs)."""
        scores: torch.Tensor = self.head(self.dropout(self.features(inputs)))
        return scores


class OwnNetwork(nn.Module):
    """A module of the user's: one input goes in as a tensor, several as a mapping by column.

    The matrix of numbers is named "table". Pictures come standardized, channels first.
    """

    def __init__(self, module: nn.Module, parts: Sequence[Part], outputs: int, mirrored: Sequence[str] = ()) -> None:
        super().__init__()
        self.mirrored = tuple(mirrored)
        self.parts = tuple(parts)
        self.outputs = outputs
        self.module = module
        self.scaled = nn.ModuleDict(
            {str(place): Scaled(part.sizes[-3]) for place, part in enumerate(parts) if part.kind != "tokens"}
        )

    def _given(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        if MATRIX in inputs:
            found["table"] = inputs[MATRIX]
        for place, part in enumerate(self.parts):
            values = inputs[part.column]
            found[part.column] = self.scaled[str(place)](values) if str(place) in self.scaled else values
        return next(iter(found.values())) if len(found) == 1 else found

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Shape (batch, outputs)."""
        scores: torch.Tensor = self.module(self._given(inputs))
        return scores[:, None] if scores.ndim == 1 else scores

    @property
    def last_layer(self) -> nn.Linear | None:
        """The last linear layer, where there is one."""
        layers = [each for each in self.module.modules() if isinstance(each, nn.Linear)]
        return layers[-1] if layers else None

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What goes into the last linear layer, shape (batch, features).

        Raises:
            LookupError: it has no linear layer.
        """
        last = self.last_layer
        if last is None:
            raise LookupError("the module has no nn.Linear: there is no last hidden layer to take features from")
        caught: list[torch.Tensor] = []
        handle = last.register_forward_pre_hook(lambda module, given: caught.append(given[0]))
        try:
            self.forward(inputs)
        finally:
            handle.remove()
        return caught[-1].flatten(1)
