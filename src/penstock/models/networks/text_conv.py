"""A convolutional network over sequences of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from penstock.errors import UsageError
from penstock.models.arguments import real_number, whole_number


class TextConv(nn.Module):
    """Filters of several widths over the embeddings of neighbouring tokens, and of each its greatest answer (Kim,
    "Convolutional neural networks for sentence classification", EMNLP 2014): it finds phrases, wherever they stand.

    A filter stands at every token; beyond the text's ends it sees zeros. A row without tokens is zeros.

    Shapes:
        tokens int64 (batch, length), 0 for padding
        -> embeddings (batch, size, length)
        -> each width: convolution, ReLU (batch, filters, length), the greatest over the length (batch, filters)
        -> side by side, dropout: features (batch, widths * filters)

    Args:
        vocabulary: how many tokens there are, the padding not counted.
        size: how long an embedding is.
        filters: how many there are of each width.
        widths: how many neighbouring tokens a filter sees.
        dropout: the share of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> TextConv(100)(torch.tensor([[5, 7, 0], [1, 0, 0]])).shape
        torch.Size([2, 300])
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        size: int = 64,
        filters: int = 100,
        widths: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        whole_number("network 'text_conv': size", size, 1, 65_536)
        whole_number("network 'text_conv': filters", filters, 1, 65_536)
        real_number("network 'text_conv': dropout", dropout, 0, 0.9999)
        if not isinstance(widths, (list, tuple)) or not widths:
            raise UsageError(
                "no widths", where="network 'text_conv': widths", expected="a list such as [3, 4, 5]", got=repr(widths)
            )
        for width in widths:
            whole_number("network 'text_conv': widths", width, 1, 64)
        self.features = filters * len(widths)
        self.widths = tuple(widths)
        self.embedding = nn.Embedding(vocabulary + 1, size, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(size, filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape (batch, length) to (batch, features)."""
        known = (tokens != 0)[:, None, :]
        embedded = self.embedding(tokens).transpose(1, 2) * known
        found = []
        for width, each in zip(self.widths, self.filters, strict=True):
            answers = each(functional.pad(embedded, ((width - 1) // 2, width // 2)))
            # ReLU gives nothing below 0, so that 0 at the padding never is the greatest but for a row without tokens.
            found.append((torch.relu(answers) * known).amax(2))
        features: torch.Tensor = self.dropout(torch.cat(found, dim=1))
        return features
