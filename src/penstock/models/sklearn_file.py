"""A fitted estimator of scikit-learn as bytes, and back: skops' format, of a frozen list of types, the same each time.

A helper of `sklearn_model.py`, and the only file that knows skops. Its format is a zip of ``schema.json``, a tree of
plain values and named types, and arrays in numpy's own format; nothing in it is code. Three things are done to it here:

- names that come from addresses in memory become numbers in the order they are met, times are left out, and the unused
  bytes between the fields of an array of records become zeros, so that the same estimator is the same bytes;
- before anything is made, every type named is looked up in the estimator's own list;
- after it is made, the places that compiled code would follow without looking (the children of a tree's nodes, the rows
  of a tree of neighbours, the support vectors) are checked to be inside their arrays.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import MissingExtra, UsageError
from penstock.model import TaskName
from penstock.models.sklearn_estimators import PLAIN_TYPES, Estimator

_SCHEMA = "schema.json"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_SHARED = ("NdArrayNode", "ObjectNode", "SparseMatrixNode")
"""Nodes that may stand in several places and be one thing; of all others each place has its own."""
_UNTRUSTED_NODES = ("MethodNode", "FunctionNode", "PartialNode", "OperatorFuncNode")


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra(
            "models of scikit-learn are saved by skops, and it is not installed",
            where="sklearn",
            got=str(error),
            remedy="pip install skops",
        ) from error
    return skops.io


def allowed_types(estimator: Estimator, task: TaskName) -> frozenset[str]:
    """The types that a saved estimator may be made of: a frozen list, with the class itself."""
    from penstock.models.sklearn_estimators import loaded

    kind = loaded(estimator.class_name(task))
    return frozenset((*PLAIN_TYPES, *estimator.types, f"{kind.__module__}.{kind.__name__}"))


def to_bytes(fitted: Any, estimator: Estimator, task: TaskName) -> bytes:
    """The fitted estimator as bytes, the same for the same estimator.

    Raises:
        MissingExtra: skops is not installed.
        UsageError: its parameters made it of types beyond the list.
    """
    source = zipfile.ZipFile(io.BytesIO(_skops().dumps(fitted)))
    names = _Names()
    tree = names.of(json.loads(source.read(_SCHEMA)))
    strangers = sorted(set(_types(tree)) - allowed_types(estimator, task))
    if strangers:
        raise UsageError(
            "with these parameters the estimator can't be saved",
            where="sklearn: parameters",
            expected="an estimator made of the types that it is known to be made of",
            got=", ".join(strangers),
            remedy="leave out the parameter that brings it",
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as folder:
        folder.writestr(zipfile.ZipInfo(_SCHEMA, _EARLIEST), json.dumps(tree))
        for old, new in names.files.items():
            folder.writestr(zipfile.ZipInfo(new, _EARLIEST), _settled(source.read(old)))
    return out.getvalue()


class _Names:
    """New names for nodes and files: numbers in the order they are met."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._shared: dict[Any, int] = {}
        self._count = 0

    def of(self, node: Any) -> Any:
        """A node of skops' tree with new names."""
        if isinstance(node, list):
            return [self.of(each) for each in node]
        if not isinstance(node, dict):
            return node
        shared = node.get("__loader__") in _SHARED
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__":
                found[key] = self._identity(value, shared)
            elif key == "file" and isinstance(value, str):
                found[key] = self.files.setdefault(value, f"{len(self.files)}.{value.rsplit('.', 1)[-1]}")
            else:
                found[key] = self.of(value)
        return found

    def _identity(self, old: Any, shared: bool) -> int:
        if shared and old in self._shared:
            return self._shared[old]
        self._count += 1
        if shared:
            self._shared[old] = self._count
        return self._count


def _types(node: Any) -> Iterator[str]:
    """The types that a tree names, and the kinds of node that would call something."""
    if isinstance(node, list):
        for each in node:
            yield from _types(each)
    elif isinstance(node, dict):
        if "__module__" in node or "__class__" in node:
            yield f"{node.get('__module__')}.{node.get('__class__')}"
        if node.get("__loader__") in _UNTRUSTED_NODES:
            yield str(node["__loader__"])
        for each in node.values():
            yield from _types(each)


def _settled(data: bytes) -> bytes:
    """An array's bytes, with zeros between the fields of its records."""
    if not data.startswith(b"\x93NUMPY"):
        return data
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    out = io.BytesIO()
    np.save(out, clean, allow_pickle=False)
    return out.getvalue()


def from_bytes(data: bytes, estimator: Estimator, task: TaskName) -> Any:
    """The fitted estimator that `to_bytes` wrote.

    Raises:
        MissingExtra: skops is not installed.
        ValueError: the bytes are none of it: damaged, or made of other types, or pointing outside its own arrays.
    """
    skops = _skops()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as folder:
            tree = json.loads(folder.read(_SCHEMA))
        strangers = sorted(set(_types(tree)) - allowed_types(estimator, task))
        if strangers:
            raise ValueError("types that it is not made of: " + ", ".join(strangers))
        fitted = skops.loads(data, trusted=sorted(allowed_types(estimator, task)))
    except ValueError:
        raise
    except Exception as error:  # skops and zipfile raise whatever a damaged file leads them to
        raise ValueError(f"{type(error).__name__}: {error}") from error
    columns = getattr(fitted, "n_features_in_", 0)
    _check_places(fitted, set(), columns if isinstance(columns, int) else 0)
    return fitted


# ---------------------------------------------------------------------- what compiled code would follow


def _check_places(value: Any, seen: set[int], columns: int) -> None:
    """That every place inside the estimator, and inside those that it is made of, leads to where something is."""
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type(None))):
        return
    seen.add(id(value))
    kind = type(value).__name__
    if kind == "Tree":
        nodes = value.__getstate__()["nodes"]
        inside = nodes["left_child"] != -1
        _check_children(inside, nodes["left_child"], nodes["right_child"])
        _within(nodes["feature"][inside], value.n_features)
    elif kind == "TreePredictor":
        inside = value.nodes["is_leaf"] == 0
        _check_children(inside, value.nodes["left"], value.nodes["right"])
        _within(value.nodes["feature_idx"][inside], columns)
        _within(value.nodes["bitset_idx"][value.nodes["is_categorical"] != 0], len(value.raw_left_cat_bitsets))
    elif kind in ("KDTree", "BallTree"):
        rows, places, nodes, _ = value.get_arrays()
        _within(places, len(rows))
        _within(nodes["idx_start"], len(rows) + 1)
        _within(nodes["idx_end"], len(rows) + 1)
    elif kind in ("SVC", "SVR"):
        _check_support(value)
    if isinstance(value, (list, tuple)):
        inner = list(value)
    elif isinstance(value, np.ndarray):
        inner = list(value.ravel()) if value.dtype == object else []
    elif isinstance(value, dict):
        inner = list(value.values())
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    for each in inner:
        _check_places(each, seen, columns)


def _check_children(inside: npt.NDArray[np.bool_], *sides: npt.NDArray[Any]) -> None:
    """Children come after their parent, inside the tree, so that every way ends at a leaf."""
    places = np.arange(len(inside))[inside]
    for side in sides:
        children = side[inside].astype(np.int64)
        if not ((children > places) & (children < len(inside))).all():
            raise ValueError("a tree whose nodes lead outside it")


def _within(places: npt.NDArray[Any], count: int) -> None:
    if len(places) and (int(places.min()) < 0 or int(places.max()) >= count):
        raise ValueError("places outside the arrays that they lead into")


def _check_support(machine: Any) -> None:
    vectors = machine.support_vectors_.shape
    counts = np.asarray(machine._n_support)
    total = counts[0] if type(machine).__name__ == "SVR" else counts.sum()  # of numbers it is there twice
    fits = (
        int(total) == vectors[0]
        and bool((counts >= 0).all())
        and machine._dual_coef_.shape[1] == vectors[0]
        and len(machine.support_) == vectors[0]
        and vectors[1] == machine.n_features_in_
    )
    if not fits:
        raise ValueError("support vectors that do not fit their counts")
