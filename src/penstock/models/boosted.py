"""Gradient boosted trees by LightGBM: the definition `BoostedTrees`, and what it becomes, `FittedBoostedTrees`.

A model. What is decided before training is in `boosted_recipe.py`, the training itself in `boosted_training.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.durable import write_atomically
from penstock.errors import SchemaError, UsageError
from penstock.model import Effort, FittedModel, Model, Target, TrainingData, spans_of
from penstock.models import boosted_recipe as recipe
from penstock.models.arguments import real_number, whole_number
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.labels import ClassWeight, checked_class_weight, class_counts, weights_of_classes
from penstock.models.limits import refuse_beyond_memory
from penstock.models.prediction import (
    class_batch,
    matrix_type,
    model_matrix,
    sigmoid,
    softmax,
    two_classes,
    value_batch,
)
from penstock.models.scores import held_out_scores
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step

if TYPE_CHECKING:
    import lightgbm

_IMBALANCE = 20
_CONTRIBUTIONS = 4_000_000
"""The most numbers that LightGBM tells of contributions at once: 32 MB."""
_CODES = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


@dataclass(frozen=True)
class BoostedTrees(Model):
    """Gradient boosted trees (Ke et al., "LightGBM: A highly efficient gradient boosting decision tree", NIPS 2017).

    Numbers are taken as they are, missing ones included; categories as codes, split natively. On small data (up to
    200,000 rows and 5 million values) it is the mean, in raw scores, of models trained without one fold each and of
    differently shaped trees, so that every row is also predicted by models that did not learn from it; beyond that it
    is one model, stopped early on rows held back. The rows of a fold follow from the row keys and the seed alone. The
    same data, seed and cores give the same bytes. Of classes no leaf moves the raw score by more than ten times the
    learning rate (LightGBM's ``max_delta_step``): the trees of a rare class would diverge.

    Args:
        rounds: the most trees (per class) of a model.
        learning_rate: what each tree counts; "auto" is 0.05, and 0.1 beyond 200,000 rows.
        num_leaves: leaves of a tree; "auto" is 15, and 63 beyond 200,000 rows.
        max_depth: levels of a tree; -1 for no bound.
        min_data_in_leaf: rows of a leaf, at least; "auto" is 5, and 20 beyond 200,000 rows.
        feature_fraction: the share of the features (0 to 1) that a tree sees, at least four of them; "auto" is 0.3,
            and 1 beyond 200,000 rows, where there is less to guard against.
        bagging_fraction: the share of the rows (0 to 1) that a tree sees.
        lambda_l2: L2 regularization of the leaves' values.
        max_bin: bins of a number.
        max_cat_to_onehot: up to so many categories, a split is one category against the others; beyond, groups.
        cat_l2: L2 regularization of splits by groups of categories.
        cat_smooth: smoothing of the categories' statistics in such splits [rows].
        early_stopping_rounds: rounds without a better score on the rows held back, after which a model is cut at its
            best round; None trains all ``rounds``.
        folds: models per shape, each without one fold; 1 for one model with ``validation_share`` held back; "auto" is
            5 on small data and else 1.
        validation_share: the share of the rows (0 to 1) held back where ``folds`` is 1, at most 200,000 rows.
        bags: how many shapes of trees, 1 to 4; "auto" is 2 on small data with folds and else 1.
        class_weight: None, "balanced" (rows / (classes * rows of the class)), or weights by label.
        monotone: features that the prediction may only rise ("increasing") or fall ("decreasing") with, all else equal:
            the value, or the probability of the second of two classes. Numbers, truth values and times only.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> BoostedTrees(num_leaves=31, folds=1).early_stopping_rounds
        100
    """

    rounds: int = 5000
    learning_rate: float | Literal["auto"] = "auto"
    num_leaves: int | Literal["auto"] = "auto"
    max_depth: int = -1
    min_data_in_leaf: int | Literal["auto"] = "auto"
    feature_fraction: float | Literal["auto"] = "auto"
    bagging_fraction: float = 1.0
    lambda_l2: float = 0.0
    max_bin: int = 255
    max_cat_to_onehot: int = 100_000
    cat_l2: float = 10.0
    cat_smooth: float = 10.0
    early_stopping_rounds: int | None = 100
    folds: int | Literal["auto"] = "auto"
    validation_share: float = 0.1
    bags: int | Literal["auto"] = "auto"
    class_weight: ClassWeight = None
    monotone: Mapping[str, Literal["increasing", "decreasing"]] = field(default_factory=dict)
    max_tokens: int = 1_000
    max_rows: int | None = None

    name = "boosted"

    def __post_init__(self) -> None:
        whole_number("boosted: rounds", self.rounds, 1)
        whole_number("boosted: num_leaves", self.num_leaves, 2, 131_072, words=("auto",))
        whole_number("boosted: max_depth", self.max_depth, 1, words=(-1,))
        whole_number("boosted: min_data_in_leaf", self.min_data_in_leaf, 1, words=("auto",))
        whole_number("boosted: max_bin", self.max_bin, 2, 65_535)
        whole_number("boosted: max_cat_to_onehot", self.max_cat_to_onehot, 1)
        whole_number("boosted: early_stopping_rounds", self.early_stopping_rounds, 1, words=(None,))
        whole_number("boosted: folds", self.folds, 1, 100, words=("auto",))
        whole_number("boosted: bags", self.bags, 1, len(recipe.SHAPES), words=("auto",))
        whole_number("boosted: max_tokens", self.max_tokens, 1)
        whole_number("boosted: max_rows", self.max_rows, 1, words=(None,))
        real_number("boosted: learning_rate", self.learning_rate, 0, above=True, words=("auto",))
        for share in ("feature_fraction", "bagging_fraction"):
            words = ("auto",) if share == "feature_fraction" else ()
            real_number(f"boosted: {share}", getattr(self, share), 0, 1, above=True, words=words)
        real_number("boosted: validation_share", self.validation_share, 0, 0.9, above=True)
        for strength in ("lambda_l2", "cat_l2", "cat_smooth"):
            real_number(f"boosted: {strength}", getattr(self, strength), 0)
        checked_class_weight(self.class_weight, "boosted: class_weight")
        for column, way in self.monotone.items():
            if way not in ("increasing", "decreasing"):
                raise UsageError(
                    "no such direction",
                    where="boosted: monotone",
                    expected="increasing or decreasing",
                    got=f"{column}: {way!r}",
                )

    def at_effort(self, effort: Effort) -> BoostedTrees:
        """One model stopped early for "quick"; for "best" all shapes of trees, and smaller steps where there is one."""
        if effort == "quick":
            return replace(
                self,
                rounds=min(self.rounds, 300),
                folds=1 if self.folds == "auto" else self.folds,
                learning_rate=0.1 if self.learning_rate == "auto" else self.learning_rate,
                early_stopping_rounds=self.early_stopping_rounds and min(self.early_stopping_rounds, 20),
            )
        if effort == "best":
            folds = 10 if self.folds == "auto" else self.folds
            return replace(self, folds=folds, bags=len(recipe.SHAPES) if self.bags == "auto" else self.bags)
        return self

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Keep what trees can learn from: times by their parts, truth values as 0 and 1, categories as codes, texts and
        lists as sparse vectors."""
        from penstock.steps.columns import Cast, Select
        from penstock.steps.encode import Ordinal

        usable = schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time)
        if not usable:
            raise SchemaError(
                "there is no feature that trees can learn from",
                where="boosted",
                expected="numbers, truth values, categories, times, texts or lists",
                got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
                remedy="give a column another role, or derive numbers from it by steps",
            )
        steps: list[Step] = [Select(usable)]
        steps += time_steps(schema, cyclic=False)[0]
        if truths := schema.of_role(Role.boolean):
            steps.append(Cast(truths, "float32"))
        if texts := tuple(name for name in schema.of_role(Role.category) if schema[name].type not in _CODES):
            steps.append(Ordinal(texts))
        return [*steps, *word_steps(schema, self.max_tokens)]

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """About what LightGBM holds at its peak, beyond the process itself [bytes]; see `boosted_recipe`."""
        return recipe.memory_needed(self, rows, schema, target)

    def train(self, data: TrainingData) -> FittedBoostedTrees:
        """Learn.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, or too few rows to hold some back.
            UsageError: class weights are for no class of the target.
        """
        from penstock.models.boosted_training import Training

        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        plan = recipe.plan(self, data.rows, data.schema, data.target, ordered=data.ordered)
        for note in (*plan.notes, *self._imbalance(data.target, counts)):
            data.listener.said(note)
        center, scale = _standard(labels) if counts is None else (0.0, 1.0)
        learned = (labels - center) / scale if counts is None else labels
        trained = Training(self, data, plan, learned, class_weights).run()
        fitted = FittedBoostedTrees(self.name, data.target, data.schema, {}, trained.texts, center, scale)
        summary: dict[str, Any] = {
            "rows": data.rows,
            "models": len(trained.texts),
            "folds": plan.folds,
            "shapes": [f"{shape.name}: {shape.text}" for shape in plan.shapes],
            "rounds": list(trained.rounds),
            "importance": recipe.importance(data.schema.names, recipe.by_feature(data.schema, trained.gains)),
        }
        if trained.held_out.any():
            summary["held_out_rows"] = int(np.count_nonzero(trained.held_out))
            summary["held_out"] = dict(
                held_out_scores(data.target, labels[trained.held_out], fitted.from_scores(trained.scores))
            )
        return FittedBoostedTrees(self.name, data.target, data.schema, summary, trained.texts, center, scale)

    @property
    def goes_on(self) -> bool:
        """It does."""
        return True

    def update(self, fitted: FittedModel, data: TrainingData) -> FittedBoostedTrees:
        """Grow further trees onto those that are there, on new rows.

        Each model of a mean goes on by itself, with its own shape, and holds back its own fold of the new rows, to stop
        at the best round; where no round predicts those rows better, it stays what it was. Without early stopping it
        grows as many trees for each new row as it has for each that it learned from.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, or too few rows to hold some back.
            UsageError: class weights are for no class of the target, or the models are not what this definition gives.
        """
        from penstock.models.boosted_training import Training

        before = cast(FittedBoostedTrees, fitted)
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        folds, bags = int(before.summary["folds"]), len(before.summary["shapes"])
        as_it_was = replace(self, folds=folds, bags=bags)
        plan = recipe.plan(as_it_was, data.rows, data.schema, data.target, ordered=data.ordered)
        was = [int(booster.current_iteration()) for booster in before.boosters]
        seen = int(before.summary["rows"])
        most = self.rounds
        if self.early_stopping_rounds is None:
            most = max(1, round(max(was) * data.rows / max(seen, 1)))
        learned = (labels - before.center) / before.scale if counts is None else labels
        training = Training(as_it_was, data, plan, learned, class_weights, previous=before.texts, rounds=most)
        trained = training.run()
        more = [now - then for now, then in zip(trained.rounds, was, strict=True)]
        data.listener.said(
            Note(
                "boosted trees",
                f"{sum(more):,} trees more" + (" a class" if data.target.task == "multiclass" else ""),
                f"{sum(was):,} in {len(was)} models were there; {data.rows:,} new rows",
                "early_stopping_rounds of the model",
            )
        )
        summary = {
            **before.summary,
            "rows": data.rows + seen,
            "new_rows": data.rows,
            "rounds": list(trained.rounds),
            "new_rounds": more,
            "importance": recipe.importance(data.schema.names, recipe.by_feature(data.schema, trained.gains)),
        }
        made = FittedBoostedTrees(
            self.name, data.target, before.features, summary, trained.texts, before.center, before.scale
        )
        for name in ("held_out_rows", "held_out"):
            summary.pop(name, None)
        if trained.held_out.any():
            summary["held_out_rows"] = int(np.count_nonzero(trained.held_out))
            summary["held_out"] = dict(
                held_out_scores(data.target, labels[trained.held_out], made.from_scores(trained.scores))
            )
        return made

    def _imbalance(self, target: Target, counts: npt.NDArray[np.int64] | None) -> tuple[Note, ...]:
        if counts is None or self.class_weight is not None or counts.max() <= _IMBALANCE * counts[counts > 0].min():
            return ()
        rare = int(np.argmin(np.where(counts > 0, counts, counts.max())))
        return (
            Note(
                "classes",
                "all rows weigh the same, so that probabilities stay those of the data",
                f"{target.classes[rare]!r} is {counts[rare] / counts.sum():.2%} of the rows",
                "class_weight: balanced",
            ),
        )


@dataclass(frozen=True, eq=False)
class FittedBoostedTrees(FittedModel):
    """Boosted trees that have learned: the mean raw score of one or several LightGBM models.

    Attributes:
        texts: the models in LightGBM's text format.
        center: what a regression adds to the scores.
        scale: what it multiplies them by before.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    texts: tuple[str, ...]
    center: float = 0.0
    scale: float = 1.0

    @cached_property
    def boosters(self) -> tuple[lightgbm.Booster, ...]:
        """The models, read from their texts: what predicts is what is saved."""
        import lightgbm

        import penstock.models.boosted_training  # noqa: F401  (LightGBM's messages go to its logger)

        return tuple(lightgbm.Booster(model_str=text) for text in self.texts)

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        matrix = model_matrix(batch.columns, self.features, matrix_type(self.features))
        scores = self.scores(matrix, threads)
        predicted = self.from_scores(scores)
        if self.target.task == "regression":
            return value_batch(batch, predicted)
        return class_batch(batch, self.target, predicted)

    def scores(self, matrix: Any, threads: int) -> npt.NDArray[np.float64]:
        """Mean raw scores, shape (rows, trees): as many trees as classes where there are more than two, else 1."""
        trees = len(self.target.classes) if self.target.task == "multiclass" else 1
        total = np.zeros((matrix.shape[0], trees))
        if matrix.shape[0] == 0:
            return total
        for booster in self.boosters:
            raw = booster.predict(matrix, raw_score=True, num_threads=threads)
            total += np.asarray(raw, np.float64).reshape(-1, trees)
        total /= len(self.boosters)
        return total

    def contributions(self, batch: Batch, *, threads: int = 1) -> npt.NDArray[np.float64]:
        """The SHAP values of the trees, of the mean raw score (Lundberg et al., "From local explanations to global
        understanding with explainable AI for trees", Nature Machine Intelligence 2, 2020); in the target's own unit for
        a regression."""
        spans = spans_of(self.features)
        width = max(span.stop for span in spans.values())
        trees = len(self.target.classes) if self.target.task == "multiclass" else 1
        total = np.zeros((len(batch), len(spans) + 1, trees))
        if len(batch) == 0:
            return total
        matrix = model_matrix(batch.columns, self.features, matrix_type(self.features))
        slices = max(1, _CONTRIBUTIONS // ((width + 1) * trees))
        for start in range(0, len(batch), slices):
            rows = slice(start, min(start + slices, len(batch)))
            # Dense: of compressed rows LightGBM gives other shapes for more than two classes.
            part = matrix[rows] if isinstance(matrix, np.ndarray) else matrix[rows].toarray()
            for booster in self.boosters:
                raw = np.asarray(booster.predict(part, pred_contrib=True, num_threads=threads), np.float64)
                parts = raw.reshape(len(part), trees, width + 1)
                for place, span in enumerate(spans.values()):
                    total[rows, place, :] += np.add.reduce(parts[:, :, span], axis=2)
                total[rows, -1, :] += parts[:, :, -1]
        total *= self.scale / len(self.boosters)
        total[:, -1, :] += self.center
        return total

    def from_scores(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (rows, classes), or values, shape (rows,), from mean raw scores."""
        if self.target.task == "regression":
            return np.asarray(scores[:, 0] * self.scale + self.center)
        return two_classes(sigmoid(scores[:, 0])) if self.target.task == "binary" else softmax(scores)

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and a LightGBM text for each model.

        Raises:
            ResourceError: it can't be written.
        """
        for number, text in enumerate(self.texts):
            write_atomically(folder / _booster_file(number), text.encode())
        own = {"boosters": len(self.texts), "center": self.center, "scale": self.scale}
        described = Described(self.target, self.features, self.summary, own)
        write_description(folder, self.name, described, ("lightgbm", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, or does not fit the others.
        """
        path = folder / "model.json"
        described = read_description(folder, BoostedTrees.name)
        count, center, scale = (described.own.get(key) for key in ("boosters", "center", "scale"))
        if not isinstance(count, int) or count < 1:
            raise damaged(path, f"boosters: {count!r}")
        if not (isinstance(center, float) and isinstance(scale, float) and math.isfinite(center) and scale > 0):
            raise damaged(path, f"center: {center!r}, scale: {scale!r}")
        texts = tuple(_read_text(folder / _booster_file(number)) for number in range(count))
        fitted = cls(
            BoostedTrees.name,
            described.target,
            described.features,
            described.summary,
            texts,
            center,
            scale,
        )
        _check_boosters(fitted, folder)
        return fitted


def _check_boosters(fitted: FittedBoostedTrees, folder: Path) -> None:
    """That LightGBM reads every text, and finds the features and classes that model.json names."""
    import lightgbm

    trees = len(fitted.target.classes) if fitted.target.task == "multiclass" else 1
    try:
        found = [(booster.num_feature(), booster.num_model_per_iteration()) for booster in fitted.boosters]
    except lightgbm.basic.LightGBMError as error:
        raise damaged(folder, str(error), "a model in LightGBM's text format") from error
    for number, (features, per_round) in enumerate(found):
        width = max(span.stop for span in spans_of(fitted.features).values())
        if (features, per_round) != (width, trees):
            raise damaged(
                folder / _booster_file(number),
                f"{features} features and {per_round} trees a round",
                f"{width} features and {trees} trees a round",
            )


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not text.startswith("tree\n") or "\nend of trees\n" not in text:
        raise damaged(path, "a text that does not begin or end as one", "a model in LightGBM's text format")
    return text


def _booster_file(number: int) -> str:
    return f"booster_{number:03d}.txt"


def _standard(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation (1 where all values are equal)."""
    center = float(np.mean(values))
    spread = float(np.std(values))
    return center, spread if spread > 0 else 1.0
