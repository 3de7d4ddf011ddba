"""A network that has learned: `FittedNetwork`. What it becomes one by is in `network.py`.

A model. torch is loaded when a network is opened.
"""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.durable import write_atomically
from penstock.engine import lending_core
from penstock.errors import MissingExtra, UsageError
from penstock.model import FEATURE, FittedModel, Target, spans_of
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.network_inputs import Inputs, rows_together
from penstock.models.network_machine import best_precision, computing, device, laid_out, one_thread
from penstock.models.prediction import class_batch, sigmoid, softmax, two_classes, value_batch
from penstock.schema import Field, Role, Schema

NAME = "network"
_WEIGHTS = "weights.safetensors"
_GRADIENT_STEPS = 32
_OPENING = threading.Lock()
"""One network at a time is made: importing torch takes most of the time, and is done once."""
PREDICT_AT_ONCE = 4096
"""Rows whose features are written out at once."""


@contextmanager
def torch_at_hand() -> Iterator[None]:
    """For imports alone: say in our words that torch is missing.

    Raises:
        MissingExtra: it is.
    """
    collecting = gc.isenabled()
    gc.disable()  # what an import makes is kept: to look through it for garbage takes a tenth of the time
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            "networks need torch, and it is not installed",
            where="network",
            got=str(error),
            remedy="pip install torch==2.13.0, then pip install 'penstock[torch]'",
        ) from error
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True, eq=False)
class FittedNetwork(FittedModel):
    """A network that has learned.

    Attributes:
        architecture: which layers it has, as JSON values.
        weights: by name, in safetensors' format.
        center: what a regression adds to the scores.
        scale: what it multiplies them by before.
        own: where the network is a module of the user's: that module, its weights of no account.
        folder: where it was read from; None for one that has just learned.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    architecture: Mapping[str, Any]
    weights: bytes
    center: float = 0.0
    scale: float = 1.0
    own: Any = None
    folder: Path | None = None

    @property
    def takes_module(self) -> bool:
        """Whether its network is a module of the user's."""
        return self.architecture.get("kind") == "own"

    def with_module(self, module: Any) -> FittedNetwork:
        """The same, computed by this module, with the weights that were learned.

        Raises:
            UsageError: its weights have other names or shapes.
        """
        found = replace(self, own=module)
        try:
            _ = found.module
        except RuntimeError as error:
            raise UsageError(
                "the module is not the one that was trained",
                where="penstock.load: module",
                expected=str(self.architecture["module"]),
                got=str(error),
                remedy="make it as it was made for the training",
            ) from error
        return found

    @property
    def is_table(self) -> bool:
        """Whether all its features stand in the matrix."""
        return str(self.architecture.get("kind", "tabular")) == "tabular"

    def open(self) -> None:
        """Import torch and make the network; one that is a module of the user's waits for that.

        Raises:
            ArtifactError: the weights do not fit the architecture.
            MissingExtra: torch is not installed.
        """
        if not self.takes_module:
            _ = self.module

    @property
    def module(self) -> Any:
        """The network, made of its architecture and its weights: what predicts is what is saved.

        Threads that come while it is made lend their cores, and wait.

        Raises:
            ArtifactError: the weights do not fit the architecture.
            UsageError: it is a module of the user's, and was not given.
        """
        while "_module" not in vars(self):
            if _OPENING.acquire(blocking=False):
                try:
                    return self._module
                finally:
                    _OPENING.release()
            with lending_core(), _OPENING:
                pass  # now it is made, or another one's turn to make it
        return self._module

    @cached_property
    def _module(self) -> Any:
        with torch_at_hand():
            import safetensors
        if self.takes_module:
            return self._made()
        path = (self.folder or Path()) / _WEIGHTS
        try:
            module = self._made()
        except (safetensors.SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, str(error), "weights that fit the architecture in model.json") from error
        width = max((span.stop for span in spans_of(self.features).values()), default=0)
        if self.is_table and module.architecture.width != width:
            raise damaged(path, f"a network of {module.architecture.width} columns", f"one of {width}")
        return module

    def _made(self) -> Any:
        with torch_at_hand():
            import safetensors.torch
            import torch

            from penstock.models.networks.building import build
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and at once replaced
            module = build(self.architecture, copy.deepcopy(self.own))
        module.load_state_dict(safetensors.torch.load(self.weights))
        if not self.is_table:
            module = laid_out(module, self._precision)
        return module.eval()

    @property
    def _precision(self) -> Any:
        """What it was trained in, where this machine does that well too."""
        if self.is_table or self.summary.get("precision") == "float32":
            return "float32"
        return best_precision()

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions, `PREDICT_ROWS` at a time.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        predicted = self.from_scores(self.scores(batch))
        if self.target.task == "regression":
            return value_batch(batch, predicted)
        return class_batch(batch, self.target, predicted)

    def scores(self, batch: Batch) -> npt.NDArray[np.float64]:
        """Raw scores, shape (rows, outputs)."""
        _ = self.module  # torch is imported there, where others work meanwhile
        from penstock.models.networks.building import scores_of

        return self._computed(batch, scores_of, int(self.architecture["outputs"]))

    def hidden(self, batch: Batch, *, threads: int = 1) -> Batch:
        """What the last hidden layer gives, a column for each of its units: features for another model.

        Raises:
            SchemaError: the batch lacks a feature.
            UsageError: the network has no hidden layer that can be told.
        """
        _ = self.module
        from penstock.models.networks.building import features_of

        try:
            found = self._computed(batch, features_of, None)
        except LookupError as error:
            raise UsageError(str(error), where="--output features") from error
        return batch.with_columns(
            pa.RecordBatch.from_arrays(
                [pa.array(column.astype(np.float32)) for column in found.T],
                names=[field.name for field in self.hidden_fields],
            )
        )

    @cached_property
    def hidden_fields(self) -> tuple[Field, ...]:
        """A number for each unit of the last hidden layer."""
        return tuple(Field(f"{FEATURE}{place}", pa.float32(), Role.number) for place in range(self.units))

    @cached_property
    def units(self) -> int:
        """How many units the last hidden layer has."""
        arrays = [pa.nulls(0, field.type) for field in self.features]
        columns = pa.RecordBatch.from_arrays(arrays, names=list(self.features.names))
        one = Inputs.of_batch(Batch(columns, RowKeys.span("", 0, 0)), self.features).filled_up(1)
        from penstock.models.networks.building import features_of

        return int(self._run(one, features_of).shape[1])

    def _computed(self, batch: Batch, what: Any, width: int | None) -> npt.NDArray[np.float64]:
        """What of each row, see `Inputs.alike`: as many at a time as are padded like it, the last ones filled up."""
        most = rows_together(self.features)
        found = None if width is None else np.empty((len(batch), width))
        for start in range(0, len(batch), PREDICT_AT_ONCE):
            rows = min(PREDICT_AT_ONCE, len(batch) - start)
            inputs = Inputs.of_batch(batch.slice(start, rows), self.features)
            for places, filled in inputs.alike(most):
                values = self._run(inputs.take(places).filled_up(filled), what)[: len(places)]
                if found is None:
                    found = np.empty((len(batch), values.shape[1]))
                found[start + places] = values
        return np.empty((0, self.units)) if found is None else found

    def _run(self, inputs: Inputs, what: Any) -> npt.NDArray[np.float64]:
        module = self.module  # made here: tensors made in inference mode have no gradients later
        import torch

        where = "cpu" if self.is_table else device()
        with one_thread(), torch.inference_mode(), computing(self._precision, where):
            return np.asarray(what(module, inputs.to_torch(where)).double().cpu().numpy())

    def from_scores(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (rows, classes), or values, shape (rows,), from scores of shape (rows, outputs)."""
        if self.target.task == "regression":
            return np.asarray(scores[:, 0] * self.scale + self.center)
        return two_classes(sigmoid(scores[:, 0])) if self.target.task == "binary" else softmax(scores)

    def contributions(self, batch: Batch, *, threads: int = 1) -> npt.NDArray[np.float64] | None:
        """Of a table's network; None where there are trunks.

        Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017).
        The path leads from the mean row (numbers at their mean, categories unknown) to the row, in 32 steps. What the
        steps leave of the difference is in the base, so that everything adds up to the raw score.
        """
        if not self.is_table:
            return None
        import torch

        spans = spans_of(self.features)
        outputs = int(self.architecture["outputs"])
        owner = np.empty(max(span.stop for span in spans.values()), np.int64)
        for place, span in enumerate(spans.values()):
            owner[span] = place
        parts = self.module.architecture.spans()
        total = np.zeros((len(batch), len(spans) + 1, outputs))
        with one_thread():
            for start, part, rows in self._parts(batch):
                with torch.no_grad():
                    end = self.module.encode(torch.from_numpy(part))
                    begin = self.module.encode(self._mean_rows(len(part)))
                    scores = self.module.score(end).double().numpy()[:rows]
                for output in range(outputs):
                    moved = self._integrated(begin, end, output)[:rows]
                    for column, places in parts:
                        total[start : start + rows, owner[column], output] += moved[:, places].sum(axis=1)
                total[start : start + rows, -1, :] = scores - total[start : start + rows, :-1, :].sum(axis=1)
        total *= self.scale
        total[:, -1, :] += self.center
        return total

    def _integrated(self, begin: Any, end: Any, output: int) -> npt.NDArray[np.float64]:
        import torch

        gradient = torch.zeros_like(end)
        for step in range(_GRADIENT_STEPS):
            point = (begin + (end - begin) * ((step + 0.5) / _GRADIENT_STEPS)).requires_grad_(True)
            (found,) = torch.autograd.grad(self.module.score(point)[:, output].sum(), point)
            gradient += found
        return np.asarray(((end - begin) * gradient / _GRADIENT_STEPS).double().numpy())

    def _mean_rows(self, rows: int) -> Any:
        import torch

        mean = torch.zeros((rows, int(self.architecture["width"])))
        for place, _, _ in self.architecture["categories"]:
            mean[:, place] = -1.0
        return mean

    def _parts(self, batch: Batch) -> Iterator[tuple[int, npt.NDArray[np.float32], int]]:
        """Matrices of as many rows, the last one filled up: (first row, matrix, how many rows count)."""
        most = rows_together(self.features)
        for start in range(0, len(batch), most):
            rows = min(most, len(batch) - start)
            yield start, Inputs.of_batch(batch.slice(start, rows), self.features).filled_up(most).matrix, rows

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and the weights as safetensors.

        Raises:
            ResourceError: it can't be written.
        """
        write_atomically(folder / _WEIGHTS, self.weights)
        own = {"architecture": dict(self.architecture), "center": self.center, "scale": self.scale}
        described = Described(self.target, self.features, self.summary, own)
        write_description(folder, self.name, described, ("torch", "safetensors", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged. What is in the weights is seen when it is opened.
            MissingExtra: safetensors is not installed.
        """
        with torch_at_hand():
            import safetensors  # noqa: F401  before anything is begun
        described = read_description(folder, NAME)
        path = folder / _WEIGHTS
        try:
            weights = path.read_bytes()
            own = described.own
            fitted = cls(
                NAME,
                described.target,
                described.features,
                described.summary,
                own["architecture"],
                weights,
                float(own["center"]),
                float(own["scale"]),
                folder=folder,
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}") from error
        return fitted
