"""Metrics of classes against scikit-learn."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.errors import DataError, SchemaError, UsageError
from penstock.statistics.classification import Classification
from penstock.statistics.collapse import order_keys
from penstock.statistics.scores import ScoreCounts
from penstock.testing.statistics import check_statistic


def predictions(rng, rows, classes, *, truth=None, ties=None):
    """Columns of a truth, and of probabilities that have to do with it."""
    size = len(classes)
    truth = rng.integers(0, size, rows) if truth is None else np.asarray(truth)
    raw = rng.gamma(0.7, size=(rows, size)) + np.eye(size)[truth] * rng.random((rows, 1))
    chances = raw / raw.sum(axis=1, keepdims=True)
    if ties:
        chances = np.round(chances * ties) / ties
        chances[:, -1] = np.abs(1 - chances[:, :-1].sum(axis=1))
        chances = np.clip(np.round(chances * ties) / ties, 0, 1)
    columns = {
        "y": np.array(classes)[truth].tolist(),
        "prediction": np.array(classes)[chances.argmax(axis=1)].tolist(),
    }
    columns |= {f"probability_{label}": chances[:, code] for code, label in enumerate(classes)}
    return columns, truth, chances


def batches_of(columns, size):
    rows = len(columns["y"])
    return [batch({k: v[at : at + size] for k, v in columns.items()}) for at in range(0, rows, size)]


def reference(truth, chances, classes):
    """What scikit-learn says."""
    predicted = chances.argmax(axis=1)
    codes = list(range(len(classes)))
    binary = len(classes) == 2
    average = "binary" if binary else "macro"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
            "precision": sk.precision_score(truth, predicted, average=average, zero_division=0),
            "recall": sk.recall_score(truth, predicted, average=average, zero_division=0),
            "f1": sk.f1_score(truth, predicted, average=average, zero_division=0),
            "log_loss": sk.log_loss(truth, chances, labels=codes),
            "confusion_matrix": sk.confusion_matrix(truth, predicted, labels=codes).tolist(),
        }
        if binary:
            out["brier"] = sk.brier_score_loss(truth, chances[:, 1], pos_label=1) if set(truth) == {0, 1} else None
        else:
            out["brier"] = sk.brier_score_loss(truth, chances, labels=codes)
        if set(truth) == set(codes):
            scores = chances[:, 1] if binary else chances
            onehot = truth if binary else np.eye(len(classes), dtype=int)[truth]
            out["roc_auc"] = sk.roc_auc_score(onehot, scores, average="macro")
            out["average_precision"] = sk.average_precision_score(onehot, scores, average="macro")
    return out


def agrees(value, expected):
    for name, wanted in expected.items():
        if name == "confusion_matrix":
            assert value[name] == wanted
        elif wanted is not None:
            assert value[name] == pytest.approx(wanted, rel=1e-9, abs=1e-12), name


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.sampled_from([("n", "y"), ("0", "1"), ("a", "b", "c"), ("p", "q", "r", "s", "t")]),
    st.sampled_from([None, 1, 4, 50]),
)
def test_metrics_are_those_of_scikit_learn(seed, rows, classes, ties):
    columns, truth, chances = predictions(np.random.default_rng(seed), rows, classes, ties=ties)
    value = folded(Classification("y", classes), batches_of(columns, 17)).value()
    agrees(value, reference(truth, chances, classes))
    assert (value["rows"], value["unlabelled"], value["classes"]) == (rows, 0, list(classes))
    assert value["roc_auc_error"] == 0.0 or math.isnan(value["roc_auc_error"])
    assert json.loads(json.dumps(value)).keys() == value.keys()


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_full_blocks_are_those_of_scikit_learn(classes):
    columns, truth, chances = predictions(np.random.default_rng(2), 150_000, classes)
    columns["y"] = pa.array(columns["y"]).dictionary_encode()
    value = folded(Classification("y", classes), batches_of(columns, 65_536)).value()
    agrees(value, reference(truth, chances, classes))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([("n", "y"), ("a", "b", "c")]))
def test_the_laws_hold(seed, rows, classes):
    rng = np.random.default_rng(seed)
    columns, _, _ = predictions(rng, rows, classes, ties=8)
    columns["y"] = pa.array([None if rng.random() < 0.2 else label for label in columns["y"]], pa.string())
    columns["prediction"] = pa.array(columns["prediction"], pa.string())
    batches = batches_of(columns, 11) or [batch(columns)]
    check_statistic(lambda: Classification("y", list(classes)), batches, exact=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.permutations(range(6)))
def test_counts_by_score_do_not_depend_on_order_when_they_collapse(seed, limit, order):
    rng = np.random.default_rng(seed)
    scores, members = rng.random(60), rng.random(60) < 0.4
    plain, mixed = ScoreCounts(limit), ScoreCounts(limit)
    for part in range(6):
        plain.add(scores[part * 10 :][:10], members[part * 10 :][:10])
        plain.settle()
    for part in order:
        other = ScoreCounts(limit)
        other.add(scores[part * 10 :][:10], members[part * 10 :][:10])
        if part % 2:
            other.settle()
        mixed.merge(other)
    mixed.settle()
    assert plain.shift == mixed.shift
    assert len(plain.keys) <= limit
    np.testing.assert_array_equal(plain.keys, mixed.keys)
    np.testing.assert_array_equal(plain.counts, mixed.counts)
    keys = order_keys(scores) >> plain.shift
    for key, counts in zip(plain.keys, plain.counts, strict=True):
        assert counts.tolist() == [(~members[keys == key]).sum(), members[keys == key].sum()]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 64))
def test_the_area_of_collapsed_scores_is_within_its_error(seed, limit):
    rng = np.random.default_rng(seed)
    members = rng.random(300) < 0.3
    members[:2] = True, False
    scores = np.clip(rng.normal(0.4 + 0.2 * members, 0.15), 0, 1)
    counts = ScoreCounts(limit)
    counts.add(scores, members)
    truth = sk.roc_auc_score(members, scores)
    assert abs(counts.roc_auc() - truth) <= counts.roc_auc_error() + 1e-12
    assert counts.roc_auc_error() > 0


def test_one_class_alone_has_no_ranking_and_says_so_by_nan():
    columns, _, _ = predictions(np.random.default_rng(0), 20, ("n", "y"), truth=np.zeros(20, int))
    value = folded(Classification("y", ("n", "y")), batches_of(columns, 8)).value()
    assert math.isnan(value["roc_auc"])
    assert math.isnan(value["average_precision"])
    assert math.isnan(value["roc_auc_error"])
    assert value["recall"] == 0.0
    assert value["brier"] == pytest.approx(np.mean(np.square(columns["probability_y"])))


def test_no_rows_at_all_give_nan():
    value = Classification("y", ("n", "y")).value()
    assert value["rows"] == 0
    assert value["confusion_matrix"] == [[0, 0], [0, 0]]
    floats = [name for name, item in value.items() if isinstance(item, float)]
    assert len(floats) == 11
    assert all(math.isnan(value[name]) for name in floats)


@pytest.mark.parametrize("kind", ["text", "numbers", "truth values", "categories"])
def test_rows_without_a_known_truth_are_counted_and_left_out(kind):
    truth, classes = {
        "text": (pa.array(["0", None, "1", "7", "1"]), ("0", "1")),
        "numbers": (pa.array([0.0, None, 1.0, 7.0, 1.0]), ("0", "1")),
        "truth values": (pa.array([False, None, True, None, True]), ("false", "true")),
        "categories": (pa.array(["0", None, "1", "7", "1"]).dictionary_encode(), ("0", "1")),
    }[kind]
    columns = {
        "y": truth,
        "prediction": pa.array([classes[0], None, classes[0], classes[0], classes[1]]),
        f"probability_{classes[0]}": pa.array([0.9, None, 0.6, 0.5, 0.2]),
        f"probability_{classes[1]}": pa.array([0.1, None, 0.4, 0.5, 0.8]),
    }
    value = folded(Classification("y", classes), [batch(columns)]).value()
    assert (value["rows"], value["unlabelled"]) == (3, 2)
    assert value["confusion_matrix"] == [[1, 0], [1, 1]]
    assert value["roc_auc"] == 1.0


def test_certain_and_wrong_probabilities_are_cut_as_scikit_learn_does():
    columns = {"y": ["n", "y"], "prediction": ["y", "n"], "probability_n": [0.0, 1.0], "probability_y": [1.0, 0.0]}
    value = folded(Classification("y", ("n", "y")), [batch(columns)]).value()
    assert value["log_loss"] == pytest.approx(sk.log_loss([0, 1], [[0.0, 1.0], [1.0, 0.0]]), rel=1e-12)


GOOD = {"y": ["n", "y"], "prediction": ["y", "n"], "probability_n": [0.0, 1.0], "probability_y": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": ["y", "maybe"]}, r"(?s)none of the classes.*got:\s+'maybe'"),
        ({"prediction": ["y", None]}, r"(?s)none of the classes.*got:\s+None"),
        ({"probability_y": [0.1, None]}, r"(?s)'probability_y'.*got:\s+null"),
        ({"probability_y": [0.1, 1.5]}, r"(?s)'probability_y'.*from 0 to 1.*got:\s+0.1 to 1.5"),
        ({"probability_n": [0.1, math.nan]}, r"(?s)'probability_n'.*got:\s+nan"),
    ],
)
def test_a_bad_prediction_is_refused_with_its_column(change, message):
    with pytest.raises(DataError, match=message):
        Classification("y", ("n", "y")).update(batch(GOOD | change))


def test_a_missing_column_is_refused():
    columns = {name: values for name, values in GOOD.items() if name != "probability_y"}
    with pytest.raises(SchemaError, match="'probability_y'"):
        Classification("y", ("n", "y")).update(batch(columns))


@pytest.mark.parametrize("classes", [(), ("a",), ("a", "a")])
def test_fewer_than_two_different_classes_are_refused(classes):
    with pytest.raises(UsageError, match="two or more different labels"):
        Classification("y", classes)
