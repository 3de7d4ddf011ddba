"""scikit-learn's estimators as models: the definition `Sklearn`, and what it becomes, `FittedSklearn`.

A model. Which estimators there are is in `sklearn_estimators.py`, their parameters in `sklearn_parameters.py`, how they
learn in `sklearn_training.py`, how they are saved in `sklearn_file.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.durable import write_atomically
from penstock.errors import ArtifactError, DataError, SchemaError, UsageError
from penstock.model import FittedModel, Model, Target, TrainingData
from penstock.models import sklearn_memory
from penstock.models.arguments import real_number, whole_number
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.labels import ClassWeight, checked_class_weight, class_counts, weights_of_classes
from penstock.models.limits import refuse_beyond_memory
from penstock.models.prediction import class_batch, normalized, value_batch
from penstock.models.sklearn_estimators import Estimator, EstimatorName, estimator_of
from penstock.models.sklearn_matrix import Matrices
from penstock.models.sklearn_parameters import checked_parameters, plain_copy
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step

_FILE = "estimator.skops"
_BATCH_ROWS = 1024
_LEARNED_ROWS, _MOST_EPOCHS = 200_000, 200


@dataclass(frozen=True)
class Sklearn(Model):
    """An estimator of scikit-learn, by its name: ``--model sklearn:random_forest``.

    The class for two or more classes or the one for numbers is taken, as the task asks. Numbers come standardized
    (missing ones by their median), categories one-hot; trees get numbers as they are, gaps included where they can
    split on them; for counts (multinomial and complement naive Bayes) numbers come from 0 to 1. Texts become TF-IDF,
    and stay sparse where the estimator takes them so.

    - Batch by batch, in bounded memory: sgd, passive_aggressive, perceptron, mlp (a target of numbers is brought to
      mean 0 and deviation 1 for them, and back), and in one pass the naive Bayes models.
    - From all rows in memory: all others. What does not fit is refused before it starts, with the rows that would.

    Estimators without probabilities of their own (ridge, linear_svm, svm, perceptron, passive_aggressive, and sgd
    unless its loss is log_loss or modified_huber) get them from their scores: a sigmoid for each class, fitted on rows
    that were held back (Platt, "Probabilistic outputs for support vector machines", 1999). The time of svm grows with
    the square of the rows: beyond some 20,000 take linear_svm, or ``max_rows``.

    The same data, seed and cores give the same bytes.

    Args:
        estimator: which one.
        parameters: the estimator's own, by scikit-learn's names; plain values.
        class_weight: None, "balanced" (rows / (classes * rows of the class)), or weights by label.
        epochs: passes over the rows, where it learns batch by batch; None for 10 (of mlp 20), more on fewer than 20,000
            rows (200,000 / rows, at most 200).
        batch_rows: rows of a batch there; None for 1,024 [rows].
        calibration_share: the share of the rows (0 to 1) held back for probabilities, where the estimator has none,
            at most 50,000 rows; None for 0.1.
        max_categories: the most columns that a category becomes.
        max_tokens: the most tokens of a column of text that count (TF-IDF), or items of a column of lists.
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: there is no such estimator, an argument is out of its range, or does not apply.

    Example:
        >>> Sklearn("random_forest", {"n_estimators": 200}).estimator
        'random_forest'
        >>> Sklearn("random_forest", epochs=3)
        Traceback (most recent call last):
        penstock.errors.UsageError: sklearn: epochs: random_forest learns from all rows at once
          got:      3
          remedy:   leave it out
    """

    estimator: EstimatorName
    parameters: Mapping[str, Any] = field(default_factory=dict)
    class_weight: ClassWeight = None
    epochs: int | None = None
    batch_rows: int | None = None
    calibration_share: float | None = None
    max_categories: int = 50
    max_tokens: int = 5_000
    max_rows: int | None = None

    name = "sklearn"

    def __post_init__(self) -> None:
        estimator = estimator_of(self.estimator)
        if not isinstance(self.parameters, Mapping):
            raise UsageError(
                "not parameters", where="sklearn: parameters", expected="values by name", got=repr(self.parameters)
            )
        checked_parameters(self.estimator, estimator, self.parameters)
        object.__setattr__(self, "parameters", plain_copy(self.parameters))
        checked_class_weight(self.class_weight, "sklearn: class_weight")
        for name in ("epochs", "batch_rows", "max_rows"):
            whole_number(f"sklearn: {name}", getattr(self, name), 1, words=(None,))
        for name in ("epochs", "batch_rows"):
            once = name == "epochs" and estimator.epochs == 1
            if getattr(self, name) is not None and (once or not estimator.epochs):
                raise UsageError(
                    f"{self.estimator} learns from all rows " + ("in one pass" if once else "at once"),
                    where=f"sklearn: {name}",
                    got=repr(getattr(self, name)),
                    remedy="leave it out",
                )
        if self.calibration_share is not None:
            real_number("sklearn: calibration_share", self.calibration_share, 0, 0.9, above=True)
        whole_number("sklearn: max_categories", self.max_categories, 1)
        whole_number("sklearn: max_tokens", self.max_tokens, 1)

    @property
    def kind(self) -> Estimator:
        """What is known of the estimator."""
        return estimator_of(self.estimator)

    @property
    def rows_of_batch(self) -> int:
        """Rows of a batch, where it learns batch by batch."""
        return self.batch_rows or _BATCH_ROWS

    def epochs_on(self, rows: int) -> int:
        """Passes over so many rows, where it learns batch by batch."""
        if self.epochs is not None or self.kind.epochs <= 1:
            return self.epochs or self.kind.epochs
        return max(self.kind.epochs, min(_MOST_EPOCHS, _LEARNED_ROWS // max(rows, 1)))

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Times by their parts, numbers as the estimator wants them, categories one-hot, texts and lists as vectors."""
        from penstock.steps.columns import Cast, Select
        from penstock.steps.encode import OneHot
        from penstock.steps.impute import Impute
        from penstock.steps.scale import MinMax, Standardize

        usable = schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time)
        self._refuse_unusable(schema, usable)
        encoding = self.kind.encoding
        truths, words = schema.of_role(Role.boolean), schema.of_role(*WORDS)
        texts = tuple(n for n in schema.of_role(Role.category) if not pa.types.is_integer(schema[n].type))
        dates, parts = time_steps(schema, cyclic=not self.kind.trees)
        plain = (n for n in usable if schema[n].role not in (Role.category, Role.time, *WORDS))
        numbers = (*plain, *parts)
        steps: list[Step] = [Select(usable), *dates]
        if truths:
            steps.append(Cast(truths, "float32"))
        if numbers and (encoding != "gaps" or (words and self.kind.sparse)):
            steps.append(Impute(numbers, "median"))
        if numbers and encoding == "scaled":
            steps.append(Standardize(numbers))
        if numbers and encoding == "positive":
            steps.append(MinMax(numbers))
        if texts:
            steps.append(OneHot(texts, max_categories=self.max_categories))
        return [*steps, *word_steps(schema, self.max_tokens)]

    def _refuse_unusable(self, schema: Schema, usable: Sequence[str]) -> None:
        if not usable:
            raise SchemaError(
                "there is no feature that an estimator can learn from",
                where="sklearn",
                expected="numbers, truth values, categories, times, texts or lists",
                got=", ".join(f"{item.name!r} ({item.role.value})" for item in schema) or "no columns",
                remedy="give a column another role, or derive numbers from it by steps",
            )
        coded = [name for name in schema.of_role(Role.category) if pa.types.is_integer(schema[name].type)]
        if coded and not self.kind.trees:
            raise SchemaError(
                f"{self.estimator} can't learn from codes of categories",
                where=f"sklearn, column {coded[0]!r}",
                expected="categories as text (the model encodes them itself), or one-hot columns",
                got=f"codes ({schema[coded[0]].type})",
                remedy="leave the step `ordinal` out",
            )

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """About what the estimator holds at its peak, beyond the process itself [bytes]; see `sklearn_memory`."""
        return sklearn_memory.memory_needed(self, rows, schema, target)

    def train(self, data: TrainingData) -> FittedSklearn:
        """Learn.

        Raises:
            UsageError: there is no such estimator for the task, or it takes no weights and some are given.
            MissingExtra: skops is not installed.
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, too few rows to hold some back, or the estimator refuses the data.
        """
        self._refuse_task(data.target)
        from penstock.models.sklearn_file import to_bytes
        from penstock.models.sklearn_training import Training

        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        training = Training(self, data, labels, class_weights)
        kind = type(training.estimator).__name__
        learns = f"in batches of {self.rows_of_batch:,} rows" if self.kind.epochs else "from all rows in memory"
        data.listener.said(Note(f"sklearn:{self.estimator}", f"{kind}, {learns}", "", "parameters of the model"))
        if training.held:
            data.listener.said(
                Note(
                    f"sklearn:{self.estimator}",
                    f"{training.held:,} of {data.rows:,} rows held back, on which scores become probabilities",
                    "the estimator has none of its own",
                    "calibration_share of the model",
                )
            )
        fitted, summary = training.run()
        saved = to_bytes(fitted, self.kind, data.target.task)
        return FittedSklearn(
            self.name, data.target, data.schema, summary, self.estimator, saved, training.center, training.scale
        )

    @property
    def goes_on(self) -> bool:
        """Whether the estimator learns batch by batch."""
        return bool(self.kind.epochs)

    def update(self, fitted: FittedModel, data: TrainingData) -> FittedSklearn:
        """Go on by ``partial_fit`` on new rows, where the estimator learns batch by batch: a quarter of the epochs.

        The naive Bayes models take one pass, and are then what they would be of all rows at once. Where scores become
        probabilities, they do so by the new rows held back.

        Raises:
            UsageError: the estimator learns from all rows at once.
            MissingExtra: skops is not installed.
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, too few rows to hold some back, or the estimator refuses the data.
        """
        if not self.goes_on:
            raise self.cannot_go_on()
        from penstock.models.sklearn_file import to_bytes
        from penstock.models.sklearn_training import Training

        before = cast(FittedSklearn, fitted)
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        training = Training(self, data, labels, class_weights, start=before)
        made, summary = training.run()
        summary |= {"rows": data.rows + int(before.summary["rows"]), "new_rows": data.rows}
        epochs = f"{summary['epochs']} epoch{'s' if summary['epochs'] > 1 else ''} of {data.rows:,} new rows"
        data.listener.said(Note(f"sklearn:{self.estimator}", f"went on for {epochs}", "by partial_fit", "epochs"))
        saved = to_bytes(made, self.kind, data.target.task)
        return FittedSklearn(
            self.name, data.target, before.features, summary, self.estimator, saved, before.center, before.scale
        )

    def _refuse_task(self, target: Target) -> None:
        if self.kind.class_name(target.task):
            return
        numbers = target.task == "regression"
        raise UsageError(
            f"{self.estimator} predicts {'classes' if numbers else 'numbers'}",
            where="sklearn: estimator",
            expected=f"an estimator of {'numbers' if numbers else 'classes'}, such as "
            + ("ridge or random_forest" if numbers else "logistic_regression or random_forest"),
            got=f"target {target.column!r}, a {target.task} target",
            remedy="another estimator, or another role of the target",
        )


@dataclass(frozen=True, eq=False)
class FittedSklearn(FittedModel):
    """An estimator of scikit-learn that has learned.

    Attributes:
        estimator: its name in the list.
        saved: it, in skops' format.
        center: what is added to predicted numbers.
        scale: what they are multiplied by before.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    estimator: EstimatorName
    saved: bytes
    center: float = 0.0
    scale: float = 1.0

    @cached_property
    def learned(self) -> Any:
        """The estimator, read from its bytes: what predicts is what is saved."""
        from penstock.models.sklearn_file import from_bytes

        return from_bytes(self.saved, estimator_of(self.estimator), self.target.task)

    def to_go_on(self) -> Any:
        """The estimator made once more, to learn further: without the sigmoids that its scores became probabilities by.

        Raises:
            ValueError: the bytes are none of it.
        """
        from penstock.models.sklearn_file import from_bytes

        made = from_bytes(self.saved, estimator_of(self.estimator), self.target.task)
        return made.estimator.estimator if hasattr(made, "calibrated_classifiers_") else made

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions, 256 at a time.

        A row that the estimator gives no probability at all (all are 0, or none is a number) gets equal ones.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
            DataError: the estimator refuses the values, such as infinite ones.
        """
        matrices = Matrices(estimator_of(self.estimator), self.features)
        parts = matrices.padded(matrices.of(batch.columns))
        if self.target.task == "regression":
            found = [self._asked("predict", part).reshape(-1)[:rows] for part, rows in parts]
            values = np.concatenate([np.empty(0), *found])
            return value_batch(batch, values * self.scale + self.center)
        shares = np.zeros((len(batch), len(self.target.classes)))
        start = 0
        for part, rows in parts:
            shares[start : start + rows, self.learned.classes_] = self._asked("predict_proba", part)[:rows]
            start += rows
        return class_batch(batch, self.target, _proper(shares))

    def _asked(self, method: str, part: Any) -> npt.NDArray[np.float64]:
        try:
            return np.asarray(getattr(self.learned, method)(part), np.float64)
        except ValueError as error:
            raise DataError(
                "the estimator can't predict this",
                where=f"sklearn:{self.estimator}",
                got=" ".join(str(error).split())[:300],
                remedy="clip such values before (a step clip)",
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``model.json``, and ``estimator.skops``.

        Raises:
            ResourceError: it can't be written.
        """
        write_atomically(folder / _FILE, self.saved)
        own = {
            "estimator": self.estimator,
            "center": self.center,
            "scale": self.scale,
            "scikit-learn": version("scikit-learn"),
        }
        described = Described(self.target, self.features, self.summary, own)
        write_description(folder, self.name, described, ("scikit-learn", "skops", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, of another scikit-learn, or does not fit the other.
            MissingExtra: skops is not installed.
        """
        path = folder / "model.json"
        described = read_description(folder, Sklearn.name)
        name, center, scale = (described.own.get(key) for key in ("estimator", "center", "scale"))
        try:
            estimator = estimator_of(name)
        except UsageError as error:
            raise damaged(path, f"estimator: {name!r}") from error
        if not estimator.class_name(described.target.task):
            raise damaged(path, f"{name} of the task {described.target.task!r}")
        if not (isinstance(center, float) and isinstance(scale, float) and math.isfinite(center) and scale > 0):
            raise damaged(path, f"center: {center!r}, scale: {scale!r}")
        _refuse_other_version(path, described.own.get("scikit-learn"))
        try:
            saved = (folder / _FILE).read_bytes()
        except OSError as error:
            raise damaged(folder / _FILE, str(error)) from error
        named = cast("EstimatorName", name)
        fitted = cls(Sklearn.name, described.target, described.features, described.summary, named, saved, center, scale)
        fitted.check(folder / _FILE)
        return fitted

    def check(self, path: Path) -> None:
        """That the bytes are the estimator that the description names.

        Raises:
            ArtifactError: they are not.
        """
        try:
            learned = self.learned
        except ValueError as error:
            raise damaged(path, str(error), "an estimator that Penstock wrote") from error
        width = Matrices(estimator_of(self.estimator), self.features).width
        if getattr(learned, "n_features_in_", None) != width:
            raise damaged(
                path, f"an estimator of {getattr(learned, 'n_features_in_', None)} columns", f"one of {width}"
            )
        if self.target.task != "regression":
            classes = np.asarray(getattr(learned, "classes_", []))
            places = range(len(self.target.classes))
            if not len(classes) or not set(classes.tolist()) <= set(places) or not hasattr(learned, "predict_proba"):
                raise damaged(path, f"classes {classes.tolist()}", f"some of {list(places)}")


def _proper(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows that are no probabilities at all as equal shares; all others as they are."""
    wrong = ~(np.isfinite(shares).all(axis=1) & (shares.max(axis=1, initial=0.0) > 0))
    return normalized(np.where(wrong[:, None], 0.0, shares)) if wrong.any() else shares


def _refuse_other_version(path: Path, written: Any) -> None:
    """scikit-learn reads what the same minor version of it wrote, and promises no more.

    Raises:
        ArtifactError: it was another one.
    """
    here = version("scikit-learn")
    if not isinstance(written, str) or written.split(".")[:2] != here.split(".")[:2]:
        raise ArtifactError(
            "the model was saved by another version of scikit-learn",
            where=str(path),
            expected=f"scikit-learn {here}",
            got=f"scikit-learn {written}",
            remedy=f"pip install scikit-learn=={written}, or train again",
        )
