"""Documents made by hand, with everything that a page can show."""

from __future__ import annotations

import math
from typing import Any

NASTY = "<script>alert('x')</script>"
BIDI = "\u202eesrever"
LONG = "long " * 40_000
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGOI"
    "qjgBQQxwFgBdmAmdPpFYkwAAAABJRU5ErkJggg=="
)
"""A picture of three by two pixels."""


def number_column(name: str, *, role: str = "number", missing: int = 0) -> dict[str, Any]:
    """A column of numbers."""
    counts = [round(400 * math.exp(-(((place - 12) / 6) ** 2))) for place in range(30)]
    return {
        "name": name,
        "role": role,
        "type": "double",
        "kind": "number",
        "missing": missing,
        "missing_share": missing / 5_000,
        "distinct": 4_500,
        "distinct_exact": False,
        "number": {
            "mean": 41.25,
            "deviation": 12.5,
            "minimum": -3,
            "maximum": 98.5,
            "skewness": 0.5,
            "zeros": 4,
            "negative": 2,
            "quantiles": {"0.25": 30, "0.5": 40.5, "0.75": 52},
            "far_out": {"rows": 3, "low": -30, "high": 120},
        },
        "bins": {"edges": [3.3 * place for place in range(31)], "counts": counts, "above": 2},
        "association": {
            "measure": "auc",
            "score": 0.71,
            "rows": 5_000,
            "points": [
                *({"from": x, "to": x + 9, "x": x + 5, "rows": 500, "y": 0.1 + x / 150} for x in range(0, 100, 10)),
                {"value": None, "rows": 12, "y": 0.3},
            ],
        },
    }


def category_column(name: str, values: list[str]) -> dict[str, Any]:
    """A column of categories."""
    return {
        "name": name,
        "role": "category",
        "type": "string",
        "kind": "category",
        "missing": 40,
        "missing_share": 0.008,
        "distinct": len(values) + 3,
        "distinct_exact": True,
        "top": [[value, 2_000 // (place + 1)] for place, value in enumerate(values)],
        "other": 120,
        "association": {
            "measure": "auc",
            "score": 0.66,
            "rows": 5_000,
            "points": [{"value": value, "rows": 100, "y": 0.1 * (place + 1)} for place, value in enumerate(values)],
        },
    }


def time_column(name: str) -> dict[str, Any]:
    """A column of times."""
    return {
        "name": name,
        "role": "time",
        "type": "timestamp[us]",
        "kind": "time",
        "missing": 0,
        "missing_share": 0,
        "distinct": 4_990,
        "distinct_exact": True,
        "time": {
            "minimum": "2024-01-01 00:00:03",
            "median": "2024-06-01 00:00:00",
            "maximum": "2024-12-31 23:10:00",
            "dates": False,
            "hours": list(range(24)),
            "weekdays": [9, 8, 7, 6, 5, 4, 3],
            "months": list(range(12)),
        },
        "bins": {
            "unit": "M",
            "edges": [f"2024-{month:02}" for month in range(1, 13)] + ["2025-01"],
            "counts": [9] * 12,
        },
    }


def profile(columns: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A profile with warnings, correlations, drift and notes."""
    columns = columns or [
        number_column("age", missing=37),
        number_column("a name that is much longer than any name of a column ought to be, and goes on"),
        category_column("city", ["Ulm", NASTY, BIDI, "a\x00b\x1b[31m", "", "  spaced  ", "上海市浦东新区"]),
        time_column("since"),
        {**category_column("income", ["no", "yes"]), "role": "target", "association": None, "missing": 0},
    ]
    names = [column["name"] for column in columns if column["kind"] == "number"][:20]
    matrix = [
        [1.0 if i == j else round((-1) ** (i + j) * 0.9 / (1 + abs(i - j)), 2) for j in range(len(names))]
        for i in range(len(names))
    ]
    pairs = [[names[i], names[j], matrix[i][j]] for i in range(len(names)) for j in range(i)]
    return {
        "format": 1,
        "rows": 5_000,
        "rejected": 3,
        "columns": columns,
        "duplicates": {"rows": 12, "exact": True, "error": 0},
        "sample": {"rows": 5_000, "complete": True},
        "correlations": {"columns": names, "matrix": matrix, "pairs": pairs},
        "target": {
            "column": "income",
            "task": "binary",
            "reason": "two distinct values",
            "classes": [["no", 3_000], ["yes", 2_000]],
            "class_count": 2,
            "rarest": ["yes", 2_000],
            "positive": "yes",
        },
        "drift": {
            "on": "june.csv",
            "rows": 900,
            "columns": [
                {
                    "name": "age",
                    "index": 0.41,
                    "test": "kolmogorov-smirnov",
                    "statistic": 0.31,
                    "p": 0.0,
                    "before": 40.5,
                    "after": 55,
                },
                {
                    "name": "city",
                    "index": 0.02,
                    "test": "chi-square",
                    "statistic": 4.1,
                    "p": 0.39,
                    "new": [NASTY],
                    "new_rows": 2,
                },
                {"name": "since", "index": None},
            ],
            "gone": ["may"],
            "new": ["june"],
        },
        "warnings": [
            {
                "code": "leakage",
                "severity": "high",
                "columns": ["age"],
                "reason": "alone it all but tells the target",
                "remedy": "leave it out",
            },
            {
                "code": "missing",
                "severity": "medium",
                "columns": [NASTY],
                "reason": f"60% missing {NASTY}",
                "remedy": "impute it",
            },
            {
                "code": "duplicates",
                "severity": "low",
                "columns": [],
                "reason": "12 rows are like another",
                "remedy": "remove them",
            },
        ],
        "notes": [{"topic": "delimiter", "text": "','", "reason": "15 fields", "override": "read: {delimiter: ';'}"}],
    }


def curves() -> dict[str, Any]:
    """Curves of two classes."""
    steps = [place / 200 for place in range(201)]
    return {
        "roc": [[x, min(1.0, x**0.3)] for x in steps],
        "precision_recall": [[x, 1 - x**4 / 2] for x in steps],
        "calibration": [{"predicted": x, "observed": x**1.1, "rows": 100} for x in steps[::20]],
        "lift": [{"share": x, "lift": 2, "gain": min(1.0, 2 * x)} for x in steps[10::10]],
    }


def pictures() -> dict[str, Any]:
    """A mistake with a picture, a clip, and a row with its augmentations."""

    def images(count: int) -> list[dict[str, Any]]:
        return [{"height": 2, "width": 3, "data": DOT} for _ in range(count)]

    def row(expected: str, predicted: str, kind: str, column: str, frames: int) -> dict[str, Any]:
        columns = [{"column": column, "kind": kind, "images": images(frames)}]
        told = {"path": f"a {NASTY}.jpg", "row": 0, "expected": expected, "predicted": predicted, "probability": 0.9}
        return {**told, "columns": columns}

    augmented = {"column": "photo", "kind": "picture", "label": "yes", "before": images(1)}
    return {
        "of": "rows held out",
        "mistakes": [row(NASTY, "no", "picture", "photo", 1)],
        "samples": [row("yes", "yes", "clip", "film", 3)],
        "augmented": [{**augmented, "after": [images(1), images(1)]}],
    }


def model() -> dict[str, Any]:
    """A page's document with every section."""
    columns = ["age", "city", "since", NASTY]
    metrics = {"accuracy": 0.876, "roc_auc": 0.93, "average_precision": 0.83, "f1": None, "log_loss": 0.27}
    return {
        "title": "income",
        "kind": "Model",
        "target": {"column": "income", "task": "binary"},
        "rows": 5_000,
        "scans": 2,
        "profile": profile(),
        "ledger": {"steps": [{"step": "read", "in": 5_003, "made": 0, "out": 5_000, "rejected": 3, "dropped": 0}]},
        "inputs": [{"path": f"may {NASTY}.csv", "size": 409_088, "digest": "6c1c80e3a84fb7a6b6fc761fa88aa29f"}],
        "evaluation": {
            "on": "test data",
            "rows": 900,
            "rejected": 2,
            "metrics": metrics,
            "intervals": {"accuracy": [0.871, 0.881], "roc_auc": [0.926, 0.934]},
            "curves": curves(),
            "confusion_matrix": [[700, 20], [50, 130]],
            "classes": ["no", NASTY],
            "threshold": 0.42,
            "slices": [
                {"column": "city", "value": value, "rows": 300, "metrics": metrics} for value in ("Ulm", NASTY, None)
            ],
        },
        "leaderboard": [
            {
                "model": "boosted",
                "metric": "roc_auc",
                "score": 0.93,
                "seconds": 4.2,
                "kept": True,
                "reason": "the best",
                "settings": {"trees": 153, "rate": 0.08},
            },
            {
                "model": "linear",
                "metric": "roc_auc",
                "score": None,
                "seconds": 1.1,
                "kept": False,
                "reason": "",
                "settings": {},
            },
        ],
        "model": {
            "name": "boosted trees",
            "metric": "log_loss",
            "importance": dict(zip(columns, [0.5, 0.3, 0.15, 0.05], strict=True)),
            "history": [
                {"step": i, "train": 0.6 / (1 + i / 9), "validation": 0.62 / (1 + i / 12) + i / 900} for i in range(80)
            ],
        },
        "explanation": {
            "permutation": [
                {"column": name, "drop": 0.06 / (i + 1) - 0.02, "low": -0.01, "high": 0.07}
                for i, name in enumerate(columns)
            ],
            "shap": [{"column": name, "mean_abs": 0.8 / (i + 1)} for i, name in enumerate(columns)],
            "dependence": [
                {
                    "column": "age",
                    "kind": "number",
                    "points": [{"x": x, "y": 0.1 + x / 200, "rows": 9} for x in range(20, 90, 7)],
                },
                {
                    "column": "city",
                    "kind": "category",
                    "points": [{"x": v, "y": 0.2, "rows": 9} for v in ("Ulm", NASTY)],
                },
            ],
        },
        "pictures": pictures(),
        "mistakes": [
            {
                "path": "june.csv",
                "row": 17,
                "expected": "yes",
                "predicted": "no",
                "probability": 0.004,
                "loss": 0.996,
                "values": {**{f"column {i}": float(i) for i in range(30)}, NASTY: LONG, "none": None, BIDI: "=1+1"},
            },
        ]
        * 3,
        "cleaning": [
            {
                "step": "impute",
                "column": "age",
                "changed": 37,
                "share": 0.0074,
                "reason": "missing: the median",
                "examples": [{"path": "may.csv", "row": 3, "before": None, "after": 40.5}],
            },
            {
                "step": "trim",
                "column": NASTY,
                "changed": 5,
                "share": 0.001,
                "reason": "white space",
                "examples": [{"path": "may.csv", "row": 3, "before": " Ulm ", "after": "Ulm"}],
            },
            {"step": "clip", "column": "age", "changed": 0, "share": 0.0, "reason": "nothing to do", "examples": []},
        ],
        "rejected": {
            "rows": 3,
            "by": [
                {"step": "read", "column": None, "code": "fields", "reason": "14 fields where there are 15", "rows": 3}
            ],
            "first": [
                {
                    "path": "may.csv",
                    "row": 4,
                    "line": 6,
                    "step": "read",
                    "column": None,
                    "code": "fields",
                    "reason": "14 fields",
                    "value": None,
                    "record": NASTY + LONG,
                }
            ],
            "folder": "/data/model.run/rejected",
        },
        "timings": {
            "seconds": {"fit": 1.2, "train": 75.0, "evaluate": 0.04},
            "passes": [
                {
                    "pass": "fit, scan 1",
                    "rows": 5_000,
                    "seconds": 0.5,
                    "busy": {"read": 0.4, "map": 0.0},
                    "waiting": {"memory": 0.0},
                    "held": 120 * 2**20,
                }
            ],
        },
        "command": "penstock train may.csv --target income --test june.csv",
        "config": "target: income\n# " + "x" * 300 + "\n" + NASTY,
        "seed": 0,
        "versions": {"penstock": "0.1.0", "python": "3.11.7", "instruction sets": "avx2 " * 20},
        "resources": {"cores": 2, "memory": 4 * 2**30},
        "started": "2026-11-20T22:00:01+00:00",
        "finished": "2026-11-20T22:01:13+00:00",
        "output": "/data/" + "a-long-folder/" * 12 + "model",
    }
