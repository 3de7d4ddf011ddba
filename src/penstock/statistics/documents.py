"""In how many rows each token occurs: what vocabularies and inverse document frequencies are made from. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.tokens import Tokenizer
from penstock.statistics.values import array_of

_TABLE = pa.schema([("token", pa.large_string()), ("documents", pa.int64()), ("occurrences", pa.int64())])
_PENDING = 262_144
"""Rows of unsummed counts that are held before they are summed."""


@dataclass(frozen=True, eq=False)
class DocumentFrequenciesValue:
    """Counts of tokens, ascending by token (by code points).

    Attributes:
        documents: rows that are not null.
        forgotten: 0 where every token was kept. Else by how much a token's count of documents may be too low at most; a
            token that is not there occurred in no more documents.
        table: columns token, documents (in how many it occurs), occurrences (how often in all of them).
    """

    documents: int
    forgotten: int
    table: pa.Table


class DocumentFrequencies(Statistic[DocumentFrequenciesValue]):
    """In how many rows each token of a column occurs, and how often in all.

    Up to ``bound`` tokens it is exact, and an integer state: any order and grouping gives the same bytes. Where there
    are more, the rarest are forgotten until half as many are left (lossy counting; Manku and Motwani, "Approximate
    frequency counts over data streams", VLDB 2002), and how rare those were is kept: frequent tokens are counted
    exactly or nearly so. Then the counts of rare ones follow from the order of the blocks, which a plan fixes.

    Args:
        column: the column's name: text, or lists of text.
        tokenizer: how a value is cut, as `penstock.statistics.tokens.Tokenizer.to_json` gives it.
        bound: the most tokens that are held, at least 2.

    Raises:
        UsageError: an argument is none of its values.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch({"text": ["free entry", "free, free!", None]})
        >>> words = DocumentFrequencies("text", Tokenizer("word").to_json())
        >>> words.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> words.value().documents, words.value().table.to_pylist()[1]
        (2, {'token': 'free', 'documents': 2, 'occurrences': 3})
    """

    kind = "document_frequencies"

    def __init__(self, column: str, tokenizer: Mapping[str, Any], bound: int = 500_000) -> None:
        if bound < 2:
            raise UsageError(
                "no room for tokens", where=f"column {column!r}", expected="a bound of at least 2", got=str(bound)
            )
        self._column = column
        self._tokenizer = Tokenizer.from_json(tokenizer)
        self._bound = bound
        self._documents = 0
        self._forgotten = 0
        self._held = _TABLE.empty_table()
        self._pending: list[pa.Table] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"column": self._column, "tokenizer": self._tokenizer.to_json(), "bound": self._bound}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or neither text nor lists of text.
        """
        values = array_of(batch, self._column)
        counts, tokens = self._tokenizer.count(values)
        self._documents += len(values) - values.null_count
        if not len(tokens):
            return
        documents = np.bincount(counts.indices, minlength=len(tokens))
        occurrences = np.zeros(len(tokens), np.int64)
        np.add.at(occurrences, counts.indices, counts.data)
        used = np.flatnonzero(documents)
        columns = [tokens.take(pa.array(used)), pa.array(documents[used]), pa.array(occurrences[used])]
        self._take(pa.table(columns, schema=_TABLE))

    def _take(self, counts: pa.Table) -> None:
        self._pending.append(counts)
        if sum(table.num_rows for table in self._pending) >= max(_PENDING, self._held.num_rows):
            self._held, self._forgotten = self._settled()
            self._pending = []

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._documents += other._documents
        self._forgotten += other._forgotten
        for table in (other._held, *other._pending):
            self._take(table)

    def _settled(self) -> tuple[pa.Table, int]:
        """All counts, equal tokens added up, and what was forgotten for it; changes nothing."""
        if not self._pending:
            return self._held, self._forgotten
        # One thread: rows of several threads come in any order.
        grouped = pa.concat_tables([self._held, *self._pending]).group_by("token", use_threads=False)
        summed = grouped.aggregate([("documents", "sum"), ("occurrences", "sum")])
        summed = summed.select(["token", "documents_sum", "occurrences_sum"])
        table = summed.rename_columns(_TABLE.names).combine_chunks()
        if table.num_rows <= self._bound:
            return table, self._forgotten
        order = pc.sort_indices(table, [("documents", "descending"), ("token", "ascending")])
        kept, gone = order[: self._bound // 2], order[self._bound // 2 :]
        return table.take(kept), self._forgotten + int(table["documents"][gone[0].as_py()].as_py())

    def value(self) -> DocumentFrequenciesValue:
        """The counts so far."""
        table, forgotten = self._settled()
        return DocumentFrequenciesValue(self._documents, forgotten, _ascending(table))

    def state(self) -> pa.Table:
        """First the number of documents and what was forgotten, under a null token; then the counts, ascending."""
        table, forgotten = self._settled()
        head = pa.table([pa.nulls(1, pa.large_string()), [self._documents], [forgotten]], schema=_TABLE)
        return pa.concat_tables([head, _ascending(table)]).combine_chunks()

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        head = state.slice(0, 1).to_pylist()[0]
        self._documents, self._forgotten = head["documents"], head["occurrences"]
        self._held, self._pending = state.slice(1).combine_chunks(), []

    @property
    def nbytes(self) -> int:
        """What is held in memory [bytes]."""
        return int(self._held.nbytes) + sum(int(table.nbytes) for table in self._pending)


def _ascending(table: pa.Table) -> pa.Table:
    return table.take(pc.sort_indices(table, [("token", "ascending")])).combine_chunks()
