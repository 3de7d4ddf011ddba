"""How boosted trees are trained for the data at hand: how many folds, of which shapes, with which parameters.

A helper of `boosted.py`: pure functions of the definition and of what is known of the data before training; LightGBM
itself is in `boosted_training.py`. The defaults were chosen on public data sets by the rows held out (see `SHAPES`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.model import Target, TrainingData, spans_of
from penstock.schema import Schema
from penstock.source import Note

if TYPE_CHECKING:
    from penstock.models.boosted import BoostedTrees

SMALL_ROWS = 200_000
"""Up to so many rows, and `SMALL_VALUES` of them times features, several models are worth their time."""
SMALL_VALUES = 5_000_000
AUTO_FOLDS = 5
AUTO_BAGS = 2
LEAST_ROWS = 20
"""Fewer rows than this can't be held back from and learned from at once."""
MOST_VALIDATION_ROWS = 200_000
_USED = 64
"""Places of a vector that a row uses, as far as memory is reckoned: a text of so many different words."""
FEATURES_OF_A_TREE = 4
"""A tree sees no fewer features than this, whatever the fraction."""
MOST_STEP = 10.0
"""Of classes, a leaf moves the raw score by no more than this times the learning rate.

A Newton step on rows of a rare class is one over its share: where it is 1 in 400, the first trees overshoot, and those
that follow diverge. XGBoost's documentation of ``max_delta_step`` advises 1 to 10 for such classes; in others hardly
any leaf comes so far.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """One configuration of trees: what it changes of the definition's parameters."""

    name: str
    text: str
    leaves: float = 1.0
    features: float = 1.0
    rate: float = 1.0
    changes: Mapping[str, Any] | None = None


SHAPES = (
    Shape("plain", "as defined"),
    Shape(
        "grouped",
        "categories in groups, strongly shrunk; twice the features for a tree",
        features=2.0,
        changes={"max_cat_to_onehot": 4, "cat_l2": 50.0, "cat_smooth": 50.0, "min_data_in_leaf": 20},
    ),
    Shape("deep", "twice the leaves, at most six levels", leaves=2.0, changes={"max_depth": 6}),
    Shape("slow", "fewer features for a tree, smaller steps", features=2 / 3, rate=0.6),
)
"""Shapes in the order in which ``bags`` takes them. Their mean is better than the best of them: they err
differently (Breiman, "Bagging predictors", Machine Learning 24, 1996)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be trained.

    Attributes:
        folds: models per shape, each without one fold; 1 for one model with a share held back.
        share: of the rows held back where ``folds`` is 1 (0 for none).
        shapes: the configurations.
        side_by_side: whether the models are small enough to be trained at the same time, each on one thread.
        parameters: LightGBM's parameters that all shapes share.
        notes: what was decided, and why.
    """

    folds: int
    share: float
    shapes: tuple[Shape, ...]
    side_by_side: bool
    parameters: Mapping[str, Any]
    notes: tuple[Note, ...]


def plan(model: BoostedTrees, rows: int, schema: Schema, target: Target, *, ordered: bool = False) -> Plan:
    """What to train on so many rows of these features; of rows in the order of time, the latest are held back."""
    small = rows <= SMALL_ROWS and rows * width_of(schema) <= SMALL_VALUES
    folds = model.folds if model.folds != "auto" else (AUTO_FOLDS if small and rows >= 5 * LEAST_ROWS else 1)
    if ordered and model.folds == "auto":
        folds = 1
    bags = model.bags if model.bags != "auto" else (AUTO_BAGS if small and folds > 1 else 1)
    share = 0.0
    if folds == 1 and model.early_stopping_rounds is not None:
        share = min(model.validation_share, MOST_VALIDATION_ROWS / max(rows, 1))
    size = f"{rows:,} rows of {len(schema):,} features"
    bound = f"several models where there are up to {SMALL_ROWS:,} rows and {SMALL_VALUES:,} values"
    models = f"{bags} model{'s' if bags > 1 else ''}"
    what = (
        f"{folds} folds by hash, {bags} shape{'s' if bags > 1 else ''} of trees: the mean of {folds * bags} models"
        if folds > 1
        else f"{models}, {share:.1%} of the rows held back by hash to stop at the best round"
    )
    note = Note("boosted trees", what, f"{size}; {bound}", "folds and bags of the model")
    return Plan(folds, share, SHAPES[:bags], small and folds * bags > 1, common(model, rows, schema, target), (note,))


def common(model: BoostedTrees, rows: int, schema: Schema, target: Target) -> dict[str, Any]:
    """LightGBM's parameters for all shapes."""
    large = rows > SMALL_ROWS
    objectives: dict[str, dict[str, Any]] = {
        "binary": {"objective": "binary", "metric": "binary_logloss"},
        "multiclass": {"objective": "multiclass", "metric": "multi_logloss", "num_class": len(target.classes)},
        "regression": {"objective": "regression", "metric": "l2"},
    }
    return {
        **objectives[target.task],
        "learning_rate": model.learning_rate if model.learning_rate != "auto" else (0.1 if large else 0.05),
        "num_leaves": model.num_leaves if model.num_leaves != "auto" else (63 if large else 15),
        "max_depth": model.max_depth,
        "min_data_in_leaf": model.min_data_in_leaf if model.min_data_in_leaf != "auto" else (20 if large else 5),
        "feature_fraction": model.feature_fraction if model.feature_fraction != "auto" else (1.0 if large else 0.3),
        "bagging_fraction": model.bagging_fraction,
        "bagging_freq": 1 if model.bagging_fraction < 1 else 0,
        "lambda_l2": model.lambda_l2,
        "max_bin": model.max_bin,
        "max_cat_to_onehot": model.max_cat_to_onehot,
        "cat_l2": model.cat_l2,
        "cat_smooth": model.cat_smooth,
        # Bins are made once for all shapes, so nothing may depend on one shape's leaves.
        "feature_pre_filter": False,
        **_monotone(model, schema, target),
        **({} if target.task == "regression" else {"max_delta_step": MOST_STEP}),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _monotone(model: BoostedTrees, schema: Schema, target: Target) -> dict[str, Any]:
    """The constraints in LightGBM's words: for each feature 1, -1 or 0.

    Raises:
        UsageError: a constraint is for no feature, or for one without an order; or there are more than two classes.
    """
    if not model.monotone:
        return {}
    if target.task == "multiclass":
        raise UsageError(
            "more than two classes have no direction",
            where="boosted: monotone",
            expected="numbers or two classes to predict",
            got=f"{len(target.classes)} classes",
            remedy="leave monotone out",
        )
    ordered = [field.name for field in schema if field.categories is None and field.width is None]
    for column in model.monotone:
        if column not in ordered:
            raise UsageError(
                "no feature with an order",
                where="boosted: monotone",
                expected="one of " + ", ".join(map(repr, ordered)),
                got=repr(column),
                remedy="categories have none" if column in schema else "name a column as it comes out of the steps",
            )
    signs = [0] * max(span.stop for span in spans_of(schema).values())
    for column, way in model.monotone.items():
        signs[spans_of(schema)[column].start] = 1 if way == "increasing" else -1
    return {"monotone_constraints": signs, "monotone_constraints_method": "intermediate"}


def of_shape(parameters: Mapping[str, Any], shape: Shape, features: int) -> dict[str, Any]:
    """The parameters of one shape, for so many features."""
    changed = {**parameters, **(shape.changes or {})}
    if "min_data_in_leaf" in (shape.changes or {}):
        changed["min_data_in_leaf"] = max(parameters["min_data_in_leaf"], changed["min_data_in_leaf"])
    changed["num_leaves"] = max(2, round(parameters["num_leaves"] * shape.leaves))
    changed["learning_rate"] = parameters["learning_rate"] * shape.rate
    fraction = parameters["feature_fraction"] * shape.features
    changed["feature_fraction"] = min(1.0, max(fraction, FEATURES_OF_A_TREE / max(features, 1)))
    return changed


def categorical(schema: Schema) -> tuple[int, ...]:
    """The places of the features that are codes of categories."""
    spans = spans_of(schema)
    return tuple(spans[field.name].start for field in schema if field.categories is not None)


def width_of(schema: Schema) -> int:
    """How many places the features take, vectors written out."""
    return max((span.stop for span in spans_of(schema).values()), default=0)


def by_feature(schema: Schema, gains: Any) -> list[float]:
    """Gains by place summed up by feature."""
    return [float(sum(gains[span])) for span in spans_of(schema).values()]


def memory_needed(model: BoostedTrees, rows: int, schema: Schema, target: Target, at_once: int = 1) -> int:
    """About what LightGBM holds at its peak while it trains so many models at once, beyond the process itself [bytes].

    Of every value a bin of one byte (two beyond 255 bins): once for all rows, and for each model twice, by column and
    by row. For each row also label, weight, gradient, hessian, scores and places. Beside that what is left of the
    sample of values that the bins are made from, and histograms of ``num_leaves`` leaves. Where that is more, the
    sample while the bins are made. Measured (growth of what the process holds) on 1 and 3 million rows of 20 and 60
    features with 2 and 5 classes, it is 10 to 30 % above; on 200,000 rows within 10 %.
    """
    features = max(len(schema), 1)
    trees = len(target.classes) if target.task == "multiclass" else 1
    chosen = plan(model, rows, schema, target)
    held_back = chosen.folds > 1 or chosen.share > 0
    single = [field for field in schema if field.width is None]
    sizes = [_bins(model, len(field.categories) if field.categories else 0) for field in single]
    vectors = sum(min(field.width, _USED) for field in schema if field.width is not None)
    bins = 4 * vectors + sum(1 if size <= 256 else 2 if size <= 65_536 else 4 for size in sizes)
    per_model = 2 * bins + 20 + 16 * trees + (12 if held_back else 0)
    per_row = 22 + at_once * per_model + (bins if held_back else 0) + (8 * trees if chosen.folds > 1 else 0)
    sample = min(rows, 200_000) * features
    leaves = max(of_shape(chosen.parameters, shape, features)["num_leaves"] for shape in chosen.shapes)
    histograms = (leaves + 8) * (sum(sizes) + _bins_of_vectors(model, rows, schema)) * 16 * at_once
    models = chosen.folds * len(chosen.shapes) * trees * min(model.rounds, 2000) * leaves * 50
    binning = (bins + 10 + 30 * vectors) * rows + 12 * sample
    training = per_row * rows + 6 * sample + histograms + models
    return int(max(binning, training) + (24 + 8 * at_once) * 2**20)


def models_at_once(model: BoostedTrees, data: TrainingData, memory: int) -> int:
    """How many models are trained side by side, on a thread each, within the cores and this memory [bytes]."""
    chosen = plan(model, data.rows, data.schema, data.target)
    if not chosen.side_by_side:
        return 1
    most = min(data.resources.cores, chosen.folds * len(chosen.shapes))
    fits = (n for n in range(most, 1, -1) if memory_needed(model, data.rows, data.schema, data.target, n) <= memory)
    return next(fits, 1)


def _bins_of_vectors(model: BoostedTrees, rows: int, schema: Schema) -> int:
    """Bins of all places of the vectors: LightGBM makes none of fewer than three values."""
    total = 0
    for field in schema:
        if field.width is not None:
            values = rows * min(field.width, _USED) // field.width
            total += field.width * min(model.max_bin, max(2, values // 3))
    return total


def _bins(model: BoostedTrees, categories: int) -> int:
    return categories + 1 if categories else model.max_bin


def importance(names: Sequence[str], gains: Sequence[float]) -> dict[str, float]:
    """Shares of the total gain by feature, the largest first; of equal ones in the features' order."""
    total = sum(gains)
    shares = [gain / total if total > 0 else 0.0 for gain in gains]
    order = sorted(range(len(names)), key=lambda place: (-shares[place], place))
    return {names[place]: shares[place] for place in order}
