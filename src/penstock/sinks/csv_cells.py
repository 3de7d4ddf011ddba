"""What is written into a cell of a CSV file: text that a spreadsheet can't take for a formula, and lists as JSON.

A helper of sinks. Spreadsheets run a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return; such
a text gets an apostrophe before it, as OWASP advises ("CSV injection"). A plain number is none, and stays as it is.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

_BEGINS = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?([0-9]+([.,][0-9]+)*|\.[0-9]+)([eE][+-]?[0-9]+)?%?$"


def csv_schema(schema: pa.Schema) -> pa.Schema:
    """The schema as it can stand in a CSV file: lists and vectors are text; names are harmless too."""
    return pa.schema(
        [
            pa.field(harmless(pa.array([field.name]))[0].as_py(), pa.string() if _is_nested(field.type) else field.type)
            for field in schema
        ]
    )


def csv_cells(columns: pa.RecordBatch) -> pa.RecordBatch:
    """The columns with their cells as they are written."""
    arrays = [_cells(column) for column in columns.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=csv_schema(columns.schema))


def harmless(texts: pa.Array) -> pa.Array:
    """Texts that no spreadsheet takes for a formula.

    Example:
        >>> harmless(pa.array(["=1+1", "-3.5", "-x", "plain", None])).to_pylist()
        ["'=1+1", '-3.5', "'-x", 'plain', None]
    """
    risky = pc.match_substring_regex(texts, _BEGINS).fill_null(False)
    if not risky.true_count:
        return texts
    number = pc.match_substring_regex(texts, _NUMBER).fill_null(False)
    marked = pc.binary_join_element_wise(pa.scalar("'", texts.type), texts, pa.scalar("", texts.type))
    return pc.if_else(pc.and_(risky, pc.invert(number)), marked, texts)


def _cells(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return harmless(column)
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        return pa.DictionaryArray.from_arrays(column.indices, harmless(column.dictionary))
    if _is_nested(kind):
        texts = (None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist())
        return pa.array(texts, pa.string())
    return column


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))
