"""The table of `docs/what-steps-do-with-surprises.md`: every cell is what really happens, and every step has a row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import penstock as ps
from penstock.batch import Batch
from penstock.config import parse_config
from penstock.errors import PenstockError, SchemaError
from penstock.fusion import Chain
from penstock.registry import names
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import FittedStep, Step, Use
from penstock.testing.steps import batch_of, fit_step, run_step

PAGE = Path(__file__).parents[2] / "docs" / "what-steps-do-with-surprises.md"
SURPRISES = ("constant column", "unseen category", "new null", "extra column", "missing column")
SCHEMA = Schema(
    (
        Field("number", pa.float64(), Role.number),
        Field("whole", pa.float64(), Role.integer),
        Field("truth", pa.bool_(), Role.boolean),
        Field("color", pa.string(), Role.category),
        Field("note", pa.string(), Role.text),
        Field("remark", pa.string(), Role.text),
        Field("words", pa.list_(pa.string()), Role.list),
        Field("time", pa.timestamp("us"), Role.time),
        Field("label", pa.string(), Role.target, values=Role.category),
        Field("amount", pa.float64(), Role.number),
        Field("file", pa.binary(), Role.picture),
        Field("picture", tensor(pa.uint8(), (4, 6, 3)), Role.picture),
        Field("clip", tensor(pa.uint8(), (3, 4, 6, 3)), Role.clip),
    )
)


def gif(color: int) -> bytes:
    """A picture file."""
    written = io.BytesIO()
    Image.new("L", (6, 4), color).save(written, "GIF")
    return written.getvalue()


COLORS = ("red", "green", "blue")
ROWS: dict[str, list[Any]] = {
    "number": [0.5 * i for i in range(12)],
    "whole": [float(i % 5) for i in range(12)],
    "truth": [i % 3 == 0 for i in range(12)],
    "color": [COLORS[i % 3] for i in range(12)],
    "note": [f"{i}" for i in range(12)],
    "remark": ["good boat", "slow boat", "good red boat and sail"] * 4,
    "words": [["a"], ["a", "b"], ["c"]] * 4,
    "time": [datetime(2026, 1 + i, 20, i) for i in range(12)],
    "label": ["yes", "no"] * 6,
    "amount": [10.0 + i * i for i in range(12)],
    "file": [gif(i) for i in range(12)],
    "picture": [list(range(i, i + 72)) for i in range(12)],
    "clip": [list(range(i, i + 216)) for i in range(12)],
}
ORDINARY = {name: values[5] for name, values in ROWS.items()}
NOTHING = 0.0
UNSEEN = {**ORDINARY, "color": "violet", "note": "never met", "remark": "nothing known", "words": ["never", "met"]}
WORDS = ("-", "kept", "unchanged", "computed", "filled", "null", "0", "1", "-1", "false", "true")
WORDS += ("rejected", "dropped", "refused", "ignored", "not needed")


def table() -> dict[str, tuple[str, ...]]:
    """The cells of the page by the step of their row, as it stands in a pipeline file."""
    rows = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            step, *cells = (cell.strip().strip("`") for cell in line.strip("| ").split(" | "))
            assert step not in rows, f"{step} stands twice"
            rows[step] = tuple(cells)
    return rows


def step_of(text: str) -> Step:
    (step,) = parse_config(f"steps:\n  - {text}\n", "the page").steps
    return step


@dataclass(frozen=True)
class Probe:
    """One step, and what becomes of it."""

    step: Step

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that the step is about."""
        reads = self.step.touches(SCHEMA).reads
        return reads or tuple(self.step.columns.resolve(SCHEMA))  # type: ignore[attr-defined]

    def fitted(self, rows: Mapping[str, list[Any]] = ROWS) -> FittedStep:
        return fit_step(self.step, SCHEMA, [batch_of(SCHEMA, rows)])

    def written(self, fitted: FittedStep) -> list[str]:
        writes = self.step.touches(SCHEMA).writes
        return [name for name in fitted.schema.names if name in writes or name not in SCHEMA]

    def outcome(self, fitted: FittedStep, row: Mapping[str, Any]) -> str:
        """What becomes of one row, in the page's words."""
        out = run_step(fitted, SCHEMA, batch_of(SCHEMA, {name: [value] for name, value in row.items()}))
        if out.counts[-1].rejected:
            return "rejected"
        if out.counts[-1].dropped:
            return "dropped"
        written = self.written(fitted)
        if not written:
            return "kept"
        values = [plain(out.column(name).to_pylist()[0]) for name in written]
        before = [plain(row.get(name)) for name in written]
        if all(value is None for value in values):
            return "null"
        if values == before:
            return "unchanged"
        if all(value is None for value in before) and set(written) <= set(SCHEMA.names) and None not in values:
            return {(-1,): "-1", (NOTHING,): "0"}.get(tuple(set(values)), "filled")
        for word, constant in {"false": False, "true": True}.items():
            if all(value is constant for value in values):
                return word
        for number in (0, 1, -1):
            if all(not isinstance(value, bool) and value == number for value in values):
                return str(number)
        return "computed"

    def constant_column(self) -> str:
        row = {name: [value] * 12 for name, value in ORDINARY.items()}
        try:
            fitted = self.fitted({**ROWS, **{name: row[name] for name in self.named}})
        except PenstockError:
            return "refused"
        return self.outcome(fitted, ORDINARY)

    def unseen_category(self) -> str:
        texts = (pa.string(), pa.list_(pa.string()))
        if not any(SCHEMA[name].type in texts for name in self.step.touches(SCHEMA).reads):
            return "-"
        return self.outcome(self.fitted(), UNSEEN)

    def new_null(self) -> str:
        return self.outcome(self.fitted(), {**ORDINARY, **dict.fromkeys(self.named)})

    def extra_column(self) -> str:
        fitted = self.fitted()
        batch = batch_of(SCHEMA, ROWS)
        more = Batch(batch.columns.append_column("extra", pa.array(range(12))), batch.keys)
        plain, wide = (run_step(fitted, SCHEMA, one) for one in (batch, more))
        assert plain.columns.equals(wide.columns)
        return "ignored"

    def missing_column(self) -> str:
        fitted = self.fitted()
        passing = [] if self.step.touches(SCHEMA).reads else [name for name in self.named if name in fitted.schema]
        chain = Chain([(self.step.name, fitted)], SCHEMA, Use(), [*self.written(fitted), *passing])
        return "refused" if set(self.named) & set(chain.inputs) else "not needed"

    def row(self) -> tuple[str, ...]:
        return tuple(getattr(self, surprise.replace(" ", "_"))() for surprise in SURPRISES)


def plain(value: Any) -> Any:
    """A value as a number where it is a vector of nothing, as text where it is another vector, or tokens."""
    if isinstance(value, dict):
        return NOTHING if not value["indices"] else str(value)
    return str(value) if isinstance(value, list) and all(isinstance(token, int) for token in value) else value


def test_every_registered_step_has_a_row() -> None:
    lacking = sorted(set(names("steps")) - {step_of(text).name for text in table()})
    assert not lacking, f"say in {PAGE.name} what these steps do with surprises: {', '.join(lacking)}"


@pytest.mark.parametrize("text", table())
def test_each_cell_is_what_happens(text: str) -> None:
    found = Probe(step_of(text)).row()
    cells = " | ".join(f"`{word}`" for word in found)
    assert table()[text] == found, f"the page has to say: | `{text}` | {cells} |"


def test_every_word_of_the_table_is_explained() -> None:
    page = PAGE.read_text("utf-8")
    legend = page[page.index("What the cells say") : page.index("| step |")]
    assert {word for cells in table().values() for word in cells} <= set(WORDS)
    for word in WORDS:
        assert f"`{word}`" in legend, word
    for surprise in SURPRISES:
        assert f"**{surprise.capitalize()}**" in page


def test_a_job_ignores_an_extra_column_and_refuses_a_missing_one(tmp_path: Path) -> None:
    rows = pa.table({"x": [float(i) for i in range(200)], "c": list(COLORS[:2]) * 100, "y": ["a", "b"] * 100})
    fitted = ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(save(rows, tmp_path / "train.parquet"))
    new = rows.drop_columns(["y"])
    expected = fitted.predict(save(new, tmp_path / "new.parquet"))
    wide = new.append_column("extra", pa.array(["surprise"] * 200))
    assert fitted.predict(save(wide, tmp_path / "wide.parquet")).equals(expected)
    with pytest.raises(SchemaError, match=r"1 column is missing from the data(?s:.)*'c'"):
        fitted.predict(save(new.drop_columns(["c"]), tmp_path / "narrow.parquet"))


def save(rows: pa.Table, path: Path) -> str:
    pq.write_table(rows, path)
    return str(path)
