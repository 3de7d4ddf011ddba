"""Parameters of scikit-learn's estimators: plain values, of names that the estimator has, within its own bounds.

A helper of `sklearn_model.py`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import UsageError
from penstock.models.sklearn_estimators import Estimator, loaded

_OWN = {
    "random_state": "the seed of the pipeline says it",
    "n_jobs": "the cores of the job say it (--cores)",
    "class_weight": "give class_weight to the model itself",
    "verbose": "the job tells how far it is",
    "warm_start": "a training starts anew",
    "copy_X": "it changes no result",
    "categorical_features": "categories come one-hot",
    "probability": "scores are calibrated on rows held back",
    "decision_function_shape": "probabilities are made of one score for each class",
    "estimator": "it is a tree of depth 1, or 3 for numbers",
    "covariance_estimator": "it would be an object, not a plain value",
    "callback": "it would be an object, not a plain value",
}
_EPOCHS = ("max_iter", "tol", "early_stopping", "validation_fraction", "n_iter_no_change", "shuffle", "max_fun")


def checked_parameters(name: str, estimator: Estimator, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the estimator does not have, that are not plain, or that it can't take.

    Raises:
        UsageError: says which, and what there is.
    """
    if not parameters:
        return
    classes = [loaded(place) for place in (estimator.classifier, estimator.regressor) if place]
    known = {key for kind in classes for key in kind().get_params(deep=False)}
    refused = {**_OWN, **dict.fromkeys(_EPOCHS if estimator.epochs else (), "epochs of the model says how long")}
    allowed = sorted(known - set(refused) - (set(estimator.preset) - {"eta0"}))
    for key, value in parameters.items():
        where = f"sklearn: parameters: {key}"
        if key in refused and key in known:
            raise UsageError("not a parameter to be given here", where=where, remedy=refused[key])
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            raise UsageError(
                f"{name} has no such parameter",
                where=where,
                expected="one of " + ", ".join(allowed),
                got=repr(key),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        if not _plain(value):
            raise UsageError(
                "not a plain value",
                where=where,
                expected="null, true or false, a finite number, a text, or a list or mapping of these",
                got=repr(value),
            )
    _within_bounds([kind for kind in classes if set(parameters) <= set(kind().get_params(deep=False))], parameters)


def _within_bounds(classes: Sequence[Any], parameters: Mapping[str, Any]) -> None:
    """That the class for classes or the one for numbers takes the values; scikit-learn's own words if not."""
    complaints = []
    for kind in classes:
        try:
            kind(**parameters)._validate_params()
        except ValueError as error:
            complaints.append(str(error))
    if classes and len(complaints) == len(classes):
        raise UsageError("a parameter is out of its range", where="sklearn: parameters", got=complaints[0])


def _plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, str))


def plain_copy(value: Any) -> Any:
    """The value with tuples as lists and mappings as dictionaries: what JSON gives back.

    Example:
        >>> plain_copy({"hidden_layer_sizes": (10, 5)})
        {'hidden_layer_sizes': [10, 5]}
    """
    if isinstance(value, Mapping):
        return {key: plain_copy(each) for key, each in value.items()}
    return [plain_copy(each) for each in value] if isinstance(value, (list, tuple)) else value
