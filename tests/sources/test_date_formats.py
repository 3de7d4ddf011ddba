"""Dates and times as people write them: found from a sample, by Python's own formatting; what is ambiguous is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import UsageError
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.cells import BETWEEN, CLOCK, ISO, TIME_FORMATS, time_cells
from penstock.sources.csv_types import infer_column
from penstock.sources.written import kind_of_way, written_numbers


def inferred(texts: list[str], name: str = "x") -> tuple[Role, str]:
    found = infer_column(name, pa.array(texts, pa.string()), complete=False)
    return found.role, found.written


def reason(texts: list[str]) -> str:
    return infer_column("x", pa.array(texts, pa.string()), complete=False).reason


def times(texts: list[str], way: str) -> list[datetime | None]:
    read: list[datetime | None] = time_cells(pa.array(texts, pa.string()), way or ISO).values.to_pylist()
    return read


@pytest.mark.parametrize(
    ("texts", "way", "first"),
    [
        (["2026-11-20", "2026-01-02"], "", datetime(2026, 11, 20)),
        (["2026-11-20 08:30:15.5", "2026-01-02"], "", datetime(2026, 11, 20, 8, 30, 15, 500000)),
        (["2026-11-20T10:00:00Z", "2026-11-20T10:00:00+02:00"], "", datetime(2026, 11, 20, 10)),
        (["2026年11月20日", "2026年1月2日"], "%Y年%m月%d日", datetime(2026, 11, 20)),
        (["2026年11月20日 8:30", "2026年1月2日 18:05"], "%Y年%m月%d日 %H:%M", datetime(2026, 11, 20, 8, 30)),
        (["20/11/2026", "01/02/2026"], "%d/%m/%Y", datetime(2026, 11, 20)),
        (["11/20/2026", "01/02/2026"], "%m/%d/%Y", datetime(2026, 11, 20)),
        (["20.11.2026", "1.2.2026"], "%d.%m.%Y", datetime(2026, 11, 20)),
        (["20.11.26", "01.02.26"], "%d.%m.%y", datetime(2026, 11, 20)),
        (["11/20/26 1:05 PM", "1/2/26 9:00 AM"], "%m/%d/%y %I:%M %p", datetime(2026, 11, 20, 13, 5)),
        (["20-Nov-2026", "1-Feb-2026"], "%d-%B-%Y", datetime(2026, 11, 20)),
        (["Nov 20, 2026", "February 1, 2026"], "%B %d, %Y", datetime(2026, 11, 20)),
        (["20 November 2026", "1 Feb 2026"], "%d %B %Y", datetime(2026, 11, 20)),
        (["2026/11/20 08:30", "2026/01/02 18:00"], "%Y/%m/%d %H:%M", datetime(2026, 11, 20, 8, 30)),
        (["11/20/2026 1:05 p.m.", "1/2/2026 9:00 a.m."], "%m/%d/%Y %I:%M %p", datetime(2026, 11, 20, 13, 5)),
    ],
)
def test_formats_are_found_and_read(texts: list[str], way: str, first: datetime) -> None:
    assert inferred(texts) == (Role.time, way)
    assert times(texts, way)[0] == first


@pytest.mark.parametrize("texts", [["Nov 20, 2026", "November 20, 2026"], ["20-Nov-2026"], ["11/20/2026 1:05 PM"]])
def test_names_of_months_are_whole_or_short(texts: list[str]) -> None:
    assert {moment and moment.date().isoformat() for moment in times(texts, inferred(texts)[1])} == {"2026-11-20"}


def test_zones_become_utc() -> None:
    zoned = datetime(2026, 11, 20, 10, tzinfo=timezone(timedelta(hours=2)))
    assert times([zoned.isoformat()], "") == [zoned.astimezone(UTC).replace(tzinfo=None)]


FORMATS = [one for one in TIME_FORMATS if one != ISO]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1)))
def test_a_time_written_in_a_format_and_read_is_what_python_reads(time_format: str, moment: datetime) -> None:
    ours = time_format.replace("%S%.f", "%S.%f")
    text = moment.strftime(ours)
    assert times([text], time_format) == [datetime.strptime(text, ours)]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FORMATS), st.text(alphabet="0123456789/.-: apmAPM年月日", max_size=18))
def test_what_python_can_not_read_is_no_time(time_format: str, text: str) -> None:
    ours = time_format.replace("%S%.f", "%S.%f")
    try:
        datetime.strptime(re.sub(r"\s*([aApP])\.?\s?[mM]\.?$", r" \1m", text.strip()), ours)
    except ValueError:
        if "%f" not in ours:  # where Python wants a fraction that may be left out
            assert times([text.strip()], time_format) == [None]


def test_days_and_months_are_told_apart_by_numbers_beyond_twelve() -> None:
    assert "(1 of 2 can't be %m/%d/%Y)" in reason(["20/11/2026", "01/02/2026"])
    assert "(1 of 2 can't be %d/%m/%Y)" in reason(["11/20/2026", "01/02/2026"])


def test_what_is_ambiguous_is_said_with_the_line_that_turns_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day,x\n" + "".join(f"01/{1 + i % 12:02d}/2026,{i}\n" for i in range(24)))
    source = ps.read(path)
    assert source.schema["day"].written == "%m/%d/%Y"
    assert "(all of them would also be %d/%m/%Y)" in source.schema["day"].reason
    note = next(note for note in source.notes if note.topic == "format of 'day'")
    assert note.override == 'read: {written: {day: "%d/%m/%Y"}}'
    turned = ps.read(path, options=ReadOptions(written={"day": "%d/%m/%Y"}))
    (batch,) = (batch for chunk in turned.chunks() for batch in turned.read(chunk))
    assert batch.columns.column("day")[1].as_py() == datetime(2026, 2, 1)


def test_three_formats_of_one_column_are_each_read_by_the_one_that_fits() -> None:
    texts = ["2026-11-20"] * 5 + ["20.11.2026", "3.2.2026"] * 2 + ["Nov 20, 2026"] * 2
    role, way = inferred(texts)
    assert (role, way) == (Role.time, "iso | %d.%m.%Y | %B %d, %Y")
    assert times(["2026-11-20", "3.2.2026", "Nov 20, 2026", "20/11/2026"], way) == [
        datetime(2026, 11, 20),
        datetime(2026, 2, 3),
        datetime(2026, 11, 20),
        None,
    ]
    said = reason(texts)
    assert "several formats: ISO 8601 (45.45%), %d.%m.%Y (36.36%) (2 of 4 can't be %m.%d.%Y)" in said


def test_days_first_and_months_first_are_never_mixed() -> None:
    texts = ["20/11/2026"] * 6 + ["11/20/2026"] * 4
    assert inferred(texts) == (Role.category, "")
    assert "60.0% are dates or times like %d/%m/%Y, but '11/20/2026' is not" in reason(texts)


def test_a_rare_other_format_is_no_format_of_the_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day,x\n" + "".join(f"{1 + i % 28:02d}/03/2026,{i}\n" for i in range(200)) + "2026-03-01,7\n")
    source = ps.read(path)
    assert source.schema["day"].written == "%d/%m/%Y"
    batches = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    (rejected,) = (row for b in batches if b.rejected is not None for row in b.rejected.to_pylist())
    assert (rejected["row"], rejected["column"], rejected["code"], rejected["value"]) == (
        200,
        "day",
        "not_a_date",
        "2026-03-01",
    )


@pytest.mark.parametrize(
    "texts", [["1.2.3", "2.10.4"], ["10.0.0.1", "192.168.0.1"], ["2026-13-45", "2026-99-99"], ["12-34-56", "98-76-54"]]
)
def test_versions_and_numbers_with_marks_are_no_dates(texts: list[str]) -> None:
    assert inferred(texts) == (Role.category, "")


def test_counts_since_1970_are_times_where_the_name_says_so() -> None:
    moment = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    seconds = str(int(moment.timestamp()))
    assert inferred([seconds, "1700000000"], "created_at") == (Role.time, "epoch seconds")
    assert inferred([seconds, "1700000000"], "amount")[0] is Role.integer
    assert times([seconds], "epoch seconds") == [moment.replace(tzinfo=None)]
    assert times([seconds + "500"], "epoch milliseconds") == [datetime(2026, 11, 20, 8, 30, 0, 500000)]
    assert inferred(["20261120", "20260102"], "date") == (Role.time, "%Y%m%d")
    assert inferred(["20261120", "20260102"], "amount")[0] is Role.integer


def test_times_of_a_day_are_seconds() -> None:
    assert inferred(["8:30", "12:15"]) == (Role.number, CLOCK) or inferred(["8:30", "12:15"]) == (Role.integer, CLOCK)
    texts = ["8:30", "08:30:15.5", "12:15 a.m.", "12:15 PM", "1 pm", "24:00", "13:00 pm", "7"]
    expected = [30600.0, 30615.5, 900.0, 44100.0, 46800.0, None, None, None]
    assert written_numbers(pa.array(texts), CLOCK).values.to_pylist() == expected


def test_a_format_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day,x\n2026-01-01,1\n2026-01-02,2\n")
    for way in ("YYYY-MM-DD", "%Q", "%Y-%", "%Y-%m", "%H:%M", "%d/%m/%Y %H", "%d/%m/%Y %I:%M", "tomorrow", BETWEEN):
        with pytest.raises(UsageError, match="not a way to write values"):
            ps.read(path, options=ReadOptions(written={"day": way}))


@pytest.mark.parametrize("time_format", FORMATS)
def test_every_known_format_is_one_that_can_be_said(time_format: str) -> None:
    assert kind_of_way(time_format) is Role.time


def test_a_saved_pipeline_reads_days_in_the_order_it_was_fitted_to(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("day,y\n" + "".join(f"{1 + i % 28:02d}/0{1 + i % 9}/2026,{i % 7}\n" for i in range(200)))
    fitted = ps.Pipeline([]).prepare(train, to=tmp_path / "a.parquet")
    assert fitted.rows == 200
    schema = ps.read(train).schema
    new = tmp_path / "new.csv"
    new.write_text("day,y\n01/02/2026,1\n03/04/2026,2\n")
    assert ps.read(new).schema["day"].written == "%m/%d/%Y"
    source = ps.read(new).like(schema)
    (batch,) = (batch for chunk in source.chunks() for batch in source.read(chunk))
    assert batch.columns.column("day").to_pylist() == [datetime(2026, 2, 1), datetime(2026, 4, 3)]


@pytest.mark.parametrize("way", ["%d/%m/%Y", "iso", "epoch seconds", "iso | %d.%m.%Y %H:%M"])
def test_a_way_of_times_is_one(way: str) -> None:
    assert kind_of_way(way) is Role.time


def read_all(source: Any) -> list[dict[str, Any]]:
    return [row for chunk in source.chunks() for batch in source.read(chunk) for row in batch.columns.to_pylist()]


def test_json_texts_are_dates_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"day": "{1 + i % 28}.{1 + i % 12}.2026"}}\n' for i in range(40)))
    assert read_all(ps.read(path))[27]["day"] == datetime(2026, 4, 28)
