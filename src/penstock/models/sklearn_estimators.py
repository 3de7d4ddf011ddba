"""The closed list of scikit-learn's estimators that `Sklearn` may be, and what is known of each before it learns.

A helper of `sklearn_model.py`: names, classes, encodings, memory, and the types that a saved one is made of. Nothing of
scikit-learn is loaded here until a class is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from penstock.errors import UsageError
from penstock.model import TaskName

EstimatorName: TypeAlias = Literal[
    "logistic_regression",
    "linear_regression",
    "ridge",
    "lasso",
    "elastic_net",
    "sgd",
    "passive_aggressive",
    "perceptron",
    "linear_svm",
    "svm",
    "k_nearest_neighbors",
    "decision_tree",
    "random_forest",
    "extra_trees",
    "hist_gradient_boosting",
    "gradient_boosting",
    "ada_boost",
    "gaussian_naive_bayes",
    "multinomial_naive_bayes",
    "bernoulli_naive_bayes",
    "complement_naive_bayes",
    "linear_discriminant_analysis",
    "quadratic_discriminant_analysis",
    "mlp",
]
NAMES: tuple[str, ...] = get_args(EstimatorName)

Encoding: TypeAlias = Literal["scaled", "positive", "gaps", "filled"]
"""How numbers come: standardized; from 0 to 1; as they are, NaN where missing; as they are, the median where missing.
Categories are one-hot in all of them."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """One of the list.

    Attributes:
        classifier: the class for two or more classes, as MODULE:NAME; empty where there is none.
        regressor: the class for numbers; empty where there is none.
        encoding: how numbers come.
        epochs: passes over the rows where it learns batch by batch, by ``partial_fit``; 0 where it learns from all rows
            in memory.
        sparse: whether columns of vectors stay sparse.
        scores_only: whether its classifier, as a rule, has no probabilities of its own.
        copies: how often it holds the matrix of features at its peak, the matrix itself included.
        trees: whether it is made of trees: 2 grown to the last row, 1 shallow ones.
        preset: settings that make it what its name says.
        regressor_preset: the same for numbers.
        types: what a saved one is made of, beside its class and arrays.
    """

    classifier: str = ""
    regressor: str = ""
    encoding: Encoding = "scaled"
    epochs: int = 0
    sparse: bool = True
    scores_only: bool = False
    copies: float = 2.0
    trees: int = 0
    preset: Mapping[str, Any] = field(default_factory=dict)
    regressor_preset: Mapping[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ()

    def class_name(self, task: TaskName) -> str:
        """MODULE:NAME of the class for a task; empty where there is none."""
        return self.regressor if task == "regression" else self.classifier

    def made(self, task: TaskName, parameters: Mapping[str, Any]) -> Any:
        """scikit-learn's estimator for a task, not fitted."""
        preset = self.regressor_preset if task == "regression" else self.preset
        return loaded(self.class_name(task))(**{**preset, **parameters})


def loaded(place: str) -> Any:
    """A class of scikit-learn, of this list alone."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def estimator_of(name: Any) -> Estimator:
    """The estimator of this name.

    Raises:
        UsageError: there is none.

    Example:
        >>> estimator_of("ridge").regressor
        'sklearn.linear_model:Ridge'
    """
    if name not in ESTIMATORS:
        meant = _meant(str(name))
        raise UsageError(
            "no estimator of this name",
            where="sklearn: estimator",
            expected="one of " + ", ".join(NAMES),
            got=repr(name),
            remedy=f"did you mean {meant!r}?" if meant else "write --model sklearn:NAME, or estimator: NAME",
        )
    return ESTIMATORS[name]


def _meant(name: str) -> str:
    """Ours for scikit-learn's name of a class, or one that is written much like it; empty for none."""
    for ours, estimator in ESTIMATORS.items():
        if name in (estimator.classifier.rpartition(":")[2], estimator.regressor.rpartition(":")[2]) and name:
            return ours
    return next(iter(difflib.get_close_matches(name.lower(), NAMES, n=1)), "")


_CALIBRATED = (
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.frozen._frozen.FrozenEstimator",
)
PLAIN_TYPES = (
    *("builtins." + name for name in ("str", "int", "float", "bool", "NoneType", "list", "tuple", "dict", "type")),
    *("numpy." + name for name in ("ndarray", "float64", "float32", "int64", "int32", "uint64", "uint8", "bool")),
    *_CALIBRATED,
    "scipy.sparse._csr.csr_matrix",
)
"""What every saved estimator may be made of: plain values, arrays, and the calibration of scores."""

_LOSSES = (
    *(
        f"sklearn.linear_model._sgd_fast.{name}"
        for name in ("Hinge", "SquaredHinge", "EpsilonInsensitive", "SquaredEpsilonInsensitive", "ModifiedHuber")
    ),
    *(
        f"sklearn._loss._loss.Cy{name}"
        for name in (
            "HalfBinomialLoss",
            "HalfMultinomialLoss",
            "HalfSquaredError",
            "AbsoluteError",
            "HuberLoss",
            "PinballLoss",
            "ExponentialLoss",
            "HalfGammaLoss",
            "HalfPoissonLoss",
        )
    ),
    *(
        f"sklearn._loss.loss.{name}"
        for name in (
            "HalfBinomialLoss",
            "HalfMultinomialLoss",
            "HalfSquaredError",
            "AbsoluteError",
            "HuberLoss",
            "PinballLoss",
            "ExponentialLoss",
            "HalfGammaLoss",
            "HalfPoissonLoss",
        )
    ),
    *(
        f"sklearn._loss.link.{name}"
        for name in ("Interval", "IdentityLink", "LogLink", "LogitLink", "HalfLogitLink", "MultinomialLogit")
    ),
)
_RANDOM = (
    "numpy.random.mtrand.RandomState",
    "numpy.random._generator.Generator",
    "numpy.random._pcg64.PCG64",
)
_TREES = (
    "sklearn.tree._tree.Tree",
    *(
        f"sklearn.tree._classes.{name}"
        for name in (
            "DecisionTreeClassifier",
            "DecisionTreeRegressor",
            "ExtraTreeClassifier",
            "ExtraTreeRegressor",
        )
    ),
)
_BINARIZER = ("sklearn.preprocessing._label.LabelBinarizer", "sklearn.preprocessing._label.LabelEncoder")
_NEIGHBORS = (
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    *(
        f"sklearn.metrics._dist_metrics.{name}64"
        for name in ("EuclideanDistance", "ManhattanDistance", "ChebyshevDistance", "MinkowskiDistance")
    ),
)
_LINEAR, _SVM, _NEAR, _ENSEMBLE, _BAYES = (
    "sklearn." + name for name in ("linear_model:", "svm:", "neighbors:", "ensemble:", "naive_bayes:")
)
_HISTOGRAM = "sklearn.ensemble._hist_gradient_boosting."

_PASSIVE_AGGRESSIVE = {"learning_rate": "pa1", "eta0": 1.0, "penalty": None}
"""Crammer et al., "Online passive-aggressive algorithms", JMLR 7, 2006: PA-I, whose C scikit-learn calls eta0."""

ESTIMATORS: Mapping[str, Estimator] = {
    "logistic_regression": Estimator(_LINEAR + "LogisticRegression"),
    "linear_regression": Estimator(regressor=_LINEAR + "LinearRegression", copies=4),
    "ridge": Estimator(_LINEAR + "RidgeClassifier", _LINEAR + "Ridge", scores_only=True, copies=3, types=_BINARIZER),
    "lasso": Estimator(regressor=_LINEAR + "Lasso", copies=3),
    "elastic_net": Estimator(regressor=_LINEAR + "ElasticNet", copies=3),
    "sgd": Estimator(
        _LINEAR + "SGDClassifier", _LINEAR + "SGDRegressor", epochs=10, scores_only=True, types=_LOSSES + _RANDOM
    ),
    "passive_aggressive": Estimator(
        _LINEAR + "SGDClassifier",
        _LINEAR + "SGDRegressor",
        epochs=10,
        scores_only=True,
        preset={**_PASSIVE_AGGRESSIVE, "loss": "hinge"},
        regressor_preset={**_PASSIVE_AGGRESSIVE, "loss": "epsilon_insensitive"},
        types=_LOSSES + _RANDOM,
    ),
    "perceptron": Estimator(_LINEAR + "Perceptron", epochs=10, scores_only=True, types=_LOSSES),
    "linear_svm": Estimator(_SVM + "LinearSVC", _SVM + "LinearSVR", scores_only=True, copies=4),
    "svm": Estimator(_SVM + "SVC", _SVM + "SVR", scores_only=True, copies=4, types=_RANDOM),
    "k_nearest_neighbors": Estimator(
        _NEAR + "KNeighborsClassifier", _NEAR + "KNeighborsRegressor", copies=5, types=_NEIGHBORS
    ),
    "decision_tree": Estimator(
        "sklearn.tree:DecisionTreeClassifier",
        "sklearn.tree:DecisionTreeRegressor",
        encoding="gaps",
        trees=2,
        types=_TREES,
    ),
    "random_forest": Estimator(
        _ENSEMBLE + "RandomForestClassifier",
        _ENSEMBLE + "RandomForestRegressor",
        encoding="gaps",
        trees=2,
        types=_TREES,
    ),
    "extra_trees": Estimator(
        _ENSEMBLE + "ExtraTreesClassifier", _ENSEMBLE + "ExtraTreesRegressor", encoding="gaps", trees=2, types=_TREES
    ),
    "hist_gradient_boosting": Estimator(
        _ENSEMBLE + "HistGradientBoostingClassifier",
        _ENSEMBLE + "HistGradientBoostingRegressor",
        encoding="gaps",
        sparse=False,
        copies=3,
        trees=1,
        types=(
            *_LOSSES,
            *_RANDOM,
            *_BINARIZER,
            _HISTOGRAM + "binning._BinMapper",
            _HISTOGRAM + "predictor.TreePredictor",
        ),
    ),
    "gradient_boosting": Estimator(
        _ENSEMBLE + "GradientBoostingClassifier",
        _ENSEMBLE + "GradientBoostingRegressor",
        encoding="filled",
        trees=1,
        types=(*_LOSSES, *_RANDOM, *_TREES, "sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor"),
    ),
    "ada_boost": Estimator(
        _ENSEMBLE + "AdaBoostClassifier",
        _ENSEMBLE + "AdaBoostRegressor",
        encoding="filled",
        copies=3,
        trees=1,
        types=_TREES,
    ),
    "gaussian_naive_bayes": Estimator(_BAYES + "GaussianNB", epochs=1, sparse=False),
    "multinomial_naive_bayes": Estimator(_BAYES + "MultinomialNB", encoding="positive", epochs=1),
    "bernoulli_naive_bayes": Estimator(_BAYES + "BernoulliNB", epochs=1),
    "complement_naive_bayes": Estimator(_BAYES + "ComplementNB", encoding="positive", epochs=1),
    "linear_discriminant_analysis": Estimator(
        "sklearn.discriminant_analysis:LinearDiscriminantAnalysis", sparse=False, copies=4
    ),
    "quadratic_discriminant_analysis": Estimator(
        "sklearn.discriminant_analysis:QuadraticDiscriminantAnalysis", sparse=False, copies=4
    ),
    "mlp": Estimator(
        "sklearn.neural_network:MLPClassifier",
        "sklearn.neural_network:MLPRegressor",
        epochs=20,
        types=(
            *_BINARIZER,
            *_RANDOM,
            "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
            "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        ),
    ),
}
