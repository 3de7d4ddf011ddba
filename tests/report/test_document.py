"""Documents gathered from runs and saved pipelines that were really made."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.batch import REJECTED
from penstock.errors import ArtifactError, UsageError
from penstock.report.document import of_folder, of_profile, rejected_rows, write_page
from penstock.report.page import page


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that trained a model, on data with a row that can't be read."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    x = rng.normal(size=1_500)
    lines = [f"{a:.4f},{'<b>yes' if a + e > 0 else 'no'}" for a, e in zip(x, rng.normal(size=1_500), strict=True)]
    lines.insert(700, "1.0,no,too,many")
    (folder / "data.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    model = ps.BoostedTrees(rounds=20)
    pipeline = ps.Pipeline([ps.Impute(ps.numeric(), "median")], model, target="y", holdout=0.2)
    fitted = pipeline.fit(folder / "data.csv", to=folder / "model", cores=2)
    return folder, fitted


def test_a_run_tells_the_model_the_rejects_and_how_to_do_it_again(trained):
    folder, fitted = trained
    for place in ("model", "model.run"):
        found = of_folder(folder / place)
        assert found["kind"] == "Model"
        assert found["target"] == {"column": "y", "task": "binary"}
        assert found["evaluation"] == fitted.summary["evaluation"]
        assert found["rejected"]["rows"] == 1
        assert found["rejected"]["first"][0]["record"] == "1.0,no,too,many"
        assert "target: y" in found["config"]
        assert found["inputs"][0]["path"] == "data.csv"
        assert found["timings"]["seconds"]
        assert found["versions"]["python"]
    told = page(found)
    assert "too many" in told or "1.0,no,too,many" in told
    assert "&lt;b&gt;yes" in told
    assert "<b>yes" not in told


def test_a_saved_pipeline_without_its_run_has_a_page_too(trained, tmp_path):
    trained[1].save(tmp_path / "alone")
    found = of_folder(tmp_path / "alone")
    assert found["evaluation"]["rows"] > 0
    assert "command" not in found
    assert "Predicts <bdi>y</bdi>" in page(found)


def test_a_run_that_wrote_rows_has_a_page(trained, tmp_path):
    trained[1].predict(trained[0] / "data.csv", to=tmp_path / "out", max_rejected=0.5)
    found = of_folder(tmp_path / "out")
    assert found["kind"] == "Run"
    assert found["ledger"]["steps"][0]["in"] == 1_501
    assert 'id="reproduce"' in page(found)


def test_what_is_neither_is_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="neither a run nor a saved pipeline"):
        of_folder(tmp_path)
    with pytest.raises(UsageError, match="neither a run nor a saved pipeline"):
        of_folder(tmp_path / "not there")
    trained[1].save(tmp_path / "damaged")
    (tmp_path / "damaged" / "schema.json").write_text("{}")
    with pytest.raises(ArtifactError, match="altered or damaged"):
        of_folder(tmp_path / "damaged")


def test_rejected_rows_are_counted_by_reason_and_the_first_are_kept(tmp_path):
    rows = [
        {
            "path": "a.csv",
            "row": i,
            "line": i + 2,
            "step": "read",
            "column": "x" if i % 3 else None,
            "code": "c",
            "reason": "bad",
            "value": "v" * 5_000,
            "record": None,
        }
        for i in range(90)
    ]
    for place in range(2):
        table = pa.Table.from_pylist(rows[place * 45 : place * 45 + 45], REJECTED)
        pq.write_table(table, tmp_path / f"part-{place}.parquet")
    found = rejected_rows(tmp_path)
    assert (found["rows"], [one["rows"] for one in found["by"]]) == (90, [60, 30])
    assert [one["row"] for one in found["first"]] == list(range(25))
    assert found["first"][0]["value"].endswith("(5,000 characters)")
    assert rejected_rows(tmp_path / "none")["rows"] == 0


def test_a_page_is_written_over_an_earlier_page_and_over_nothing_else(tmp_path):
    document = of_profile(
        {"rows": 0, "columns": [], "warnings": [], "duplicates": {"rows": 0, "exact": True, "error": 0}}, "t"
    )
    place = tmp_path / "folder" / "report.html"
    assert write_page(document, place) == place
    first = place.read_bytes()
    assert write_page(document, place).read_bytes() == first
    other = tmp_path / "notes.html"
    other.write_text("<p>mine")
    with pytest.raises(UsageError, match="no report"):
        write_page(document, other)
    assert other.read_text() == "<p>mine"
    assert not list(tmp_path.rglob("*.new"))


def test_a_fitted_pipeline_shows_itself(trained):
    fitted = trained[1]
    told = repr(fitted)
    assert told.splitlines()[0] == "FittedPipeline: boosted for 'y' (binary)"
    assert "impute" in told
    assert "roc_auc" in told
    assert max(map(len, told.splitlines())) < 200
    shown = fitted._repr_html_()
    assert "ROC AUC" in shown
    assert "<script" not in shown
    assert json.dumps(shown)
