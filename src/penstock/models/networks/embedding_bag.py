"""A network over tokens without order: the mean of their embeddings."""

from __future__ import annotations

import torch
from torch import nn

from penstock.models.arguments import real_number, whole_number


class EmbeddingBag(nn.Module):
    """The mean of the tokens' embeddings, as fastText classifies texts (Joulin, Grave, Bojanowski and Mikolov, "Bag of
    tricks for efficient text classification", EACL 2017). Order counts where n-grams are among the tokens.

    A row without tokens is zeros. Weights are drawn evenly from -1/size to 1/size, as fastText does.

    Shapes: tokens int64 (batch, length), 0 for padding -> features (batch, size).

    Args:
        vocabulary: how many tokens there are, the padding not counted.
        size: how long an embedding is.
        dropout: the share of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> EmbeddingBag(100)(torch.tensor([[5, 7, 0], [1, 0, 0]])).shape
        torch.Size([2, 64])
    """

    def __init__(self, vocabulary: int, *, size: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        whole_number("network 'embedding_bag': size", size, 1, 65_536)
        real_number("network 'embedding_bag': dropout", dropout, 0, 0.9999)
        self.features = size
        self.embedding = nn.EmbeddingBag(vocabulary + 1, size, mode="mean", padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -1 / size, 1 / size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape (batch, length) to (batch, size)."""
        features: torch.Tensor = self.dropout(self.embedding(tokens))
        return features
