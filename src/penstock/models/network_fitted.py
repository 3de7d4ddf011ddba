"""A network that has learned: `FittedNetwork`. What it becomes one by is in `network.py`.

A model. torch is loaded when a network is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from penstock.batch import Batch
from penstock.durable import write_atomically
from penstock.errors import MissingExtra, SchemaError
from penstock.model import FittedModel, Target, spans_of
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.prediction import class_batch, feature_columns, sigmoid, softmax, two_classes, value_batch
from penstock.schema import Schema
from penstock.vectors import as_matrix

if TYPE_CHECKING:
    from penstock.models.networks.tabular import TabularNetwork

NAME = "network"
PREDICT_ROWS = 1024
"""Rows of a batch that is predicted, the last one padded: a row's bits never depend on how many come with it."""
_WEIGHTS = "weights.safetensors"
_GRADIENT_STEPS = 32


@contextmanager
def torch_at_hand() -> Iterator[None]:
    """Say in our words that torch is missing.

    Raises:
        MissingExtra: it is.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(
            "networks need torch, and it is not installed",
            where="network",
            got=str(error),
            remedy="pip install torch==2.13.0, then pip install 'penstock[torch]'",
        ) from error


@dataclass(frozen=True, eq=False)
class FittedNetwork(FittedModel):
    """A network that has learned.

    Attributes:
        architecture: which layers it has, as JSON values.
        weights: by name, in safetensors' format.
        center: what a regression adds to the scores.
        scale: what it multiplies them by before.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    architecture: Mapping[str, Any]
    weights: bytes
    center: float = 0.0
    scale: float = 1.0

    @cached_property
    def module(self) -> TabularNetwork:
        """The network, made of its architecture and its weights: what predicts is what is saved."""
        with torch_at_hand():
            import safetensors.torch
            import torch

            from penstock.models.networks.tabular import TabularArchitecture, TabularNetwork
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and at once replaced
            module = TabularNetwork(TabularArchitecture.from_json(self.architecture))
        module.load_state_dict(safetensors.torch.load(self.weights))
        return module.eval()

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
        module = self.module  # made here: tensors made in inference mode have no gradients later
        import torch

        found = np.empty((len(batch), int(self.architecture["outputs"])))
        with one_thread(), torch.inference_mode():
            for start, part, rows in self._parts(batch):
                scores = module(torch.from_numpy(part))
                found[start : start + rows] = scores[:rows].double().numpy()
        return found

    def from_scores(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (rows, classes), or values, shape (rows,), from scores of shape (rows, outputs)."""
        if self.target.task == "regression":
            return np.asarray(scores[:, 0] * self.scale + self.center)
        return two_classes(sigmoid(scores[:, 0])) if self.target.task == "binary" else softmax(scores)

    def contributions(self, batch: Batch, *, threads: int = 1) -> npt.NDArray[np.float64]:
        """Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017).

        The path leads from the mean row (numbers at their mean, categories unknown) to the row, in 32 steps. What the
        steps leave of the difference is in the base, so that everything adds up to the raw score.
        """
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
        """Matrices of `PREDICT_ROWS` rows, the last one filled up: (first row, matrix, how many rows count).

        Vectors are written out here, so that never more than these rows of them are.
        """
        for start in range(0, len(batch), PREDICT_ROWS):
            rows = min(PREDICT_ROWS, len(batch) - start)
            yield start, padded(self._matrix(batch.slice(start, rows))), rows

    def _matrix(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Float32 of shape (rows, width): NaN for null, infinity for what is beyond float32."""
        missing = [name for name in self.features.names if name not in batch.columns.schema.names]
        if missing:
            raise SchemaError(
                "the batch lacks features that the model was trained on",
                expected=", ".join(map(repr, self.features.names)),
                got=f"no {', '.join(map(repr, missing))}",
                remedy="give the batch the same columns, through the same steps, as in training",
            )
        spans = spans_of(self.features)
        out = np.empty((len(batch), max(span.stop for span in spans.values())), np.float32)
        scalars = self.features.select([field.name for field in self.features if field.width is None])
        with np.errstate(over="ignore"):
            for field, values in zip(scalars, feature_columns(batch.columns, scalars), strict=True):
                out[:, spans[field.name].start] = values
        for field in self.features:
            if field.width is not None:
                out[:, spans[field.name]] = as_matrix(batch.column(field.name), field.width).toarray()
        return out

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
            ArtifactError: a file is missing, damaged, or does not fit the other.
            MissingExtra: torch is not installed.
        """
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
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}") from error
        with torch_at_hand():
            import safetensors
        try:
            module = fitted.module
        except (safetensors.SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, str(error), "weights that fit the architecture in model.json") from error
        width = max(span.stop for span in spans_of(described.features).values())
        if module.architecture.width != width:
            raise damaged(path, f"a network of {module.architecture.width} columns", f"one of {width}")
        return fitted


def padded(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The rows, and rows of zeros up to `PREDICT_ROWS`."""
    if len(matrix) == PREDICT_ROWS:
        return matrix
    return np.concatenate([matrix, np.zeros((PREDICT_ROWS - len(matrix), matrix.shape[1]), np.float32)])


@contextmanager
def one_thread() -> Iterator[None]:
    """One inner thread of torch for the calling thread: blocks are predicted side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
