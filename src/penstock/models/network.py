"""Neural networks by torch: the definition `Network`, for tables, pictures, clips, texts and all of them together.

A model. How it learns is in `network_training.py`, its optimizers in `network_optimizing.py`, its layers in
`networks/`, which of them it gets in `network_parts.py`, and what it becomes in `network_fitted.py`. torch is loaded
when a network is trained or opened.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import pyarrow as pa

from penstock.engine import Listener
from penstock.errors import SchemaError, UsageError
from penstock.model import Effort, FittedModel, Model, Target, TrainingData, spans_of
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.labels import ClassWeight, class_counts, weights_of_classes
from penstock.models.limits import refuse_beyond_memory
from penstock.models.network_arguments import check_arguments, refuse_other_data
from penstock.models.network_defaults import PADDING, Situation, defaults_for, table_batch_rows, trunk_batch_rows
from penstock.models.network_fitted import NAME, FittedNetwork, torch_at_hand
from penstock.models.network_inputs import PREDICT_ROWS, rows_together
from penstock.models.network_machine import best_precision
from penstock.models.network_parts import OWN_NAME, has_parts, kind_of, networks_named, parts_of, sizes_of
from penstock.models.networks import catalog
from penstock.models.networks.sizes import embedding_size
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step

_GENTLE, _FEWER_EPOCHS = 0.1, 0.25
"""Of the learning rate and of the epochs, where what was learned is taken further; see `Network.update`."""
_OWN = ("module", "loss", "optimizer")
"""What may be an object of the user's."""
_WORTH_THREADS = 2**21
"""Numbers that the layers give for a batch, from which on several threads pay."""
_OWN_ACTIVATIONS = 64
"""How many numbers the layers of a module of the user's are taken to give for each that goes in."""
_ENCODED = (Role.picture, Role.clip)
_FREQUENCIES, _FEWEST, _MOST_WAVES = 32, 8, 1024
"""Waves of a number, at most and at least, and of all numbers: their time would be more than that of all layers."""
_TORCH_BYTES, _LOADED_BYTES = 220 * 2**20, 80 * 2**20
"""What torch holds once it has computed, and what of it comes after it was imported; measured [bytes]."""


@dataclass(frozen=True)
class Network(Model):
    """A network for the columns at hand: pictures, clips and tokens go through a trunk each, numbers and categories
    through a multilayer one, then all side by side into one layer (late fusion).

    *Pictures, clips and tokens.* The trunks are those of `penstock.models.networks.catalog`; pictures are standardized
    by channel. They learn with all cores, and multiply in bfloat16 where the machine does that well; the same data,
    seed, machine and number of cores give the same bytes. A training that is killed goes on at its last checkpoint,
    with the very same steps.

    *Numbers and categories.* Numbers are standardized and softly clipped, a missing one is the mean with an indicator
    beside it; beside each stand features of it that are made of waves (Gorishniy et al. 2022, see
    `penstock.models.networks.tabular`). Categories are embedded; columns of vectors (TF-IDF, hashed or one-hot) go in
    as they are. By themselves they learn on one core: sums over several would round differently on each number.

    A part of the rows is held back; training ends when they are not predicted better for some epochs, and the best
    epoch's weights are kept.

    Args:
        module: "auto" for a trunk by the kind and size of each column; a trunk's name, such as "resnet18" or "gru";
            names by column or kind ("picture", "clip", "tokens"); or a ``torch.nn.Module`` of your own, which gets one
            column as a tensor, several as a mapping by name (the matrix of numbers is "table"), and gives scores, shape
            (rows, classes), or (rows, 1) for two classes and for numbers.
        settings: of the trunk that is named; where several are, settings by the same names.
        weights: a file of weights that the trunk begins with: a state dict, ``.pth`` or ``.safetensors``.
        frozen: names or globs of layers whose weights stay as they are.
        loss: "auto" ("cross_entropy", or "squared_error" of numbers), "focal", "absolute_error", "huber"; or a function
            of your own of scores (rows, outputs) and labels (rows,), class codes or standardized values, that gives a
            loss for each row.
        hidden: units of each hidden layer.
        activation: after each hidden layer: "relu", "leaky_relu", "elu", "gelu", "silu", "tanh" or "sigmoid".
        number_embedding: "periodic" for 32 waves beside each number (1,024 in all, none beyond 128 numbers), or "none".
        normalization: before each activation: "none", "layer" or "batch".
        dropout: the share (0 to below 1) of units set to 0 in training.
        optimizer: "adamw", "adam", "sgd", "rmsprop" or "adagrad", as in torch.optim; or a function of your own of the
            parameters that gives a ``torch.optim.Optimizer``.
        learning_rate: the largest rate. What "auto" is here and below follows from the kind of columns: see
            `penstock.models.network_defaults`, and the summary of a training.
        momentum: of sgd and rmsprop.
        nesterov: whether sgd looks ahead.
        l1: what the sum of the sizes of the weights counts.
        l2: weight decay; of adamw decoupled from the gradient.
        clip_norm: the largest norm of a gradient; None for no bound.
        clip_value: the largest size of each entry of a gradient; None for no bound.
        label_smoothing: the share (0 to below 1) of a label that is spread over all classes.
        schedule: of the learning rate: "constant", "step", "cosine", "warm_restarts", "one_cycle",
            "plateau" or "restart_on_plateau".
        warmup_steps: steps in which the rate rises at first.
        restart_epochs: epochs of a cycle of "warm_restarts" and "restart_on_plateau".
        plateau_patience: epochs without a better loss before "plateau" cuts the rate, or it rises again.
        epochs: the most passes over the rows; "auto" is 20, and where there are trunks as many as make so many steps,
            from 8 to 60; fewer or more by effort.
        batch_rows: rows of a batch; "auto" is the power of two below rows / 128, from 32 to 256, and 1,024 beyond
            50,000 rows.
        patience: epochs without a better loss on the rows held back after which training ends; "auto" is 5, and
            where there are trunks a quarter of the epochs, 8 at least, and None where fewer than 30 rows are held back;
            None for never. The best epoch's weights are kept; of so few rows and None the last one's.
        averaging: how much of the mean of the weights is kept at each step (0 to below 1); 0 for no mean.
        validation_share: the share of the rows (0 to 1) held back, at most 50,000 rows; "auto" is a tenth, and of
            pictures no more than 2,500.
        max_categories: the most categories of a column that get an embedding each; the rarest share one.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        class_weight: None, "balanced" (rows / (classes * rows of the class)), or weights by label.
        max_rows: the most rows to train on, a sample by row key; None for all.
        mixup: how strongly pairs of pictures are mixed in training, the parameter of a Beta distribution; 0 for not.
        accumulate: batches whose gradients are added up before the weights move.
        augment: "auto": pictures are moved by up to a 14th of their side, and those in color mirrored, at random, where
            the pipeline has no step of its own that augments; "none" for not.
        flip_average: whether a picture is predicted by the mean of its scores and of those of its mirror image, where
            pictures are mirrored in training; it takes twice the time. "auto" is yes with the effort "best".
        effort: how much time to take, "quick", "default" or "best": what "auto" is follows from it. At "best" networks
            for pictures have more filters, and learn for longer.
        precision: what trunks multiply in: "float32", "bfloat16", or "auto".
        loading_threads: threads that gather and augment batches ahead of the training.
        checkpoint_seconds: how often what a training needs to go on is written, besides at the end of each epoch.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Network(hidden=(64,), activation="gelu").optimizer
        'adamw'
    """

    module: str | Mapping[str, str] = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    frozen: tuple[str, ...] = ()
    loss: str = "auto"
    hidden: tuple[int, ...] = (256, 128)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "silu"
    number_embedding: Literal["periodic", "none"] = "periodic"
    normalization: Literal["none", "layer", "batch"] = "none"
    dropout: float = 0.1
    optimizer: str = "adamw"
    learning_rate: float | Literal["auto"] = "auto"
    momentum: float = 0.9
    nesterov: bool = False
    l1: float = 0.0
    l2: float | Literal["auto"] = "auto"
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    label_smoothing: float | Literal["auto"] = "auto"
    schedule: Literal[
        "auto", "constant", "step", "cosine", "warm_restarts", "one_cycle", "plateau", "restart_on_plateau"
    ] = "auto"
    warmup_steps: int = 0
    restart_epochs: int = 5
    plateau_patience: int = 2
    epochs: int | Literal["auto"] = "auto"
    batch_rows: int | Literal["auto"] = "auto"
    patience: int | Literal["auto"] | None = "auto"
    averaging: float | Literal["auto"] = "auto"
    validation_share: float | Literal["auto"] = "auto"
    max_categories: int = 10_000
    max_tokens: int = 2_000
    class_weight: ClassWeight = None
    max_rows: int | None = None
    mixup: float = 0.0
    accumulate: int = 1
    augment: Literal["auto", "none"] = "auto"
    flip_average: bool | Literal["auto"] = "auto"
    effort: Effort = "default"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    loading_threads: int = 1
    checkpoint_seconds: float = 60.0

    name = NAME
    _own: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "frozen", tuple(self.frozen))
        object.__setattr__(self, "_own", {name: self._taken_out(name) for name in _OWN})
        self._check_trunks()
        check_arguments(self, {name for name, each in self._own.items() if each is not None})

    def _taken_out(self, name: str) -> Any:
        """What the user gave instead of a name; in its place stands what it is called, as in a pipeline file."""
        given = getattr(self, name)
        if isinstance(given, (str, Mapping)):
            return None
        if not callable(given):
            raise UsageError(
                "not a name, and nothing that can be called",
                where=f"network: {name}",
                expected="a name, names by column or a torch.nn.Module" if name == "module" else "a name or a function",
                got=repr(given),
            )
        kind = given if hasattr(given, "__qualname__") else type(given)
        object.__setattr__(self, name, f"{OWN_NAME}{kind.__module__}.{kind.__qualname__}")
        return given

    def _check_trunks(self) -> None:
        if self._own["module"] is not None:
            return
        if isinstance(self.module, str) and self.module.startswith(OWN_NAME):
            return  # from an artifact: it can be shown, and trains once the module is given
        for name, settings in networks_named(self).values():
            catalog.check(name, settings)
        if self.settings and self.module == "auto":
            raise UsageError(
                "settings of no network", where="network: settings", expected="module names it", got=str(self.settings)
            )

    def _with(self, **changes: Any) -> Network:
        """The same with other settings, the user's own module, loss and optimizer included."""
        own = {name: each for name, each in self._own.items() if each is not None}
        return replace(self, **{**own, **changes})

    @property
    def own_module(self) -> Any:
        """The module of the user's, untouched; None where a name was given."""
        return self._own["module"]

    def another_module(self) -> Any:
        """A copy of it, its weights as they were given."""
        return copy.deepcopy(self._own["module"])

    @property
    def loss_function(self) -> Any:
        """The loss's name, or the user's function."""
        return self._own["loss"] or self.loss

    @property
    def optimizer_function(self) -> Any:
        """The user's function that makes an optimizer; None where a name was given."""
        return self._own["optimizer"]

    def precision_of(self, schema: Schema) -> Any:
        """What multiplications are made in: by itself float32 for tables, and for tokens, which it suits better."""
        if not has_parts(schema):
            return "float32"
        pictures = any(field.shape is not None for field in schema)
        return (best_precision() if pictures else "float32") if self.precision == "auto" else self.precision

    def begin_from_weights(self, network: Any, listener: Listener, *, further: bool = False) -> None:
        """Load the weights to begin with, but for a network that is taken further, and freeze what is to stay.

        Raises:
            UsageError: the file or a name does not fit the network.
        """
        if self.weights is None and not self.frozen:
            return
        from penstock.models.networks.pretrained import begin

        for note in begin(network, None if further else self.weights, self.frozen):
            listener.said(Note("network", note, "weights and frozen are set", "weights and frozen of the model"))

    def keep_frozen(self, network: Any) -> None:
        """Frozen layers stay in evaluation: their norms do not learn either."""
        if self.frozen:
            from penstock.models.networks.pretrained import rest

            rest(network)

    def at_effort(self, effort: Effort) -> Network:
        """Fewer epochs of a smaller network for "quick", more of them for "best"; what is not "auto" stays."""
        hidden = tuple(min(units, 128) for units in self.hidden) if effort == "quick" else self.hidden
        return self._with(effort=effort, hidden=hidden)

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers standardized (truth values and parts of times too), categories as codes, texts as vectors."""
        from penstock.steps.columns import Cast, Select
        from penstock.steps.encode import Ordinal
        from penstock.steps.scale import Standardize

        trunks = schema.of_role(Role.picture, Role.clip, Role.tokens)
        usable = (*schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time), *trunks)
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
        apart = {Role.category, Role.time, *WORDS, Role.picture, Role.clip, Role.tokens}
        plain = (name for name in usable if schema[name].role not in apart)
        numbers = (*plain, *parts)
        steps: list[Step] = [Select(usable), *dates]
        if truths:
            steps.append(Cast(truths, "float32"))
        if numbers:
            steps.append(Standardize(numbers))
        if categories:
            steps.append(Ordinal(tuple(categories), max_categories=self.max_categories))
        steps += [*self._decoding(schema), *self._augmenting(schema)]
        texts = schema.of_role(Role.text)
        if texts and self._reads_tokens:
            from penstock.steps.tokenize import Tokenize

            return [*steps, Tokenize(texts, rare="shape"), *word_steps(schema.without(texts), self.max_tokens)]
        return [*steps, *word_steps(schema, self.max_tokens)]

    def _decoding(self, schema: Schema) -> list[Step]:
        """Pictures and clips that are still encoded are decoded."""
        steps: list[Step] = []
        encoded = {role: [one.name for one in schema if one.role is role and one.shape is None] for role in _ENCODED}
        tensors = tuple(one.name for one in schema if one.role in _ENCODED and one.shape is not None)
        if tensors:  # as a file without a picture is
            from penstock.steps.missing import RejectMissing

            steps.append(RejectMissing(tensors, when_predicting=True))
        if encoded[Role.picture]:
            from penstock.steps.pictures_decode import DecodePicture

            steps.append(DecodePicture(tuple(encoded[Role.picture])))
        if encoded[Role.clip]:
            from penstock.steps.clips import DecodeClip

            steps.append(DecodeClip(tuple(encoded[Role.clip])))
        return steps

    def _augmenting(self, schema: Schema) -> list[Step]:
        """Pictures are moved, and those in color mirrored, at random."""
        pictures = schema.of_role(Role.picture)
        if self.augment == "none" or not pictures:
            return []
        from penstock.steps.pictures_geometry import FlipPicture, RandomCrop

        colored = tuple(name for name in pictures if schema[name].shape is None or sizes_of(schema[name])[0] == 3)
        return [RandomCrop(pictures, padding=PADDING), *([FlipPicture(colored)] if colored else [])]

    def without_augmentation(self) -> Network:
        """The same, augmenting nothing."""
        return self._with(augment="none")

    @property
    def _reads_tokens(self) -> bool:
        """Whether texts are cut into tokens for a trunk, rather than counted (TF-IDF)."""
        return any(catalog.kind_of(name) == "tokens" for name, _ in networks_named(self).values())

    @property
    def described(self) -> str:
        """How a settled definition learns, in a line."""
        told = f"{self.optimizer}, {self.schedule}, learning rate {float(self.learning_rate):.2g}, l2 {self.l2:g}"
        return told + (f", labels smoothed by {self.label_smoothing:g}" if self.label_smoothing else "")

    @property
    def resumes(self) -> bool:
        """It does."""
        return True

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """torch itself, the weights with their gradients and the optimizer's state, windows of rows [bytes]."""
        if has_parts(schema):
            return self._memory_of_trunks(rows, schema, target)
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

    def settled(self, rows: int, schema: Schema, task: str = "multiclass") -> Network:
        """The same with what `penstock.models.network_defaults` says for "auto", for so many rows."""
        named = "" if self.optimizer_function is not None else self.optimizer
        begun = self.weights is not None
        at = Situation(rows, self.rows_of_batch(rows, schema), task, self.effort, named, begun)
        found = asdict(defaults_for({kind for kind in map(kind_of, schema) if kind is not None}, at))
        return self._with(**{name: value for name, value in found.items() if getattr(self, name) == "auto"})

    def _size_of_trunks(self, schema: Schema, tokens: Mapping[str, float] | None = None) -> tuple[int, int]:
        """Weights, and the numbers that all layers give for a row, of so many tokens by column."""
        own = self.own_module
        if own is not None:
            numbers = sum(math.prod(one.shape) for one in schema if one.shape is not None)
            return sum(each.numel() for each in own.parameters()), _OWN_ACTIVATIONS * numbers
        sizes = [
            catalog.size_of(
                part["network"], part["kind"], part["sizes"], part["settings"], (tokens or {}).get(part["column"])
            )
            for part in parts_of(self, schema)
        ]
        return sum(size.weights for size in sizes), sum(size.activations for size in sizes)

    def threads_of(self, rows: int, schema: Schema, cores: int, tokens: Mapping[str, float]) -> int:
        """Inner threads that a training with trunks computes with, rows having so many tokens by column: one where a
        batch is so little work that threads would wait for one another more than they would do."""
        _, activations = self._size_of_trunks(schema, tokens)
        return cores if self.rows_of_batch(rows, schema) * activations >= _WORTH_THREADS else 1

    def _memory_of_trunks(self, rows: int, schema: Schema, target: Target) -> int:
        """torch, weights four times over (gradients, two moments, the best), activations of a batch, batches ahead."""
        weights, activations = self._size_of_trunks(schema)
        raw = 0
        for one in schema:
            if one.shape is not None:
                raw += one.type.value_type.bit_width // 8 * math.prod(one.shape)
        batch = self.rows_of_batch(rows, schema)
        if not schema.of_role(Role.tokens):  # of which fewer go together, the longer they are
            batch = max(batch, rows_together(schema))
        torch = _LOADED_BYTES if "torch" in sys.modules else _TORCH_BYTES
        return torch + 24 * weights + batch * (8 * activations + (2 + self.loading_threads) * raw) + 60 * rows

    def frequencies_of(self, numbers: int) -> int:
        """Waves in the embedding of a number, where there are so many numbers; 0 for no embeddings."""
        if self.number_embedding == "none" or numbers == 0:
            return 0
        each = min(_FREQUENCIES, _MOST_WAVES // numbers)
        return each if each >= _FEWEST else 0

    def rows_of_batch(self, rows: int, schema: Schema | None = None) -> int:
        """Rows of a batch, where there are so many in all; of large pictures and clips fewer."""
        if self.batch_rows != "auto":
            return self.batch_rows
        if schema is not None and has_parts(schema):
            return trunk_batch_rows(rows, rows_together(schema))
        return table_batch_rows(rows)

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

        refuse_other_data(self, data)
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        model = self.settled(data.rows, data.schema, data.target.task)
        training = Training(model, data, labels, class_weights)
        held = f"{training.held:,} of {data.rows:,} rows held back to keep the best"
        if not training.held:
            held = "no row is held back to keep the best: it would be of a class that no other row teaches"
        data.listener.said(
            Note(
                "network",
                f"{training.parameters:,} weights; {held}",
                f"at most {model.epochs} epochs of batches of {training.batch_rows:,} rows, {model.described}",
                "epochs, validation_share, learning_rate and others of the model",
            )
        )
        weights, summary = training.run()
        return FittedNetwork(
            self.name,
            data.target,
            data.schema,
            summary,
            training.architecture,
            weights,
            training.center,
            training.scale,
            self.another_module(),
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
        model = self.settled(data.rows, data.schema, data.target.task)
        gentle = model._with(
            learning_rate=float(model.learning_rate) * _GENTLE, epochs=max(1, round(int(model.epochs) * _FEWER_EPOCHS))
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
            before.own,
        )
