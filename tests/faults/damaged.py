"""Files that were damaged, and what must hold of reading them.

Run as a program it reads one damaged file for each seed that it is told, and answers with a line of JSON, so that a
crash or a hang is seen by whoever waits for the answer.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import penstock as ps
from penstock.batch import Batch
from penstock.errors import PenstockError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.arrow import ArrowSource
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files
from penstock.sources.json import JsonSource
from penstock.sources.parquet import ParquetSource

ROWS = 120
ROLES = {"id": Role.integer, "x": Role.number, "word": Role.text, "day": Role.time}
OPTIONS = ReadOptions(delimiter=",", roles=ROLES)
TYPED = ReadOptions(roles=ROLES)
LIMITS = Limits(block_rows=25, chunk_bytes=2_000)
MEMORY = 8 * 2**30
"""What the process may map: a length that was damaged must not take the machine's memory [bytes]."""

Row = tuple[Any, ...]


@cache
def table() -> pa.Table:
    chance = random.Random(0)
    words = ["plain", "two words", 'a "quoted" one', "with, comma", "two\nlines", "né 中文"]
    return pa.table(
        {
            "id": pa.array(range(1_000, 1_000 + ROWS), pa.int64()),
            "x": pa.array([round(chance.gauss(0, 1), 4) for _ in range(ROWS)], pa.float64()),
            "word": pa.array([f"{chance.choice(words)} {row}" for row in range(ROWS)]),
            "day": pa.array([1_700_000_000_000_000 + 86_400_000_000 * row for row in range(ROWS)], pa.timestamp("us")),
        }
    )


@cache
def rows() -> tuple[Row, ...]:
    return tuple(tuple(row.values()) for row in table().to_pylist())


@cache
def records(way: str) -> tuple[bytes, ...]:
    """The records of a text, the head first; each with its line end."""
    made = []
    for number, x, word, day in rows():
        when = day.isoformat()
        if way == "jsonl":
            text = json.dumps({"id": number, "x": x, "word": word, "day": when}, ensure_ascii=False)
        else:
            quoted = '"' + word.replace('"', '""') + '"' if set(word) & set('",\n') else word
            text = f"{number},{x},{quoted},{when}"
        made.append((text + "\n").encode())
    return (b"", *made) if way == "jsonl" else (b"id,x,word,day\n", *made)


def _parquet(**options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table(), out, row_group_size=40, **options)
    return out.getvalue()


def _arrow(stream: bool, compression: str | None) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table().schema, options=options) as writer:
        writer.write_table(table(), max_chunksize=40)
    return out.getvalue()


@dataclass(frozen=True)
class Format:
    """A format, and what is known of damage in it.

    Attributes:
        suffix: of the file.
        make: the undamaged file.
        source: what reads it.
        options: how.
        lines: whether its records are lines of text, and none hides the damage of another.
        checked: up to where its bytes are covered by a checksum; 0 where they are not.
    """

    suffix: str
    make: Callable[[], bytes]
    source: type[Any]
    options: ReadOptions
    lines: str = ""
    checked: Callable[[bytes], int] = lambda _: 0


def _pages(data: bytes) -> int:
    """Where the last page of a Parquet file ends."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


FORMATS = {
    "csv": Format("csv", lambda: b"".join(records("csv")), CsvSource, OPTIONS, "csv"),
    "jsonl": Format("jsonl", lambda: b"".join(records("jsonl")), JsonSource, TYPED, "jsonl"),
    "csv.gz": Format(
        "csv.gz", lambda: gzip.compress(b"".join(records("csv")), mtime=0), CsvSource, OPTIONS, checked=len
    ),
    "parquet": Format(
        "parquet",
        lambda: _parquet(write_page_checksum=True, compression="none"),
        ParquetSource,
        TYPED,
        checked=_pages,
    ),
    "parquet zstd": Format(
        "parquet",
        lambda: _parquet(write_page_checksum=True, compression="zstd"),
        ParquetSource,
        TYPED,
        checked=_pages,
    ),
    "parquet without checksums": Format("parquet", lambda: _parquet(compression="snappy"), ParquetSource, TYPED),
    "arrow": Format("arrow", lambda: _arrow(False, None), ArrowSource, TYPED),
    "arrow lz4": Format("arrow", lambda: _arrow(False, "lz4"), ArrowSource, TYPED),
    "arrow stream": Format("arrows", lambda: _arrow(True, None), ArrowSource, TYPED),
}
NAMES = list(FORMATS)


@cache
def whole(name: str) -> bytes:
    return FORMATS[name].make()


@dataclass(frozen=True)
class Damage:
    """What was done to a file.

    Attributes:
        kind: truncated, flipped, zeroed or lost.
        data: the file afterwards.
        places: the bytes that were changed, [start, stop) of the undamaged file.
    """

    kind: str
    data: bytes
    places: tuple[tuple[int, int], ...]


def damaged(name: str, chance: random.Random) -> Damage:
    """A damaged file."""
    data = bytearray(whole(name))
    kind = chance.choice(["truncated", "flipped", "flipped", "flipped", "zeroed", "lost"])
    if kind == "truncated":
        at = chance.randrange(len(data))
        return Damage(kind, bytes(data[:at]), ((at, len(data)),))
    if kind == "flipped":
        places = [chance.randrange(len(data)) for _ in range(chance.choice([1, 1, 2, 3]))]
        for place in places:
            data[place] ^= 1 << chance.randrange(8)
        return Damage(kind, bytes(data), tuple((place, place + 1) for place in sorted(set(places))))
    at = chance.randrange(len(data))
    stop = min(len(data), at + chance.choice([1, 16, 200]))
    if kind == "zeroed":
        data[at:stop] = bytes(stop - at)
    else:
        del data[at:stop]
    return Damage(kind, bytes(data), ((at, stop),))


# ---------------------------------------------------------------------- reading one


@dataclass
class Read:
    """What came out: rows with their numbers, rejected rows, and the error, where one ended it."""

    rows: list[tuple[int, Row]]
    rejected: list[dict[str, Any]]
    error: PenstockError | None = None


def read(name: str, path: Path) -> Read:
    """Read a file to its end, or to an error of ours; any other goes on."""
    done = Read([], [])
    source: Source | None = None
    try:
        how = FORMATS[name]
        source = how.source(find_files(path, how.options), how.options, LIMITS)
        for chunk in source.chunks():
            for batch in source.read(chunk):
                _take(done, batch)
    except PenstockError as error:
        done.error = error
    return done


def _take(done: Read, batch: Batch) -> None:
    names = batch.columns.schema.names
    found = {
        name: (batch.column(name).to_pylist() if name in names else [None] * len(batch))
        for name in table().schema.names
    }
    done.rows += zip(batch.keys.rows.tolist(), zip(*found.values(), strict=True), strict=True)
    if batch.rejected is not None:
        done.rejected += batch.rejected.to_pylist()
    assert all(count.balanced for count in batch.counts), "the ledger does not add up"


# ---------------------------------------------------------------------- what must hold


def judge(name: str, damage: Damage, done: Read) -> str:
    """What became of it, in a word.

    Raises:
        AssertionError: a row that was not damaged is another, or gone without a word.
    """
    if done.error is not None:
        text = str(done.error)
        assert done.error.where or done.error.got or done.error.expected, f"it does not say where: {text}"
        assert "Traceback" not in text
        if not FORMATS[name].lines:
            return "refused"
    if FORMATS[name].lines:
        return _judge_lines(name, damage, done)
    good = [row for _, row in done.rows]
    if damage.data == whole(name) or good == list(rows()):
        assert good == list(rows()) and not done.rejected
        return "unharmed"
    limit = FORMATS[name].checked(whole(name))
    inside = damage.kind != "truncated" and all(stop <= limit for _, stop in damage.places)
    assert not inside, f"rows changed without a word, although there are checksums: {damage.places}"
    assert not limit or damage.kind not in ("truncated", "lost"), "bytes are gone, and nobody noticed"
    return "not seen"


def _judge_lines(name: str, damage: Damage, done: Read) -> str:
    """Every record that no damage touched comes out as it was; or it was swallowed by one that was touched, and what
    swallowed it is told with its text."""
    way = FORMATS[name].lines
    touched, spans = set(), []
    place = 0
    for record in records(way):
        spans.append((place, place + len(record)))
        place += len(record)
    for number, (start, stop) in enumerate(spans):
        # A byte that is lost at a record's end takes the next one with it; a flip in the line end, too.
        touched |= {number for at, end in damage.places if at < stop and end > start}
    if done.error is not None:
        assert 0 in touched or damage.kind == "truncated" or len(touched) > 20, f"refused altogether: {done.error}"
        return "refused"
    if 0 in touched and way == "csv":
        return "another head"
    good = [row for _, row in done.rows]
    known = set(rows())
    others = [row for row in good if row not in known]
    assert len(others) <= 3 * len(touched), "rows that were never there"
    assert len(set(good)) == len(good), "a row came twice"
    order = [row[0] for row in good if row in known]
    assert order == sorted(order), "the rows are in another order"
    # Where a quote was lost, the text up to the next one is a cell: what it swallowed stands there, and nothing but
    # a reader tells it from a long text.
    told = _letters("\n".join([*(one["record"] or "" for one in done.rejected), *map(_shown, others)]))
    for number, row in enumerate(rows(), 1):
        if number not in touched and row not in good:
            for piece in records(way)[number].decode().replace("\n", ",").split(","):
                assert _letters(piece) in told, f"the row {row} is gone without a word"
    if not _moves_ends(way, damage):
        numbers = {row: number for number, row in done.rows}
        for number, row in enumerate(rows()):
            if number + 1 not in touched:
                assert numbers.get(row) == number, f"row {number} is another, or elsewhere"
        assert len(good) + len(done.rejected) == len(rows()), "a record was lost"
    return "rejected" if done.rejected else "changed"


def _moves_ends(way: str, damage: Damage) -> bool:
    """Whether a byte that tells where records and fields end was changed, or bytes are gone."""
    if damage.kind in ("truncated", "lost"):
        return True
    signs = b'",\n\r' if way == "csv" else b"\n\r"
    original = whole(way)
    return any(
        set(original[start:stop]) & set(signs) or set(damage.data[start:stop]) & set(signs)
        for start, stop in damage.places
    )


def _shown(row: Row) -> str:
    number, x, word, day = row
    return f"{number},{x},{word},{day.isoformat() if day else ''}"


def _letters(text: str) -> str:
    """A text without what quoting changes."""
    for sign in ('\\"', '"', "\\n", "\n", "\r", " ", "'"):
        text = text.replace(sign, "")
    return text


# ---------------------------------------------------------------------- the process


def case(seed: int, folder: Path) -> dict[str, Any]:
    """Damage and read one file."""
    chance = random.Random(seed)
    name = NAMES[seed % len(NAMES)]
    damage = damaged(name, chance)
    path = folder / f"data.{FORMATS[name].suffix}"
    path.write_bytes(damage.data)
    told = {"seed": seed, "format": name, "kind": damage.kind, "places": damage.places[:4]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return {**told, "outcome": judge(name, damage, read(name, path))}
    except BaseException:
        return {**told, "wrong": traceback.format_exc()[-3_000:]}


def through_a_job(seed: int, folder: Path) -> dict[str, Any]:
    """The same through `prepare`: it is published as it was read, or not at all."""
    chance = random.Random(seed)
    name = NAMES[seed % len(NAMES)]
    damage = damaged(name, chance)
    path = folder / f"data.{FORMATS[name].suffix}"
    path.write_bytes(damage.data)
    told = {"seed": seed, "format": name, "kind": damage.kind, "places": damage.places[:4]}
    out = folder / "out"
    try:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(folder / "out.run", ignore_errors=True)
        plain = read(name, path)
        how = FORMATS[name]
        try:
            source = how.source(find_files(path, how.options), how.options, LIMITS)
            ps.Pipeline([], max_rejected=1.0).prepare(source, to=out, cores=2)
        except PenstockError as error:
            assert not out.exists(), "it failed, and something is published"
            return {**told, "outcome": "refused", "error": str(error)}
        assert plain.error is None, f"read alone it is refused: {plain.error}"
        assert pq.read_table(out).num_rows == len(plain.rows)
        return {**told, "outcome": "published"}
    except BaseException:
        return {**told, "wrong": traceback.format_exc()[-3_000:]}


def _serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            how, seed = line.split()
            do = {"read": case, "job": through_a_job}[how]
            print(json.dumps(do(int(seed), Path(folder))), flush=True)


def seeds(count: int, first: int = 0) -> Iterator[int]:
    """The seeds of so many cases."""
    yield from range(first, first + count)


if __name__ == "__main__":
    _serve()
