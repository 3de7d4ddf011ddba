"""Compares Penstock's models with LightGBM and scikit-learn used by hand, on the Adult census data.

    python -m benchmarks.adult FOLDER [--json result.json]

FOLDER holds `train.csv.gz` and `test.csv.gz` of the Adult data (Becker and Kohavi, UCI Machine Learning Repository,
1996) with a header and the column `income`. Every model learns from the training file alone and is judged on the test
file. Penstock reads the files itself. By hand, LightGBM gets the same columns with categories
as codes, at its defaults and with early stopping on a tenth of the rows; logistic regression gets them imputed,
standardized and one-hot. Times are of training alone, reading included for Penstock.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import penstock as ps
from penstock.model import Model

TARGET, POSITIVE = "income", ">50K"


@dataclass(frozen=True)
class Score:
    """How one model did on the test rows, and what it took [s]."""

    name: str
    roc_auc: float
    log_loss: float
    seconds: float


@dataclass(frozen=True)
class Frames:
    """The data for those who are used by hand: text stripped, "?" as null."""

    train: pl.DataFrame
    test: pl.DataFrame
    labels: np.ndarray
    test_labels: np.ndarray

    @property
    def texts(self) -> list[str]:
        return [name for name, kind in self.train.schema.items() if kind == pl.String]

    @property
    def numbers(self) -> list[str]:
        return [name for name in self.train.columns if name not in self.texts]


def frames(folder: Path) -> Frames:
    parts = []
    for name in ("train", "test"):
        frame = pl.read_csv(folder / f"{name}.csv.gz", infer_schema=False).with_columns(
            pl.all().str.strip_chars().replace("?", None)
        )
        numbers = [c for c in frame.columns if frame[c].cast(pl.Float64, strict=False).null_count() < len(frame)]
        parts.append(frame.with_columns(pl.col(numbers).cast(pl.Float64)))
    labels = [(part[TARGET].str.strip_chars_end(".") == POSITIVE).to_numpy().astype(int) for part in parts]
    return Frames(parts[0].drop(TARGET), parts[1].drop(TARGET), labels[0], labels[1])


def penstock_model(name: str, model: Model, folder: Path) -> Score:
    start = time.perf_counter()
    fitted = ps.Pipeline(model=model, target=TARGET).fit(folder / "train.csv.gz")
    seconds = time.perf_counter() - start
    metrics = fitted.evaluate(folder / "test.csv.gz").metrics
    return Score(name, metrics["roc_auc"], metrics["log_loss"], seconds)


def by_hand(name: str, data: Frames, train: Callable[[], Callable[[], np.ndarray]]) -> Score:
    start = time.perf_counter()
    predict = train()
    seconds = time.perf_counter() - start
    probability = predict()
    return Score(name, roc_auc_score(data.test_labels, probability), log_loss(data.test_labels, probability), seconds)


def codes(data: Frames) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Both parts as matrices, categories by the training rows' vocabulary, NaN for missing and unseen."""
    kinds = {name: pl.Enum(data.train[name].drop_nulls().unique().sort()) for name in data.texts}

    def coded(frame: pl.DataFrame) -> np.ndarray:
        columns = [pl.col(name).cast(kind, strict=False).to_physical() for name, kind in kinds.items()]
        return frame.with_columns(columns).cast(pl.Float64).fill_null(float("nan")).to_numpy()

    return coded(data.train), coded(data.test), [data.train.columns.index(name) for name in data.texts]


def lightgbm_by_hand(data: Frames, stop_early: bool) -> Callable[[], np.ndarray]:
    train, test, categories = codes(data)
    if not stop_early:
        model = lightgbm.LGBMClassifier(verbose=-1).fit(train, data.labels, categorical_feature=categories)
        return lambda: model.predict_proba(test)[:, 1]
    held = np.random.default_rng(0).random(len(train)) < 0.1
    learned = lightgbm.Dataset(train[~held], data.labels[~held], categorical_feature=categories)
    booster = lightgbm.train(
        {"objective": "binary", "learning_rate": 0.05, "verbosity": -1},
        learned,
        5000,
        [lightgbm.Dataset(train[held], data.labels[held], reference=learned)],
        callbacks=[lightgbm.early_stopping(100, verbose=False)],
    )
    return lambda: np.asarray(booster.predict(test))


def logistic_by_hand(data: Frames) -> Callable[[], np.ndarray]:
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), data.numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), data.texts),
        ]
    )
    model = make_pipeline(encoder, LogisticRegression(max_iter=2000))
    model.fit(data.train, data.labels)
    return lambda: model.predict_proba(data.test)[:, 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = frames(options.folder)
    scores = [
        by_hand("LightGBM, defaults", data, lambda: lightgbm_by_hand(data, stop_early=False)),
        by_hand("LightGBM, early stopping", data, lambda: lightgbm_by_hand(data, stop_early=True)),
        penstock_model("Penstock, BoostedTrees(bags=1)", ps.BoostedTrees(bags=1), options.folder),
        penstock_model("Penstock, BoostedTrees()", ps.BoostedTrees(), options.folder),
        by_hand("scikit-learn, LogisticRegression", data, lambda: logistic_by_hand(data)),
        penstock_model("Penstock, Linear()", ps.Linear(), options.folder),
    ]
    print(f"{'model':<36}{'ROC AUC':>9}{'log loss':>10}{'training [s]':>14}")
    for score in scores:
        print(f"{score.name:<36}{score.roc_auc:>9.4f}{score.log_loss:>10.4f}{score.seconds:>14.1f}")
    if options.json:
        options.json.write_text(json.dumps([vars(score) for score in scores], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
