"""Encoders against scikit-learn, and what becomes of nulls, rare and unseen categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import FittedStep, Step, Use
from penstock.steps.encode import OneHot, Ordinal
from penstock.testing.steps import batch_of, fit_step, run_step
from penstock.vectors import as_matrix

SCHEMA = Schema((Field("c", pa.string(), Role.category),))
TRUTH = Schema((Field("c", pa.bool_(), Role.boolean),))
categories = st.lists(st.sampled_from(["red", "blue", "Blue", "é", "", "x y"]), min_size=1, max_size=40)


def fit(step: Step, values: list[Any], schema: Schema = SCHEMA) -> FittedStep:
    return fit_step(step, schema, [batch_of(schema, {"c": values})])


def apply(fitted: FittedStep, values: list[Any], schema: Schema = SCHEMA) -> Batch:
    return run_step(fitted, schema, batch_of(schema, {"c": values}))


def as_array(batch: Batch) -> np.ndarray:
    return np.array([column.to_pylist() for column in batch.columns.columns]).T.reshape(len(batch), -1)


def objects(values: list[str]) -> np.ndarray:
    return np.array(values, object)[:, None]


def most_for_scikit_learn(values: list[str], most: int | None) -> int | None:
    """scikit-learn groups one category where there are exactly as many as allowed; here all of them are kept."""
    return None if most == len(set(values)) else most


@settings(max_examples=60, deadline=None)
@given(categories, st.sampled_from([None, 1, 2, 3, 5]), st.sampled_from([None, "first"]))
def test_one_hot_agrees_with_scikit_learn(values: list[str], most: int | None, drop: Any) -> None:
    encoder = OneHotEncoder(max_categories=most_for_scikit_learn(values, most), drop=drop, sparse_output=False)
    expected = encoder.fit_transform(objects(values))
    names = [name.replace("infrequent_sklearn", "infrequent") for name in encoder.get_feature_names_out(["c"])]
    out = apply(fit(OneHot("c", max_categories=most, drop=drop), values), values)
    assert out.columns.schema.names == names
    np.testing.assert_array_equal(as_array(out), expected)


@settings(max_examples=60, deadline=None)
@given(categories, st.sampled_from([None, 2, 3, 5]))
def test_ordinal_agrees_with_scikit_learn(values: list[str], most: int | None) -> None:
    encoder = OrdinalEncoder(
        max_categories=most_for_scikit_learn(values, most), handle_unknown="use_encoded_value", unknown_value=-1
    )
    encoder.fit(objects(values))
    asked = [*values, "unseen"]
    out = apply(fit(Ordinal("c", max_categories=most), values), asked)
    assert out.column("c").type == pa.int32()
    np.testing.assert_array_equal(as_array(out), encoder.transform(objects(asked)))


@settings(max_examples=30, deadline=None)
@given(categories)
def test_unseen_categories_may_count_as_infrequent_as_in_scikit_learn(values: list[str]) -> None:
    most = most_for_scikit_learn(values, 2)
    encoder = OneHotEncoder(max_categories=most, handle_unknown="infrequent_if_exist", sparse_output=False)
    encoder.fit(objects(values))
    asked = [*values, "unseen"]
    out = apply(fit(OneHot("c", max_categories=2, unseen="infrequent"), values), asked)
    np.testing.assert_array_equal(as_array(out), encoder.transform(objects(asked)))


def test_as_many_categories_as_allowed_are_all_kept() -> None:
    assert fit(OneHot("c", max_categories=2), ["a", "b", "a"]).schema.names == ("c_a", "c_b")


def test_an_unseen_category_gives_zeros_and_a_null_its_own_column_if_there_were_nulls() -> None:
    seen = apply(fit(OneHot("c"), ["a", None, "b"]), ["b", None, "z"])
    assert seen.columns.to_pydict() == {"c_a": [0, 0, 0], "c_b": [1, 0, 0], "c_missing": [0, 1, 0]}
    unseen = apply(fit(OneHot("c"), ["a", "b"]), ["b", None, "z"])
    assert unseen.columns.to_pydict() == {"c_a": [0, 0, 0], "c_b": [1, 0, 0]}


def test_a_row_of_an_unseen_category_is_rejected_where_asked() -> None:
    out = apply(fit(OneHot("c", unseen="reject"), ["a", "b"]), ["b", None, "z"])
    assert len(out) == 2
    assert out.rejected is not None
    reject = out.rejected.to_pylist()[0]
    assert (reject["row"], reject["column"], reject["code"], reject["value"]) == (2, "c", "unseen", "z")


def test_the_new_columns_stand_where_the_column_stood() -> None:
    schema = Schema((Field("a", pa.float64(), Role.number), *SCHEMA, Field("z", pa.float64(), Role.number)))
    batch = batch_of(schema, {"a": [1.0], "c": ["x"], "z": [2.0]})
    fitted = fit_step(OneHot("c"), schema, [batch])
    assert fitted.schema.names == ("a", "c_x", "z")
    assert fitted.schema["c_x"].type == pa.float32()


@pytest.mark.parametrize("step", [OneHot("c"), OneHot("c", drop="first"), Ordinal("c")])
def test_the_inverse_gives_back_the_categories(step: Step) -> None:
    values = ["b", "a", "c", "a", None] if step != OneHot("c", drop="first") else ["b", "a", "c", None]
    for schema, given_values in ((SCHEMA, values), (TRUTH, [True, False, None, True])):
        fitted = fit(step, given_values, schema)
        undone = fitted.inverse(apply(fitted, given_values, schema))
        assert undone.columns.to_pydict() == {"c": given_values}


def test_what_is_lost_comes_back_as_null() -> None:
    values = ["a"] * 3 + ["b"] * 3 + ["c", "d"]
    one_hot = fit(OneHot("c", max_categories=3), values)
    assert one_hot.inverse(apply(one_hot, ["a", "c", "z"])).columns.to_pydict() == {"c": ["a", None, None]}
    ordinal = fit(Ordinal("c", max_categories=3), values)
    assert ordinal.inverse(apply(ordinal, ["b", "d", "z"])).columns.to_pydict() == {"c": ["b", None, None]}


def test_ordinal_says_what_its_codes_stand_for() -> None:
    fitted = fit(Ordinal("c", max_categories=2), ["a", "a", "b", "c"])
    assert (fitted.schema["c"].role, fitted.schema["c"].categories) == (Role.category, ("a", "infrequent"))


def test_truth_values_are_encoded_as_false_before_true() -> None:
    assert apply(fit(Ordinal("c"), [True, False], TRUTH), [False, True, None], TRUTH).column("c").to_pylist() == [
        0,
        1,
        -1,
    ]
    assert fit(OneHot("c"), [True, False], TRUTH).schema.names == ("c_false", "c_true")


def test_dictionary_encoded_text_is_encoded_like_plain_text() -> None:
    batch = batch_of(SCHEMA, {"c": ["b", "a", None]})
    coded = batch.with_columns(pa.record_batch({"c": batch.column("c").dictionary_encode()}))
    for step in (OneHot("c"), Ordinal("c")):
        assert fit_step(step, SCHEMA, [coded]) == fit_step(step, SCHEMA, [batch])
        fitted = fit_step(step, SCHEMA, [batch])
        assert fitted.transform(coded, Use()).columns.equals(fitted.transform(batch, Use()).columns)


def test_a_column_of_nulls_has_no_categories() -> None:
    fitted = fit(Ordinal("c"), [None, None])
    assert apply(fitted, ["a", None]).column("c").to_pylist() == [-1, -1]
    assert fitted.inverse(apply(fitted, ["a"])).column("c").to_pylist() == [None]
    assert apply(fit(OneHot("c"), [None]), ["a", None]).columns.to_pydict() == {"c_missing": [0, 1]}


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(SchemaError, match="'c_missing'"):
        fit(OneHot("c"), ["missing", None])
    with pytest.raises(SchemaError, match="'c_infrequent'"):
        fit(OneHot("c", max_categories=2), ["infrequent", "infrequent", "a", "b"])


def test_many_categories_become_a_vector_with_a_place_for_each() -> None:
    values = [str(i) for i in range(1025)]
    assert len(fit(OneHot("c", max_columns=1025), values).schema) == 1025
    wide = fit(OneHot("c"), [*values, None])
    field = wide.schema["c_one_hot"]
    assert (field.role, field.width) == (Role.vector, 1026)
    assert field.parts == (*sorted(values), "missing")
    out = apply(wide, ["1024", None, "unseen", "0"])
    found = as_matrix(out.column("c_one_hot"), 1026)
    assert found.indices.tolist() == [field.parts.index("1024"), 1025, 0]
    assert np.diff(found.indptr).tolist() == [1, 1, 0, 1]
    assert wide.inverse(out).column("c").to_pylist() == ["1024", None, None, "0"]


@settings(max_examples=25, deadline=None)
@given(categories, st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, "first"]), st.booleans())
def test_a_vector_holds_what_the_columns_would(values: list[str], most: int | None, drop: Any, ignore: bool) -> None:
    arguments: dict[str, Any] = {
        "max_categories": most,
        "drop": drop,
        "unseen": "ignore" if ignore else "infrequent",
    }
    columns = fit(OneHot("c", **arguments), [*values, None])
    vectors = fit(OneHot("c", max_columns=0, **arguments), [*values, None])
    asked = [*values, None, "unseen"]
    width = vectors.schema["c_one_hot"].width
    assert width is not None
    found = as_matrix(apply(vectors, asked).column("c_one_hot"), width).toarray()
    np.testing.assert_array_equal(found, as_array(apply(columns, asked)))
    back = vectors.inverse(apply(vectors, asked)).column("c").to_pylist()
    assert back == columns.inverse(apply(columns, asked)).column("c").to_pylist()


@pytest.mark.parametrize(
    "arguments",
    [{"max_categories": 0}, {"max_categories": True}, {"drop": "last"}, {"unseen": "error"}, {"max_columns": -1}],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="one_hot"):
        OneHot("c", **arguments)


@pytest.mark.parametrize("make", [OneHot, Ordinal])
@pytest.mark.parametrize("field", [Field("c", pa.float64(), Role.number), Field("c", pa.int32(), Role.category)])
def test_numbers_and_codes_are_refused(make: type[OneHot], field: Field) -> None:
    with pytest.raises(SchemaError, match="column 'c'"):
        make("c").touches(Schema((field,)))
