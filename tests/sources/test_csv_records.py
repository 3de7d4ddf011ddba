"""Records are cut where Python's csv module cuts them, whatever the quotes and line ends, and for any window."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sources.csv_dialect import Dialect, cells_of
from penstock.sources.csv_plan import blocks_of
from penstock.sources.csv_records import find_records, first_line_end
from penstock.sources.files import Limits

wild = st.text(alphabet='ab",;\n\r ', max_size=60)


class Memory:
    """A text file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def window(self, start: int, size: int) -> tuple[bytes, bool]:
        data = self.data[start : start + size]
        return data, start + len(data) >= len(self.data)


def by_python(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


def ours(text: str) -> list[list[str]]:
    data = text.encode()
    found = find_records(data, b",", quoting=True, final=True)
    records = [data[a:b].decode() for a, b in zip(found.starts.tolist(), found.stops.tolist(), strict=True)]
    cells = [cells_of(_without_end(record), Dialect()) for record in records]
    return [*cells, cells_of(data[found.done :].decode(), Dialect())] if found.open else cells


def _without_end(record: str) -> str:
    return record.removesuffix("\n").removesuffix("\r")


@settings(max_examples=400, deadline=None)
@given(wild)
def test_records_and_cells_are_those_of_pythons_csv(text: str) -> None:
    assert ours(text) == by_python(text)


@settings(max_examples=200, deadline=None)
@given(wild, st.integers(1, 9), st.integers(1, 5), st.integers(1, 40))
def test_blocks_are_the_same_for_any_window(text: str, window: int, rows: int, nbytes: int) -> None:
    memory = Memory(text.encode())
    small = Limits(rows, nbytes, 100, record_bytes=10_000, window_bytes=window)
    large = Limits(rows, nbytes, 100, record_bytes=10_000, window_bytes=10_000)
    assert list(blocks_of(memory, 0, 1, Dialect(), small)) == list(blocks_of(memory, 0, 1, Dialect(), large))


@settings(max_examples=200, deadline=None)
@given(wild, st.integers(1, 5), st.integers(1, 40))
def test_blocks_hold_every_record_once_and_know_its_number_and_line(text: str, rows: int, nbytes: int) -> None:
    data = text.encode()
    blocks = list(blocks_of(Memory(data), 0, 1, Dialect(), Limits(rows, nbytes, 100, 10_000, 16)))
    seen = 0
    last = 0
    for block in blocks:
        assert block["row"] == seen
        assert block["start"] >= last
        assert 1 <= block["rows"] <= rows
        assert not data[last : block["start"]].strip(b"\r\n")
        ends = data[: block["start"]].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
        assert block["line"] == 1 + ends
        seen += block["rows"]
        last = block["stop"]
    assert not data[last:].strip(b"\r\n")


def test_a_block_ends_before_the_record_that_would_make_it_too_large() -> None:
    data = b"aaaa,1\nbb,2\ncc,3\n"
    blocks = list(blocks_of(Memory(data), 0, 1, Dialect(), Limits(100, 12, 100, 1000, 1000)))
    assert [(block["start"], block["stop"], block["rows"]) for block in blocks] == [(0, 12, 2), (12, 17, 1)]


@pytest.mark.parametrize("window", [3, 8, 10_000])
def test_a_quote_never_closed_costs_its_first_line_alone(window: int) -> None:
    data = b'a,1\n"b,2\nc,3\nd,4\n'
    (block,) = blocks_of(Memory(data), 0, 1, Dialect(), Limits(100, 1000, 1000, 1000, window))
    assert block["rows"] == 4
    assert block["cut"] == [[4, 9, "unclosed_quote"]]


@pytest.mark.parametrize("window", [4, 16, 10_000])
def test_a_record_that_is_too_long_is_cut_at_its_first_line_end(window: int) -> None:
    data = b'a,1\n"b\n' + b"x" * 50 + b'",2\nc,3\n' + b"y" * 60 + b",4\nd,5\n"
    limits = Limits(100, 1000, 1000, record_bytes=40, window_bytes=window)
    (block,) = blocks_of(Memory(data), 0, 1, Dialect(), limits)
    cuts = [(data[start:stop], code) for start, stop, code in block["cut"]]
    assert cuts[0] == (b'"b\n', "unclosed_quote")
    assert (b"y" * 60 + b",4\n", "record_too_long") in cuts
    assert block["stop"] == len(data)


@pytest.mark.parametrize(
    ("data", "start", "expected"),
    [(b"ab\ncd", 0, 3), (b"ab\r\ncd", 0, 4), (b"ab\rcd", 0, 3), (b"ab\r", 0, 3), (b"ab", 0, None), (b"a\nb\n", 2, 4)],
)
def test_the_first_line_end_is_found(data: bytes, start: int, expected: int | None) -> None:
    assert first_line_end(data, start, final=True) == expected


def test_a_return_at_the_end_of_a_piece_is_undecided() -> None:
    assert first_line_end(b"ab\r", 0, final=False) is None
    assert len(find_records(b"ab\r", b",", quoting=True, final=False)) == 0
