"""What comes through a pipe is read as what it is, as a file of the same content would be."""

from __future__ import annotations

import gzip
import io
import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import PenstockError, SourceError, UsageError
from penstock.source import ReadOptions, Source
from penstock.sources.standard_input import open_standard_input
from penstock.testing import check_source

PENSTOCK = [sys.executable, "-m", "penstock"]


def opened(data: bytes, **options: Any) -> Source:
    return open_standard_input("-", ReadOptions(**options), stream=io.BytesIO(data))


def table_of(source: Source) -> pa.Table:
    batches = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    assert {path.partition("/")[0] for batch in batches for path in batch.keys.paths} == {"standard input"}
    plain = [pa.table({name: batch.column(name).to_pylist() for name in source.schema.names}) for batch in batches]
    return pa.concat_tables(plain, promote_options="default")


TABLE = pa.table({"x": [1.0, 2.5, None, 4.0], "word": ["red", "blue", "red", "green"]})


def as_csv() -> bytes:
    return b"x,word\n1.0,red\n2.5,blue\n,red\n4.0,green\n"


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def as_arrow(new: Any) -> bytes:
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def as_zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("inner.csv", as_csv())
    return sink.getvalue()


JSON_LINES = "".join(
    f"{line}\n"
    for line in (
        '{"x": 1.0, "word": "red"}',
        '{"x": 2.5, "word": "blue"}',
        '{"x": null, "word": "red"}',
        '{"x": 4.0, "word": "green"}',
    )
).encode()

FORMS = {
    "csv": (as_csv(), ".csv"),
    "gzip": (gzip.compress(as_csv()), ".csv.gz"),
    "zstandard": (zstandard.compress(as_csv()), ".csv.zst"),
    "zip": (as_zip(), ".zip"),
    "parquet": (as_parquet(), ".parquet"),
    "arrow file": (as_arrow(pa.ipc.new_file), ".arrow"),
    "arrow stream": (as_arrow(pa.ipc.new_stream), ".arrow"),
    "json lines": (JSON_LINES, ".jsonl"),
    "gzipped json lines": (gzip.compress(JSON_LINES), ".jsonl.gz"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_format_is_found_by_the_first_bytes(form: str) -> None:
    data, name = FORMS[form]
    source = opened(data)
    assert table_of(source).to_pylist() == TABLE.to_pylist()
    notes = {note.topic: note.text for note in source.notes}
    assert notes["format of standard input"] == name
    assert "kept in a temporary folder" in notes["standard input"]
    source.close()


def test_options_say_how_to_read() -> None:
    source = opened(b"1;rot\n2;gr\xfcn\n3;blau\n", delimiter=";", columns=("n", "farbe"), encoding="latin-1")
    assert table_of(source).to_pylist() == [
        {"n": 1, "farbe": "rot"},
        {"n": 2, "farbe": "grün"},
        {"n": 3, "farbe": "blau"},
    ]
    assert table_of(opened(b"{a},{b}\n1,2\n3,4\n", delimiter=",")).column_names == ["{a}", "{b}"]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 300))
def test_the_laws_of_sources_hold(rows: int) -> None:
    data = "n,w\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(rows))
    check_source(lambda: opened(data.encode()), records=rows)


def test_the_fingerprint_is_of_all_the_content() -> None:
    filler = b"1,red\n" * 700_000  # more than the two ends of a file that are digested
    first = opened(b"x,word\n" + filler + b"2,red\n" + filler).fingerprints()
    assert first == opened(b"x,word\n" + filler + b"2,red\n" + filler).fingerprints()
    assert first != opened(b"x,word\n" + filler + b"3,red\n" + filler).fingerprints()
    assert first[0].path == "standard input"


def test_what_is_no_data_is_refused() -> None:
    cases = {
        b"": "nothing came through standard input",
        as_parquet()[:-20]: "can't be read as Parquet",
        gzip.compress(as_csv())[:-12]: "a compressed file is damaged",
        b"x,word\n": "there is a header and no row",
    }
    for data, message in cases.items():
        with pytest.raises(SourceError) as caught:
            table_of(opened(data))
        assert caught.value.message == message
        assert caught.value.where == "standard input"
        assert "penstock-" not in str(caught.value)


def test_it_stands_alone(tmp_path: Path) -> None:
    for data in (["-", "-"], ["-", str(tmp_path)]):
        with pytest.raises(PenstockError) as caught:
            ps.read(data)
        assert caught.value.where == "-"


def test_a_terminal_and_a_closed_stream_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    main, terminal = pty.openpty()
    with os.fdopen(terminal) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        with pytest.raises(UsageError, match="standard input is a terminal") as caught:
            ps.read("-")
        assert "< data.csv" in caught.value.remedy
    os.close(main)
    with pytest.raises(UsageError, match="standard input is closed"):
        ps.read("-")


def test_predicting_in_a_pipe_gives_what_a_file_gives(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"a": random.normal(size=400), "b": random.choice(["u", "v"], 400)})
    frame["y"] = np.where(frame["a"] + (frame["b"] == "u") > 0.5, "yes", "no")
    frame.to_csv(tmp_path / "data.csv", index=False)
    ps.Pipeline([], ps.Linear(), target="y").fit(tmp_path / "data.csv").save(tmp_path / "model")
    asked = [*PENSTOCK, "predict", str(tmp_path / "model")]
    with (tmp_path / "data.csv").open("rb") as file:
        piped = subprocess.run(
            [*asked, "-", "--to", str(tmp_path / "piped")], stdin=file, check=False, capture_output=True, text=True
        )
    assert piped.returncode == 0, piped.stderr
    assert "Traceback" not in piped.stderr and "leaked" not in piped.stderr
    ps.load(tmp_path / "model").predict(tmp_path / "data.csv", to=tmp_path / "plain")
    assert pq.read_table(tmp_path / "piped").equals(pq.read_table(tmp_path / "plain"))
    query = f"sql:SELECT a, b FROM '{tmp_path}/data.csv'"
    asked_by_query = subprocess.run(
        [*asked, query, "--to", str(tmp_path / "queried"), "--memory", "300MiB", "--cores", "1"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert asked_by_query.returncode == 0, asked_by_query.stderr
    assert "leaked" not in asked_by_query.stderr
    assert pq.read_table(tmp_path / "queried").equals(pq.read_table(tmp_path / "plain"))
    empty = subprocess.run(
        [*asked, "-", "--to", str(tmp_path / "none")], input="", check=False, capture_output=True, text=True
    )
    assert empty.returncode == 1
    assert "nothing came through standard input" in empty.stderr
