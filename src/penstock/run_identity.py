"""What makes two jobs the same job, and what tells them apart; part of `run.py`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import platform
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from penstock.durable import sha256
from penstock.resources import instruction_sets
from penstock.run_inputs import Inputs, difference_of
from penstock.source import Fingerprint, Source

_LIBRARIES = ("penstock", "numpy", "pyarrow", "polars", "lightgbm", "scikit-learn")
_HASHED_BYTES = 2**20


def versions() -> dict[str, str]:
    """What the bytes of a result depend on besides the job: libraries, Python, instruction sets."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    found["python"] = platform.python_version()
    found["machine"] = platform.machine()
    found["instruction sets"] = " ".join(instruction_sets())
    return found


def inputs_of(fingerprints: Iterable[Fingerprint]) -> Inputs:
    """Inputs as they count for a job's identity: by content, not by time of change."""
    return Inputs.of(fingerprints)


def reading_of(source: Source, columns: Collection[str] | None = None) -> str:
    """How a source is read, a line for each column: not why, since the reason tells of the rows that were looked at.

    Args:
        source: the rows.
        columns: those that count; None for all.
    """
    lines = [f"files: {digest_of(source.reading)}"]
    for field in source.schema:
        if columns is None or field.name in columns:
            told = {key: value for key, value in field.to_json().items() if key not in ("reason", "name", "parts")}
            long = told.pop("categories", None)
            text = ", ".join(f"{key} {value}" for key, value in told.items())
            lines.append(f"column {field.name!r}: {text}" + ("" if long is None else f", values {digest_of(long)}"))
    return "\n".join(lines)


def digest_of(value: Any) -> str:
    """A short hash of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def difference(key: str, was: Any, now: Any) -> str:
    """In words, what of a job's identity is another."""
    if key == "versions":
        return ", ".join(f"{n} {was.get(n)} before, {now[n]} now" for n in now if was.get(n) != now[n])
    if isinstance(was, Inputs) and isinstance(now, Inputs):
        return f"{key}: {difference_of(was, now)}"
    if key == "reading" and isinstance(was, str) and isinstance(now, str):
        return _other_reading(was.splitlines(), now.splitlines())
    if isinstance(was, str) and isinstance(now, str):
        pairs = itertools.zip_longest(was.splitlines(), now.splitlines(), fillvalue="")
        was, now = next((pair for pair in pairs if pair[0] != pair[1]), (was, now))
    return f"{key}: {_short(was)} before, {_short(now)} now"


def _other_reading(was: Sequence[str], now: Sequence[str]) -> str:
    """Which columns are read in another way than they were."""
    before, after = (dict(line.partition(": ")[::2] for line in lines) for lines in (was, now))
    texts = [
        f"{name}: {before[name]} before, {after[name]} now"
        for name in after
        if name in before and before[name] != after[name]
    ]
    texts += [f"{name} is new" for name in after if name not in before]
    texts += [f"{name} is no longer there" for name in before if name not in after]
    return "reading: " + ("; ".join(texts[:5]) or "the columns are in another order")


def contents(path: Path, name: str | None = None) -> dict[str, str]:
    """What is published, by file: the size, and of a small file the hash.

    Args:
        path: a folder or a file.
        name: the file's, where it has not got it yet.
    """
    if path.is_file():
        return {name or path.name: _described(path)}
    return {p.relative_to(path).as_posix(): _described(p) for p in sorted(path.rglob("*")) if p.is_file()}


def _described(path: Path) -> str:
    size = path.stat().st_size
    return f"{size} bytes" + (f", SHA-256 {sha256(path)}" if size <= _HASHED_BYTES else "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
