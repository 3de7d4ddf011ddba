"""What a network is to make small, for each row. A helper of `network_training.py`.

Scores have shape (rows, outputs): one output for a number or two classes, else one for each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn import functional

from penstock.errors import UsageError
from penstock.models.networks.names import CLASS_LOSSES, VALUE_LOSSES

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_FOCUS = 2.0


def loss_named(loss: str | Loss, task: str, smoothing: float) -> Loss:
    """The function of scores, shape (rows, outputs), and labels, shape (rows,), that gives losses, shape (rows,).

    Labels are class codes (int64), or values in deviations from their mean (float32).

    - ``cross_entropy``: of classes, the labels smoothed (Szegedy et al., "Rethinking the inception architecture", CVPR
      2016). ``focal``: the same times ``(1 - p)^2``, p the probability of the label (Lin et al., "Focal loss for dense
      object detection", ICCV 2017).
    - ``squared_error``, ``absolute_error``, ``huber`` (Huber 1964, bend at one deviation): of values.

    Raises:
        UsageError: the loss is not for this task.
    """
    if not isinstance(loss, str):
        return _checked(loss)
    name = {"auto": "squared_error" if task == "regression" else "cross_entropy"}.get(loss, loss)
    allowed = VALUE_LOSSES if task == "regression" else CLASS_LOSSES
    if name not in allowed:
        raise UsageError(
            "the loss is not for this task", where="network: loss", expected=", ".join(allowed), got=f"{name}, {task}"
        )
    if task == "regression":
        kinds: dict[str, Callable[..., torch.Tensor]] = {
            "squared_error": functional.mse_loss,
            "absolute_error": functional.l1_loss,
            "huber": functional.huber_loss,
        }
        of_values = kinds[name]
        return lambda scores, labels: of_values(scores[:, 0], labels, reduction="none")
    entropy = _binary(smoothing) if task == "binary" else _multiclass(smoothing)
    if name == "focal":
        return lambda scores, labels: (1 - _of_label(scores, labels)) ** _FOCUS * entropy(scores, labels)
    return entropy


def _binary(smoothing: float) -> Loss:
    def losses(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = labels.float() * (1 - smoothing) + 0.5 * smoothing
        return functional.binary_cross_entropy_with_logits(scores[:, 0], truth, reduction="none")

    return losses


def _multiclass(smoothing: float) -> Loss:
    return lambda scores, labels: functional.cross_entropy(scores, labels, reduction="none", label_smoothing=smoothing)


def _of_label(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The probability of each row's label, shape (rows,)."""
    if scores.shape[1] == 1:
        positive = torch.sigmoid(scores[:, 0])
        return torch.where(labels == 1, positive, 1 - positive)
    return torch.softmax(scores, dim=1).gather(1, labels[:, None])[:, 0]


def _checked(loss: Loss) -> Loss:
    def losses(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = loss(scores, labels)
        if not isinstance(found, torch.Tensor) or found.shape != labels.shape:
            raise UsageError(
                "the loss has to give a number for each row",
                where="network: loss",
                expected=f"a tensor of shape {tuple(labels.shape)} (reduction='none')",
                got=f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__,
            )
        return found

    return losses
