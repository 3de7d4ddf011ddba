"""Values of sensitive columns are in nothing that a job tells: rejected rows, audits, reports, messages."""

import json
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import REJECTED
from penstock.errors import DataError, UsageError
from penstock.masking import KEY, Masking, key_file, masking_of

SECRETS = [f"zq{name}x" for name in ("ada", "eva", "ida", "ute", "pia", "lea", "mia", "zoe")]


@pytest.fixture(autouse=True)
def own_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = []
    for i in range(400):
        name = SECRETS[i % 8] if i % 50 else f"{SECRETS[i % 8].upper()} "
        x = "bad" if i in (5, 77) else str(i)
        lines.append(f"{name},{x},{'yes' if i % 3 else 'no'}" + (",more" if i == 130 else ""))
    lines.append(f"{SECRETS[0]},1,{SECRETS[1]},extra")
    (tmp_path / "rows.csv").write_text("name,x,y\n" + "\n".join(lines) + "\n")
    return tmp_path / "rows.csv"


def pipeline(**settings: object) -> ps.Pipeline:
    steps = [ps.NormalizeText("name", case="lower"), ps.Validate({"name": {"pattern": "zq[a-m].*x"}})]
    return ps.Pipeline(
        steps,
        ps.Linear(),
        target="y",
        holdout=0.3,
        max_rejected=0.9,
        sensitive=["name"],
        **settings,  # type: ignore[arg-type]
    )


def told_in(folder: Path) -> str:
    """All that a folder tells, whatever the format."""
    texts = []
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            texts.append(str(pq.read_table(path).to_pylist()))
        elif path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts).lower()


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text.lower()]


def test_a_training_tells_no_value_of_a_sensitive_column(data: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Heard:
        def said(self, note: object) -> None:
            said.append(str(note))

        def progressed(self, figures: object) -> None:
            pass

    fitted = pipeline().fit(
        ps.read(data, roles={"x": "number"}),
        to=tmp_path / "model",
        audit=tmp_path / "cells.parquet",
        listener=Heard(),  # type: ignore[arg-type]
    )
    assert fitted.rejected.num_rows > 50
    told = told_in(tmp_path / "model.run") + told_in(tmp_path / "cells.parquet.run") + "".join(said)
    told += str(pq.read_table(tmp_path / "cells.parquet").to_pylist()) + json.dumps(fitted.summary, default=str)
    told += repr(fitted) + fitted._repr_html_()
    assert leaks(told) == []
    assert "hmac-" in told
    assert (tmp_path / "model.run" / "report.html").is_file()
    values = {row["value"] for row in fitted.rejected.to_pylist() if row["column"] == "name"}
    assert len(values) == 4, "equal values are seen to be equal"
    kept = [row for row in fitted.rejected.to_pylist() if row["column"] == "x"]
    assert [row["value"] for row in kept] == ["bad", "bad"], "other columns are told"


def test_predictions_evaluations_and_profiles_tell_none_either(data: Path, tmp_path: Path) -> None:
    fitted = pipeline().fit(ps.read(data, roles={"x": "number"}), to=tmp_path / "model")
    fitted.predict(data, to=tmp_path / "out")
    assert leaks(told_in(tmp_path / "out.run")) == []
    found = fitted.evaluate(data)
    assert leaks(json.dumps(found.details, default=str)) == []
    assert leaks(json.dumps(fitted.explain(data, rows=50), default=str)) == []
    profile = ps.profile(data, target="y", sensitive=["name"])
    assert leaks(json.dumps(profile.to_json())) == []
    assert profile["name"]["missing"] == 0
    with pytest.raises(UsageError, match="values of a sensitive column"):
        fitted.evaluate(data, by=["name"])


def test_an_error_of_a_step_that_is_set_to_fail_tells_none(data: Path, tmp_path: Path) -> None:
    steps = [ps.Validate({"name": {"pattern": "zq[a-m].*x"}}, on_failure="fail")]
    with pytest.raises(DataError) as told:
        ps.Pipeline(steps, sensitive=["name"], max_rejected=0.5).prepare(data, to=tmp_path / "out")
    assert leaks(str(told.value)) == []


def test_a_slip_in_a_name_hides_nothing_and_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'name'"):
        ps.profile(data, sensitive=["nmae"])
    with pytest.raises(UsageError, match="target can't be sensitive"):
        ps.Pipeline([], ps.Linear(), target="y", sensitive=["y"]).fit(data)


def test_the_key_is_made_once_for_its_owner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = masking_of(["a"]), masking_of(["a"])
    assert first is not None
    assert second is not None
    assert first.value("x") == second.value("x")
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    monkeypatch.setenv(KEY, "another")
    third = masking_of(["a"])
    assert third is not None
    assert third.value("x") != first.value("x")
    assert masking_of([]) is None
    assert "another" not in repr(third)


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=6), st.sampled_from(["a", "b", None]), st.booleans())
def test_no_rejected_row_holds_a_sensitive_value(secret: str, column: str | None, as_record: bool) -> None:
    masking = Masking(frozenset(["a"]), b"key")
    secret = f"zq{secret}"
    record = json.dumps({"a": secret, "b": 1}, ensure_ascii=False) if as_record else f"{secret},1"
    row = {"path": "p", "row": 1, "line": None, "step": "read", "column": column, "code": "failed"}
    row |= {"reason": f"ValueError: {secret}", "value": None if column == "b" else secret, "record": record}
    shown = masking.rejected(pa.Table.from_pylist([row], REJECTED)).to_pylist()[0]
    assert all(secret not in str(value) for value in shown.values())
    assert shown["path"] == "p"
