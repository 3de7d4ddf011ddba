"""`penstock profile` and `penstock report`, as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.cli import run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, shift in (("may", 0.0), ("june", 2.0)):
        x = rng.normal(shift, 1, 400)
        pq.write_table(pa.table({"x": x, "y": np.where(x > shift, "up", "down")}), f"{name}.parquet")
    (tmp_path / "other.html").write_text("<p>of somebody else</p>")
    return tmp_path


def test_a_profile_is_a_table_for_people(folder, capsys):
    assert run(["profile", "may.parquet", "--target", "y", "-q"]) == 0
    told = capsys.readouterr().out
    assert "400 rows, 2 columns" in told
    assert "alone it all but tells the target" in told
    assert "penstock profile may.parquet --target y --to report.html" in told
    assert max(map(len, told.splitlines())) <= 100


def test_a_profile_is_one_json_object(folder, capsys):
    assert run(["profile", "may.parquet", "--target", "y", "--against", "june.parquet", "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["command"], found["rows"]) == ("profile", 400)
    assert found["drift"]["on"] == "june.parquet"
    assert {one["code"] for one in found["warnings"]} >= {"leakage", "drift"}


def test_a_profile_is_a_page(folder, capsys):
    assert run(["profile", "may.parquet", "--against", "june.parquet", "--to", "page.html", "-q"]) == 0
    page = (folder / "page.html").read_text("utf-8")
    assert "<h1>may.parquet</h1>" in page
    assert "penstock profile may.parquet --against june.parquet" in page
    assert "page.html" in capsys.readouterr().out


def test_a_report_is_made_again_in_the_run_or_where_it_is_asked_for(folder, capsys):
    assert run(["train", "may.parquet", "--target", "y", "--model", "linear", "--to", "model", "-q"]) == 0
    assert run(["report", "model"]) == 0
    first = folder / "model.run" / "report.html"
    assert "Predicts <bdi>y</bdi>" in first.read_text("utf-8")
    assert "model.run/report.html" in capsys.readouterr().out
    assert run(["report", "model.run", "--to", "mine.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == str(folder / "mine.html")
    assert (folder / "mine.html").read_bytes() == first.read_bytes()
    assert found["bytes"] == first.stat().st_size


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["report", "nothing"], 2, "neither a run nor a saved pipeline"),
        (["profile", "may.parquet", "--target", "z"], 1, "none of the columns"),
        (["profile", "nothing.csv"], 1, "nothing.csv"),
        (["profile", "may.parquet", "--to", "june.parquet"], 2, "no page has this suffix"),
        (["profile", "may.parquet", "--to", "page.pdf"], 2, "expected: .html, .htm"),
        (["profile", "may.parquet", "--to", "other.html"], 2, "no report"),
        (["profile"], 2, "DATA"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code(folder, capsys, typed, code, said):
    assert run(typed) == code
    assert said in " ".join(capsys.readouterr().err.split())  # lines are broken where a path is long
