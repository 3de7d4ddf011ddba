"""The page about bad data names every code that a row can be rejected with, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "penstock"
CALLS = {"Fault": 1, "Verdict": 1, "Check": 1, "_faults": 1, "BadPicture": 0, "BadClip": 0}
"""What makes a reject, and which of its arguments is the code."""
ELSEWHERE = {
    "validate.py": "_conditions",  # yields (condition, code, reason)
    "csv_plan.py": "UNCLOSED TOO_LONG",  # constants
    "masking.py": "FAILED",
    "csv_block.py": "REASONS",  # the reasons of what is wrong with a whole record, by code
}


def text(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def codes_in(path: Path) -> Iterator[str]:
    """Codes that a file writes out: in calls, in what a rule yields, and in the constants of the text sources."""
    tree = ast.parse(path.read_text("utf-8"))
    wanted = ELSEWHERE.get(path.name, "").split()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = CALLS.get(name)
            if place is not None and len(node.args) > place:
                yield from text(node.args[place])
            if name in {"reject", "rejections"}:
                yield from (found for word in node.keywords if word.arg == "code" for found in text(word.value))
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and wanted:
            yield from text(node.value.elts[1])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in wanted:
            yield from text(node.value)
            if isinstance(node.value, ast.Dict):
                yield from (found for key in node.value.keys for found in text(key))


def test_the_page_about_bad_data_names_every_code_that_rows_are_rejected_with() -> None:
    made = {code for path in SOURCE.rglob("*.py") for code in codes_in(path)}
    page = (ROOT / "docs" / "bad-data.md").read_text("utf-8")
    table = page.split("## The codes")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    assert "below_minimum" in made and "unclosed_quote" in made and "missing_target" in made
    assert told == made
