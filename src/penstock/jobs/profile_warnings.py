"""Profile: what a person should look at before a model does, and what to do about it. Part of the room of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.source import Note

MOST_MISSING = 0.5
SOME_MISSING = 0.2
LEAK = 0.98
CORRELATED = 0.95
HIGH_CARDINALITY = 1_000
UNIQUE = 0.99
FEW_ROWS = 100
FAR_OUT = 0.01
TOO_MANY_OUT = 0.1
"""The share of values beyond which they are no outliers, but what most values being alike looks like."""
SKEWED = 10.0
ZEROS = 0.5
BLANK = 0.05
RARE_CLASS = 0.05
VERY_RARE_CLASS = 0.01
FEW_OF_A_CLASS = 10
DUPLICATE = 0.001
MANY_REJECTED = 0.01
MANY_DUPLICATES = 0.05
SHIFTED = 0.1
FAR_SHIFTED = 0.25
_MOST_PAIRS = 10
_RANK = {"high": 0, "medium": 1, "low": 2}


def warnings_of(document: Mapping[str, Any], notes: Sequence[Note] = ()) -> list[dict[str, Any]]:
    """The warnings of a profile, the gravest first, each with ``code``, ``severity``, ``columns``, ``reason`` and
    ``remedy``.

    Args:
        document: the profile as JSON values.
        notes: what was inferred when the data were read.
    """
    found = [*_table(document)]
    target = document.get("target", {}).get("column")
    for column in document["columns"]:
        found += _column(column, document["rows"], is_target=column["name"] == target)
    found += [*_target(document), *_pairs(document, target), *_drift(document), *_formats(notes)]
    return sorted(found, key=lambda one: _RANK[one["severity"]])


def _warning(code: str, severity: str, columns: Sequence[str], reason: str, remedy: str) -> dict[str, Any]:
    return {"code": code, "severity": severity, "columns": list(columns), "reason": reason, "remedy": remedy}


def _table(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rows = document["rows"]
    if rows < FEW_ROWS:
        yield _warning(
            "few_rows",
            "high" if rows < 20 else "medium",
            (),
            f"there are {rows:,} rows: every figure here is uncertain",
            "more data",
        )
    rejected = document.get("rejected", 0)
    if rejected:
        yield _warning(
            "rejected",
            "medium" if rejected > MANY_REJECTED * (rows + rejected) else "low",
            (),
            f"{rejected:,} rows can't be read, such as {document['rejected_example']}",
            "mend them, or say how the data are to be read",
        )
    doubled = document["duplicates"]
    share = doubled["rows"] / rows if rows else 0.0
    if share > DUPLICATE and doubled["rows"] > 3 * doubled["error"]:
        about = "" if doubled["exact"] else "about "
        yield _warning(
            "duplicates",
            "medium" if share > MANY_DUPLICATES else "low",
            (),
            f"{about}{doubled['rows']:,} rows ({share:.1%}) are like an earlier row in every column",
            "if they are no rows of their own, remove them before a split puts the same row on both sides",
        )


def _column(column: Mapping[str, Any], rows: int, *, is_target: bool) -> Iterator[dict[str, Any]]:
    name, missing = column["name"], column["missing"]
    present = rows - missing
    if not rows:
        return
    if not present:
        yield _warning("all_missing", "medium", [name], "it has no value in any row", "leave it out")
        return
    share = missing / rows
    if share > SOME_MISSING:
        severity = "medium" if share > MOST_MISSING else "low"
        remedy = (
            "rows without a target are rejected" if is_target else "impute it, with an indicator, or find out why it is"
        )
        yield _warning("missing", severity, [name], f"{share:.0%} of its values are missing", remedy)
    if column.get("distinct") == 1:
        yield _warning("constant", "low", [name], "it has one value, and tells nothing", "leave it out")
        return
    if is_target or column["role"] == "ignored":
        return
    yield from _values(column, present)
    association = column.get("association")
    if association and association["score"] is not None and association["score"] > LEAK and column["role"] != "key":
        measure = "AUC" if association["measure"] == "auc" else "R²"
        yield _warning(
            "leakage",
            "high",
            [name],
            f"alone it all but tells the target ({measure} {association['score']:.3f} on {association['rows']:,} rows)",
            "leave it out if it is not known at the time of prediction",
        )


def _values(column: Mapping[str, Any], present: int) -> Iterator[dict[str, Any]]:
    """What is odd about the values of a column with several."""
    name, kind, role = [column["name"]], column["kind"], column["role"]
    distinct = column.get("distinct") or 0
    coded = kind == "category" or role == "integer"
    if coded and role != "key" and present >= FEW_ROWS and distinct >= UNIQUE * present:
        yield _warning(
            "key_like",
            "medium",
            name,
            f"nearly every value occurs once ({distinct:,} in {present:,} rows), as in a key",
            f"if it names rows, say so: --roles {column['name']}=key",
        )
    elif kind == "category" and distinct > HIGH_CARDINALITY:
        yield _warning(
            "high_cardinality",
            "low",
            name,
            f"it has {distinct:,} different values",
            "an encoding that bounds them (frequency, target, hashing), or group the rare ones",
        )
    numbers = column.get("number")
    if numbers and distinct > 2:
        yield from _number(name, numbers, present)
    length = column.get("length")
    if length and kind == "text" and length["blank"] > BLANK * present:
        yield _warning("blank", "low", name, f"{length['blank']:,} texts are blank", "read them as missing: --missing")


def _number(name: list[str], numbers: Mapping[str, Any], present: int) -> Iterator[dict[str, Any]]:
    far, skewness = numbers["far_out"], numbers["skewness"]
    zeros = numbers["zeros"] / present
    if zeros > ZEROS:
        yield _warning("zeros", "low", name, f"{zeros:.0%} of its values are zero", "see whether zero means missing")
    elif FAR_OUT * present < far["rows"] < TOO_MANY_OUT * present:
        yield _warning(
            "outliers",
            "low",
            name,
            f"{far['rows']:,} values ({far['rows'] / present:.1%}) are over three interquartile ranges "
            "from the quartiles",
            "clip them, or take a power or logarithm; trees need neither",
        )
    elif skewness is not None and abs(skewness) > SKEWED:
        yield _warning(
            "heavy_tail",
            "low",
            name,
            f"its skewness is {skewness:.1f}: few values weigh more than all others",
            "a power or logarithm, for models other than trees",
        )


def _target(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    target = document.get("target")
    if target is None:
        return
    name = [target["column"]]
    if target["task"] is None:
        yield _warning("target", "high", name, target["reason"], "choose another target")
        return
    if target["task"] == "regression":
        return
    label, rarest = target["rarest"]
    known = document["rows"] - next(c["missing"] for c in document["columns"] if c["name"] == target["column"])
    share = rarest / known if known else 0.0
    if target["task"] == "binary" and share < RARE_CLASS:
        yield _warning(
            "imbalance",
            "medium" if share < VERY_RARE_CLASS else "low",
            name,
            f"{label!r} is {share:.2%} of the rows",
            "judge by precision and recall, not by accuracy; weigh the classes, or the costs",
        )
    elif target["task"] == "multiclass" and rarest < FEW_OF_A_CLASS:
        yield _warning(
            "imbalance",
            "medium",
            name,
            f"the rarest of {target['class_count']:,} classes, {label!r}, has {rarest:,} "
            + ("row" if rarest == 1 else "rows"),
            "group rare classes, or find more rows of them",
        )


def _pairs(document: Mapping[str, Any], target: str | None) -> Iterator[dict[str, Any]]:
    pairs = document.get("correlations", {}).get("pairs", [])
    strong = [pair for pair in pairs if abs(pair[2]) > CORRELATED and target not in pair[:2]]
    for first, second, value in strong[:_MOST_PAIRS]:
        yield _warning(
            "correlated",
            "low",
            [first, second],
            f"they tell nearly the same (correlation {value:.3f})",
            "for a linear model, leave one of them out",
        )


def _drift(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    drift = document.get("drift", {})
    # Of another time, other times and other keys are what one expects.
    usual = {column["name"] for column in document["columns"] if column["kind"] == "time" or column["role"] == "key"}
    for column in drift.get("columns", []):
        index = column["index"]
        if index is not None and index > SHIFTED and column["name"] not in usual:
            grave = index > FAR_SHIFTED
            yield _warning(
                "drift",
                "high" if grave else "medium",
                [column["name"]],
                f"its distribution {'is another' if grave else 'moved'} in {drift['on']} "
                f"(population stability index {index:.2f})",
                "find out why; a model that leans on it will do worse there",
            )
    for kind, text in (("gone", "it is not in"), ("new", "it is only in")):
        for name in drift.get(kind, []):
            yield _warning(f"column_{kind}", "medium", [name], f"{text} {drift['on']}", "compare like with like")


def _formats(notes: Sequence[Note]) -> Iterator[dict[str, Any]]:
    """Columns in which the reader met several ways to write a time."""
    for note in notes:
        said = f"{note.topic} {note.text}"
        if "formats" in said and any(word in said for word in ("time", "date")):
            yield _warning("mixed_formats", "medium", [], f"{note.topic}: {note.text}", note.override or "check them")
