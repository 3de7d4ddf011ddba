"""Vectors of tokens against scikit-learn: TF-IDF, hashing, multi-hot; other scripts, and odd texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import MultiLabelBinarizer

from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.statistics.documents import DocumentFrequencies
from penstock.statistics.tokens import Tokenizer
from penstock.step import FittedStep, Step
from penstock.steps.tokens import Hash, MultiHot, TfIdf
from penstock.testing.steps import batch_of, fit_step, run_step
from penstock.vectors import as_matrix

SCHEMA = Schema((Field("t", pa.string(), Role.text),))
LISTS = Schema((Field("t", pa.list_(pa.string()), Role.list),))
WORDS = ["the", "cat", "Cat", "sat", "on", "mat", "a", "über", "x1", "foo_bar", "it's", "no.", "free!"]
documents = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=3, max_size=12)


def fitted(step: Step, values: Any, schema: Schema = SCHEMA) -> FittedStep:
    return fit_step(step, schema, [batch_of(schema, {"t": list(values)})])


def matrix(step: FittedStep, values: Any, schema: Schema = SCHEMA) -> csr_matrix:
    out = run_step(step, schema, batch_of(schema, {"t": list(values)}))
    width = step.schema["t"].width
    assert out.column("t").type == SPARSE
    assert width is not None
    return as_matrix(out.column("t"), width)


@settings(max_examples=25, deadline=None)
@given(documents, st.sampled_from([(1, 1), (1, 2), (2, 3)]), st.booleans(), st.sampled_from(["l2", None]))
def test_tf_idf_is_that_of_scikit_learn(texts: list[str], ngrams: Any, sublinear: bool, norm: Any) -> None:
    texts = ["the cat sat on the mat", *texts, "the cat"]
    reference = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=sublinear, norm=norm)
    expected = reference.fit_transform(texts)
    step = fitted(TfIdf("t", "word", ngrams, min_df=1, sublinear=sublinear, norm=norm), texts)
    assert step.schema["t"].parts == tuple(reference.get_feature_names_out())
    np.testing.assert_allclose(matrix(step, texts).toarray(), expected.toarray(), rtol=1e-6, atol=1e-6)
    asked = ["mat unseen cat", "", "unseen"]
    np.testing.assert_allclose(matrix(step, asked).toarray(), reference.transform(asked).toarray(), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(documents, st.sampled_from([(1, 1), (2, 4)]))
def test_characters_are_those_of_scikit_learn(texts: list[str], ngrams: Any) -> None:
    texts = ["a \t b\n\nc", "中文 text", "text too", *texts]  # without a common term scikit-learn fits nothing
    reference = TfidfVectorizer(analyzer="char", ngram_range=ngrams, min_df=2)
    step = fitted(TfIdf("t", "char", ngrams, min_df=2), texts)
    expected = reference.fit_transform(texts)
    assert step.schema["t"].parts == tuple(reference.get_feature_names_out())
    np.testing.assert_allclose(matrix(step, texts).toarray(), expected.toarray(), atol=1e-6)


def test_the_vocabulary_is_bounded_as_in_scikit_learn() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in random.zipf(1.5, 30) % 300) for _ in range(200)]
    for arguments in ({"min_df": 3}, {"max_df": 0.2}, {"min_df": 2, "max_df": 0.5, "max_features": 12}):
        reference = TfidfVectorizer(token_pattern=r"\w{2,}", **arguments).fit(texts)
        step = fitted(TfIdf("t", "word", **{"min_df": 1, **arguments}), texts)
        assert step.schema["t"].parts == tuple(reference.get_feature_names_out())
        np.testing.assert_allclose(matrix(step, texts).toarray(), reference.transform(texts).toarray(), atol=1e-6)


def test_of_scripts_without_spaces_signs_and_pairs_of_them_are_tokens() -> None:
    counts, tokens = Tokenizer("auto").count(pa.array(["今天天气好 ok fine", "こん"]))
    found = dict(zip(tokens.to_pylist(), counts.toarray()[0].tolist(), strict=True))
    assert found == {
        **dict.fromkeys(["今", "气", "好", "今天", "天天", "天气", "气好", "ok", "fine"], 1),
        "天": 2,
        **dict.fromkeys(["こ", "ん", "こん"], 0),
    }


def with_shapes(text: str) -> list[str]:
    """Words, signs and shapes, word by word: an independent way to the same."""
    words = re.findall(r"\w+|[^\w\s]", text)
    told = [word[:12] for word in words if any(sign.isdigit() or sign.isupper() for sign in word)]
    kinds = [["0" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in word] for word in told]
    return [word.lower() for word in words] + [f"<{''.join(kind)}>" for kind in kinds]


@settings(max_examples=25, deadline=None)
@given(documents)
def test_words_signs_and_shapes_weigh_what_scikit_learn_says(texts: list[str]) -> None:
    texts = ["Call 08001234567 NOW, or call us!", "<Aaaa> £1000 Über_1 ...", *texts, ""]
    reference = TfidfVectorizer(analyzer=with_shapes, sublinear_tf=True)
    expected = reference.fit_transform(texts)
    step = fitted(TfIdf("t", "shapes", min_df=1, sublinear=True), texts)
    assert step.schema["t"].parts == tuple(reference.get_feature_names_out())
    np.testing.assert_allclose(matrix(step, texts).toarray(), expected.toarray(), atol=1e-6)
    # A number that was never seen has the shape of one that was.
    unseen = ["09998887766", "unseen"]
    np.testing.assert_allclose(matrix(step, unseen).toarray(), reference.transform(unseen).toarray(), atol=1e-6)
    assert matrix(step, unseen).toarray()[0, step.schema["t"].parts.index("<00000000000>")] == pytest.approx(1.0)


def test_shapes_stand_beside_the_signs_of_every_script() -> None:
    counts, tokens = Tokenizer("shapes").count(pa.array(["今天 Ok ok", "١٢ éÉ", None, ""]))
    found = [dict(zip(tokens.to_pylist(), row, strict=True)) for row in counts.toarray().tolist()]
    assert {token: count for token, count in found[0].items() if count} == {
        **dict.fromkeys(["今", "天", "今天", "<Aa>"], 1),
        "ok": 2,
    }
    assert {token for token, count in found[1].items() if count} == {"١٢", "<00>", "éé", "<aA>"}
    assert not any(found[2].values()) and not any(found[3].values())
    counts, tokens = Tokenizer("shapes", (1, 2), lowercase=False).count(pa.array(["Win 500"]))
    assert tokens.to_pylist() == ["Win", "500", "Win 500", "<Aaa>", "<000>"]


@pytest.mark.parametrize("encode", [lambda a: a, lambda a: a.dictionary_encode(), lambda a: a.cast(pa.large_string())])
def test_however_text_is_stored_its_tokens_are_the_same(encode: Any) -> None:
    texts = pa.array(["a bb cc", None, "bb bb", ""])
    counts, tokens = Tokenizer("word").count(encode(texts))
    assert (tokens.to_pylist(), counts.toarray().tolist()) == (["bb", "cc"], [[1, 1], [0, 0], [2, 0], [0, 0]])
    counts, tokens = Tokenizer("word").count(encode(texts).slice(2))
    assert counts.toarray().tolist() == [[2], [0]]


@pytest.mark.parametrize(
    ("texts", "min_df"), [([], 1), ([None, None], 1), (["", " "], 1), (["x y", "z"], 1), (["one two", "three"], 2)]
)
def test_without_a_token_every_vector_is_zero(texts: list[str | None], min_df: int) -> None:
    step = fitted(TfIdf("t", min_df=min_df), texts)
    assert (step.schema["t"].width, step.schema["t"].parts) == (1, None)
    assert matrix(step, ["one two", None]).toarray().tolist() == [[0.0], [0.0]]
    items = fitted(MultiHot("t", separator=";", min_df=3), texts)
    assert matrix(items, ["a;b", None]).toarray().tolist() == [[0.0], [0.0]]


def test_a_text_of_ten_megabytes_is_a_text() -> None:
    texts = ["word " * 2_000_000, "x" * 10_000_000, "word and"]
    step = fitted(TfIdf("t", "word", min_df=1, norm=None), texts)
    assert step.schema["t"].parts == ("and", "word", "x" * 1000)
    found = matrix(step, texts).toarray()
    assert found[0, 1] == pytest.approx(2_000_000 * (np.log(4 / 3) + 1))
    assert found[1, 2] == pytest.approx(np.log(4 / 2) + 1)


def test_hashing_sums_the_counts_of_what_shares_a_place() -> None:
    random = np.random.default_rng(1)
    texts = [" ".join(f"word{n}" for n in random.integers(0, 500, 20)) for _ in range(50)]
    counts = CountVectorizer().fit(texts)
    plain = matrix(fitted(Hash("t", 2**16, "word", signed=False), []), texts)
    expected = counts.transform(texts)
    assert plain.sum() == expected.sum()
    # Places are wide enough here that few tokens share one: distances between texts stay.
    close = (plain @ plain.T).toarray() - (expected @ expected.T).toarray()
    assert np.abs(close).max() <= 4
    narrow = [matrix(fitted(Hash("t", 64, "word", signed=True), []), texts) for _ in range(2)]
    assert (narrow[0] != narrow[1]).nnz == 0
    products = (narrow[0] @ narrow[0].T).toarray() - (expected @ expected.T).toarray()
    assert abs(products[np.triu_indices(50, 1)].mean()) < 1.0  # unbiased (Weinberger et al., lemma 2)


def test_a_hashed_category_has_one_place_wherever_it_is_met() -> None:
    step = fitted(Hash("t", 32), [])
    first, again = matrix(step, ["Zürich", "Bern", None]), matrix(step, [None, "Bern", "Zürich"])
    assert np.abs(first.toarray()).sum(axis=1).tolist() == [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(first.toarray(), again.toarray()[::-1])


def test_items_are_those_of_scikit_learn_and_come_back() -> None:
    lists = [["b", "a", "b"], [], ["c", " a "], None, ["é"]]
    step = fitted(MultiHot("t"), lists, LISTS)
    reference = MultiLabelBinarizer().fit([[item.strip() for item in row or []] for row in lists])
    expected = reference.transform([["b", "a"], [], ["c", "a"], [], ["é"]])
    np.testing.assert_array_equal(matrix(step, lists, LISTS).toarray(), expected)
    assert step.schema["t"].parts == tuple(reference.classes_)
    out = run_step(step, LISTS, batch_of(LISTS, {"t": [*lists, ["z", "a"]]}))
    assert step.inverse(out).column("t").to_pylist() == [["a", "b"], [], ["a", "c"], [], ["é"], ["a"]]
    text = fitted(MultiHot("t", separator=";"), ["b; a;b;;", None])
    out = run_step(text, SCHEMA, batch_of(SCHEMA, {"t": ["b; a;b;;", None]}))
    assert text.inverse(out).column("t").to_pylist() == ["a;b", ""]


def test_the_rarest_tokens_are_forgotten_where_there_are_too_many() -> None:
    statistic = DocumentFrequencies("t", Tokenizer("word").to_json(), bound=100)
    random = np.random.default_rng(0)
    texts = [
        f"every {'often' if row % 3 else 'other'} once{row} {'x' * int(random.integers(2, 9))}" for row in range(900)
    ]
    rows = 0
    for start in range(0, 900, 100):
        batch = batch_of(SCHEMA, {"t": texts[start : start + 100]})
        statistic.merge(_folded(statistic.empty(), batch))
        rows = max(rows, statistic.value().table.num_rows)
    value = statistic.value()
    assert rows <= 100
    found = {row["token"]: row["documents"] for row in value.table.to_pylist()}
    assert found["every"] == value.documents == 900
    assert found["often"] == 600
    assert 1 <= value.forgotten <= 9


def _folded(statistic: Any, batch: Batch) -> Any:
    statistic.update(batch)
    return statistic


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (TfIdf, {"analyzer": "sentences"}, "analyzer"),
        (TfIdf, {"ngrams": (2, 1)}, "ngrams"),
        (TfIdf, {"ngrams": (1, 99)}, "ngrams"),
        (TfIdf, {"min_df": 0}, "min_df"),
        (TfIdf, {"max_df": 1.5}, "max_df"),
        (TfIdf, {"max_features": 0}, "max_features"),
        (TfIdf, {"norm": "l1"}, "norm"),
        (Hash, {"width": 0}, "width"),
        (Hash, {"width": 2**21}, "width"),
        (MultiHot, {"separator": ""}, "separator"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make("t", **arguments)


@pytest.mark.parametrize("step", [TfIdf("t"), Hash("t"), MultiHot("t", separator=";")], ids=lambda step: step.name)
@pytest.mark.parametrize("kind", [pa.float64(), SPARSE])
def test_what_is_no_text_is_refused(step: Step, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError, match="column 't'"):
        step.touches(Schema((Field("t", kind, Role.number),)))


def test_a_text_that_is_no_list_needs_a_separator() -> None:
    with pytest.raises(SchemaError, match="separator"):
        MultiHot("t").touches(SCHEMA)
    assert MultiHot("t").touches(LISTS).writes == ("t",)


def test_a_statistic_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="room"):
        DocumentFrequencies("t", Tokenizer().to_json(), bound=1)
    empty = DocumentFrequencies("t", Tokenizer().to_json())
    empty.update(Batch(pa.record_batch({"t": pa.nulls(3)}), RowKeys.span("", 0, 3)))
    assert (empty.value().documents, empty.value().table.num_rows) == (0, 0)
