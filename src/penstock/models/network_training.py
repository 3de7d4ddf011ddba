"""How a network learns: epochs over shuffled batches, judged on the rows held back. A helper of `network.py`."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from penstock.durable import write_atomically
from penstock.engine import spanned, tracer_of
from penstock.errors import DataError
from penstock.model import TrainingBatch, TrainingData
from penstock.models import network_checkpoint
from penstock.models.limits import Progress
from penstock.models.network_checkpoint import Position
from penstock.models.network_defaults import FEW_JUDGES
from penstock.models.network_inputs import Inputs, mean_tokens, rows_together
from penstock.models.network_losses import loss_named
from penstock.models.network_machine import computing, device, inner_threads, laid_out
from penstock.models.network_optimizing import Average, Schedule, optimizer_of
from penstock.models.network_parts import architecture_of
from penstock.models.networks.building import build, scores_and_features, scores_of
from penstock.models.networks.combined import Scaled
from penstock.models.networks.tabular import TabularNetwork, weights_of
from penstock.models.splits import held_back, taught

if TYPE_CHECKING:
    from penstock.models.network import Network
    from penstock.models.network_fitted import FittedNetwork

_MOST_VALIDATION_ROWS = 50_000
_SCALED_BYTES = 2**28
"""How much of the pictures is looked at for their mean and deviation [bytes]."""
_EXPLODED = 1e4
_TOLD = ("optimizer", "learning_rate", "l2", "label_smoothing", "schedule", "averaging")
"""Settings that a summary tells, as they were settled."""


class Training:
    """One training.

    Attributes:
        architecture: the layers, as JSON values.
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
        share = min(float(model.validation_share), _MOST_VALIDATION_ROWS / max(data.rows, 1))
        self._held_out = held_back(data.hashes(), share, ordered=data.ordered)
        self._kept = ~self._held_out
        self.held = int(np.count_nonzero(self._held_out))
        if self._task != "regression" and 0 < self.held < data.rows:
            self._kept, self._held_out = taught(self._held_out, labels)
        self._refuse_lopsided(labels)
        self.held = int(np.count_nonzero(~self._kept))
        self.batch_rows = model.rows_of_batch(data.rows, data.schema)
        kept = labels[self._kept]
        regression = self._task == "regression"
        self.center, self.scale = (float(np.mean(kept)), float(np.std(kept)) or 1.0) if regression else (0.0, 1.0)
        weights = data.weights()
        self._mean_weight = 1.0 if weights is None else float(np.mean(weights))
        self._loss = loss_named(model.loss_function, self._task, float(model.label_smoothing))
        self._plain_loss = loss_named(model.loss_function, self._task, 0.0)
        self.architecture = architecture_of(model, data) if start is None else dict(start.architecture)
        self._is_table = self.architecture.get("kind", "tabular") == "tabular"
        self._device = "cpu" if self._is_table else device()
        self._precision = model.precision_of(data.schema)
        with self._seeded():
            self._network = build(self.architecture, model.another_module())
        if start is not None:
            self.center, self.scale = start.center, start.scale
            self._network.load_state_dict(safetensors.torch.load(start.weights))
            model.begin_from_weights(self._network, data.listener, further=True)
        else:
            if not self._is_table:
                self._measure_pictures()
            model.begin_from_weights(self._network, data.listener)
        if not self._is_table:
            self._network = laid_out(self._network, self._precision)
        self.parameters = sum(value.numel() for value in self._network.parameters())

    def run(self) -> tuple[bytes, dict[str, Any]]:
        """The best epoch's weights, in safetensors' format, and what is to be said of the training."""
        kept = self._found()
        data = self._data
        cores = data.resources.cores
        threads = 1 if self._is_table else self._model.threads_of(data.rows, data.schema, cores, mean_tokens(data))
        threads = threads if kept is None else kept.position.threads
        with inner_threads(threads), self._seeded():
            best, position = self._learn(kept, threads)
        if self._start is None and self._is_table:
            self._settle_unseen(best)
        figure = "rmse" if self._task == "regression" else "log_loss"
        history = position.history
        told = next(one for one in history if one["step"] == position.best_epoch)
        summary: dict[str, Any] = {
            "rows": self._data.rows,
            "weights": self.parameters,
            "batch_rows": self.batch_rows,
            "epochs": history[-1]["step"],
            "best_epoch": position.best_epoch,
            "held_out_rows": self.held,
            "metric": figure,
            **({"held_out": {figure: told["validation"]}} if self.held else {}),
            "history": history,
        }
        summary |= {name: getattr(self._model, name) for name in _TOLD}
        if not self._is_table:
            parts = ", ".join(str(part["network"]) for part in self.architecture["parts"])
            summary |= {"network": self.architecture.get("module", parts)}
            summary |= {"precision": self._precision, "threads": threads, "device": self._device}
        tensors = {name: value.detach().cpu().contiguous() for name, value in best.items()}
        return safetensors.torch.save(tensors), summary

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

    def _measure_pictures(self) -> None:
        """Mean and deviation of each channel of what is stored as whole numbers, over (a part of) the rows kept."""
        size = sum(int(np.prod(field.shape)) for field in self._data.schema if field.shape)
        stride = max(1, math.ceil(np.count_nonzero(self._kept) * size / _SCALED_BYTES))
        some = np.zeros(self._data.rows, bool)
        some[np.flatnonzero(self._kept)[::stride]] = True
        wanted = {part["column"]: part for part in self.architecture["parts"] if part["scaled"]}
        sums = {name: np.zeros((3, part["sizes"][-3])) for name, part in wanted.items()}
        for batch in self._data.in_order(rows_together(self._data.schema), keep=some) if wanted else ():
            for name, found in sums.items():
                flat = batch.tensors[name].reshape(-1, batch.tensors[name].shape[-1])
                values = flat.astype(np.int64)
                found += [np.full(values.shape[1], len(values)), values.sum(axis=0), (values * values).sum(axis=0)]
        for place, part in enumerate(self.architecture["parts"]):
            if not part["scaled"]:
                continue
            count, total, squares = sums[part["column"]]
            mean = total / count
            deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
            scaled = self._network.scaled[place if isinstance(self._network.scaled, nn.ModuleList) else str(place)]  # type: ignore[index]
            assert isinstance(scaled, Scaled)
            scaled.mean.copy_(torch.from_numpy(mean))
            scaled.deviation.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Within it torch's random state is a function of the seed; after it, what it was before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._data.seed & (2**63 - 1))
            yield

    # ------------------------------------------------------------------ going on after a kill

    @property
    def _identity(self) -> str:
        """What tells this training from others: a checkpoint of another is none."""
        model = {item.name: str(getattr(self._model, item.name)) for item in fields(self._model)}
        told = [model, self.architecture, self._data.rows, self._data.seed, self._data.target.to_json()]
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=16)
        digest.update(self._data.hashes().tobytes())
        return digest.hexdigest()

    def _found(self) -> network_checkpoint.Kept | None:
        folder = self._data.checkpoints
        return None if folder is None else network_checkpoint.load(folder, self._identity)

    # ------------------------------------------------------------------ the epochs

    def _learn(self, kept: network_checkpoint.Kept | None, threads: int) -> tuple[dict[str, torch.Tensor], Position]:
        model = self._model
        rows = int(np.count_nonzero(self._kept))
        trainable = [value for value in self._network.parameters() if value.requires_grad]
        optimizer = optimizer_of(model, trainable)
        steps = -(-rows // self.batch_rows)
        schedule = Schedule(model, -(-steps // model.accumulate))
        average = Average(self._network, float(model.averaging)) if model.averaging else None
        going = _Going(Position(threads=threads), optimizer, schedule, average, {}, time.monotonic())
        progress = Progress(self._data.listener, rows * int(model.epochs))
        if kept is not None:
            self._go_on(kept, going)
        elif self._start is not None:  # what was learned so far is judged too, and kept where nothing is better
            going.best = {name: value.clone() for name, value in self._network.state_dict().items()}
            going.position.best_loss, figures = self._judged(going.best)
            going.position.history.append({"step": 0, "train": None, **figures})
        position = going.position
        while position.epoch < int(model.epochs) and not self._is_enough(position):
            with spanned(self._data.listener, f"network, epoch {position.epoch + 1}", "epoch"):
                self._epoch(going, rows, progress)
            self._close_epoch(going, progress)
            self._keep(going)
        progress.finish()
        return going.best, position

    @property
    def _judged_by_few(self) -> bool:
        """Whether too few rows are held back to tell one epoch from another: then the last one's weights are kept, as
        a schedule that ends is made for."""
        return self._start is None and self._model.patience is None and self.held < FEW_JUDGES

    def _is_enough(self, position: Position) -> bool:
        patience = self._model.patience
        return patience is not None and position.epoch - position.best_epoch >= int(patience)

    def _close_epoch(self, going: _Going, progress: Progress) -> None:
        """Judge, note, and be ready for the next."""
        position, average = going.position, going.average
        loss = position.total / position.counted if position.counted else math.inf
        state = average.state if average is not None else self._network.state_dict()
        judged, figures = self._judged(state)
        tracer = tracer_of(self._data.listener)
        if tracer is not None:
            tracer.count("network, by epoch", time.monotonic(), loss=loss, validation_loss=judged)
        told = {"step": position.epoch + 1, "train": self._told(loss), **figures}
        if not self._is_table:
            told["gradient_norm"] = position.norms / max(1, position.batch)
        position.history.append(told)
        better = judged < position.best_loss
        if better or (self._judged_by_few and math.isfinite(judged)):
            going.best = {name: value.clone() for name, value in state.items()}
            position.best_loss, position.best_epoch = judged, position.epoch + 1
        going.schedule.after_epoch(better, position.step)
        self._write_history(position)
        position.epoch += 1
        position.batch, position.total, position.counted, position.norms = 0, 0.0, 0.0, 0.0
        progress.values = {name: value for name, value in told.items() if name != "step" and value is not None}

    def _write_history(self, position: Position) -> None:
        if self._data.history is not None:
            text = "".join(json.dumps(one) + "\n" for one in position.history)
            write_atomically(self._data.history, text.encode())

    def _go_on(self, kept: network_checkpoint.Kept, going: _Going) -> None:
        going.position = kept.position
        self._network.load_state_dict(dict(kept.tensors["network"]))
        going.optimizer.load_state_dict(dict(kept.optimizer))
        going.schedule.go_on(kept.position.cuts, kept.position.waited, kept.position.restarted)
        if going.average is not None:
            going.average.go_on(kept.tensors["average"], kept.position.averaged)
        going.best = dict(kept.tensors.get("best", {}))
        kept.restore_random()

    def _keep(self, going: _Going) -> None:
        folder = self._data.checkpoints
        if folder is None:
            return
        position = going.position
        position.cuts, position.waited = going.schedule.cuts, going.schedule.waited
        position.restarted = going.schedule.restarted
        tensors: dict[str, Mapping[str, torch.Tensor]] = {"network": self._network.state_dict(), "best": going.best}
        if going.average is not None:
            tensors["average"] = going.average.state
            position.averaged = going.average.count
        network_checkpoint.save(folder, self._identity, position, tensors, going.optimizer)
        going.kept_at = time.monotonic()

    def _told(self, loss: float) -> float:
        """A mean loss as the summary tells it: log loss, or the root of the squared error in the target's unit."""
        return math.sqrt(loss) * self.scale if self._task == "regression" else loss

    def _epoch(self, going: _Going, rows: int, progress: Progress) -> None:
        model, network, position = self._model, self._network.train(), going.position
        model.keep_frozen(network)
        penalized = weights_of([network.layers if isinstance(network, TabularNetwork) else network]) if model.l1 else []
        norm_free = model.normalization == "batch" and self._is_table
        batches = self._data.epoch(
            position.epoch,
            self.batch_rows,
            start=position.batch,
            keep=self._kept,
            threads=0 if self._is_table else model.loading_threads,
        )
        last = -(-rows // self.batch_rows) - 1
        for batch in batches:
            place = position.batch
            if len(batch) == 1 and (norm_free or not self._is_table):
                position.batch += 1
                continue  # one row has no variance
            told, weight = self._backward(network, batch, position, penalized)
            if place % model.accumulate == model.accumulate - 1 or place == last:
                self._step(going, told)
            position.batch += 1
            position.total += told * weight
            position.counted += weight
            progress.to(rows * position.epoch + min(rows, position.batch * self.batch_rows), loss=told)
            due = time.monotonic() - going.kept_at >= model.checkpoint_seconds
            if due and position.batch % model.accumulate == 0:
                self._keep(going)

    def _backward(
        self, network: nn.Module, batch: TrainingBatch, position: Position, penalized: list[torch.Tensor]
    ) -> tuple[float, float]:
        """Add a batch's gradient; its mean loss, and the weight of its rows."""
        model = self._model
        with computing(self._precision, self._device):
            losses, weights = self._losses(network, batch, self._loss, position.step)
        weight = weights.sum()
        loss = (losses * weights).sum() / weight
        told = float(loss.detach())
        if not math.isfinite(told) or told > _EXPLODED:
            raise self._diverged(position, batch, told)
        for matrix in penalized:
            loss = loss + model.l1 * matrix.abs().sum()
        (loss / model.accumulate if model.accumulate > 1 else loss).backward()  # type: ignore[no-untyped-call]
        return told, float(weight)

    def _step(self, going: _Going, told: float) -> None:
        """Move the weights."""
        model, network, optimizer = self._model, self._network, going.optimizer
        rate = float(model.learning_rate) * going.schedule.factor(going.position.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if model.clip_value is not None:
            torch.nn.utils.clip_grad_value_(network.parameters(), model.clip_value)
        if model.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), model.clip_norm)
        elif not self._is_table:
            norm = torch.nn.utils.get_total_norm([each.grad for each in network.parameters() if each.grad is not None])
        else:
            norm = torch.zeros(())
        if not self._is_table:
            going.position.norms += float(norm)
        optimizer.step()
        optimizer.zero_grad()
        tracer = tracer_of(self._data.listener)
        if tracer is not None:
            tracer.count("network, by step", time.monotonic(), loss=told, learning_rate=rate)
        if going.average is not None:
            going.average.update(network)
        going.position.step += 1

    def _losses(
        self, network: nn.Module, batch: TrainingBatch, loss: Any, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the weight of each row, shape (rows,) each; rows may be mixed."""
        inputs = Inputs.of_training(batch).to_torch(self._device)
        labels, counts = self._wanted(batch)
        if not self._model.mixup:
            return loss(scores_of(network, inputs), labels), counts
        share, order = self._mixing(step, len(batch))
        other = order.to(self._device)
        for name in batch.tensors:
            inputs[name] = share * inputs[name].float() + (1 - share) * inputs[name][other].float()
        scores = scores_of(network, inputs)
        return share * loss(scores, labels) + (1 - share) * loss(scores, labels[other]), counts

    def _wanted(self, batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The labels, and how much each row counts, shape (rows,) each."""
        weights = np.ones(len(batch)) if self._class_weights is None else self._class_weights[batch.labels]
        if batch.weights is not None:
            weights = weights * (batch.weights / self._mean_weight)
        counts = torch.from_numpy(np.asarray(weights, np.float32)).to(self._device)
        if self._task == "regression":
            labels = torch.from_numpy(((batch.labels - self.center) / self.scale).astype(np.float32))
        else:
            labels = torch.from_numpy(batch.labels.astype(np.int64))
        return labels.to(self._device), counts

    def _mixing(self, step: int, rows: int) -> tuple[float, torch.Tensor]:
        """How pictures of a step are mixed (Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018)."""
        key = np.array([self._data.seed & (2**64 - 1), step], np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        return float(random.beta(self._model.mixup, self._model.mixup)), torch.from_numpy(random.permutation(rows))

    def _judged(self, state: Mapping[str, torch.Tensor]) -> tuple[float, dict[str, Any]]:
        """The mean loss of the rows held back, with these weights; and what is told of them."""
        with torch.random.fork_rng(devices=[]):
            network = build(self.architecture, self._model.another_module())
        network.load_state_dict(dict(state))
        network = (network if self._is_table else laid_out(network, self._precision)).eval()
        total = counted = right = 0.0
        dead: torch.Tensor | None = None
        rows = rows_together(self._data.schema)
        with torch.inference_mode(), computing(self._precision, self._device):
            for batch in self._data.in_order(rows, keep=self._held_out):
                given, (labels, weights) = Inputs.of_training(batch), self._wanted(batch)
                for places, _ in given.alike(rows):
                    part = given if len(places) == len(batch) else given.take(places)
                    scores, features = scores_and_features(network, part.to_torch(self._device))
                    losses = self._plain_loss(scores, labels[places])
                    total += float((losses * weights[places]).double().sum())
                    counted += float(weights[places].double().sum())
                    right += self._right(scores, labels[places])
                    if features is not None:
                        silent = (features == 0).all(dim=0)
                        dead = silent if dead is None else dead & silent
        judged = total / counted if math.isfinite(total) else math.inf
        figures: dict[str, Any] = {"validation": self._told(judged)}
        if not self._is_table and self._task != "regression":
            figures["accuracy"] = right / int(np.count_nonzero(self._held_out))
        if dead is not None:
            figures["dead_units"] = float(dead.float().mean())
        return judged, figures

    def _right(self, scores: torch.Tensor, labels: torch.Tensor) -> int:
        if self._task == "regression":
            return 0
        found = (scores[:, 0] > 0).long() if self._task == "binary" else scores.argmax(dim=1)
        return int((found == labels).sum())

    def _diverged(self, position: Position, batch: TrainingBatch, loss: float) -> DataError:
        first = ", ".join(map(str, np.sort(batch.rows)[:5]))
        what = f"grew to {loss:.3g}" if math.isfinite(loss) else "is not a number any more"
        return DataError(
            f"the training diverged: the loss {what}",
            where=f"network, epoch {position.epoch + 1}, step {position.step + 1}",
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
            remedy="more rows (or groups, where rows are kept together), or another validation_share",
        )


@dataclass
class _Going:
    """What changes while a network learns."""

    position: Position
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    average: Average | None
    best: dict[str, torch.Tensor]
    kept_at: float
