"""An autoencoder of tables or pictures, by torch: the definition `Autoencoder`. A model without a target.

How it learns is in `autoencoder_training.py`, its layers are in `networks/reconstruction.py`, and what it becomes is in
`autoencoder_fitted.py`. torch is loaded when one is trained or opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from penstock.errors import UsageError
from penstock.model import Effort, Model, Target, TaskName, TrainingData
from penstock.models.arguments import one_of, real_number, whole_number
from penstock.models.autoencoder_fitted import NAME, FittedAutoencoder
from penstock.models.limits import refuse_beyond_memory
from penstock.models.network_fitted import torch_at_hand
from penstock.models.network_inputs import rows_together
from penstock.models.network_machine import best_precision
from penstock.models.network_parts import sizes_of
from penstock.models.networks import catalog
from penstock.models.networks.names import ACTIVATIONS
from penstock.models.without_target import matrix_steps, mean_of_features, refuse_few, width_of
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step

_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 2_000, 8, 60
_PICTURE_SIZE, _MOST_SIZE = 64, 32
_TORCH_BYTES = 220 * 2**20
_WORTH_THREADS = 2**21
"""Numbers that the layers give for a batch, from which on several threads pay."""


@dataclass(frozen=True)
class Autoencoder(Model):
    """A network that gives back what goes in, through a few numbers, and so learns what rows have in common.

    What it gives back badly is unlike what it learned from: a prediction is the reconstruction error (the mean squared
    error of the standardized features), and the share of the rows held back that were given back better, as an anomaly
    score from 0 to 1. The few numbers themselves are the features of ``--output features``.

    Of a table it learns from all columns that become numbers: standardized, categories one-hot. Where there is a column
    of pictures, it learns from that alone, by convolutions. A tenth of the rows is held back; training ends when they
    are not given back better for some epochs, and the best epoch's weights are kept. A training that is killed goes on
    at its last checkpoint, with the very same steps.

    Args:
        size: how many numbers it goes through; "auto" is a quarter of the encoded features, from 2 to 32, and 64 for
            pictures.
        hidden: of tables, units of each hidden layer before them; the same backwards after.
        activation: after each hidden layer.
        noise: of the standardized input in training, the deviation; what is clean is to come back (Vincent et al.,
            "Extracting and composing robust features with denoising autoencoders", ICML 2008). 0 for none.
        learning_rate: the largest rate, of AdamW; it rises over a tenth of the steps and then falls as a cosine.
        epochs: the most passes over the rows; "auto" is as many as make 2,000 steps, from 8 to 60.
        batch_rows: rows of a batch; "auto" is a power of two, from 32 to 256, and 1,024 beyond 50,000 rows of a table.
        patience: epochs without a smaller error of the rows held back after which training ends; None for never.
        validation_share: the share of the rows (0 to 1) held back, at most 50,000 rows.
        max_categories: the most places that a category becomes.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        max_rows: the most rows to train on, a sample by row key; None for all.
        precision: what networks of pictures multiply in: "float32", "bfloat16", or "auto".
        loading_threads: threads that gather batches of pictures ahead of the training.
        checkpoint_seconds: how often what a training needs to go on is written, besides at the end of each epoch.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Autoencoder(size=8).task
        'reconstruction'
    """

    size: int | Literal["auto"] = "auto"
    hidden: tuple[int, ...] = (128,)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "silu"
    noise: float = 0.0
    learning_rate: float = 2e-3
    epochs: int | Literal["auto"] = "auto"
    batch_rows: int | Literal["auto"] = "auto"
    patience: int | None = 8
    validation_share: float = 0.1
    max_categories: int = 1000
    max_tokens: int = 1_000
    max_rows: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    loading_threads: int = 1
    checkpoint_seconds: float = 60.0

    name = NAME
    task: ClassVar[TaskName | None] = "reconstruction"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        whole_number("autoencoder: size", self.size, 1, 65_536, words=("auto",))
        for units in self.hidden:
            whole_number("autoencoder: hidden", units, 1, 65_536)
        one_of("autoencoder: activation", self.activation, ACTIVATIONS)
        one_of("autoencoder: precision", self.precision, ("auto", "float32", "bfloat16"))
        real_number("autoencoder: noise", self.noise, 0)
        real_number("autoencoder: learning_rate", self.learning_rate, 0, above=True)
        real_number("autoencoder: validation_share", self.validation_share, 0, 0.9, above=True)
        real_number("autoencoder: checkpoint_seconds", self.checkpoint_seconds, 0)
        for name in ("epochs", "batch_rows"):
            whole_number(f"autoencoder: {name}", getattr(self, name), 1, words=("auto",))
        for name in ("patience", "max_rows"):
            whole_number(f"autoencoder: {name}", getattr(self, name), 1, words=(None,))
        for name in ("max_categories", "max_tokens"):
            whole_number(f"autoencoder: {name}", getattr(self, name), 1)
        whole_number("autoencoder: loading_threads", self.loading_threads, 0, 64)

    def at_effort(self, effort: Effort) -> Autoencoder:
        """At most 6 epochs for "quick", twice as many as usual for "best"."""
        if effort == "quick":
            return replace(self, epochs=6 if self.epochs == "auto" else min(self.epochs, 6))
        if effort == "best":
            patience = None if self.patience is None else 2 * self.patience
            return replace(self, epochs=120 if self.epochs == "auto" else 2 * self.epochs, patience=patience)
        return self

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Pictures decoded, where there are any; else numbers standardized, categories one-hot, texts as vectors."""
        pictures = schema.of_role(Role.picture)
        if not pictures:
            return matrix_steps(self.name, schema, self.max_categories, self.max_tokens)
        from penstock.steps.columns import Select

        if len(pictures) > 1:
            raise UsageError(
                "an autoencoder learns from one column of pictures",
                where=self.name,
                expected="one",
                got=", ".join(map(repr, pictures)),
                remedy=f"--roles {pictures[1]}=ignored, or a step select",
            )
        steps: list[Step] = [Select(pictures)]
        if schema[pictures[0]].shape is None:
            from penstock.steps.pictures_decode import DecodePicture

            steps.append(DecodePicture(pictures))
        return steps

    @property
    def resumes(self) -> bool:
        """It does."""
        return True

    def size_for(self, schema: Schema) -> int:
        """How many numbers rows of these features go through."""
        if self.size != "auto":
            return self.size
        if _pictures(schema):
            return _PICTURE_SIZE
        return max(1, min(_MOST_SIZE, max(2, width_of(schema) // 4), width_of(schema)))

    def rows_of_batch(self, rows: int, schema: Schema) -> int:
        """Rows of a batch, where there are so many in all; of large pictures fewer."""
        if self.batch_rows != "auto":
            return self.batch_rows
        if rows > 50_000 and not _pictures(schema):
            return 1024
        most = max(16, min(256, rows_together(schema)))
        return min(most, 1 << int(math.log2(max(32, rows / 64))))

    def epochs_on(self, rows: int, schema: Schema) -> int:
        """The most passes over so many rows."""
        if self.epochs != "auto":
            return self.epochs
        steps = -(-rows // self.rows_of_batch(rows, schema))
        return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, -(-_STEPS // steps)))

    def precision_of(self, schema: Schema) -> Literal["float32", "bfloat16"]:
        """What the layers multiply in: float32 for tables."""
        if not _pictures(schema):
            return "float32"
        return best_precision() if self.precision == "auto" else self.precision

    def _layers_of(self, schema: Schema) -> tuple[int, int]:
        """Of an autoencoder of pictures, its weights and the numbers that its layers give for a row."""
        sizes = sizes_of(schema[_pictures(schema)[0]])
        found = catalog.size_of("picture_autoencoder", "picture", sizes, {"size": self.size_for(schema)})
        return found.weights, 2 * found.activations + math.prod(sizes)

    def threads_of(self, rows: int, schema: Schema, cores: int) -> int:
        """Inner threads of a training: one for tables, and where a batch is so little work that they would wait."""
        if not _pictures(schema):
            return 1
        _, activations = self._layers_of(schema)
        return cores if self.rows_of_batch(rows, schema) * activations >= _WORTH_THREADS else 1

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """torch, weights with gradients, two moments and the best, what the layers give for a batch [bytes]."""
        batch = max(self.rows_of_batch(rows, schema), rows_together(schema))
        if _pictures(schema):
            weights, activations = self._layers_of(schema)
            return _TORCH_BYTES + 24 * weights + batch * 8 * activations + 60 * rows
        width, size = width_of(schema), self.size_for(schema)
        sizes = (width, *self.hidden, size)
        weights = 2 * (sum(one * other for one, other in pairwise(sizes)) + width * size)
        window = 3 * min(64 * 2**20, 4 * rows * width)
        return _TORCH_BYTES + 24 * weights + window + batch * 16 * (2 * sum(sizes) + 4 * width) + 60 * rows

    def architecture_of(self, data: TrainingData) -> dict[str, Any]:
        """All layers, as JSON values."""
        size = self.size_for(data.schema)
        if pictures := _pictures(data.schema):
            field = data.schema[pictures[0]]
            settings = {"size": size, "activation": self.activation}
            part = {"column": field.name, "sizes": list(sizes_of(field)), "settings": settings}
            return {"kind": "autoencoder", "parts": [part], "table": None}
        table: Mapping[str, Any] = {
            "width": width_of(data.schema),
            "size": size,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "center": np.clip(mean_of_features(data), -1e4, 1e4).tolist(),
        }
        return {"kind": "autoencoder", "parts": [], "table": table}

    def train(self, data: TrainingData) -> FittedAutoencoder:
        """Learn.

        Raises:
            MissingExtra: torch is not installed.
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: too few rows to hold some back, or the training diverged.
        """
        with torch_at_hand():
            from penstock.models.autoencoder_training import Training

        refuse_few(data, self.name, 4, "some are held back")
        refuse_beyond_memory(self, data)
        training = Training(self, data)
        data.listener.said(
            Note(
                "autoencoder",
                f"{training.parameters:,} weights, through {self.size_for(data.schema)} numbers;"
                f" {training.held:,} of {data.rows:,} rows held back to keep the best",
                f"at most {training.epochs} epochs of batches of {training.batch_rows:,} rows",
                "size, epochs and validation_share of the model",
            )
        )
        weights, summary = training.run()
        fitted = FittedAutoencoder(
            self.name, data.target, data.schema, summary, training.architecture, weights, np.zeros(1)
        )
        shown = training.shown(fitted)
        summary |= {"restored": shown} if shown else {}
        return replace(fitted, summary=summary, quantiles=training.quantiles_of(fitted))


def _pictures(schema: Schema) -> tuple[str, ...]:
    """The decoded pictures among the features."""
    return tuple(field.name for field in schema if field.shape is not None)
