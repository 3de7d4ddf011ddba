"""Recurrent networks over sequences of tokens: `LSTM` and `GRU`, in both directions."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import nn

from penstock.models.arguments import one_of, real_number, whole_number

Pooling: TypeAlias = Literal["max", "mean", "last"]


class _Recurrent(nn.Module):
    """What both have in common: embeddings, layers that read forwards and backwards, and one vector of all states.

    Each direction is a network of its own over the whole padded batch. The backward one reads each row turned round
    within its own length, so that the padding stands at its end too: no state of a token has seen any of it, and the
    batch need not be packed.
    """

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]]

    def __init__(
        self,
        vocabulary: int,
        *,
        size: int = 64,
        hidden: int = 64,
        layers: int = 1,
        pooling: Pooling = "max",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        where = f"network {type(self).__name__.lower()!r}"
        for setting, value, most in (("size", size, 65_536), ("hidden", hidden, 65_536), ("layers", layers, 64)):
            whole_number(f"{where}: {setting}", value, 1, most)
        one_of(f"{where}: pooling", pooling, get_args(Pooling))
        real_number(f"{where}: dropout", dropout, 0, 0.9999)
        self.features = 2 * hidden
        self.pooling = pooling
        self.embedding = nn.Embedding(vocabulary + 1, size, padding_idx=0)
        widths = [size] + [2 * hidden] * (layers - 1)
        self.forwards = nn.ModuleList(self.cell(width, hidden, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(self.cell(width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape (batch, length) to (batch, 2 * hidden)."""
        known = (tokens != 0)[:, :, None]
        lengths = known.sum(1)
        places = torch.arange(tokens.shape[1], device=tokens.device)[None, :]
        turned = torch.where(places < lengths, lengths - 1 - places, places)[:, :, None]
        states: torch.Tensor = self.embedding(tokens)
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            given = self.dropout(states)
            first, _ = ahead(given)
            second, _ = back(given.gather(1, turned.expand_as(given)))
            states = torch.cat([first, second.gather(1, turned.expand_as(second))], dim=2)
        features: torch.Tensor = self.dropout(self._pooled(states, known, lengths))
        return features

    def _pooled(self, states: torch.Tensor, known: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States (batch, length, 2 * hidden) to (batch, 2 * hidden); zeros for a row without tokens."""
        if self.pooling == "mean":
            return (states * known).sum(1) / lengths.clamp(min=1)
        if self.pooling == "max":
            return states.masked_fill(~known, -torch.inf).amax(1).masked_fill(lengths == 0, 0.0)
        ahead, back = states.chunk(2, dim=2)
        last = (lengths - 1).clamp(min=0)[:, :, None].expand(-1, -1, ahead.shape[2])
        ends = torch.cat([ahead.gather(1, last)[:, 0], back[:, 0]], dim=1)
        return ends.masked_fill(lengths == 0, 0.0)


class LSTM(_Recurrent):
    """Long short-term memory in both directions (Hochreiter and Schmidhuber, Neural Computation 9, 1997; forwards and
    backwards after Graves and Schmidhuber, Neural Networks 18, 2005), its states put together over the text.

    A row without tokens is zeros.

    Shapes:
        tokens int64 (batch, length), 0 for padding
        -> embeddings (batch, length, size), dropout
        -> each layer: states forwards and backwards (batch, length, 2 * hidden), dropout between
        -> pooled over the tokens, dropout: features (batch, 2 * hidden)

    Args:
        vocabulary: how many tokens there are, the padding not counted.
        size: how long an embedding is.
        hidden: units of a state, of each direction.
        layers: how many, one on the other.
        pooling: "max" or "mean" over the tokens' states, or "last": the one at the end, of the backward direction the
            one at the beginning.
        dropout: the share set to 0 in training, of what goes into each layer and of the features.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> LSTM(100)(torch.tensor([[5, 7, 0], [1, 0, 0]])).shape
        torch.Size([2, 128])
    """

    cell = nn.LSTM


class GRU(_Recurrent):
    """Gated recurrent units in both directions (Cho et al., "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", EMNLP 2014): as `LSTM`, with fewer gates and no cell.

    A row without tokens is zeros.

    Shapes:
        tokens int64 (batch, length), 0 for padding
        -> embeddings (batch, length, size), dropout
        -> each layer: states forwards and backwards (batch, length, 2 * hidden), dropout between
        -> pooled over the tokens, dropout: features (batch, 2 * hidden)

    Args:
        vocabulary: how many tokens there are, the padding not counted.
        size: how long an embedding is.
        hidden: units of a state, of each direction.
        layers: how many, one on the other.
        pooling: "max" or "mean" over the tokens' states, or "last": the one at the end, of the backward direction the
            one at the beginning.
        dropout: the share set to 0 in training, of what goes into each layer and of the features.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> GRU(100, hidden=32)(torch.tensor([[5, 7, 0], [1, 0, 0]])).shape
        torch.Size([2, 64])
    """

    cell = nn.GRU
