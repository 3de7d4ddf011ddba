"""How an autoencoder learns: epochs of batches, judged on the rows held back. A helper of `autoencoder.py`."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from penstock.durable import write_atomically
from penstock.engine import spanned, tracer_of
from penstock.errors import DataError
from penstock.model import TrainingBatch, TrainingData
from penstock.models import network_checkpoint
from penstock.models.autoencoder_fitted import QUANTILES
from penstock.models.limits import Progress
from penstock.models.network_checkpoint import Position
from penstock.models.network_inputs import Inputs, rows_together
from penstock.models.network_machine import computing, device, inner_threads, laid_out
from penstock.models.networks.reconstruction import Reconstruction
from penstock.models.small_pictures import side_by_side
from penstock.models.splits import held_back

if TYPE_CHECKING:
    from penstock.models.autoencoder import Autoencoder
    from penstock.models.autoencoder_fitted import FittedAutoencoder

_MOST_VALIDATION_ROWS = 50_000
_SCALED_BYTES = 2**28
"""How much of the pictures is looked at for their mean and deviation [bytes]."""
_RISE, _LEAST = 0.1, 1e-2
_CLIP = 1.0
_EXPLODED = 1e12
_SHOWN = 6
"""Pictures that are shown beside what comes back of them."""


class Training:
    """One training.

    Attributes:
        architecture: the layers, as JSON values.
        held: rows held back.
        batch_rows: rows of a batch.
        epochs: the most passes.
        parameters: how many weights.
    """

    def __init__(self, model: Autoencoder, data: TrainingData) -> None:
        self._model, self._data = model, data
        share = min(model.validation_share, _MOST_VALIDATION_ROWS / data.rows)
        self._held_out = held_back(data.hashes(), share, ordered=data.ordered)
        self._kept = ~self._held_out
        self.held = int(np.count_nonzero(self._held_out))
        if self.held in (0, data.rows) or data.rows - self.held < 2:
            raise DataError(
                "too few rows to hold some back and learn from the rest",
                where="autoencoder",
                expected="rows in both parts",
                got=f"{data.rows:,} rows, {self.held:,} of them held back",
                remedy="more rows (or groups, where rows are kept together), or another validation_share",
            )
        self.batch_rows = model.rows_of_batch(data.rows, data.schema)
        self.epochs = model.epochs_on(data.rows, data.schema)
        self.architecture = model.architecture_of(data)
        self._pictures = bool(self.architecture["parts"])
        self._device = device() if self._pictures else "cpu"
        self._precision = model.precision_of(data.schema)
        self._weighted = data.weights() is not None
        with self._seeded():
            self._network = Reconstruction(self.architecture)
        if self._pictures:
            self._measure()
            self._network = laid_out(self._network, self._precision)
        self.parameters = sum(value.numel() for value in self._network.parameters())

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Within it torch's random state is a function of the seed; after it, what it was before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._data.seed & (2**63 - 1))
            yield

    def _measure(self) -> None:
        """Mean and deviation of each channel, over (a part of) the rows kept."""
        (part,) = self.architecture["parts"]
        stride = max(1, math.ceil(np.count_nonzero(self._kept) * math.prod(part["sizes"]) / _SCALED_BYTES))
        some = np.zeros(self._data.rows, bool)
        some[np.flatnonzero(self._kept)[::stride]] = True
        count, total, squares = 0, np.zeros(part["sizes"][0]), np.zeros(part["sizes"][0])
        for batch in self._data.in_order(rows_together(self._data.schema), keep=some):
            values = batch.tensors[part["column"]].reshape(-1, part["sizes"][0]).astype(np.float64)
            count += len(values)
            total += np.add.reduce(values, axis=0)
            squares += np.add.reduce(values * values, axis=0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        assert self._network.scaled is not None
        self._network.scaled.mean.copy_(torch.from_numpy(mean))
        self._network.scaled.deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))

    @property
    def _identity(self) -> str:
        """What tells this training from others: a checkpoint of another is none."""
        model = {item.name: str(getattr(self._model, item.name)) for item in fields(self._model)}
        told = [model, self.architecture, self._data.rows, self._data.seed]
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16)
        digest.update(self._data.hashes().tobytes())
        return digest.hexdigest()

    # ------------------------------------------------------------------ the epochs

    def run(self) -> tuple[bytes, dict[str, Any]]:
        """The best epoch's weights, in safetensors' format, and what is to be said of the training."""
        folder = self._data.checkpoints
        kept = None if folder is None else network_checkpoint.load(folder, self._identity)
        threads = self._model.threads_of(self._data.rows, self._data.schema, self._data.resources.cores)
        position = Position(threads=threads) if kept is None else kept.position
        with inner_threads(position.threads), self._seeded():
            best = self._learn(position, kept)
        told = next(one for one in position.history if one["step"] == position.best_epoch)
        summary: dict[str, Any] = {
            "rows": self._data.rows,
            "size": self._model.size_for(self._data.schema),
            "weights": self.parameters,
            "batch_rows": self.batch_rows,
            "epochs": position.history[-1]["step"],
            "best_epoch": position.best_epoch,
            "held_out_rows": self.held,
            "metric": "reconstruction_error",
            "held_out": {"reconstruction_error": told["validation"]},
            "precision": self._precision,
            "history": position.history,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in best.items()}
        return safetensors.torch.save(tensors), summary

    def _learn(self, position: Position, kept: network_checkpoint.Kept | None) -> dict[str, torch.Tensor]:
        optimizer = torch.optim.AdamW(self._network.parameters(), self._model.learning_rate, weight_decay=0.0)
        best: dict[str, torch.Tensor] = {}
        if kept is not None:
            self._network.load_state_dict(dict(kept.tensors["network"]))
            optimizer.load_state_dict(dict(kept.optimizer))
            best = dict(kept.tensors.get("best", {}))
            kept.restore_random()
        rows = int(np.count_nonzero(self._kept))
        progress = Progress(self._data.listener, rows * self.epochs)
        while position.epoch < self.epochs and not self._is_enough(position):
            with spanned(self._data.listener, f"autoencoder, epoch {position.epoch + 1}", "epoch"):
                self._epoch(position, optimizer, best, progress, rows)
            judged = self._judged()
            state = self._network.state_dict()
            told = {"step": position.epoch + 1, "train": position.total / position.counted, "validation": judged}
            position.history.append(told)
            if judged < position.best_loss or not best:
                best.update({name: value.clone() for name, value in state.items()})
                position.best_loss, position.best_epoch = judged, position.epoch + 1
            if self._data.history is not None:
                text = "".join(json.dumps(one) + "\n" for one in position.history)
                write_atomically(self._data.history, text.encode())
            position.epoch += 1
            position.batch, position.total, position.counted = 0, 0.0, 0.0
            progress.values = {"train": told["train"], "validation": judged}
            self._keep(position, optimizer, best)
        progress.finish()
        return best

    def _is_enough(self, position: Position) -> bool:
        patience = self._model.patience
        return patience is not None and position.epoch - position.best_epoch >= patience

    def _keep(self, position: Position, optimizer: torch.optim.Optimizer, best: Mapping[str, torch.Tensor]) -> None:
        if self._data.checkpoints is not None:
            tensors = {"network": self._network.state_dict(), "best": best}
            network_checkpoint.save(self._data.checkpoints, self._identity, position, tensors, optimizer)

    def _epoch(
        self,
        position: Position,
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, torch.Tensor],
        progress: Progress,
        rows: int,
    ) -> None:
        network = self._network.train()
        steps = self.epochs * -(-rows // self.batch_rows)
        threads = self._model.loading_threads if self._pictures else 0
        kept_at, tracer = time.monotonic(), tracer_of(self._data.listener)
        batches = self._data.epoch(
            position.epoch, self.batch_rows, start=position.batch, keep=self._kept, threads=threads
        )
        for batch in batches:
            if len(batch) > 1 or not self._pictures:  # one picture has no variance for a norm
                rate = self._model.learning_rate * _factor(position.step / max(1, steps))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss, weight = self._step(network, batch, position, optimizer)
                position.total += loss * weight
                position.counted += weight
                position.step += 1
                progress.to(rows * position.epoch + min(rows, position.batch * self.batch_rows), loss=loss)
                if tracer is not None:
                    tracer.count("autoencoder, by step", time.monotonic(), loss=loss, learning_rate=rate)
            position.batch += 1
            if time.monotonic() - kept_at >= self._model.checkpoint_seconds:
                self._keep(position, optimizer, best)
                kept_at = time.monotonic()

    def _step(
        self, network: Reconstruction, batch: TrainingBatch, position: Position, optimizer: torch.optim.Optimizer
    ) -> tuple[float, float]:
        """Move the weights by a batch; its mean error, and the weight of its rows."""
        with computing(self._precision, self._device):
            errors, weights = self._errors(network, batch, self._model.noise)
        counted = weights.sum()
        loss = (errors * weights).sum() / counted
        told = float(loss.detach())
        if not math.isfinite(told) or told > _EXPLODED:
            raise DataError(
                "the training diverged: the error "
                + (f"grew to {told:.3g}" if math.isfinite(told) else "is not a number any more"),
                where=f"autoencoder, epoch {position.epoch + 1}, step {position.step + 1}",
                expected="a finite error",
                got=f"a batch of {len(batch):,} rows",
                remedy="a smaller learning_rate, or clip outliers before (a step clip)",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return told, float(counted)

    def _errors(
        self, network: Reconstruction, batch: TrainingBatch, noise: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The error and the weight of each row, shape (rows,) each."""
        inputs = Inputs.of_training(batch).to_torch(self._device)
        weights = np.ones(len(batch)) if batch.weights is None else batch.weights
        return network.errors(inputs, noise), torch.from_numpy(weights.astype(np.float32)).to(self._device)

    def _judged(self) -> float:
        """The mean error of the rows held back."""
        network = self._network.eval()
        total = counted = 0.0
        with torch.inference_mode(), computing(self._precision, self._device):
            for batch in self._data.in_order(rows_together(self._data.schema), keep=self._held_out):
                errors, weights = self._errors(network, batch)
                total += float((errors * weights).double().sum())
                counted += float(weights.double().sum())
        return total / counted if math.isfinite(total) else math.inf

    def quantiles_of(self, fitted: FittedAutoencoder) -> npt.NDArray[np.float64]:
        """Of the errors of the rows held back, as the fitted one tells them, ascending."""
        most = rows_together(self._data.schema)
        found = [
            fitted.computed(Inputs.of_training(batch).filled_up(most))[: len(batch), 0]
            for batch in self._data.in_order(most, keep=self._held_out)
        ]
        return np.quantile(np.concatenate(found), np.linspace(0, 1, min(QUANTILES, self.held)))

    def shown(self, fitted: FittedAutoencoder) -> list[dict[str, Any]]:
        """Some pictures of the rows held back and what comes back of them, from the least error to the greatest."""
        if not self._pictures:
            return []
        column = str(self.architecture["parts"][0]["column"])
        masking = self._data.resources.masking
        if masking is not None and column in masking.columns:
            return []
        most = rows_together(self._data.schema)
        first = next(self._data.in_order(most, keep=self._held_out))
        inputs = Inputs.of_training(first)
        errors = fitted.computed(inputs.filled_up(most))[: len(first), 0]
        order = np.argsort(errors, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, _SHOWN).astype(np.int64))]
        back = fitted.pictures_back(inputs.take(chosen))
        pairs = side_by_side(first.tensors[column][chosen], back)
        return [
            {"error": float(error), "before": before, "after": after}
            for error, (before, after) in zip(errors[chosen], pairs, strict=True)
        ]


def _factor(share: float) -> float:
    """What the rate is multiplied by after that share of the steps: up over a tenth of them, then down as a cosine.

    >>> _factor(0.05), _factor(0.1), round(_factor(1.0), 6)
    (0.5, 1.0, 0.01)
    """
    if share < _RISE:
        return max(share / _RISE, _LEAST)
    return _LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * (share - _RISE) / (1 - _RISE))) / 2
