"""Texts as sequences of tokens: which tokens, which ids, and what is learned."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise, product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import MissingExtra, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.statistics import chinese
from penstock.statistics.tokens import Tokenizer
from penstock.step import FittedStep, Use
from penstock.steps.tokenize import Tokenize
from penstock.steps.tokenize_pieces import INSIDE, UNKNOWN, Pieces
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema((Field("text", pa.string(), Role.text), Field("x", pa.float64(), Role.number)))
TEXTS = st.text("ab ,!好天é😀\t", max_size=25)


def batch(texts: list[str | None], start: int = 0) -> Any:
    return batch_of(SCHEMA, {"text": texts, "x": [0.0] * len(texts)}, start=start)


def fitted(texts: list[str | None], **arguments: Any) -> FittedStep:
    return fit_step(Tokenize("text", **{"min_count": 1, **arguments}), SCHEMA, [batch(texts)])


def ids(step: FittedStep, texts: list[str | None]) -> list[list[int]]:
    found: list[list[int]] = run_step(step, SCHEMA, batch(texts)).column("text").to_pylist()
    return found


def tokens(texts: list[str | None], **arguments: Any) -> list[list[str]]:
    """What each text becomes, in words."""
    step = fitted(texts, **arguments)
    names = step.schema["text"].categories
    assert names is not None
    return [[names[token] for token in row] for row in ids(step, texts)]


def test_the_vocabulary_has_frequent_tokens_first_and_equal_ones_in_order() -> None:
    step = fitted(["b a c", "c a", "c d"])
    field = step.schema["text"]
    assert field.categories == (UNKNOWN, "c", "a", "b", "d")
    assert (field.role, field.type) == (Role.tokens, pa.list_(pa.int32()))
    assert ids(step, ["d c new a", "new"]) == [[4, 1, 0, 2], [0]]


def test_rare_tokens_and_those_beyond_the_size_are_unknown() -> None:
    texts: list[str | None] = ["a a a", "b b", "c"]
    assert fitted(texts, min_count=2).schema["text"].categories == (UNKNOWN, "a", "b")
    assert fitted(texts, size=1).schema["text"].categories == (UNKNOWN, "a")


def test_the_shape_of_a_rare_word_stands_in_its_place_where_it_is_frequent() -> None:
    texts: list[str | None] = ["call 0800111 NOW", "Call 0800222 now", "call 3 天天", "call X天天"]
    known = fitted(texts, min_count=2, rare="shape").schema["text"].categories
    # "NOW" and "now" are one word, whose shapes are counted all the same; pairs of ideographs are no words.
    assert known == (UNKNOWN, "call", "天", "<0000000>", "now")
    assert tokens(texts, min_count=2, rare="shape")[0] == ["call", "<0000000>", "now"]
    step = fitted(texts, min_count=2, rare="shape")
    assert ids(step, ["Call 7777777 Bob 天", None]) == [[1, 3, 0, 2], []]
    both = fitted(["A 12", "B 34 A"], min_count=1, rare="shape", ngrams=2)
    names = both.schema["text"].categories
    assert names is not None
    assert [names[token] for token in ids(both, ["a 99 b"])[0]] == ["a", "<00>", "b", UNKNOWN, UNKNOWN]


@settings(max_examples=25, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_words_of_the_vocabulary_are_the_same_whatever_stands_for_rare_ones(texts: list[str | None]) -> None:
    plain, shaped = tokens(texts, min_count=2), tokens(texts, min_count=2, rare="shape")
    for one, other in zip(plain, shaped, strict=True):
        assert [mine in (UNKNOWN, theirs) for mine, theirs in zip(one, other, strict=True)] == [True] * len(one)


def test_an_empty_text_and_a_missing_one_are_empty_lists() -> None:
    for arguments in ({}, {"unit": "pieces"}, {"unit": "characters"}, {"vocabulary": "hash", "ngrams": 3}):
        step = fitted(["a b", None], **arguments)
        assert ids(step, ["", None, "\t\n" if arguments.get("unit") != "characters" else ""]) == [[], [], []]
        assert ids(step, []) == []
    nothing = fitted([None, None])
    assert nothing.schema["text"].categories == (UNKNOWN,)
    assert ids(nothing, ["what", None]) == [[0], []]


def test_words_are_of_any_length_and_signs_and_ideographs_stand_alone() -> None:
    text = "I'm u, £2!! 今天好 Ｃａｆé カ 😀"
    expected = ["i", "'", "m", "u", ",", "£", "2", "!", "!", "今", "天", "好", "café", "カ", "😀"]
    assert tokens([text]) == [expected]
    assert tokens(["Ａb B"], unicode=None, lowercase=False) == [["Ａb", "B"]]


def test_n_grams_stand_behind_the_single_tokens_of_their_row() -> None:
    assert tokens(["a b c", "d"], ngrams=3) == [["a", "b", "c", "a b", "b c", "a b c"], ["d"]]
    assert tokens(["ab  c"], unit="characters", ngrams=2) == [["a", "b", " ", "c", "ab", "b ", " c"]]


def test_only_the_first_tokens_of_a_row_are_kept_and_learned_from() -> None:
    texts: list[str | None] = ["a b c d", "e"]
    assert tokens(texts, max_tokens=2) == [["a", "b"], ["e"]]
    assert tokens(texts, max_tokens=2, ngrams=2) == [["a", "b", "a b"], ["e"]]
    assert tokens(["abcabc", "a"], unit="pieces", size=3, max_tokens=4) == [["a", "##b", "##c", UNKNOWN], ["a"]]


def test_a_text_of_ten_megabytes_is_as_its_beginning() -> None:
    long = "the quick brown 今天 fox, " * 500_000
    for arguments in ({}, {"unit": "characters"}, {"unit": "jieba"}, {"unit": "pieces"}):
        step = fitted([long, "fox"], **arguments)
        beginning, short, whole = ids(step, [long[:20_000], "fox", long])
        assert beginning == whole
        assert len(whole) == 512
        assert len(short) <= 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | TEXTS, max_size=6), st.sampled_from(["sequence", "char"]), st.integers(1, 5))
def test_the_first_tokens_are_those_of_all(texts: list[str | None], analyzer: Any, most: int) -> None:
    values = pa.array(texts, pa.string())
    whole, first = (Tokenizer(analyzer, most=bound).cut(values) for bound in (None, most))
    rows: dict[int, list[str]] = {}
    for row, token in zip(whole.rows.tolist(), whole.alphabet.take(pa.array(whole.codes)).to_pylist(), strict=True):
        rows.setdefault(row, []).append(token)
    cut: dict[int, list[str]] = {}
    for row, token in zip(first.rows.tolist(), first.alphabet.take(pa.array(first.codes)).to_pylist(), strict=True):
        cut.setdefault(row, []).append(token)
    assert cut == {row: found[:most] for row, found in rows.items()}


def test_chinese_words_are_those_of_jieba() -> None:
    import jieba

    texts = ["我来到北京清华大学", "小明硕士毕业于中国科学院计算所"]
    assert tokens([*texts], unit="jieba") == [jieba.lcut(text) for text in texts]
    assert tokens(["Hi 我们, naïve学习"], unit="jieba") == [["hi", "我们", ",", "naïve", "学习"]]


def test_a_hashed_token_has_one_place_whatever_it_stands_beside() -> None:
    step = fitted([], vocabulary="hash", size=50, ngrams=2)
    assert step.schema["text"].categories == (UNKNOWN, *(f"#{place}" for place in range(1, 51)))
    rows = ids(step, ["free entry", "entry free now", "x " * 100])
    assert rows[0][:2] == rows[1][:2][::-1]
    assert all(1 <= token <= 50 for row in rows for token in row)
    assert ids(step, ["entry"]) == [[rows[0][1]]]
    many = ids(step, [" ".join(f"word{number}" for number in range(500))])[0]
    assert len(set(many)) == 50, "all places are used"


def test_what_was_learned_does_not_depend_on_blocks_and_comes_back_from_its_state() -> None:
    texts: list[str | None] = ["low lower lowest", "newer wider 今天", None, "lower new, new!", "widest low"]
    for arguments in ({}, {"unit": "pieces", "size": 30}, {"unit": "characters", "ngrams": 2}):
        step = Tokenize("text", min_count=1, **arguments)
        once = fit_step(step, SCHEMA, [batch(texts)])
        assert fit_step(step, SCHEMA, [batch(texts[3:]), batch(texts[:3])]) == once
        (counts,) = step.statistics(SCHEMA).values()
        counts.update(batch(texts))
        again = step.fit(SCHEMA, {"text": counts.from_state(counts.state()).value()})
        assert again == once
        assert ids(again, texts) == ids(once, texts)


# ------------------------------------------------------------------ pieces


def naive_merges(words: dict[str, int], size: int, least: int) -> list[tuple[str, str]]:
    """Byte-pair encoding as it was published: count all pairs, merge the best, again (Sennrich et al. 2016)."""
    cut = {word: [word[0], *(INSIDE + sign for sign in word[1:])] for word in words}
    often: Counter[str] = Counter()
    for word, parts in cut.items():
        for part in parts:
            often[part] += words[word]
    usual = sorted((part for part in often if often[part] >= least), key=lambda part: (-often[part], part))[:size]
    order = sorted(usual)
    merges = []
    while len(order) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in cut.items():
            for pair in pairwise(parts):
                if set(pair) <= set(order):
                    pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], order.index(pair[0]), order.index(pair[1])), default=None)
        if best is None or pairs[best] < least:
            return merges
        merges.append(best)
        joined = best[0] + best[1].removeprefix(INSIDE)
        order += [joined] if joined not in order else []
        for word, parts in cut.items():
            cut[word] = applied(parts, best)
    return merges


def applied(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    rest = list(parts)
    while rest:
        if tuple(rest[:2]) == pair:
            found.append(rest.pop(0) + rest.pop(0).removeprefix(INSIDE))
        else:
            found.append(rest.pop(0))
    return found


WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), max_size=12)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.integers(1, 30), st.integers(1, 4))
def test_merges_are_those_of_counting_anew_each_time(words: dict[str, int], size: int, least: int) -> None:
    found = Pieces.learn(list(words), list(words.values()), size, least)
    assert list(found.merges) == naive_merges(words, size, least)
    assert len(set(found.tokens)) == len(found.tokens) <= size + 1


@settings(max_examples=30, deadline=None)
@given(WORDS, st.lists(st.text("abcd", min_size=1, max_size=8), min_size=1, max_size=6))
def test_words_are_cut_by_the_merges_in_their_order(words: dict[str, int], asked: list[str]) -> None:
    pieces = Pieces.learn(list(words), list(words.values()), 25, 1)
    found, bounds = pieces.cut(pa.array(asked, pa.large_string()))
    for place, word in enumerate(asked):
        parts = [word[0], *(INSIDE + sign for sign in word[1:])]
        parts = [part if part in pieces.tokens else UNKNOWN for part in parts]
        for pair in pieces.merges:
            parts = applied(parts, pair)
        once = [part for at, part in enumerate(parts) if part != UNKNOWN or at == 0 or parts[at - 1] != UNKNOWN]
        assert [pieces.tokens[token] for token in found[bounds[place] : bounds[place + 1]]] == once


def test_merges_are_those_that_the_library_learns_from_the_texts_themselves() -> None:
    from tokenizers import Tokenizer as Library
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import BpeTrainer

    # No two pairs are equally frequent as far as it goes, so that nothing depends on ties.
    words = {"".join(letters): 1 + place * place % 211 for place, letters in enumerate(product("abcd", repeat=3))}
    library = Library(BPE())
    library.pre_tokenizer = WhitespaceSplit()
    trainer = BpeTrainer(vocab_size=35, show_progress=False, continuing_subword_prefix=INSIDE)
    library.train_from_iterator([" ".join([word] * often) for word, often in words.items()], trainer)
    ours = Pieces.learn(list(words), list(words.values()), 35, 1)
    assert len(ours.merges) > 20
    assert set(ours.tokens) - {UNKNOWN} == set(library.get_vocab())


def test_nearly_no_word_is_unknown_in_pieces() -> None:
    step = fitted(["lower newest widest"] * 2, unit="pieces", size=30)
    names = step.schema["text"].categories
    assert names is not None
    (row,) = ids(step, ["lowest"])
    assert "".join(names[token].removeprefix(INSIDE) for token in row) == "lowest"
    assert ids(step, ["é"]) == [[0]]


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "word"}, "unit: not a choice"),
        ({"unit": None}, "unit: not a choice"),
        ({"unit": ["words"]}, "unit: not a choice"),
        ({"vocabulary": "hashed"}, "vocabulary: not a choice"),
        ({"unicode": "NFD"}, "unicode: not a choice"),
        ({"size": 0}, "size: out of range"),
        ({"size": 1.5}, "size: out of range"),
        ({"min_count": 0}, "min_count: out of range"),
        ({"ngrams": 4}, "ngrams: out of range"),
        ({"ngrams": True}, "ngrams: out of range"),
        ({"max_tokens": 0}, "max_tokens: out of range"),
        ({"lowercase": 1}, "lowercase: not a truth value"),
        ({"unit": "pieces", "ngrams": 2}, "pieces have no n-grams"),
        ({"unit": "pieces", "vocabulary": "hash"}, "pieces are learned"),
        ({"unit": "characters", "rare": "shape"}, "rare: only words that are learned have shapes"),
        ({"vocabulary": "hash", "rare": "shape"}, "rare: only words that are learned have shapes"),
        ({"rare": "dropped"}, "rare: not a choice"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tokenize("text", **arguments)


def test_a_column_of_numbers_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"step 'tokenize', column 'x'(?s:.)*text"):
        Tokenize("x").touches(SCHEMA)


def test_transforming_an_earlier_batch_after_a_later_one_gives_the_same() -> None:
    step = fitted(["a b c"], unit="pieces")
    first = step.transform(batch(["abc", "c"]), Use("train"))
    step.transform(batch(["cab"] * 5), Use("predict"))
    assert step.transform(batch(["abc", "c"]), Use("predict")).columns.equals(first.columns)


@pytest.mark.parametrize(
    ("unit", "library", "extra"), [("pieces", "tokenizers", "text"), ("jieba", "jieba", "chinese")]
)
def test_a_library_that_is_missing_is_said_before_the_work(
    unit: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # what makes its import fail
    chinese._segmenter.cache_clear()
    with pytest.raises(MissingExtra, match=rf"pip install 'penstock\[{extra}\]'"):
        Tokenize("text", unit=unit).statistics(SCHEMA)  # type: ignore[arg-type]
