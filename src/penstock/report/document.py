"""What a page is made of, gathered from a run's folder, a saved pipeline or a profile. Part of the room of reports."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock import artifact
from penstock.artifact import Saved
from penstock.durable import writing
from penstock.errors import UsageError
from penstock.report.page import GENERATOR, page

SUFFIXES = (".html", ".htm")
"""What the name of a page may end with."""
MOST_REASONS = 100
FIRST = 25
"""Rejected rows that are shown as they came."""
_LONGEST = 2_000
_RUN = ".run"


def of_profile(profile: Mapping[str, Any], title: str, command: str = "") -> dict[str, Any]:
    """The document of a profile (`penstock.jobs.profile.Profile.to_json`)."""
    found: dict[str, Any] = {"kind": "Profile", "title": title, "profile": profile, "rows": profile["rows"]}
    return {**found, "command": command} if command else found


def of_saved(saved: Saved, title: str) -> dict[str, Any]:
    """The document of a fitted pipeline."""
    found: dict[str, Any] = {"kind": "Model", "title": title, **saved.facts, "seed": saved.config.seed}
    if saved.target is not None:
        found["target"] = {"column": saved.target.column, "task": saved.target.task}
    if saved.model is not None:
        found["model_name"] = _NAMES.get(saved.model.name, saved.model.name)
    return found


_NAMES = {"boosted": "boosted trees", "linear": "a linear model", "network": "a network"}
_NAMES |= {"kmeans": "k-means", "pca": "principal components", "isolation_forest": "an isolation forest"}
_NAMES |= {"autoencoder": "an autoencoder"}


def of_folder(folder: Path) -> dict[str, Any]:
    """The document of a run or a saved pipeline.

    Args:
        folder: a saved pipeline, the output of a run, or the run's own folder (``OUTPUT.run``).

    Raises:
        UsageError: it is none of them.
        ArtifactError: the saved pipeline is damaged.
    """
    folder = Path(folder).absolute()
    output = folder.with_name(folder.name.removesuffix(_RUN)) if folder.name.endswith(_RUN) else folder
    run = output.with_name(output.name + _RUN)
    is_run = (run / "run.json").is_file()
    if not is_run and not artifact.is_artifact(output):
        raise UsageError(
            "neither a run nor a saved pipeline",
            where=str(folder),
            expected="a folder that penstock train, predict or prepare made, or the .run folder beside it",
            got="no such folder" if not folder.exists() else "something else",
            remedy="check the path; of data, make a profile: penstock profile DATA --to report.html",
        )
    found: dict[str, Any] = {"kind": "Run", "title": output.name}
    if artifact.is_artifact(output):
        found = of_saved(artifact.load(output), output.name)
        found["config"] = (output / "pipeline.yaml").read_text("utf-8")
        found["versions"] = json.loads((output / "manifest.json").read_bytes())["versions"]
    return {**found, **(_of_run(run) if is_run else {}), "output": str(output)}


def _of_run(run: Path) -> dict[str, Any]:
    """What the run's folder knows."""
    document = json.loads((run / "run.json").read_bytes())
    identity, summary = document.get("identity", {}), document.get("summary") or {}
    found: dict[str, Any] = {
        "command": shlex.join(["penstock", *document.get("argv", [])[1:]]),
        "versions": document.get("versions", {}),
        "resources": document.get("resources", {}),
        "started": document.get("started"),
        "finished": document.get("finished"),
        "timings": {
            name: summary[name] for name in ("seconds", "passes") if isinstance(summary.get(name), (dict, list))
        },
    }
    if isinstance(identity.get("config"), str):
        found["config"] = identity["config"]
    if identity.get("inputs"):
        found["inputs"] = identity["inputs"]
    if document.get("ledger"):
        found["ledger"] = {"steps": document["ledger"]}
    rejected = rejected_rows(run / "rejected")
    return {**found, "rejected": rejected} if rejected["rows"] else found


def rejected_rows(folder: Path) -> dict[str, Any]:
    """The rejected rows of a run: how many by reason, and the first ones.

    Args:
        folder: of Parquet files of schema `penstock.batch.REJECTED`; there may be none.
    """
    counts: Counter[tuple[Any, ...]] = Counter()
    first: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                reasons = batch.select(["step", "column", "code", "reason"])
                grouped = pa.Table.from_batches([reasons]).group_by(reasons.schema.names).aggregate([([], "count_all")])
                for row in grouped.to_pylist():
                    counts[(row["step"], row["column"], row["code"], row["reason"])] += row["count_all"]
                if len(first) < FIRST:
                    first += batch.slice(0, FIRST - len(first)).to_pylist()
    for row in first:
        for name in ("value", "record"):
            if row[name] is not None and len(row[name]) > _LONGEST:
                row[name] = f"{row[name][:_LONGEST]}… ({len(row[name]):,} characters)"
    most = sorted(counts.items(), key=lambda item: (-item[1], [str(part) for part in item[0]]))[:MOST_REASONS]
    return {
        "rows": sum(counts.values()),
        "by": [dict(zip(("step", "column", "code", "reason"), key, strict=True), rows=rows) for key, rows in most],
        "first": first,
        "folder": str(folder),
    }


def write_page(document: Mapping[str, Any], to: Path) -> Path:
    """Write the page of a document, in place of an earlier page.

    Raises:
        UsageError: there is something else of that name, or its suffix is of something else.
        MissingExtra: matplotlib is not installed.
    """
    to = Path(to).absolute()
    refuse_other_suffix(to)
    if to.exists() and not is_page(to):
        raise UsageError(
            "there is something of that name already, and it is no report",
            where=str(to),
            expected="a name that is free, or an earlier report",
            remedy="write elsewhere with --to",
        )
    made = page(document).encode("utf-8")
    with writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary = to.with_name(f".{to.name}.new")
        temporary.write_bytes(made)
        temporary.replace(to)
    return to


def refuse_other_suffix(to: Path) -> None:
    """Refuse to write a page under a name that says that it is something else.

    Example:
        >>> refuse_other_suffix(Path("report.pdf"))
        Traceback (most recent call last):
        penstock.errors.UsageError: report.pdf: no page has this suffix
          expected: .html, .htm
          got:      '.pdf'
    """
    if to.suffix and to.suffix.lower() not in SUFFIXES:
        raise UsageError("no page has this suffix", where=str(to), expected=", ".join(SUFFIXES), got=repr(to.suffix))


def is_page(path: Path) -> bool:
    """Whether a file is a page that was made here."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'name="generator" content="{GENERATOR} '.encode() in file.read(1024)
