"""What may not be told: the values of sensitive columns stay out of rejected rows, audits, reports and messages.

A contract's helper. In the place of a value stands a keyed hash (HMAC-SHA256, RFC 2104): equal values are seen to be
equal, and nobody without the key can try values out. The key is ``PENSTOCK_KEY`` of the environment, or a file that is
made once for each user, readable by nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.errors import ResourceError

KEY = "PENSTOCK_KEY"
FAILED = "failed"
"""The code of rows rejected with a foreign error, whose text may hold values."""
_TOLD_OF_A_COLUMN = (
    *("name", "role", "type", "kind", "missing", "missing_share", "distinct", "distinct_exact"),
    *("warnings", "drift_score", "sensitive"),
)
_LETTERS = 16


@dataclass(frozen=True)
class Masking:
    """Which columns are sensitive, and the key of their hashes.

    Attributes:
        columns: their names.
        key: of the hashes; never written anywhere.

    Example:
        >>> masking = Masking(frozenset(["name"]), b"secret")
        >>> masking.value("Ada") == masking.value("Ada") != masking.value("Eva")
        True
    """

    columns: frozenset[str]
    key: bytes = field(repr=False)

    def value(self, value: Any) -> str | None:
        """What stands for a value; null stays null."""
        if value is None:
            return None
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        return "hmac-" + hmac.new(self.key, data, hashlib.sha256).hexdigest()[:_LETTERS]

    def rejected(self, table: pa.Table) -> pa.Table:
        """Rejected rows without the values. A line that is no record can't be taken apart: all of it is hashed."""
        rows = table.select(["column", "code", "reason", "value", "record"]).to_pylist()
        values = [self.value(row["value"]) if self._hides(row["column"]) else row["value"] for row in rows]
        records = [self._record(row["record"]) for row in rows]
        reasons = [row["reason"].partition(":")[0] if row["code"] == FAILED else row["reason"] for row in rows]
        for name, texts in (("reason", reasons), ("value", values), ("record", records)):
            table = table.set_column(
                table.schema.get_field_index(name), table.schema.field(name), pa.array(texts, pa.string())
            )
        return table

    def _hides(self, column: str | None) -> bool:
        return column is None or column in self.columns

    def _record(self, record: str | None) -> str | None:
        if record is None:
            return None
        try:
            found = json.loads(record)
        except ValueError:
            return self.value(record)
        if not isinstance(found, dict):
            return self.value(record)
        shown = {name: self.value(value) if name in self.columns else value for name, value in found.items()}
        return json.dumps(shown, ensure_ascii=False)

    def cells(self, columns: pa.RecordBatch) -> pa.RecordBatch:
        """Changed cells, with columns ``column``, ``before`` and ``after``, without the values."""
        names = columns.column("column").to_pylist()
        hidden = [name in self.columns for name in names]
        if not any(hidden):
            return columns
        arrays = list(columns.columns)
        for name in ("before", "after"):
            at = columns.schema.get_field_index(name)
            values = arrays[at].to_pylist()
            arrays[at] = pa.array(
                [self.value(value) if hide else value for value, hide in zip(values, hidden, strict=True)],
                columns.schema.field(name).type,
            )
        return pa.RecordBatch.from_arrays(arrays, schema=columns.schema)

    def profile(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A profile's document, of sensitive columns only how many values they have, and how many are missing."""
        shown = dict(document)
        shown["columns"] = [
            {**{key: one[key] for key in _TOLD_OF_A_COLUMN if key in one}, "sensitive": True}
            if one["name"] in self.columns
            else one
            for one in document.get("columns", ())
        ]
        for name in ("warnings", "drift"):
            if isinstance(document.get(name), list):
                shown[name] = [self._found(one) for one in document[name]]
        return shown

    def _found(self, one: Mapping[str, Any]) -> dict[str, Any]:
        named = {*one.get("columns", ()), one.get("column")}
        if not named & self.columns:
            return dict(one)
        kept = {key: one[key] for key in ("code", "severity", "column", "columns", "score") if key in one}
        return {**kept, "reason": "the values are sensitive, and not told", "remedy": ""}

    def mistakes(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The worst rows without the values."""
        return [
            {
                **row,
                "values": {
                    name: self.value(value) if name in self.columns else value for name, value in row["values"].items()
                },
            }
            for row in rows
        ]

    def explanation(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What a model leans on, without the predictions by value of sensitive columns."""
        shown = dict(found)
        if "dependence" in found:
            shown["dependence"] = [one for one in found["dependence"] if one["column"] not in self.columns]
        return shown


def masking_of(columns: Iterable[str]) -> Masking | None:
    """What hides these columns; None where there are none.

    Raises:
        ResourceError: the key can't be read or made.
    """
    names = frozenset(columns)
    return Masking(names, _key()) if names else None


def key_file() -> Path:
    """Where the user's key lies."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "penstock" / "key"


def _key() -> bytes:
    given = os.environ.get(KEY)
    if given:
        return given.encode()
    path = key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            found = path.read_bytes()
            if found:
                return found
            raise OSError(0, "it is empty", str(path)) from None
        with os.fdopen(descriptor, "wb") as file:
            key = secrets.token_hex(32).encode()
            file.write(key)
            return key
    except OSError as error:
        raise ResourceError(
            "the key of hidden values can't be read or made",
            where=str(path),
            expected="a file that this user may read and write",
            got=error.strerror or str(error),
            remedy=f"set {KEY} in the environment",
        ) from error
