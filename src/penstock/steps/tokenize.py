"""The step that turns texts into sequences of tokens, for networks that read them in order: `Tokenize`.

Vectors of token counts, for models that take a row as numbers, are in `tokens.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.chinese import chinese_segmenter
from penstock.statistics.documents import DocumentFrequencies, DocumentFrequenciesValue
from penstock.statistics.hashing import hash_texts, mix
from penstock.statistics.tokens import Analyzer, Cut, Form, Tokenizer, shapes_of
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen_of, truth_value, whole_number
from penstock.steps.tokenize_pieces import UNKNOWN, Pieces, check_tokenizers
from penstock.steps.vectors import with_column

Unit = Literal["words", "characters", "pieces", "jieba"]
Kind = Literal["fitted", "hash"]
Rare = Literal["unknown", "shape"]
Integers = npt.NDArray[np.int64]

_ANALYZERS: dict[str, Analyzer] = {
    "words": "sequence",
    "characters": "char",
    "pieces": "sequence",
    "jieba": "jieba",
}
MOST_TOKENS = 2**20
"""The most places of a vocabulary."""
_PAIR = r"^[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]{2}$"
"""Tokens that are counted with shapes, and are no words of a sequence."""
_LONGEST = 2**20
_MOST_NEIGHBOURS = 3
_WORDS_LEARNED_FROM = 50_000


@dataclass(frozen=True)
class Tokenize(Step):
    """Texts as sequences of tokens: of each row a list of whole numbers, the places of its tokens in a vocabulary.

    This is what networks over texts read (`embedding_bag`, `text_conv`, `lstm`, `gru`). 0 is the unknown token: one
    that is not in the vocabulary. An empty or missing text is an empty list.

    Where a text is cut, by `unit`:

    - "words": words of any length, each other sign (a comma, an emoji) alone; of scripts without spaces between words
      (Chinese, Japanese, Korean) each character.
    - "characters": every character; white space of several signs is one space.
    - "pieces": frequent words whole, rare ones in pieces, down to single characters, so that next to nothing is unknown
      (byte-pair encoding). A piece inside a word begins with "##". It needs the extra `text`.
    - "jieba": as "words", but Chinese in words, as the library of this name finds them. It needs the extra `chinese`.

    The vocabulary has the most frequent tokens first; the column's field lists it. With `vocabulary` "hash" nothing is
    learned: the hash of a token says its place, so that whatever comes has one. Tokens may share a place, which is
    listed by its number.

    N-grams stand behind the single tokens of their row, first the pairs, then the triples. A network that averages its
    tokens learns from them how words stand together, as fastText does.

    Formula:
        "hash": id(t) = 1 + h(t) mod size, h a 64-bit hash that is the same on every machine
        "pieces": merge the most frequent pair of neighbouring pieces, until there are `size` of them

        Joulin et al., "Bag of tricks for efficient text classification", EACL 2017, for hashed n-grams; Sennrich,
        Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016, for pieces.

    Args:
        columns: columns of text or categories.
        unit: "words", "characters", "pieces" or "jieba".
        size: the most tokens in the vocabulary, the unknown not counted; of "hash", how many places there are.
        min_count: how often a token has to occur; rarer ones are unknown. Nothing to "hash".
        ngrams: how many neighbours make a token, from 1 to this; "pieces" have no n-grams.
        max_tokens: how many tokens of a row are kept, from its beginning; n-grams are made of those. No more than 32
            characters for each of them are looked at, so that no text is too long.
        lowercase: whether case is ignored.
        unicode: the form that texts are brought into first, "NFC" or "NFKC" (which makes full-width characters plain
            ones), or null for the characters as they are.
        vocabulary: "fitted", or "hash".
        rare: what stands for a word that is not in the vocabulary: "unknown", or its "shape" where that is frequent
            enough: 0 for a digit, A and a for letters, so that of a number or a name that was never seen it is told
            what it is. Only of "words" with a fitted vocabulary.

    Raises:
        UsageError: an argument is out of its range.
        MissingExtra: the library that `unit` needs is not installed.

    Example:
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("text", pa.string(), Role.text),))
        >>> batch = batch_of(schema, {"text": ["good day", "Good night!", "", None]})
        >>> fitted = fit_step(Tokenize("text", min_count=1), schema, [batch])
        >>> fitted.schema["text"].categories
        ('<unknown>', 'good', '!', 'day', 'night')
        >>> fitted.transform(batch, Use()).column("text").to_pylist()
        [[1, 3], [1, 4, 2], [], []]
    """

    columns: ColumnsLike
    unit: Unit = "words"
    size: int = 20_000
    min_count: int = 2
    ngrams: int = 1
    max_tokens: int = 512
    lowercase: bool = True
    unicode: Form | None = "NFKC"
    vocabulary: Kind = "fitted"
    rare: Rare = "unknown"

    name = "tokenize"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        choices = {"unit": get_args(Unit), "vocabulary": get_args(Kind), "unicode": (*get_args(Form), None)}
        choices["rare"] = get_args(Rare)
        for setting, values in choices.items():
            got = getattr(self, setting)
            if not isinstance(got, (str, type(None))) or got not in values:
                expected = ", ".join("null" if value is None else repr(value) for value in values)
                raise UsageError("not a choice", where=f"tokenize: {setting}", expected=expected, got=repr(got))
        whole_number("tokenize: size", self.size, 1, MOST_TOKENS)
        whole_number("tokenize: min_count", self.min_count, 1)
        whole_number("tokenize: ngrams", self.ngrams, 1, _MOST_NEIGHBOURS)
        whole_number("tokenize: max_tokens", self.max_tokens, 1, _LONGEST)
        truth_value("tokenize: lowercase", self.lowercase)
        if self.unit == "pieces" and self.ngrams > 1:
            raise UsageError(
                "pieces have no n-grams", where="tokenize: ngrams", expected="1", got=str(self.ngrams),
                remedy="leave ngrams out, or take unit: words",
            )  # fmt: skip
        if self.unit == "pieces" and self.vocabulary == "hash":
            raise UsageError(
                "pieces are learned, and can't be hashed", where="tokenize: vocabulary", expected="'fitted'",
                got="'hash'", remedy="leave vocabulary out, or take unit: words",
            )  # fmt: skip

        if self.rare == "shape" and (self.unit != "words" or self.vocabulary == "hash"):
            raise UsageError(
                "only words that are learned have shapes in place of rare ones", where="tokenize: rare",
                expected="'unknown', or unit: words with vocabulary: fitted", got="'shape'",
            )  # fmt: skip

    @property
    def tokenizer(self) -> Tokenizer:
        """How texts are cut; of pieces, into the words that these are pieces of."""
        ngrams = (1, self.ngrams)
        analyzer = "shapes" if self.rare == "shape" else _ANALYZERS[self.unit]
        return Tokenizer(analyzer, ngrams, self.lowercase, form=self.unicode, most=self.max_tokens)

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text")

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """How often each token occurs."""
        self._check_libraries()
        if self.vocabulary == "hash":
            return {}
        arguments = self.tokenizer.to_json()
        return {field.name: DocumentFrequencies(field.name, arguments) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedTokenize:
        """The step with its vocabularies."""
        self._check_libraries()
        fields = self._fields(schema)
        made = tuple(self._vocabulary(values.get(field.name)) for field in fields)
        outgoing = schema.put(*(_tokens_field(field, one) for field, one in zip(fields, made, strict=True)))
        return FittedTokenize(self, outgoing, tuple(field.name for field in fields), made)

    def _vocabulary(self, found: DocumentFrequenciesValue | None) -> Listed | Hashed | Pieces:
        if found is None:
            return Hashed(self.size)
        if self.unit == "pieces":
            words, counts = _most_frequent(found, _WORDS_LEARNED_FROM, 1)
            return Pieces.learn(words, counts, self.size, self.min_count)
        if self.rare == "shape":
            pairs = pc.match_substring_regex(found.table["token"], _PAIR)
            found = replace(found, table=found.table.filter(pc.invert(pairs)))
        return Listed((UNKNOWN, *_most_frequent(found, self.size, self.min_count)[0]))

    def _check_libraries(self) -> None:
        if self.unit == "pieces":
            check_tokenizers()
        elif self.unit == "jieba":
            chinese_segmenter()


@dataclass(frozen=True)
class Listed:
    """A vocabulary that is a list.

    Attributes:
        tokens: in the order of their ids, the unknown first.
    """

    tokens: tuple[str, ...]

    @cached_property
    def _places(self) -> pl.Enum:
        return pl.Enum(self.tokens)

    def ids(self, texts: pa.Array) -> Integers:
        """The id of each text, 0 where it is not in the list."""
        codes = pl.Series("", texts).cast(self._places, strict=False).to_physical().cast(pl.Int64)
        return codes.fill_null(0).to_numpy()


@dataclass(frozen=True)
class Hashed:
    """A vocabulary without a list: hashes say the places.

    Attributes:
        size: how many there are, the unknown (which never comes) not counted.
    """

    size: int

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the places, the unknown first."""
        return (UNKNOWN, *(f"#{place}" for place in range(1, self.size + 1)))

    def ids(self, texts: pa.Array) -> Integers:
        """The id of each text, 1 to ``size``."""
        return (mix(hash_texts(texts)) % np.uint64(self.size)).astype(np.int64) + 1


@dataclass(frozen=True)
class FittedTokenize(FittedStep):
    """`Tokenize` with a vocabulary for each column."""

    step: Tokenize
    schema: Schema
    names: tuple[str, ...]
    vocabularies: tuple[Listed | Hashed | Pieces, ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its texts as lists of ids."""
        names, columns = [], []
        for name, vocabulary in zip(self.names, self.vocabularies, strict=True):
            if name in batch.columns.schema.names:
                names.append(name)
                columns.append(self._column(batch.column(name), vocabulary))
        return with_column(batch, names, columns)

    def _column(self, values: pa.Array, vocabulary: Listed | Hashed | Pieces) -> pa.ListArray:
        tokenizer = self.step.tokenizer
        cut = tokenizer.cut(values)
        if isinstance(vocabulary, Pieces):
            # A word is cut once for each block, however often it stands there.
            pieces = cut.divided(*vocabulary.cut(cut.alphabet), cut.alphabet).first(self.step.max_tokens)
            rows, ids = pieces.rows, pieces.codes
        else:
            rows, ids = _with_neighbours(cut, tokenizer, vocabulary)
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=len(values)))))
        return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(ids.astype(np.int32)))


def _with_neighbours(cut: Cut, tokenizer: Tokenizer, vocabulary: Listed | Hashed) -> tuple[Integers, Integers]:
    """The rows, ascending, and the ids of the single tokens and n-grams."""
    shapes = shapes_of(cut.alphabet) if tokenizer.analyzer == "shapes" else None
    small = cut.lowercase() if shapes is not None and tokenizer.lowercase else cut
    parts = small.grams(tokenizer.ngrams, tokenizer.joint)
    rows = np.concatenate([part.rows for part in parts])
    found = [vocabulary.ids(part.alphabet)[part.codes] for part in parts]
    if shapes is not None:
        found[0] = np.where(found[0] == 0, vocabulary.ids(shapes)[cut.codes], found[0])
    ids = np.concatenate(found)
    if len(parts) > 1:
        order = np.argsort(rows, kind="stable")
        rows, ids = rows[order], ids[order]
    return rows, ids


def _most_frequent(found: DocumentFrequenciesValue, most: int, least: int) -> tuple[list[str], list[int]]:
    """The tokens that occur most often, and how often; of equal ones the first in order."""
    often = found.table["occurrences"].to_numpy()
    kept = np.argsort(-often, kind="stable")[:most]
    kept = kept[often[kept] >= least]
    return found.table["token"].take(pa.array(kept)).to_pylist(), often[kept].tolist()


def _tokens_field(field: Field, vocabulary: Listed | Hashed | Pieces) -> Field:
    return Field(field.name, pa.list_(pa.int32()), Role.tokens, field.reason, vocabulary.tokens)
