"""Encoding, delimiter, quotes and header are found by looking, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.source import ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.csv_dialect import MISSING, Dialect, cells_of, find_dialect, has_header
from penstock.sources.csv_encoding import find_encoding
from penstock.sources.files import find_files

CHINESE = "姓名,城市,年龄\n" + "".join(f"王小明{i},北京市,{i}\n" for i in range(50))
GERMAN = "Straße,Größe\n" + "".join(f"Königsallee {i},{i}\n" for i in range(50))
ENGLISH = "name,age\n" + "".join(f"Tom{i},{i}\n" for i in range(50))


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (ENGLISH.encode(), "utf-8"),
        (CHINESE.encode(), "utf-8"),
        (GERMAN.encode("utf-8-sig"), "utf-8"),
        (ENGLISH.encode("utf-16"), "utf-16"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (ENGLISH.encode("utf-16-le"), "utf-16-le"),
        (ENGLISH.encode("utf-16-be"), "utf-16-be"),
        (CHINESE.encode("gbk"), "gb18030"),
        (CHINESE.encode("gb18030"), "gb18030"),
        (GERMAN.encode("latin-1"), "latin-1"),
        (GERMAN.encode() * 20 + b"caf\xe9,3\n", "utf-8"),
        (ENGLISH.encode() * 100 + b"\xff\xfe,3\n", "utf-8"),
    ],
)
def test_the_encoding_is_found(data: bytes, codec: str) -> None:
    assert find_encoding([data]).codec == codec


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(CHINESE, "gb18030"), (CHINESE, "utf-16"), (CHINESE, "utf-8-sig"), (GERMAN, "latin-1"), (ENGLISH, "utf-16-be")],
)
def test_files_of_any_encoding_hold_the_same_text(tmp_path: Path, text: str, encoding: str) -> None:
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(text, encoding="utf-8")
    other.write_bytes(text.encode(encoding))
    found = []
    for path in (plain, other):
        source = CsvSource(find_files(path), ReadOptions())
        found.append([b.columns.to_pylist() for chunk in source.chunks() for b in source.read(chunk)])
    assert found[0] == found[1]
    assert len(found[0][0]) == 50


def test_a_delimiter_may_be_the_second_byte_of_a_letter(tmp_path: Path) -> None:
    letters = [letter for letter in map(chr, range(0x4E00, 0x9FA5)) if letter.encode("gb18030")[1:] in (b"|", b"\\")]
    assert len(letters) > 100
    common = "数据" * 200
    text = "a|b\n" + "".join(f"{letter}{common}|1\n" for letter in letters)
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode("gb18030"))
    source = CsvSource(find_files(path), ReadOptions(delimiter="|"))
    rows = [row for chunk in source.chunks() for b in source.read(chunk) for row in b.columns.to_pylist()]
    assert [row["a"][0] for row in rows] == letters


@pytest.mark.parametrize(
    ("head", "delimiter", "width"),
    [
        ("a,b,c\n1,2,3\n4,5,6\n", ",", 3),
        ("a;b\n1,5;2\n2,5;3\n", ";", 2),
        ("a\tb\nx, y\tz\nw\tq, r\n", "\t", 2),
        ("a|b|c\n1,0|2|3\n1,5|2|4\n", "|", 3),
        ('a,b\n"x;y;z",1\n"p;q;r",2\n', ",", 2),
        ("a,b\n1,2\n3\n4,5\n6,7\n", ",", 2),
        ("word\nother\nthird\n", ",", 1),
        ("a sentence, with a comma\nanother\nand, a, third\nx\n", "\t", 1),
    ],
)
def test_the_delimiter_is_the_one_that_gives_records_of_one_width(head: str, delimiter: str, width: int) -> None:
    guess = find_dialect(head.encode(), None)
    assert (guess.dialect.delimiter, guess.width) == (delimiter, width)


def test_quotes_are_letters_where_they_do_not_pair() -> None:
    head = 'ham\t"hello" he said\nspam\t"unclosed\nham\t5" nails\n' * 20
    assert find_dialect(head.encode(), "\t").dialect == Dialect("\t", quoting=False)
    paired = 'ham\t"hello, ""you"""\nspam\t"two\nlines"\nham\tplain\n' * 20
    assert find_dialect(paired.encode(), "\t").dialect == Dialect("\t", quoting=True)


@pytest.mark.parametrize(
    ("records", "header"),
    [
        ([["age", "city"], ["31", "Rome"]], True),
        ([["31", "Rome"], ["42", "Oslo"]], False),
        ([["name", "city"], ["Tom", "Rome"], ["Ann", "Oslo"]], True),
        ([["ham", "hello"], ["spam", "buy"], ["ham", "bye"]], False),
        ([["when", "city"], ["2024-01-01", "Rome"]], True),
        ([["2023-12-31", "Oslo"], ["2024-01-01", "Rome"]], False),
        ([["flag", "city"], ["true", "Rome"], ["false", "Rome"]], True),
        ([["", "x"], ["0", "5"], ["1", "6"]], True),
        ([["?", "Rome"], ["?", "Oslo"]], False),
        ([["Tom", "this is a whole sentence with many words"], ["Ann", "and another of them"]], False),
        ([["name", "city"]], True),
        ([["5", "Rome"]], False),
    ],
)
def test_a_header_is_told_from_a_row(records: list[list[str]], header: bool) -> None:
    assert has_header(records, frozenset(MISSING))[0] is header


def test_cells_are_split_by_the_rules_of_pyarrow() -> None:
    assert cells_of('a,"b,""c""",x"y,"d"e', Dialect()) == ["a", 'b,"c"', 'x"y', "de"]
    assert cells_of('a,"b', Dialect(quoting=False)) == ["a", '"b']
    assert cells_of("", Dialect()) == [""]
    assert cells_of(",", Dialect()) == ["", ""]


def test_what_was_found_is_said_with_the_line_that_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(GERMAN.replace(",", ";").encode("latin-1"))
    notes = {note.topic: note for note in CsvSource(find_files(path), ReadOptions()).notes}
    assert notes["encoding"].text == "latin-1"
    assert "encoding:" in notes["encoding"].override
    assert notes["delimiter"].text == "';'"
    assert notes["header"].text == "the first record names the columns"
    assert notes["role of 'Größe'"].override == 'read: {roles: {"Größe": category}}'
