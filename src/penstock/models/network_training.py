"""How a network learns: epochs over shuffled batches, judged on the rows held back. A helper of `network.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch.nn import functional

from penstock.engine import spanned, tracer_of
from penstock.errors import DataError
from penstock.model import TrainingBatch, TrainingData, spans_of
from penstock.models.limits import Progress
from penstock.models.network_fitted import PREDICT_ROWS, FittedNetwork, one_thread
from penstock.models.network_optimizing import Average, Schedule, optimizer_of
from penstock.models.networks.sizes import embedding_size
from penstock.models.networks.tabular import (
    TabularArchitecture,
    TabularNetwork,
    weights_of,
)
from penstock.models.splits import validation_mask

if TYPE_CHECKING:
    from penstock.models.network import Network

_MOST_VALIDATION_ROWS = 50_000


class Training:
    """One training.

    Attributes:
        architecture: the layers.
        held: rows held back.
        batch_rows: rows of a batch.
        center: mean of a regression's target.
        scale: its standard deviation.
    """

    def __init__(
        self,
        model: Network,
        data: TrainingData,
        labels: npt.NDArray[Any],
        class_weights: npt.NDArray[np.float64] | None,
        *,
        start: FittedNetwork | None = None,
    ) -> None:
        self._start = start
        self._model = model
        self._data = data
        self._task = data.target.task
        self._class_weights = class_weights
        share = min(model.validation_share, _MOST_VALIDATION_ROWS / max(data.rows, 1))
        self._held_out = validation_mask(data.hashes(), share, ordered=data.ordered)
        self._kept = ~self._held_out
        self.held = int(np.count_nonzero(self._held_out))
        self._refuse_lopsided(labels)
        self.batch_rows = model.rows_of_batch(data.rows)
        kept = labels[self._kept]
        regression = self._task == "regression"
        self.center, self.scale = (float(np.mean(kept)), float(np.std(kept)) or 1.0) if regression else (0.0, 1.0)
        weights = data.weights()
        self._mean_weight = 1.0 if weights is None else float(np.mean(weights))
        self.architecture = self._architecture() if start is None else TabularArchitecture.from_json(start.architecture)
        with self._seeded():
            self._network = TabularNetwork(self.architecture)
        if start is not None:
            self.center, self.scale = start.center, start.scale
            self._network.load_state_dict(safetensors.torch.load(start.weights))
        self.parameters = sum(value.numel() for value in self._network.parameters())

    def _architecture(self) -> TabularArchitecture:
        schema, spans = self._data.schema, spans_of(self._data.schema)
        single = [field for field in schema if field.width is None]
        numbers = [field for field in single if field.categories is None]
        table = self._data.table([field.name for field in numbers])
        missing = [field for field in numbers if table.column(field.name).null_count]
        return TabularArchitecture(
            width=max(span.stop for span in spans.values()),
            numbers=tuple(spans[field.name].start for field in numbers),
            missing=tuple(spans[field.name].start for field in missing),
            categories=tuple(
                (spans[field.name].start, len(field.categories), embedding_size(len(field.categories) + 1))
                for field in single
                if field.categories is not None
            ),
            vectors=tuple(
                (spans[field.name].start, spans[field.name].stop) for field in schema if field.width is not None
            ),
            hidden=self._model.hidden,
            activation=self._model.activation,
            normalization=self._model.normalization,
            dropout=self._model.dropout,
            outputs=len(self._data.target.classes) if self._task == "multiclass" else 1,
            frequencies=self._model.frequencies_of(len(numbers)),
        )

    def run(self) -> tuple[bytes, dict[str, Any]]:
        """The best epoch's weights, in safetensors' format, and what is to be said of the training."""
        with one_thread(), self._seeded():
            best, history, best_epoch = self._learn()
        if self._start is None:
            self._settle_unseen(best)
        figure = "rmse" if self._task == "regression" else "log_loss"
        summary: dict[str, Any] = {
            "rows": self._data.rows,
            "weights": self.parameters,
            "batch_rows": self.batch_rows,
            "epochs": history[-1]["step"],
            "best_epoch": best_epoch,
            "held_out_rows": self.held,
            "metric": figure,
            "held_out": {figure: next(one["validation"] for one in history if one["step"] == best_epoch)},
            "history": history,
        }
        return safetensors.torch.save({name: value.contiguous() for name, value in best.items()}), summary

    def _settle_unseen(self, best: dict[str, torch.Tensor]) -> None:
        """An unknown category is the mean of the known ones by their rows, where no row taught what it is."""
        fields = [field for field in self._data.schema if field.width is None and field.categories is not None]
        for place, field in enumerate(fields):
            codes = np.asarray(self._data.table([field.name]).column(0).to_numpy())[self._kept]
            counts = np.bincount(np.where(np.isnan(codes), 0, codes + 1).astype(np.int64), minlength=1)
            if counts[0] == 0:
                table = best[f"embeddings.{place}.weight"]
                shares = torch.from_numpy(counts[1:] / counts.sum()).to(table.dtype)
                table[0] = (table[1 : len(counts)] * shares[:, None]).sum(dim=0)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Within it torch's random state is a function of the seed; after it, what it was before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._data.seed & (2**63 - 1))
            yield

    def _learn(self) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], int]:
        model, network = self._model, self._network
        rows = int(np.count_nonzero(self._kept))
        optimizer = optimizer_of(model, network.parameters())
        schedule = Schedule(model, -(-rows // self.batch_rows))
        average = Average(network, model.averaging) if model.averaging else None
        progress = Progress(self._data.listener)
        history: list[dict[str, Any]] = []
        tracer = tracer_of(self._data.listener)
        best: dict[str, torch.Tensor] = {}
        best_loss, best_epoch, step = math.inf, 0, 0
        if self._start is not None:  # what was learned so far is judged too, and kept where nothing is better
            best = {name: value.clone() for name, value in network.state_dict().items()}
            best_loss = self._judged(best)
            history.append({"step": 0, "train": None, "validation": self._told(best_loss)})
        for epoch in range(model.epochs):
            with spanned(self._data.listener, f"network, epoch {epoch + 1}", "epoch"):
                step, loss = self._epoch(epoch, step, optimizer, schedule, average)
            progress.to(rows * (epoch + 1))
            state = average.state if average is not None else network.state_dict()
            judged = self._judged(state)
            if tracer is not None:
                tracer.count("network, by epoch", time.monotonic(), loss=loss, validation_loss=judged)
            history.append({"step": epoch + 1, "train": self._told(loss), "validation": self._told(judged)})
            if judged < best_loss:
                best, best_loss, best_epoch = {name: value.clone() for name, value in state.items()}, judged, epoch + 1
            schedule.after_epoch(best_epoch == epoch + 1)
            if model.patience is not None and epoch + 1 - best_epoch >= model.patience:
                break
        progress.finish()
        return best, history, best_epoch

    def _told(self, loss: float) -> float:
        """A mean loss as the summary tells it: log loss, or the root of the squared error in the target's unit."""
        return math.sqrt(loss) * self.scale if self._task == "regression" else loss

    def _epoch(
        self,
        epoch: int,
        step: int,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        average: Average | None,
    ) -> tuple[int, float]:
        model, network = self._model, self._network.train()
        tracer = tracer_of(self._data.listener)
        penalized = weights_of([network.layers]) if model.l1 else []
        total, counted = 0.0, 0.0
        for batch in self._data.epoch(epoch, self.batch_rows, keep=self._kept):
            if model.normalization == "batch" and len(batch) == 1:
                continue  # one row has no variance
            for group in optimizer.param_groups:
                group["lr"] = model.learning_rate * schedule.factor(step)
            optimizer.zero_grad()
            losses, weights = self._losses(network, batch, model.label_smoothing)
            weight = weights.sum()
            loss = (losses * weights).sum() / weight
            told = float(loss.detach())
            if not math.isfinite(told):
                raise self._diverged(epoch, step, batch)
            for matrix in penalized:
                loss = loss + model.l1 * matrix.abs().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            if model.clip_value is not None:
                torch.nn.utils.clip_grad_value_(network.parameters(), model.clip_value)
            if model.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), model.clip_norm)
            optimizer.step()
            if tracer is not None:
                rate = float(optimizer.param_groups[0]["lr"])
                tracer.count("network, by step", time.monotonic(), loss=told, learning_rate=rate)
            if average is not None:
                average.update(network)
            step += 1
            total += told * float(weight)
            counted += float(weight)
        return step, total / counted if counted else math.inf

    def _losses(
        self, network: TabularNetwork, batch: TrainingBatch, smoothing: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the weight of each row, shape (rows,) each."""
        scores = network(torch.from_numpy(batch.features))
        weights = np.ones(len(batch)) if self._class_weights is None else self._class_weights[batch.labels]
        if batch.weights is not None:
            weights = weights * (batch.weights / self._mean_weight)
        counts = torch.from_numpy(np.asarray(weights, np.float32))
        if self._task == "regression":
            labels = torch.from_numpy(((batch.labels - self.center) / self.scale).astype(np.float32))
            return (scores[:, 0] - labels) ** 2, counts
        codes = torch.from_numpy(batch.labels.astype(np.int64))
        if self._task == "binary":
            truth = codes.float() * (1 - smoothing) + 0.5 * smoothing
            return functional.binary_cross_entropy_with_logits(scores[:, 0], truth, reduction="none"), counts
        return functional.cross_entropy(scores, codes, reduction="none", label_smoothing=smoothing), counts

    def _judged(self, state: dict[str, torch.Tensor]) -> float:
        """The mean loss of the rows held back, with these weights."""
        network = TabularNetwork(self.architecture)
        network.load_state_dict(state)
        network.eval()
        total, counted = 0.0, 0.0
        with torch.inference_mode():
            for batch in self._data.epoch(0, PREDICT_ROWS, keep=self._held_out):
                losses, weights = self._losses(network, batch, 0.0)
                total += float((losses * weights).double().sum())
                counted += float(weights.double().sum())
        return total / counted if math.isfinite(total) else math.inf

    def _diverged(self, epoch: int, step: int, batch: TrainingBatch) -> DataError:
        first = ", ".join(map(str, np.sort(batch.rows)[:5]))
        return DataError(
            "the training diverged: the loss is not a number any more",
            where=f"network, epoch {epoch + 1}, step {step + 1}",
            expected="a finite loss",
            got=f"a batch of {len(batch):,} rows, the first of them {first} in the order of the data",
            remedy="a smaller learning_rate, clip_norm: 1.0, or clip outliers before (a step clip)",
        )

    def _refuse_lopsided(self, labels: npt.NDArray[Any]) -> None:
        if 0 < self.held < self._data.rows and (self._task == "regression" or len(np.unique(labels[self._kept])) > 1):
            return
        raise DataError(
            "too few rows to hold some back and learn from the rest",
            where=f"target {self._data.target.column!r}",
            expected="rows in both parts" + ("" if self._task == "regression" else ", and two classes to learn from"),
            got=f"{self._data.rows:,} rows, {self.held:,} of them held back",
            remedy="more rows, or another validation_share",
        )
