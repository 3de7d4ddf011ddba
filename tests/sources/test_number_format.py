"""Numbers as people write them: found from a sample, read cell by cell, and read so again later."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import SchemaError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.csv_types import infer_column
from penstock.sources.find_numbers import find_number_format
from penstock.sources.number_format import CURRENCIES, SCALES, UNITS, NumberFormat, formatted_numbers
from penstock.sources.written import kind_of_way, written_numbers


def inferred(texts: list[str], name: str = "x") -> tuple[Role, str]:
    found = infer_column(name, pa.array(texts, pa.string()), complete=False)
    return found.role, found.written


def values(texts: list[str], way: str) -> list[float | None]:
    read: list[float | None] = written_numbers(pa.array(texts, pa.string()), way).values.to_pylist()
    return read


@pytest.mark.parametrize(
    ("texts", "way", "expected"),
    [
        (["1,234.5", "12.5"], "1,234.5", [1234.5, 12.5]),
        (["1,234,567", "89"], "1,234.5", [1234567, 89]),
        (["12,34,567.5", "1,00,000"], "1,234.5", [1234567.5, 100000]),
        (["1.234,5", "12,5"], "1.234,5", [1234.5, 12.5]),
        (["1.234.567", "12.345"], "1.234,5", [1234567, 12345]),
        (["3,5", "-4,25"], "1234,5", [3.5, -4.25]),
        (["1 234,5", "3,5"], "1 234,5", [1234.5, 3.5]),
        (["1\u00a0234,5", "3,5"], "1 234,5", [1234.5, 3.5]),
        (["1\u202f234 567.5", "3.5"], "1 234.5", [1234567.5, 3.5]),
        (["1’234.50", "3.5"], "1'234.5", [1234.5, 3.5]),
        (["¥1,200", "¥5"], "¥1,234.5", [1200, 5]),
        (["￥1,200", "￥5"], "¥1,234.5", [1200, 5]),
        (["$1,200.50", "-$3", "$-4"], "$1,234.5", [1200.5, -3, -4]),
        (["€ 5", "€ 7.5", "8 EUR"], "€1234.5", [5, 7.5, 8]),
        (["1.200,50 €", "950 €"], "€1.234,5", [1200.5, 950]),
        (["1200元", "35.5元"], "1234.5元", [1200, 35.5]),
        (["(1,200)", "300"], "1,234.5", [-1200, 300]),
        (["($1,200.5)", "$300"], "$1,234.5", [-1200.5, 300]),
        (["12%", "5.5 %", "-100%"], "1234.5%", [0.12, 0.055, -1.0]),
        (["3.5万", "1.2亿", "8000"], "1234.5万", [35000, 120000000, 8000]),
        (["3.5万元", "8000元"], "1234.5万元", [35000, 8000]),
        (["$5m", "$1.2bn", "$900k"], "$1234.5k", [5e6, 1.2e9, 9e5]),
        (["12.0 oz", "12.0 ounce", "16 OZ."], "1234.5 oz", [12, 12, 16]),
        (["180cm", "175 cm"], "1234.5 cm", [180, 175]),
        (["5 apples", "1 apple"], "1234.5 apple", [5, 1]),
        (["１２３", "４５．５"], "1234.5", [123, 45.5]),
        (["\u22125", "7,5"], "1234,5", [-5, 7.5]),
    ],
)
def test_formats_are_found_and_read(texts: list[str], way: str, expected: list[float]) -> None:
    role, found = inferred(texts)
    assert found == way
    assert role in (Role.number, Role.integer)
    assert values(texts, found) == expected


@pytest.mark.parametrize(
    "texts",
    [
        ["00123", "01234"],
        ["+49 171 1234567", "+49 89 123456"],
        ["555-1234", "555-9876"],
        ["(555) 123-4567", "(555) 321-7654"],
        ["0171 1234567", "089 123456"],
        ["12 34 56 78", "01 23 45 67"],
        ["1.2.3", "2.10.4"],
        ["1.2.3", "10.20.30", "1.12.13"],
        ["192.168.0.1", "10.0.0.1"],
        ["10-20", "20-30"],
        ["1,2,3", "4,5,6"],
        ["1st", "2nd"],
        ["1号", "2号"],
        ["5 kg", "11 lb"],
        ["1,234.5", "1.234,5"],
        ["A1", "B2"],
        ["30-50k", "20k"],
        ["978-3-16-148410-0", "978-0-306-40615-7"],
    ],
)
def test_what_looks_like_a_code_is_no_number(texts: list[str]) -> None:
    assert inferred(texts) == (Role.category, "")


@pytest.mark.parametrize("name", ["zip", "postal_code", "Phone", "PLZ", "邮编"])
def test_digits_are_a_code_where_the_name_says_so(name: str) -> None:
    assert inferred(["90210", "10001"], name)[0] is Role.category
    assert inferred(["90210", "10001"], "amount")[0] is Role.integer


@pytest.mark.parametrize("texts", [["1.234", "2.345"], ["1", "2"], ["1e5", "-2.5"], ["1234", "1234.5"]])
def test_plain_numbers_stay_plain(texts: list[str]) -> None:
    role, way = inferred(texts)
    assert role in (Role.number, Role.integer)
    assert way == ""
    assert values(texts, way) == [float(text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "other"),
    [(["1,234", "5,678"], "1234,5"), (["€1.234", "€5.678"], "€1.234,5"), (["1,234,5", "x"], "")],
)
def test_what_else_a_column_could_mean_is_said(texts: list[str], other: str) -> None:
    reason = infer_column("x", pa.array(texts), complete=False).reason
    assert (f"all of them could also be like {other}" in reason) == bool(other)


def test_a_percent_sign_that_some_numbers_have_is_judged_by_their_size() -> None:
    nothing = infer_column("abv", pa.array(["0.05", "0.06", "0.07"] * 9 + ["0.05%", "0.061%"]), complete=False)
    assert nothing.written == "1234.5[%]"
    assert "the sign changes nothing" in nothing.reason
    assert values(["0.05", "0.05%"], "1234.5[%]") == [0.05, 0.05]
    shares = infer_column("abv", pa.array(["0.05", "0.06", "0.07"] * 9 + ["5%", "6.1%"]), complete=False)
    assert shares.written == "1234.5 | 1234.5%"
    assert "of the size of the shares" in shares.reason
    assert values(["0.05", "6.1%"], shares.written) == [0.05, 0.061]
    points = infer_column("abv", pa.array(["12", "15.5"] * 9 + ["13%"]), complete=False)
    assert points.written == "1234.5[%]"


def test_words_behind_a_unit_are_left_out_where_few_have_them() -> None:
    texts = ["12.0 oz"] * 94 + ["16.0 oz. Alumi-Tek"] * 6
    found = infer_column("ounces", pa.array(texts), complete=False)
    assert found.written == "1234.5 oz ..."
    assert "words behind the unit are left out, as in '16.0 oz. Alumi-Tek'" in found.reason
    assert values(["16.0 oz. Alumi-Tek", "12 oz", "12 ozone"], found.written) == [16.0, 12.0, None]
    often = ["12.0 oz"] * 80 + ["16.0 oz. Alumi-Tek"] * 20
    assert inferred(often) == (Role.category, "")


def test_what_nearly_all_values_are_is_said() -> None:
    found = infer_column("x", pa.array(["$5", "$1,200"] * 20 + ["call us"] * 5), complete=False)
    assert found.role is Role.category
    assert "88.9% are numbers like $1,234.5, but 'call us' is not" in found.reason


def documented(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the page on reading."""
    page = (Path(__file__).parents[2] / "docs" / "reading.md").read_text("utf-8")
    part = page.split(f"### {heading}\n")[1].split("\n\n### ")[0]
    table = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)
    assert table is not None
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table[0].splitlines()[2:]]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]


@pytest.mark.parametrize("row", documented("Numbers"), ids=lambda row: row[0])
def test_the_documentation_says_what_is_read(row: list[str]) -> None:
    texts = re.findall(r"`([^`]+)`", row[0])
    way = "" if row[1] == "plain" else row[1].strip("`")
    assert values(texts, way) == [float(number) for number in re.findall(r"-?[\d.]+", row[2])]
    role, found = inferred(texts * 20)
    assert role in (Role.number, Role.integer)
    assert values(texts, found) == values(texts, way)


# ---------------------------------------------------------------------- a number written and read is the number

MONEY = sorted(CURRENCIES)
UNIT_NAMES = sorted(UNITS)
MARKS = [("", "."), (",", "."), ("", ","), (".", ","), (" ", "."), (" ", ","), ("'", "."), ("'", ",")]
FORMATS = st.one_of(
    st.builds(lambda m: NumberFormat(*m), st.sampled_from(MARKS)),
    st.builds(lambda m, c: NumberFormat(*m, currency=c), st.sampled_from(MARKS), st.sampled_from(MONEY)),
    st.builds(lambda m, s: NumberFormat(*m, scale=s), st.sampled_from(MARKS), st.sampled_from(sorted(SCALES))),
    st.builds(
        lambda m, u, o: NumberFormat(*m, unit=u, optional=o),
        st.sampled_from(MARKS),
        st.sampled_from(UNIT_NAMES),
        st.booleans(),
    ),
)
DECIMALS = st.decimals(-(10**12), 10**12, places=3) | st.integers(-(10**15), 10**15).map(Decimal)


def written(number: Decimal, of: NumberFormat, brackets: bool, spelling: int) -> tuple[str, Decimal]:
    """A number as a format writes it, by Python's own formatting; and what it then is."""
    digits = f"{abs(number):,f}".replace(",", "\0").replace(".", of.decimal).replace("\0", of.group)
    value = number
    if of.scale:
        words = sorted(SCALES[of.scale].items())
        word, power = words[spelling % len(words)]
        digits, value = digits + word, number * 10**power
    if of.currency:
        spelled = CURRENCIES[of.currency]
        money = spelled[spelling % len(spelled)]
        digits = money + digits if spelling % 2 else f"{digits} {money}"
    if of.unit:
        spelled = UNITS[of.unit]
        digits += [" ", ""][spelling % 2] + spelled[spelling % len(spelled)]
        value = value / 100 if of.unit == "%" and not of.optional else value
    if number < 0:
        digits = f"({digits})" if brackets else "-" + digits
    return digits, value


@settings(max_examples=60, deadline=None)
@given(FORMATS, DECIMALS, st.booleans(), st.integers(0, 60))
def test_a_number_written_in_a_format_and_read_is_the_number(
    of: NumberFormat, number: Decimal, brackets: bool, spelling: int
) -> None:
    text, value = written(number, of, brackets, spelling)
    assert formatted_numbers(pa.array([text]), of).to_pylist() == [float(value)]


@settings(max_examples=60, deadline=None)
@given(FORMATS, st.booleans())
def test_a_format_is_the_text_that_it_is_written_as(of: NumberFormat, rest: bool) -> None:
    whole = NumberFormat(of.group, of.decimal, of.currency, of.scale, of.unit, of.optional, rest and bool(of.unit))
    assert NumberFormat.parse(str(whole)) == whole
    assert kind_of_way(str(whole)) is Role.number


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MARKS), st.lists(st.decimals(1000, 10**9, places=2), min_size=3, max_size=9))
def test_numbers_with_both_marks_are_found(marks: tuple[str, str], numbers: list[Decimal]) -> None:
    of = NumberFormat(*marks)
    texts = [written(number, of, False, 0)[0] for number in numbers]
    found = infer_column("x", pa.array(texts), complete=False).written
    assert values(texts, found) == [float(number) for number in numbers]


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="0123456789.,' -+()%$€kgeE万", max_size=9))
def test_a_plain_number_means_in_every_format_what_it_means_alone(text: str) -> None:
    """What two formats both take, but for the marks, they take for one number."""
    plain = formatted_numbers(pa.array([text.strip()]), NumberFormat()).to_pylist()[0]
    money = formatted_numbers(pa.array([text.strip()]), NumberFormat(",", currency="$")).to_pylist()[0]
    if plain is not None:
        assert money == plain
        assert plain == float(text.strip().replace(" ", "").strip("()")) * (-1 if "(" in text else 1)


@pytest.mark.parametrize(
    "text", ["", "1234", "12,34.5", "1,234,5", "%", "x1234.5", "1234.5[]", "1234.5 [", "1234.5 ...", "1234.5 | x", "\0"]
)
def test_what_is_no_way_of_writing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a way to write"):
        kind_of_way(text)
    with pytest.raises(UsageError, match="not a way to write numbers"):
        written_numbers(pa.array(["1"]), text or " ")


def test_nothing_is_found_in_nothing() -> None:
    assert find_number_format("x", pa.array([], pa.string()), 0.5) is None
    assert inferred(["", "", ""])[1] == ""
    assert values([], "1,234.5") == []


# ---------------------------------------------------------------------- where it is read

ROWS = [("$1,200.50", "12%"), ("$15", "5.5%"), ("($3.25)", "100%")] * 20


def csv_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("price;rate\n" + "".join(f"{price};{rate}\n" for price, rate in rows))
    return path


def json_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f'{{"price": "{price}", "rate": "{rate}"}}\n' for price, rate in rows))
    return path


def read_all(source: Any) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    batches = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    table = pa.Table.from_batches([batch.columns for batch in batches])
    return table.to_pydict(), [row for b in batches if b.rejected is not None for row in b.rejected.to_pylist()]


@pytest.mark.parametrize(("make", "name"), [(csv_file, "a.csv"), (json_file, "a.jsonl")])
def test_text_files_are_read_so_and_misfits_are_rejected(tmp_path: Path, make: Any, name: str) -> None:
    source = ps.read(make(tmp_path / name, [*ROWS * 3, ("free", "7%")]))
    assert {field.name: field.written for field in source.schema} == {"price": "$1,234.5", "rate": "1234.5%"}
    rows, (rejected,) = read_all(source)
    assert rows["price"][:3] == [1200.5, 15.0, -3.25]
    assert rows["rate"][:3] == [0.12, 0.055, 1.0]
    assert (rejected["row"], rejected["column"], rejected["code"]) == (180, "price", "not_a_number")
    assert rejected["value"] == "free"
    assert "written like $1,234.5" in rejected["reason"]
    notes = {note.topic: note for note in source.notes}
    assert notes["format of 'price'"].override == 'read: {written: {price: "$1.234,5"}}'
    assert "'12%' is 0.12" in notes["role of 'rate'"].reason


@pytest.mark.parametrize(("make", "name"), [(csv_file, "a.csv"), (json_file, "a.jsonl")])
def test_the_user_says_how_values_are_written(tmp_path: Path, make: Any, name: str) -> None:
    path = make(tmp_path / name, [("1,234", "5%"), ("2,345", "7%")] * 9)
    options = ReadOptions(written={"price": "1.234,5", "rate": "1234.5[%]"})
    rows, rejected = read_all(ps.read(path, options=options))
    assert not rejected
    assert rows["price"][:2] == [1.234, 2.345]
    assert rows["rate"][:2] == [5.0, 7.0]
    plain = ps.read(path, options=ReadOptions(written={"price": ""}, roles={"rate": Role.category}))
    assert len(read_all(plain)[1]) == 18
    assert plain.schema["rate"].written == ""


def test_columns_of_text_in_typed_files_are_read_as_is_said(tmp_path: Path) -> None:
    table = pa.table({"price": ["$1,200.50", "$15"], "n": [1.0, 2.0]})
    source = ps.read(table, options=ReadOptions(written={"price": "$1,234.5"}))
    assert read_all(source)[0]["price"] == [1200.5, 15.0]
    with pytest.raises(SchemaError, match="holds no texts"):
        ps.read(table, options=ReadOptions(written={"n": "1,234.5"}))


def test_a_way_for_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        ps.read(csv_file(tmp_path / "a.csv", ROWS), options=ReadOptions(written={"pirce": "1,234.5"}))
    assert caught.value.remedy == "did you mean 'price'?"


def test_a_saved_pipeline_reads_new_data_as_those_it_was_fitted_to(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    lines = [f"{1000 + i * 7},5;{i % 40}%;{'yes' if i % 3 else 'no'}" for i in range(200)]
    train.write_text("price;rate;y\n" + "\n".join(lines) + "\n")
    fitted = ps.Pipeline([ps.Standardize("numeric")], model=ps.Linear(), target="y").fit(train)
    fitted.save(tmp_path / "model")
    new = tmp_path / "new.csv"
    new.write_text("price;rate\n1500;12\n1,5;12%\n2000,5;3%\n")  # alone, this file would be read in another way
    loaded = ps.load(tmp_path / "model")
    assert loaded.schema["price"].written == "1234,5"
    done = loaded.predict(new, to=tmp_path / "out.csv", max_rejected=1.0)
    assert (done.rows, done.counts[0].rejected) == (2, 1)


def test_a_model_of_plain_numbers_takes_no_percents(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("rate,y\n" + "".join(f"{i / 100},{'yes' if i % 3 else 'no'}\n" for i in range(200)))
    fitted = ps.Pipeline([], model=ps.Linear(), target="y").fit(train)
    new = tmp_path / "new.csv"
    new.write_text("rate\n0.5\n12%\n")
    done = fitted.predict(new, to=tmp_path / "out.csv", max_rejected=1.0)
    assert (done.rows, done.counts[0].rejected) == (1, 1)


def test_relational_work_reads_what_comes_before_it_in_the_same_way(tmp_path: Path) -> None:
    new = csv_file(tmp_path / "new.csv", [("1,234", "5%"), ("2,345", "7%"), ("2,345", "7%")])
    assert ps.read(new).schema["price"].written == "1,234.5"
    trained = ps.read(csv_file(tmp_path / "a.csv", [("1234,5", "0.05"), ("3,5", "0.07")])).schema
    source = ps.read(new).deduplicate(["price", "rate"]).like(trained)
    assert source.schema["price"].written == "1234,5"
    rows, rejected = read_all(source)
    assert rows == {"price": [], "rate": []}
    assert {row["code"] for row in rejected} == {"not_a_number"}  # plain shares were plain, and 5% is none
    source.close()
