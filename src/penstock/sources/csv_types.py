"""What the texts of a CSV column are: numbers, truth values, times or words, by a sample of them.

Part of the CSV source. What is found here is held to: a cell that does not fit costs its row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from penstock.inference import ColumnSample, Inferred, infer_role
from penstock.sources.cells import BOOLEAN_PAIRS, ISO, boolean_cells, find_time_format, number_cells, time_cells

FIT = 0.99
"""The share of a sample's values that must be of a kind for the column to be of it; the others are bad cells."""

_LIKE_A_TIME = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class TextColumn:
    """What was found of a column.

    Attributes:
        inferred: its role.
        time_format: how its times are written, if it has any.
    """

    inferred: Inferred
    time_format: str = ISO


def infer_column(name: str, texts: pa.Array, *, complete: bool) -> TextColumn:
    """The role of a column from a sample of its cells, without surrounding blanks and with null for missing.

    Example:
        >>> infer_column("zip", pa.array(["00501", "10001", "00501"]), complete=False).inferred.role.value
        'category'
        >>> infer_column("day", pa.array(["31/12/2023", "1/2/2024"]), complete=False).time_format
        '%d/%m/%Y'
    """
    present = texts.drop_null()
    sample = ColumnSample(name, texts, complete=complete)
    if not len(present):
        return TextColumn(infer_role(sample))
    number = number_cells(present)
    share = 1.0 if number.bad is None else 1.0 - float(number.bad.mean())
    if share >= FIT:
        return TextColumn(infer_role(_numbers(sample, texts, present)))
    pair = _truth_values(present)
    if pair:
        values = boolean_cells(texts).values
        return TextColumn(infer_role(replace(sample, values=values, was=f"the texts {pair[0]} and {pair[1]}")))
    time_format = _time_format(present)
    if time_format:
        values = time_cells(texts, time_format).values
        return TextColumn(infer_role(replace(sample, values=values, was=_described(time_format, present))), time_format)
    found = infer_role(sample)
    if share >= 0.5 and number.bad is not None:
        odd = present[int(number.bad.argmax())].as_py()
        found = replace(found, reason=f"{found.reason}; {share:.1%} are numbers, but {odd[:40]!r} is not")
    return TextColumn(found)


def _numbers(sample: ColumnSample, texts: pa.Array, present: pa.Array) -> ColumnSample:
    values = number_cells(texts).values
    whole = pc.mean(pc.match_substring_regex(present, r"^[+-]?\d+$").cast(pa.float64())).as_py() >= FIT
    if whole and pc.any(pc.match_substring_regex(present, r"^[+-]?0\d+$")).as_py():
        return replace(sample, leading_zeros=True, whole=True)
    if whole and (pc.max(pc.abs(values)).as_py() or 0.0) >= 2.0**53:
        return replace(
            sample, leading_zeros=True, whole=True, was="whole numbers beyond 2^53, which float64 would round"
        )
    return replace(sample, values=values, whole=whole)


def _truth_values(present: pa.Array) -> tuple[str, str] | None:
    words = pc.utf8_lower(present).value_counts()
    counts = {str(item["values"]): int(item["counts"].as_py()) for item in words[:100]}
    for pair in BOOLEAN_PAIRS:
        if all(word in counts for word in pair) and sum(counts[word] for word in pair) >= FIT * len(present):
            return pair
    return None


def _time_format(present: pa.Array) -> str | None:
    few = present[:_LOOKED_AT]
    if pc.mean(pc.match_substring_regex(few, _LIKE_A_TIME).cast(pa.float64())).as_py() < FIT:
        return None
    return find_time_format(present, FIT)


def _described(time_format: str, present: pa.Array) -> str:
    text = "ISO 8601 dates or times" if time_format == ISO else f"dates or times like {time_format}"
    for first, second in (("%d/%m", "%m/%d"), ("%m/%d", "%d/%m"), ("%d-%m", "%m-%d")):
        if time_format.startswith(first):
            other = time_cells(present, time_format.replace(first, second, 1)).bad
            if other is None:
                text += f" (all of them would also be {time_format.replace(first, second, 1)})"
    return text
