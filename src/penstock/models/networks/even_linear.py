"""A linear layer that computes each row as it would by itself. A helper of networks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_EVEN = 8


class EvenLinear(nn.Linear):
    """A linear layer whose inputs are filled up with zeros to a multiple of 8.

    Products of matrices round a row by its place among the others where there are few outputs and the inputs are no
    multiple of 4; so none does.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Shape (batch, inputs) to (batch, outputs)."""
        more = -self.in_features % _EVEN
        return functional.linear(functional.pad(values, (0, more)), functional.pad(self.weight, (0, more)), self.bias)
