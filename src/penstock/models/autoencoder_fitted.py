"""An autoencoder that has learned: `FittedAutoencoder`. What it becomes one by is in `autoencoder.py`.

A model. torch is loaded when one is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.durable import write_atomically
from penstock.model import FEATURE, FittedModel, Placed, Target
from penstock.models.arrays_file import read_arrays, write_arrays
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.network_fitted import PREDICT_AT_ONCE, torch_at_hand
from penstock.models.network_inputs import Inputs, rows_together
from penstock.models.network_machine import best_precision, computing, device, laid_out, one_thread
from penstock.models.without_target import width_of
from penstock.schema import Field, Role, Schema

NAME = "autoencoder"
ERROR, SCORE = "reconstruction_error", "anomaly_score"
QUANTILES = 1001
_WEIGHTS, _FILE = "weights.safetensors", "errors.arrow"
_MOST_ERROR = 1e30


@dataclass(frozen=True, eq=False)
class FittedAutoencoder(FittedModel):
    """An autoencoder that has learned.

    Attributes:
        architecture: which layers it has, as JSON values.
        weights: by name, in safetensors' format.
        quantiles: float64, shape (quantiles,), ascending: of the errors of the rows held back.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    architecture: Mapping[str, Any]
    weights: bytes
    quantiles: npt.NDArray[np.float64]

    prediction_fields = (Field(ERROR, pa.float64(), Role.number), Field(SCORE, pa.float64(), Role.number))

    @cached_property
    def module(self) -> Any:
        """The network, made of its architecture and its weights: what predicts is what is saved."""
        with torch_at_hand():
            import safetensors.torch
            import torch

            from penstock.models.networks.reconstruction import Reconstruction
        with torch.random.fork_rng(devices=[]):  # first weights are drawn, and at once replaced
            module = Reconstruction(self.architecture)
        module.load_state_dict(safetensors.torch.load(self.weights))
        return (laid_out(module, self._precision) if self.architecture["parts"] else module).eval()

    @property
    def _precision(self) -> Any:
        """What it was trained in, where this machine does that well too."""
        return "float32" if self.summary.get("precision") != "bfloat16" else best_precision()

    def _size(self) -> int:
        part = self.architecture["parts"][0]["settings"] if self.architecture["parts"] else self.architecture["table"]
        return int(part["size"])

    def _told(self, batch: Batch) -> npt.NDArray[np.float64]:
        """Error, spread and features of each row, shape (rows, 2 + size): `rows_together` at a time."""
        most = rows_together(self.features)
        found = np.empty((len(batch), 2 + self._size()))
        for start in range(0, len(batch), PREDICT_AT_ONCE):
            part = batch.slice(start, min(PREDICT_AT_ONCE, len(batch) - start))
            inputs = Inputs.of_batch(part, self.features)
            for at in range(0, len(part), most):
                rows = np.arange(at, min(at + most, len(part)))
                found[start + rows] = self.computed(inputs.take(rows).filled_up(most))[: len(rows)]
        return found

    def computed(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """What the network tells of some rows, shape (rows, 2 + size)."""
        module = self.module
        import torch

        where = device() if self.architecture["parts"] else "cpu"
        with one_thread(), torch.inference_mode(), computing(self._precision, where):
            found = module.told(inputs.to_torch(where)).double().cpu().numpy()
        return np.nan_to_num(np.asarray(found, np.float64), nan=_MOST_ERROR, posinf=_MOST_ERROR, neginf=-_MOST_ERROR)

    def pictures_back(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """What comes back of pictures, float32, shape (rows, height, width, channels), in the range of what went in."""
        module = self.module
        import torch

        with one_thread(), torch.inference_mode(), computing(self._precision, device()):
            found = module.pictures_back(inputs.to_torch(device())).float().cpu().numpy()
        return np.asarray(found, np.float32)

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """How badly each row is given back, and the share of the rows held back that were given back better.

        Raises:
            SchemaError: the batch lacks a feature, or one is not of its type.
        """
        errors = np.ascontiguousarray(self._told(batch)[:, 0])
        scores = np.searchsorted(self.quantiles, errors, side="left") / len(self.quantiles)
        return batch.with_columns(pa.RecordBatch.from_arrays([pa.array(errors), pa.array(scores)], [ERROR, SCORE]))

    def placed(self, batch: Batch, *, threads: int = 1) -> Placed:
        """The few numbers that rows go through."""
        found = self._told(batch)
        return Placed(found[:, 2:], np.ascontiguousarray(found[:, 1]))

    def hidden(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The few numbers that rows go through, as columns."""
        columns = [pa.array(column.astype(np.float32)) for column in self._told(batch)[:, 2:].T]
        return batch.with_columns(pa.RecordBatch.from_arrays(columns, [field.name for field in self.hidden_fields]))

    @property
    def hidden_fields(self) -> tuple[Field, ...]:
        """A number for each."""
        return tuple(Field(f"{FEATURE}{place}", pa.float32(), Role.number) for place in range(self._size()))

    def save(self, folder: Path) -> None:
        """Write ``model.json``, the weights as safetensors, and the quantiles of the errors.

        Raises:
            ResourceError: it can't be written.
        """
        write_atomically(folder / _WEIGHTS, self.weights)
        write_arrays(folder / _FILE, {"quantiles": self.quantiles})
        described = Described(self.target, self.features, self.summary, {"architecture": dict(self.architecture)})
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
        quantiles = read_arrays(folder / _FILE, {"quantiles": (None,)})["quantiles"]
        if not len(quantiles) or (np.diff(quantiles) < 0).any():
            raise damaged(folder / _FILE, "errors that do not ascend")
        with torch_at_hand():
            import safetensors
        try:
            fitted = cls(
                NAME,
                described.target,
                described.features,
                described.summary,
                described.own["architecture"],
                path.read_bytes(),
                quantiles,
            )
            _ = fitted.module
            table = fitted.architecture["table"]
            if table is not None and int(table["width"]) != width_of(described.features):
                raise ValueError(f"an autoencoder of {table['width']} columns for {width_of(described.features)}")
        except (safetensors.SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}", "weights that fit model.json") from error
        return fitted
