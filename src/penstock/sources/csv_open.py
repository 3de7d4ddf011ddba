"""What has to be known of CSV files before they are read: encoding, dialect, header, and where the records begin.

Part of the CSV source. The dialect is that of the first file; each file has an encoding and a header of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import SchemaError, SourceError, UsageError
from penstock.source import Note, ReadOptions
from penstock.sources.columns import FolderColumns, united
from penstock.sources.csv_dialect import Dialect, Guess, find_dialect, first_records, has_header
from penstock.sources.csv_encoding import Encoding, find_encoding, named_encoding
from penstock.sources.csv_records import find_records
from penstock.sources.files import DataFile, DataFiles, Limits
from penstock.sources.spool import UTF_8_BOM, SpoolFolder, TextFile, sample_bytes

_HEAD = 2**18
_ENCODING_SAMPLE = 2**18
_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the records of one file begin.

    Attributes:
        names: its columns, in its order.
        start: the first byte of the first record that is a row.
        line: the number of its line, from 1.
    """

    names: tuple[str, ...]
    start: int
    line: int


@dataclass(frozen=True, slots=True)
class Opened:
    """Text files of one dialect.

    Attributes:
        texts: the files.
        beginnings: where the records of each begin.
        dialect: how they are written.
        names: the columns of all, in the order in which they first appear.
        notes: what was found.
    """

    texts: tuple[TextFile, ...]
    beginnings: tuple[Beginning, ...]
    dialect: Dialect
    names: tuple[str, ...]
    notes: tuple[Note, ...]


def open_files(
    files: DataFiles, options: ReadOptions, missing: frozenset[str], folder: SpoolFolder, limits: Limits
) -> Opened:
    """Look at the head of every file, and see what columns they have together.

    Raises:
        SourceError: a file has no record.
        SchemaError: columns are doubled, or a file has none of those of the first one.
        UsageError: an option is not one of those that exist.
    """
    sign = options.delimiter
    if sign is not None and (len(sign) != 1 or sign in '"\r\n\0' or not sign.isascii()):
        raise UsageError("not a delimiter", expected="one ASCII character", got=repr(sign))
    heads: list[_Head] = []
    notes: list[Note] = []
    for index, file in enumerate(files):
        text = open_text(file, options, folder, index, notes)
        heads.append(_head(text, limits))
    if options.delimiter is None and files[0].format == ".tsv":
        guess = find_dialect(heads[0].data, None, "\t")
    else:
        guess = find_dialect(heads[0].data, options.delimiter)
    notes += _dialect_notes(guess, options)
    beginnings = _beginnings(heads, guess, options, missing, notes)
    own = [beginning.names for beginning in beginnings]
    names, said = united(tuple(files), own, FolderColumns(tuple(files)), complete=options.missing_columns == "raise")
    return Opened(tuple(head.text for head in heads), tuple(beginnings), guess.dialect, names, (*notes, *said))


@dataclass(frozen=True, slots=True)
class _Head:
    """The first bytes of a file after its byte order mark, and whether that is all of it."""

    text: TextFile
    data: bytes
    skip: int
    final: bool

    @property
    def where(self) -> str:
        return str(self.text.file.path)

    def records(self, dialect: Dialect, count: int) -> list[list[str]]:
        found = first_records(self.data, dialect, count)
        if not found:
            raise SourceError(
                "the file holds no record", where=self.where, expected="at least one", got="empty lines alone"
            )
        return found

    def after_header(self, names: tuple[str, ...], dialect: Dialect) -> tuple[Beginning, bool]:
        """Where the records after the first one begin, and whether there are any."""
        delimiter = dialect.delimiter.encode()
        found = find_records(self.data, delimiter, quoting=dialect.quoting, final=self.final)
        if not len(found):
            raise SourceError(
                "the first record does not end",
                where=self.where,
                expected=f"a line end in the first {len(self.data)} bytes",
                remedy="see whether a quote is left open, or the delimiter is another",
            )
        stop = int(found.stops[0])
        lines = find_records(self.data[:stop], delimiter, quoting=dialect.quoting, final=True).done_lines
        some = not self.final or bool(self.data[stop:].strip(b"\r\n"))
        return Beginning(names, self.skip + stop, 1 + lines), some


def _head(text: TextFile, limits: Limits) -> _Head:
    data, final = text.window(0, _HEAD)
    text.release()
    skip = len(UTF_8_BOM) if data.startswith(UTF_8_BOM) else 0
    return _Head(text, data[skip:], skip, final)


def open_text(file: DataFile, options: ReadOptions, folder: SpoolFolder, index: int, notes: list[Note]) -> TextFile:
    """A file as UTF-8; what was found of its encoding is added to the notes.

    Raises:
        SourceError: there is nothing in it.
        UsageError: the encoding is not known.
    """
    pieces = sample_bytes(file, _ENCODING_SAMPLE)
    if not any(pieces):
        raise SourceError("the file is empty", where=str(file.path), expected="at least one record", got="0 bytes")
    encoding: Encoding = (
        find_encoding(pieces) if options.encoding is None else named_encoding(options.encoding, pieces[0])
    )
    if encoding.guessed:
        where = f"encoding of {file.key}" if index else "encoding"
        notes.append(Note(where, encoding.codec, encoding.reason, "read: {encoding: utf-8}"))
    return TextFile(file, encoding.codec, folder, index)


def _dialect_notes(guess: Guess, options: ReadOptions) -> list[Note]:
    notes: list[Note] = []
    if options.delimiter is None:
        sign = repr(guess.dialect.delimiter) if guess.width > 1 else "none: one column"
        notes.append(Note("delimiter", sign, guess.reason, "read: {delimiter: ';'}"))
    if not guess.dialect.quoting:
        notes.append(Note("quotes", "are text like any other", "fields that begin with a quote do not end with one"))
    return notes


def _beginnings(
    heads: Sequence[_Head], guess: Guess, options: ReadOptions, missing: frozenset[str], notes: list[Note]
) -> list[Beginning]:
    """Where the records of each file begin, and what its columns are named."""
    first = heads[0].records(guess.dialect, _RECORDS)
    if options.columns is not None:
        names = _given(heads[0].where, options.columns, guess)
        return [Beginning(names, head.skip, 1) for head in heads]
    header, reason = has_header(first, missing)
    if not header:
        names = tuple(f"column_{i + 1}" for i in range(guess.width))
        text = f"none; columns are named {names[0]} to {names[-1]}"
        notes.append(Note("header", text, reason, "read: {columns: [NAME, ...]}"))
        return [Beginning(names, head.skip, 1) for head in heads]
    notes.append(Note("header", "the first record names the columns", reason, "read: {columns: [NAME, ...]}"))
    names = tuple(_named(first[0]))
    _refuse_doubles(heads[0].where, names)
    unnamed = [name for name, cell in zip(names, first[0], strict=True) if not cell.strip()]
    if unnamed:
        notes.append(Note("header", f"columns without a name are called {', '.join(unnamed)}"))
    found: list[Beginning] = []
    rows = False
    for head in heads:
        own = tuple(_named(head.records(guess.dialect, 1)[0]))
        _refuse_doubles(head.where, own)
        if own != names and sorted(own) == sorted(names):
            notes.append(Note(f"columns of {head.text.file.key}", "in another order: read by their names"))
        beginning, some = head.after_header(own, guess.dialect)
        rows = rows or some
        found.append(beginning)
    if not rows:
        raise SourceError(
            "there is a header and no row",
            where=heads[0].where,
            expected="at least one record after the names of the columns",
            got=f"the names {', '.join(map(repr, names[:5]))}" + (", ..." if len(names) > 5 else ""),
            remedy="give the names (columns), if the first record is a row",
        )
    return found


def _named(cells: Sequence[str]) -> list[str]:
    """Names of columns: what stands there, or column_N."""
    return [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(cells)]


def _given(where: str, columns: tuple[str, ...], guess: Guess) -> tuple[str, ...]:
    if len(columns) != guess.width:
        raise SchemaError(
            "names are given for another number of columns",
            where=where,
            expected=f"{guess.width} names, since {guess.reason}",
            got=f"{len(columns)} names",
        )
    _refuse_doubles(where, columns)
    return columns


def _refuse_doubles(where: str, names: Sequence[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SchemaError(
            "two columns have one name",
            where=where,
            expected="a name for each column",
            got=", ".join(map(repr, doubled)),
            remedy="rename one of them in the file",
        )
