"""What models ask of the labels before they learn: that there is something to learn, and how much each row weighs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.errors import DataError, UsageError
from penstock.model import Target

ClassWeight: TypeAlias = Literal["balanced"] | Mapping[str, float] | None


def class_counts(labels: npt.NDArray[Any], target: Target) -> npt.NDArray[np.int64] | None:
    """Rows of each class, shape (classes,); None for a regression.

    Raises:
        DataError: no rows, one class only, or a target that is not finite.
    """
    if len(labels) == 0:
        raise DataError(
            "there are no rows to learn from",
            where=f"target {target.column!r}",
            expected="rows with a target",
            got="0 rows",
            remedy="look at what was rejected or dropped before the model",
        )
    if target.task == "regression":
        if not np.isfinite(labels).all():
            raise DataError(
                "the target has values that are not finite numbers",
                where=f"target {target.column!r}",
                expected="a number in every row",
                got=f"{int((~np.isfinite(labels)).sum()):,} rows of {len(labels):,} without one",
                remedy="drop or impute the rows without a target",
            )
        return None
    counts = np.bincount(labels, minlength=len(target.classes)).astype(np.int64)
    if np.count_nonzero(counts) < 2:
        raise DataError(
            "only one class is in the training data",
            where=f"target {target.column!r}",
            expected="rows of two classes or more",
            got=f"{len(labels):,} rows, all of {target.classes[int(np.argmax(counts))]!r}",
            remedy="train on data with every class, or name another target",
        )
    return counts


def checked_class_weight(value: ClassWeight, where: str) -> None:
    """Refuse what is no class weight.

    Raises:
        UsageError: it is neither None, "balanced" nor positive numbers by label.
    """
    if value is None or value == "balanced":
        return
    if isinstance(value, Mapping) and value:
        numbers = [v for v in value.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(numbers) == len(value) and np.isfinite(numbers).all() and min(numbers) > 0:
            return
    raise UsageError(
        "not class weights", where=where, expected="'balanced', or a positive number for each label", got=repr(value)
    )


def weights_of_classes(
    class_weight: ClassWeight, target: Target, counts: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float64] | None:
    """The weight of a row of each class, shape (classes,); None where all weigh the same.

    "balanced" is rows / (classes * rows of the class), as scikit-learn has it. A label that is not named weighs 1.

    Raises:
        UsageError: weights are asked for in a regression, or for a label that is not a class.
    """
    if class_weight is None:
        return None
    if counts is None:
        raise UsageError(
            "class weights need classes",
            where="class_weight",
            expected="None for a regression",
            got=repr(class_weight),
            remedy="leave class_weight out",
        )
    if class_weight == "balanced":
        met = np.maximum(counts, 1)
        return np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * met), 1.0)
    assert not isinstance(class_weight, str)
    strangers = [label for label in class_weight if label not in target.classes]
    if strangers:
        raise UsageError(
            "a class weight is for no class of the target",
            where="class_weight",
            expected="labels among " + ", ".join(map(repr, target.classes)),
            got=", ".join(map(repr, strangers)),
        )
    return np.array([float(class_weight.get(label, 1.0)) for label in target.classes])
