"""Optimizers, schedules of the learning rate and averages of weights, by name. A helper of `network_training.py`.

Update rules are torch.optim's. Where they differ from a textbook's: torch's momentum is ``v = m * v + g``,
``w = w - lr * v``, the rate outside the velocity (Sutskever et al. 2013 have it inside); ``l2`` of adamw is decoupled
from the gradient (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), else added to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from penstock.models.network import Network

_START, _END = 1 / 25, 1e-4
_RISE = 0.3
_LEAST = 0.01


def optimizer_of(model: Network, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that the definition names, with its settings."""
    rate = float(model.learning_rate)
    parameters = list(parameters)
    if model.optimizer_function is not None:
        own: torch.optim.Optimizer = model.optimizer_function(parameters)
        for group in own.param_groups:
            group["lr"] = rate
        return own
    name, decay = model.optimizer, float(model.l2)
    # One pass over the weights in place of a dozen: of large embeddings, a twelfth of the time.
    fused = all(value.is_floating_point() for value in parameters)
    if name == "sgd":
        nesterov = model.nesterov and model.momentum > 0
        return torch.optim.SGD(
            parameters, rate, momentum=model.momentum, nesterov=nesterov, weight_decay=decay, fused=fused
        )
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, momentum=model.momentum, weight_decay=decay)
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adagrad": torch.optim.Adagrad,
    }
    made: torch.optim.Optimizer = kinds[name](parameters, lr=rate, weight_decay=decay, fused=fused)
    return made


class Schedule:
    """What the learning rate is multiplied by at each step.

    - ``constant``: 1. ``step``: a tenth after each third of the epochs.
    - ``cosine``: ``(1 + cos(pi * t)) / 2`` over the whole training; ``warm_restarts``: the same over cycles of
      ``restart_epochs``, again and again (Loshchilov and Hutter, "SGDR", ICLR 2017).
    - ``one_cycle``: up from 1/25 within three tenths of the steps, then down to 1/10,000 (Smith, "A disciplined
      approach to neural network hyper-parameters", arXiv 1803.09820).
    - ``plateau``: 0.3 times less whenever ``plateau_patience`` epochs brought no better loss.
    - ``restart_on_plateau``: down as a cosine within ``restart_epochs`` to a hundredth, where it stays; up again to the
      whole rate whenever ``plateau_patience`` epochs brought no better loss.

    Before all of them but one_cycle the rate rises for ``warmup_steps``.
    """

    def __init__(self, model: Network, steps_per_epoch: int) -> None:
        self._model = model
        self._per_epoch = max(1, steps_per_epoch)
        self._total = max(1, int(model.epochs) * self._per_epoch)
        self.cuts = 0
        self.waited = 0
        self.restarted = 0

    def go_on(self, cuts: int, waited: int, restarted: int) -> None:
        """Stand where an earlier one stood."""
        self.cuts, self.waited, self.restarted = cuts, waited, restarted

    def factor(self, step: int) -> float:
        """At a step, from 0."""
        name = self._model.schedule
        if name == "one_cycle":
            return _one_cycle(step / self._total)
        warm = min(1.0, (step + 1) / (self._model.warmup_steps + 1))
        if name == "step":
            return warm * 0.1 ** (3 * step // self._total)
        if name == "cosine":
            return warm * _cosine(step / self._total)
        if name == "warm_restarts":
            cycle = self._model.restart_epochs * self._per_epoch
            return warm * _cosine(step % cycle / cycle)
        if name == "restart_on_plateau":
            cycle = self._model.restart_epochs * self._per_epoch
            return warm * max(_LEAST, _cosine((step - self.restarted) / cycle))
        return float(warm * 0.3**self.cuts)

    def after_epoch(self, better: bool, step: int) -> None:
        """Tell whether an epoch brought a better loss, and which step comes next."""
        self.waited = 0 if better else self.waited + 1
        if self._model.schedule not in ("plateau", "restart_on_plateau") or self.waited <= self._model.plateau_patience:
            return
        self.waited = 0
        if self._model.schedule == "plateau":
            self.cuts += 1
        else:
            self.restarted = step


def _cosine(part: float) -> float:
    return (1 + math.cos(math.pi * min(part, 1.0))) / 2


def _one_cycle(part: float) -> float:
    if part < _RISE:
        return _START + (1 - _START) * (1 - _cosine(part / _RISE))
    return _END + (1 - _END) * _cosine((part - _RISE) / (1 - _RISE))


class Average:
    """The exponential mean of weights over the steps, ``decay`` of it kept at each.

    Polyak and Juditsky, 1992; the decay grows as ``(1 + n) / (10 + n)``, so that the first weights are forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.count = 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def go_on(self, state: Mapping[str, torch.Tensor], count: int) -> None:
        """Stand where an earlier one stood."""
        self.state, self.count = dict(state), count

    def update(self, module: nn.Module) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + self.count) / (10 + self.count))
        self.count += 1
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)
