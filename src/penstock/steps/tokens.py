"""Steps that turn texts, lists and categories into sparse vectors: `TfIdf`, `Hash` and `MultiHot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.documents import DocumentFrequencies
from penstock.statistics.hashing import hash_texts, mix
from penstock.statistics.tokens import Analyzer, Tokenizer
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen, family, truth_value, whole_number
from penstock.steps.vectors import Vocabulary, column_of, unit_length, vector_field, with_column
from penstock.vectors import as_matrix

MOST_WIDTH = 2**20


def _fields(step: TfIdf | Hash | MultiHot, schema: Schema) -> tuple[Field, ...]:
    """The columns, all of texts or lists of texts.

    Raises:
        SchemaError: one is of something else.
    """
    fields = chosen(step.columns, schema)
    for field in fields:
        if family(field) != "text" and not pa.types.is_list(field.type):
            raise SchemaError(
                "not a column that the step can work on",
                where=f"step {step.name!r}, column {field.name!r}",
                expected="text, categories or lists of them",
                got=f"{field.type} (role {field.role.value})",
                remedy="leave it out of `columns`, or cast it first",
            )
    return fields


def _norm(step: str, norm: Any) -> None:
    if norm not in ("l2", None):
        raise UsageError("no such norm", where=f"{step}: norm", expected="'l2' or null", got=repr(norm))


class _Vectors(Step):
    """What the three have in common: each column becomes a column of vectors of the same name."""

    columns: ColumnsLike

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in _fields(self, schema))  # type: ignore[arg-type]
        return Columns(names, names)


@dataclass(frozen=True)
class TfIdf(_Vectors):
    """Texts as vectors of weighted token counts (Salton and Buckley, "Term-weighting approaches in automatic text
    retrieval", Information Processing & Management 24, 1988), as scikit-learn's TfidfVectorizer computes them.

    A token's weight in a text is how often it stands there, times its inverse document frequency ``ln((1 + n) / (1 +
    df)) + 1``, where n is the number of texts and df the number of those with the token; each vector has length 1.
    Tokens that were not seen count nothing. Where no token is left, every vector is zero.

    Formula:
        v[t] = count(t) * (ln((1 + n) / (1 + df(t))) + 1), then v / |v|
        n the texts, df(t) those with the token t
        with `sublinear`, 1 + ln(count(t)) in place of the count

        Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information Processing &
        Management 24, 1988; with the smoothing of scikit-learn's TfidfVectorizer.

    Args:
        columns: columns of text, categories or lists.
        analyzer: "auto" (words; of scripts without spaces characters and pairs of them), "shapes" (the same with words
            of one sign, each other sign, and the shapes of words with digits or capitals, such as "<00000>" and
            "<AAAA>"), "word", "char" or "items".
        ngrams: of words and characters, how many neighbours make a token: from, to.
        lowercase: whether case is ignored.
        min_df: the fewest texts that a token has to stand in.
        max_df: the largest share (0 to 1) of the texts that it may stand in.
        max_features: the most tokens: those that occur most often, of equal ones the first in order.
        sublinear: whether a count c weighs ``1 + ln c``.
        norm: "l2" for vectors of length 1, or null.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("text", pa.string(), Role.text),))
        >>> batch = batch_of(schema, {"text": ["good day", "good night"]})
        >>> fitted = fit_step(TfIdf("text", min_df=1), schema, [batch])
        >>> fitted.schema["text"].parts
        ('day', 'good', 'night')
    """

    columns: ColumnsLike
    analyzer: Literal["auto", "shapes", "word", "char", "items"] = "auto"
    ngrams: tuple[int, int] = (1, 1)
    lowercase: bool = True
    min_df: int = 2
    max_df: float = 1.0
    max_features: int = 10_000
    sublinear: bool = False
    norm: Literal["l2"] | None = "l2"

    name = "tfidf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "ngrams", self.tokenizer.ngrams)
        whole_number("tfidf: max_features", self.max_features, 1, MOST_WIDTH)
        whole_number("tfidf: min_df", self.min_df, 1)
        share = isinstance(self.max_df, (int, float)) and not isinstance(self.max_df, bool)
        if not (share and 0 < self.max_df <= 1):
            raise UsageError(
                "out of range", where="tfidf: max_df", expected="above 0, at most 1", got=repr(self.max_df)
            )
        truth_value("tfidf: sublinear", self.sublinear)
        _norm(self.name, self.norm)

    @property
    def tokenizer(self) -> Tokenizer:
        """How texts are cut."""
        return Tokenizer(self.analyzer, self.ngrams, self.lowercase)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """In how many texts each token stands."""
        arguments = self.tokenizer.to_json()
        return {field.name: DocumentFrequencies(field.name, arguments) for field in _fields(self, schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedTfIdf:
        """The step with its vocabularies."""
        fields = _fields(self, schema)
        made = tuple(
            Vocabulary.of(values[field.name], min_df=self.min_df, max_df=self.max_df, most=self.max_features)
            for field in fields
        )
        weights = tuple(
            tuple((np.log((1 + values[field.name].documents) / (1 + np.array(one.documents))) + 1.0).tolist())
            for field, one in zip(fields, made, strict=True)
        )
        outgoing = schema.put(
            *(
                vector_field(field, max(1, len(one.tokens)), one.tokens or None)
                for field, one in zip(fields, made, strict=True)
            )
        )
        return FittedTfIdf(self, outgoing, tuple(field.name for field in fields), made, weights)


@dataclass(frozen=True)
class FittedTfIdf(FittedStep):
    """`TfIdf` with a vocabulary for each column, and the inverse document frequencies of its tokens."""

    step: TfIdf
    schema: Schema
    names: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    weights: tuple[tuple[float, ...], ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its texts as vectors."""
        names, columns = [], []
        for name, vocabulary, weights in zip(self.names, self.vocabularies, self.weights, strict=True):
            if name not in batch.columns.schema.names:
                continue
            matrix = vocabulary.count(batch.column(name), self.step.tokenizer)
            counts = matrix.data.astype(np.float64)
            values = (1.0 + np.log(counts) if self.step.sublinear else counts) * np.array(weights)[matrix.indices]
            names.append(name)
            columns.append(column_of(matrix, unit_length(matrix, values) if self.step.norm == "l2" else values))
        return with_column(batch, names, columns)


@dataclass(frozen=True)
class Hash(_Vectors):
    """Texts, lists or categories as vectors of a fixed width, without a vocabulary: each token's hash says its place
    and its sign (Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009).

    Tokens that share a place are told apart no more, but their signs make the errors cancel on average. Nothing is
    fitted, so that nothing has to be kept, and what was never seen has a place too.

    Formula:
        v[h2(t) mod width] += sign(t) * count(t), for each token t of the value
        sign(t) = 1 or -1 by one bit of t's 64-bit hash, h2 the other bits
        then v / |v| for the norm "l2"

        Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009. The hash is the same on
        every machine.

    Args:
        columns: columns of text, categories or lists.
        width: places of a vector.
        analyzer: "value" (the whole value is one token), "auto", "shapes", "word", "char" or "items"; see `TfIdf`.
        ngrams: of words and characters, how many neighbours make a token: from, to.
        lowercase: whether case is ignored, but for "value" and "items".
        signed: whether the hash decides on a sign.
        norm: "l2" for vectors of length 1, or null.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Hash("city", width=64).width
        64
    """

    columns: ColumnsLike
    width: int = 1024
    analyzer: Analyzer = "value"
    ngrams: tuple[int, int] = (1, 1)
    lowercase: bool = True
    signed: bool = True
    norm: Literal["l2"] | None = None

    name = "hash"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "ngrams", self.tokenizer.ngrams)
        whole_number("hash: width", self.width, 1, MOST_WIDTH)
        truth_value("hash: signed", self.signed)
        _norm(self.name, self.norm)

    @property
    def tokenizer(self) -> Tokenizer:
        """How texts are cut."""
        return Tokenizer(self.analyzer, self.ngrams, self.lowercase)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedHash:
        """Nothing is learned."""
        fields = _fields(self, schema)
        outgoing = schema.put(*(vector_field(field, self.width, None) for field in fields))
        return FittedHash(self, outgoing, tuple(field.name for field in fields))


@dataclass(frozen=True)
class FittedHash(FittedStep):
    """`Hash`, for the columns met."""

    step: Hash
    schema: Schema
    names: tuple[str, ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its values as vectors."""
        names = [name for name in self.names if name in batch.columns.schema.names]
        return with_column(batch, names, [self._column(batch.column(name)) for name in names])

    def _column(self, values: pa.Array) -> pa.StructArray:
        from scipy.sparse import csr_matrix

        counts, tokens = self.step.tokenizer.count(values)
        hashed = mix(hash_texts(tokens))
        place = ((hashed >> np.uint64(1)) % np.uint64(self.step.width)).astype(np.int64)[counts.indices]
        sign = np.where(hashed & np.uint64(1), 1, -1)[counts.indices] if self.step.signed else 1
        shape = (len(values), self.step.width)
        # Whole numbers are summed, so that their order does not matter.
        found = csr_matrix((counts.data * sign, place, counts.indptr), shape=shape)
        found.sum_duplicates()
        found.eliminate_zeros()
        summed = found.data.astype(np.float64)
        return column_of(found, unit_length(found, summed) if self.step.norm == "l2" else summed)


@dataclass(frozen=True)
class MultiHot(_Vectors):
    """Lists (or texts of items) as vectors of 0 and 1: a place for each item that was seen often enough.

    An item that was not seen is left out; a missing list and an empty one are zeros.

    Formula:
        v[i] = 1 where item i is in the list, else 0

        As scikit-learn's MultiLabelBinarizer.

    Args:
        columns: columns of lists, or of texts that ``separator`` cuts into items.
        separator: what stands between the items of a text; needed for texts.
        min_df: the fewest rows that an item has to stand in.
        max_features: the most items: those that occur most often, of equal ones the first in order.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column of texts, and no separator.

    Example:
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("tags", pa.string(), Role.category),))
        >>> batch = batch_of(schema, {"tags": ["a;b", "b", None]})
        >>> fit_step(MultiHot("tags", separator=";"), schema, [batch]).schema["tags"].parts
        ('a', 'b')
    """

    columns: ColumnsLike
    separator: str | None = None
    min_df: int = 1
    max_features: int = 10_000

    name = "multi_hot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        _ = self.tokenizer
        whole_number("multi_hot: max_features", self.max_features, 1, MOST_WIDTH)
        whole_number("multi_hot: min_df", self.min_df, 1)

    @property
    def tokenizer(self) -> Tokenizer:
        """How texts are cut."""
        return Tokenizer("items", separator=self.separator)

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = _fields(self, schema)
        plain = [field.name for field in fields if not pa.types.is_list(field.type)]
        if plain and self.separator is None:
            raise SchemaError(
                "texts are cut into items by a separator",
                where=f"step 'multi_hot', column {plain[0]!r}",
                expected="a column of lists, or a separator",
                remedy="separator: ';'",
            )
        return fields

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """In how many rows each item stands."""
        arguments = self.tokenizer.to_json()
        return {field.name: DocumentFrequencies(field.name, arguments) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedMultiHot:
        """The step with its items."""
        fields = self._fields(schema)
        found = tuple(
            Vocabulary.of(values[field.name], min_df=self.min_df, max_df=1.0, most=self.max_features)
            for field in fields
        )
        outgoing = schema.put(
            *(
                vector_field(field, max(1, len(one.tokens)), one.tokens or None)
                for field, one in zip(fields, found, strict=True)
            )
        )
        return FittedMultiHot(self, outgoing, fields, found)


@dataclass(frozen=True)
class FittedMultiHot(FittedStep):
    """`MultiHot` with the items of each column."""

    step: MultiHot
    schema: Schema
    fields: tuple[Field, ...]
    items: tuple[Vocabulary, ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its lists as vectors."""
        names, columns = [], []
        for field, items in zip(self.fields, self.items, strict=True):
            if field.name in batch.columns.schema.names:
                matrix = items.count(batch.column(field.name), self.step.tokenizer)
                names.append(field.name)
                columns.append(column_of(matrix, np.ones(matrix.nnz)))
        return with_column(batch, names, columns)

    def inverse(self, batch: Batch) -> Batch:
        """The batch with the items that were seen, each once, in order; an empty list (or text) where there is none."""
        names, columns = [], []
        for field, items in zip(self.fields, self.items, strict=True):
            if field.name not in batch.columns.schema.names:
                continue
            matrix = as_matrix(batch.column(field.name), max(1, len(items.tokens)))
            found = pa.array(items.tokens, pa.string()).take(pa.array(matrix.indices))
            lists = pa.ListArray.from_arrays(pa.array(matrix.indptr.astype(np.int32)), found)
            names.append(field.name)
            text = not pa.types.is_list(field.type)
            columns.append(pc.binary_join(lists, self.step.separator) if text else lists)
        return with_column(batch, names, columns)
