"""Neural networks for tables, by torch: the definition `Network`.

A model. How it learns is in `network_training.py`, its optimizers in `network_optimizing.py`, its layers in
`networks/`, and what it becomes in `network_fitted.py`. torch is loaded when a network is trained or opened.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, cast

import pyarrow as pa

from penstock.errors import SchemaError, UsageError
from penstock.model import Effort, FittedModel, Model, Target, TrainingData, spans_of
from penstock.models.arguments import one_of, real_number, whole_number
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.labels import ClassWeight, checked_class_weight, class_counts, weights_of_classes
from penstock.models.limits import refuse_beyond_memory
from penstock.models.network_fitted import NAME, PREDICT_ROWS, FittedNetwork, torch_at_hand
from penstock.models.networks.sizes import embedding_size
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step

_ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")
_OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adagrad")
_SCHEDULES = ("constant", "step", "cosine", "warm_restarts", "one_cycle", "plateau")
_GENTLE, _FEWER_EPOCHS = 0.1, 0.25
"""Of the learning rate and of the epochs, where what was learned is taken further; see `Network.update`."""
_MANY, _BATCHES = 50_000, 128
"""Rows beyond which batches are large; and about how many batches there are in an epoch before."""
_FREQUENCIES, _FEWEST, _MOST_WAVES = 32, 8, 1024
"""Waves of a number, at most and at least, and of all numbers: their time would be more than that of all layers."""
_TORCH_BYTES, _LOADED_BYTES = 220 * 2**20, 80 * 2**20
"""What torch holds once it has computed, and what of it comes after it was imported; measured [bytes]."""


@dataclass(frozen=True)
class Network(Model):
    """A multilayer network for tables: embeddings of numbers and categories, then fully connected layers.

    Numbers are standardized and softly clipped, a missing one is the mean with an indicator beside it; beside each
    stand features of it that are made of waves (Gorishniy et al. 2022, see `penstock.models.networks.tabular`).
    Categories are embedded; columns of vectors (TF-IDF, hashed or one-hot) go in as they are. It holds one window of
    batches at a time, and learns on one core: sums over several would round differently on each number of them. A part
    of the rows is held back; training ends when they are not predicted better for some epochs, and the best epoch's
    weights are kept. The same data and seed give the same bytes.

    Args:
        hidden: units of each hidden layer.
        activation: after each hidden layer: "relu", "leaky_relu", "elu", "gelu", "silu", "tanh" or "sigmoid".
        number_embedding: "periodic" for 32 waves beside each number (1,024 in all, none beyond 128 numbers), or "none".
        normalization: before each activation: "none", "layer" or "batch".
        dropout: the share (0 to below 1) of units set to 0 in training.
        optimizer: "adamw", "adam", "sgd", "rmsprop" or "adagrad", as in torch.optim.
        learning_rate: the largest rate.
        momentum: of sgd and rmsprop.
        nesterov: whether sgd looks ahead.
        l1: what the sum of the sizes of the weights counts.
        l2: weight decay; of adamw decoupled from the gradient.
        clip_norm: the largest norm of a gradient; None for no bound.
        clip_value: the largest size of each entry of a gradient; None for no bound.
        label_smoothing: the share (0 to below 1) of a label that is spread over all classes.
        schedule: of the learning rate: "constant", "step", "cosine", "warm_restarts", "one_cycle" or "plateau".
        warmup_steps: steps in which the rate rises at first.
        restart_epochs: epochs of a cycle of "warm_restarts".
        plateau_patience: epochs without a better loss before "plateau" cuts the rate.
        epochs: the most passes over the rows.
        batch_rows: rows of a batch; "auto" is the power of two below rows / 128, from 32 to 256, and 1,024 beyond
            50,000 rows.
        patience: epochs without a better loss on the rows held back after which training ends; None for never.
        averaging: how much of the mean of the weights is kept at each step (0 to below 1); 0 for no mean.
        validation_share: the share of the rows (0 to 1) held back, at most 50,000 rows.
        max_categories: the most categories of a column that get an embedding each; the rarest share one.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        class_weight: None, "balanced" (rows / (classes * rows of the class)), or weights by label.
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Network(hidden=(64,), activation="gelu").optimizer
        'adamw'
    """

    hidden: tuple[int, ...] = (256, 128)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "silu"
    number_embedding: Literal["periodic", "none"] = "periodic"
    normalization: Literal["none", "layer", "batch"] = "none"
    dropout: float = 0.1
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "adagrad"] = "adamw"
    learning_rate: float = 2e-3
    momentum: float = 0.9
    nesterov: bool = False
    l1: float = 0.0
    l2: float = 1e-2
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    label_smoothing: float = 0.0
    schedule: Literal["constant", "step", "cosine", "warm_restarts", "one_cycle", "plateau"] = "one_cycle"
    warmup_steps: int = 0
    restart_epochs: int = 5
    plateau_patience: int = 2
    epochs: int = 20
    batch_rows: int | Literal["auto"] = "auto"
    patience: int | None = 5
    averaging: float = 0.99
    validation_share: float = 0.1
    max_categories: int = 10_000
    max_tokens: int = 2_000
    class_weight: ClassWeight = None
    max_rows: int | None = None

    name = NAME

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for units in self.hidden:
            whole_number("network: hidden", units, 1, 65_536)
        one_of("network: activation", self.activation, _ACTIVATIONS)
        one_of("network: number_embedding", self.number_embedding, ("periodic", "none"))
        one_of("network: normalization", self.normalization, ("none", "layer", "batch"))
        one_of("network: optimizer", self.optimizer, _OPTIMIZERS)
        one_of("network: schedule", self.schedule, _SCHEDULES)
        for share in ("dropout", "momentum", "label_smoothing", "averaging"):
            real_number(f"network: {share}", getattr(self, share), 0, 0.9999)
        real_number("network: learning_rate", self.learning_rate, 0, above=True)
        for penalty in ("l1", "l2"):
            real_number(f"network: {penalty}", getattr(self, penalty), 0)
        for bound in ("clip_norm", "clip_value"):
            if getattr(self, bound) is not None:
                real_number(f"network: {bound}", getattr(self, bound), 0, above=True)
        real_number("network: validation_share", self.validation_share, 0, 0.9, above=True)
        for count in ("epochs", "restart_epochs", "max_categories", "max_tokens"):
            whole_number(f"network: {count}", getattr(self, count), 1)
        for count in ("warmup_steps", "plateau_patience"):
            whole_number(f"network: {count}", getattr(self, count), 0)
        self._refuse_what_does_nothing()
        whole_number("network: batch_rows", self.batch_rows, 1, words=("auto",))
        whole_number("network: patience", self.patience, 1, words=(None,))
        whole_number("network: max_rows", self.max_rows, 1, words=(None,))
        checked_class_weight(self.class_weight, "network: class_weight")

    def _refuse_what_does_nothing(self) -> None:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise UsageError(
                "only sgd with momentum looks ahead",
                where="network: nesterov",
                expected="optimizer sgd, and momentum above 0",
                got=f"{self.optimizer}, momentum {self.momentum:g}",
            )
        if self.warmup_steps and self.schedule == "one_cycle":
            raise UsageError(
                "one_cycle warms up by itself",
                where="network: warmup_steps",
                expected="0, or another schedule",
                got=str(self.warmup_steps),
            )

    def at_effort(self, effort: Effort) -> Network:
        """Fewer epochs of a smaller network for "quick", more of them for "best"."""
        if effort == "quick":
            hidden = tuple(min(units, 128) for units in self.hidden)
            return replace(self, hidden=hidden, epochs=min(self.epochs, 6))
        if effort == "best":
            return replace(self, epochs=self.epochs * 2, patience=None if self.patience is None else self.patience * 2)
        return self

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers standardized (truth values and parts of times too), categories as codes, texts as vectors."""
        from penstock.steps.columns import Cast, Select
        from penstock.steps.encode import Ordinal
        from penstock.steps.scale import Standardize

        usable = schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time)
        if not usable:
            raise SchemaError(
                "there is no feature that a network can learn from",
                where="network",
                expected="numbers, truth values, categories, times, texts or lists",
                got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
                remedy="give a column another role, or derive numbers from it by steps",
            )
        truths = schema.of_role(Role.boolean)
        dates, parts = time_steps(schema, cyclic=True)
        categories = [name for name in schema.of_role(Role.category) if not pa.types.is_integer(schema[name].type)]
        plain = (name for name in usable if schema[name].role not in (Role.category, Role.time, *WORDS))
        numbers = (*plain, *parts)
        steps: list[Step] = [Select(usable), *dates]
        if truths:
            steps.append(Cast(truths, "float32"))
        if numbers:
            steps.append(Standardize(numbers))
        if categories:
            steps.append(Ordinal(tuple(categories), max_categories=self.max_categories))
        return [*steps, *word_steps(schema, self.max_tokens)]

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """torch itself, the weights with their gradients and the optimizer's state, windows of rows [bytes]."""
        width = max((span.stop for span in spans_of(schema).values()), default=1)
        sizes = [(len(each.categories), embedding_size(len(each.categories) + 1)) for each in schema if each.categories]
        numbers = sum(each.width is None and each.categories is None for each in schema)
        waves = numbers * self.frequencies_of(numbers)
        encoded = width + 9 * numbers + sum(size for _, size in sizes)
        outputs = len(target.classes) if target.task == "multiclass" else 1
        weights = sum(one * other for one, other in pairwise([encoded, *self.hidden, outputs]))
        weights += sum(count * size for count, size in sizes) + 10 * waves
        window = 3 * min(64 * 2**20, 4 * rows * width)
        row = 4 * (3 * width + 3 * encoded + 6 * waves + 5 * sum(self.hidden) + 8 * outputs)
        torch = _LOADED_BYTES if "torch" in sys.modules else _TORCH_BYTES
        return torch + 32 * weights + window + max(self.rows_of_batch(rows), PREDICT_ROWS) * row + 60 * rows

    def frequencies_of(self, numbers: int) -> int:
        """Waves in the embedding of a number, where there are so many numbers; 0 for no embeddings."""
        if self.number_embedding == "none" or numbers == 0:
            return 0
        each = min(_FREQUENCIES, _MOST_WAVES // numbers)
        return each if each >= _FEWEST else 0

    def rows_of_batch(self, rows: int) -> int:
        """Rows of a batch, where there are so many in all."""
        if self.batch_rows != "auto":
            return self.batch_rows
        if rows > _MANY:
            return 1024
        fit = 32
        while fit < 256 and 2 * fit * _BATCHES <= rows:
            fit *= 2
        return fit

    def train(self, data: TrainingData) -> FittedNetwork:
        """Learn.

        Raises:
            MissingExtra: torch is not installed.
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, too few rows to hold some back, or the training diverged.
            UsageError: class weights are for no class of the target.
        """
        with torch_at_hand():
            from penstock.models.network_training import Training

        if self.label_smoothing and data.target.task == "regression":
            raise UsageError(
                "numbers have no labels to smooth", where="network: label_smoothing", got=str(self.label_smoothing)
            )
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        training = Training(self, data, labels, class_weights)
        data.listener.said(
            Note(
                "network",
                f"{training.parameters:,} weights; {training.held:,} of {data.rows:,} rows held back to keep the best",
                f"at most {self.epochs} epochs of batches of {training.batch_rows:,} rows, {self.optimizer}",
                "hidden, epochs and validation_share of the model",
            )
        )
        weights, summary = training.run()
        return FittedNetwork(
            self.name,
            data.target,
            data.schema,
            summary,
            training.architecture.to_json(),
            weights,
            training.center,
            training.scale,
        )

    @property
    def goes_on(self) -> bool:
        """It does."""
        return True

    def update(self, fitted: FittedModel, data: TrainingData) -> FittedNetwork:
        """Go on from the weights, on new rows: at most a quarter of the epochs, at a tenth of the learning rate.

        A tenth of the rate lets a trained network move without losing what it knows (Girshick et al., "Rich feature
        hierarchies for accurate object detection and semantic segmentation", CVPR 2014, section 2.3); the schedule
        lets it rise and fall again (Ibrahim et al., "Simple and scalable strategies to continually pre-train large
        language models", TMLR 2024). The best epoch is kept, and the weights as they were where none predicts the new
        rows held back better. The optimizer begins anew.

        Raises:
            MissingExtra: torch is not installed.
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, too few rows to hold some back, or the training diverged.
            UsageError: class weights are for no class of the target.
        """
        with torch_at_hand():
            from penstock.models.network_training import Training

        before = cast(FittedNetwork, fitted)
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        gentle = replace(
            self, learning_rate=self.learning_rate * _GENTLE, epochs=max(1, round(self.epochs * _FEWER_EPOCHS))
        )
        training = Training(gentle, data, labels, class_weights, start=before)
        weights, summary = training.run()
        summary |= {"rows": data.rows + int(before.summary["rows"]), "new_rows": data.rows}
        best = summary["best_epoch"]
        data.listener.said(
            Note(
                "network",
                f"went on for {summary['epochs']} epochs, and keeps "
                + (f"the weights after {best}" if best else "its weights as they were"),
                f"learning rate {gentle.learning_rate:g}; {training.held:,} of {data.rows:,} new rows held back",
                "epochs and learning_rate of the model",
            )
        )
        return FittedNetwork(
            self.name,
            data.target,
            before.features,
            summary,
            dict(before.architecture),
            weights,
            training.center,
            training.scale,
        )
