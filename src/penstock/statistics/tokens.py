"""How texts become tokens, and in how many texts each token stands. Part of the room of statistics.

Tokens are made by Polars' string kernels over whole columns: no Python per text or token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

import polars as pl
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies, FrequenciesValue
from penstock.statistics.values import array_of

Analyzer: TypeAlias = Literal["auto", "word", "char", "items", "value"]
ANALYZERS: tuple[str, ...] = ("auto", "word", "char", "items", "value")
_TOGETHER = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"
_WORDS = r"\b\w\w+\b"
_EITHER = rf"{_TOGETHER}|\b\w\w+\b"
_LONGEST = 1_000
"""Tokens are cut after so many characters: beyond it they are no words."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How a text is cut into tokens.

    Attributes:
        analyzer: "word": words of two signs and more, as in scikit-learn; "char": characters, white space as one space;
            "auto": words, and of scripts without spaces between words (Chinese, Japanese, Korean) characters and pairs
            of neighbouring ones; "items": the entries of a list, or what stands between ``separator``; "value": the
            whole value is one token.
        ngrams: of "word" and "char", how many neighbours make a token: from, to.
        lowercase: whether case counts.
        separator: of "items", what stands between them in a text.

    Raises:
        UsageError: an argument is none of its values.

    Example:
        >>> Tokenizer("word", (1, 2)).tokens(pl.Series(["Good morning, world"])).to_list()
        [['good', 'morning', 'world', 'good morning', 'morning world']]
        >>> Tokenizer("auto").tokens(pl.Series(["今天 ok"])).to_list()
        [['今', '天', 'ok', '今天']]
    """

    analyzer: Analyzer = "auto"
    ngrams: tuple[int, int] = (1, 1)
    lowercase: bool = True
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.analyzer not in ANALYZERS:
            raise UsageError(
                "no such analyzer", where="analyzer", expected=", ".join(ANALYZERS), got=repr(self.analyzer)
            )
        low, high = self.ngrams
        if not 1 <= low <= high <= 10:
            raise UsageError(
                "not a range of n-grams", where="ngrams", expected="1 <= from <= to <= 10", got=repr(self.ngrams)
            )
        if self.separator == "":
            raise UsageError("a separator is a text", where="separator", expected="one sign or more", got="''")

    def tokens(self, texts: pl.Series) -> pl.Series:
        """The tokens of each text, in their order, repeated as often as they stand there; null for null."""
        if isinstance(texts.dtype, pl.List):
            return texts.list.eval(pl.element().cast(pl.String).drop_nulls())
        column = pl.col("text")
        if self.lowercase and self.analyzer in ("auto", "word", "char"):
            column = column.str.to_lowercase()
        frame = pl.DataFrame({"text": texts.cast(pl.String)})
        return frame.select(self._cut(column).alias("tokens")).to_series()

    def _cut(self, text: pl.Expr) -> pl.Expr:
        if self.analyzer == "value":
            return pl.when(text.is_null()).then(None).otherwise(pl.concat_list(text))
        if self.analyzer == "items":
            items = text.str.split(self.separator) if self.separator is not None else pl.concat_list(text)
            return items.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
        if self.analyzer == "char":
            spaced = text.str.replace_all(r"\s+", " ")
            return _grams(spaced.str.extract_all(r"(?s)."), self.ngrams, "")
        if self.analyzer == "word":
            return _grams(text.str.extract_all(_WORDS), self.ngrams, " ")
        # Signs of scripts without spaces are set apart first, so that each is a token, and pairs of neighbours too.
        apart = text.str.replace_all(rf"({_TOGETHER})", " $1 ").str.extract_all(_EITHER)
        pairs = text.str.extract_all(rf"{_TOGETHER}{{2,}}").list.eval(
            pl.element()
            .str.extract_all(r"(?s).")
            .list.eval(pl.concat_str([pl.element(), pl.element().shift(-1)]).drop_nulls())
            .list.explode()
        )
        return pl.concat_list(_grams(apart, self.ngrams, " "), pairs)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "ngrams": list(self.ngrams)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(**{**value, "ngrams": tuple(value["ngrams"])})


def _grams(tokens: pl.Expr, ngrams: tuple[int, int], joint: str) -> pl.Expr:
    """Tokens and their neighbours, joined."""
    tokens = tokens.list.eval(pl.element().str.slice(0, _LONGEST))
    parts = []
    for length in range(ngrams[0], ngrams[1] + 1):
        if length == 1:
            parts.append(tokens)
            continue
        neighbours = [pl.element().shift(-place) for place in range(length)]
        parts.append(tokens.list.eval(pl.concat_str(neighbours, separator=joint).drop_nulls()))
    return parts[0] if len(parts) == 1 else pl.concat_list(*parts)


def series_of(batch: Batch, column: str) -> pl.Series:
    """A column of texts or lists as Polars knows it; dictionary-encoded text as plain text."""
    values = array_of(batch, column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return pl.Series("text", values)


@dataclass(frozen=True, eq=False)
class DocumentFrequenciesValue:
    """In how many texts each token stands.

    Attributes:
        documents: texts that are not null.
        frequencies: tokens, and the number of texts they stand in.
    """

    documents: int
    frequencies: FrequenciesValue


class DocumentFrequencies(Statistic[DocumentFrequenciesValue]):
    """In how many texts (or lists) of a column each token stands: exact, and on disk where there are very many.

    An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name.
        tokenizer: as `Tokenizer.to_json` gives it.

    Example:
        >>> rows = pa.record_batch({"text": ["good day", "good good night", None]})
        >>> statistic = DocumentFrequencies("text", Tokenizer("word").to_json())
        >>> statistic.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> statistic.value().documents, statistic.value().frequencies.top(1)
        (2, [('good', 2)])
    """

    kind = "document_frequencies"

    def __init__(self, column: str, tokenizer: Mapping[str, Any]) -> None:
        self._column = column
        self._tokenizer = Tokenizer.from_json(tokenizer)
        self._documents = 0
        self._tokens = Frequencies("token")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column and the tokenizer."""
        return {"column": self._column, "tokenizer": self._tokenizer.to_json()}

    def update(self, batch: Batch) -> None:
        """Take in the texts of one batch."""
        texts = series_of(batch, self._column)
        self._documents += len(texts) - texts.null_count()
        found = self._tokenizer.tokens(texts).list.unique().explode().drop_nulls()
        if len(found):
            tokens = pa.record_batch({"token": found.to_arrow().cast(pa.large_string())})
            self._tokens.update(Batch(tokens, RowKeys.span("", 0, len(found))))

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._documents += other._documents
        self._tokens.merge(other._tokens)

    def value(self) -> DocumentFrequenciesValue:
        """The counts so far."""
        return DocumentFrequenciesValue(self._documents, self._tokens.value())

    def state(self) -> pa.Table:
        """The state of the tokens' frequencies, its first row (nulls, of which there are none) the number of texts."""
        state = self._tokens.state()
        counts = pa.chunked_array([pa.array([self._documents], pa.int64()), *state["count"].slice(1).chunks])
        return state.set_column(1, state.schema.field(1), counts)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._documents = state["count"][0].as_py()
        zero = pa.chunked_array([pa.array([0], pa.int64()), *state["count"].slice(1).chunks])
        self._tokens = Frequencies("token").from_state(state.set_column(1, state.schema.field(1), zero))

    @property
    def nbytes(self) -> int:
        """What is held in memory [bytes]."""
        return self._tokens.nbytes
