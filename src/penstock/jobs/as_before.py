"""New rows seen as those that a pipeline was fitted to. Used by `update`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from penstock.artifact import Saved
from penstock.batch import Batch, record_batch
from penstock.engine import Listener, Resources
from penstock.errors import SchemaError
from penstock.jobs.predict import require
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, Note, Source


class AsBefore(Source):
    """New rows with the columns that a pipeline was fitted to: others are not there, and what lacks is missing."""

    def __init__(self, source: Source, schema: Schema, notes: tuple[Note, ...] | None = None) -> None:
        self._source = source
        self.schema = schema
        self.notes = source.notes if notes is None else notes
        self.reading = source.reading
        self.origin = source.origin

    @classmethod
    def of(cls, source: Source, saved: Saved, listener: Listener) -> Source:
        """New rows as those that a pipeline was fitted to.

        Raises:
            SchemaError: a column that its steps or models read is not there, or of other values.
        """
        incoming = saved.steps.incoming
        lacking = [name for name in incoming.names if name not in source.schema]
        require(source.schema, [name for name in lacking if name in _read(saved)], "the model was trained with it")
        for field in incoming:
            if field.name in source.schema and source.schema[field.name].type != field.type:
                raise SchemaError(
                    "a column has other values than it had",
                    where=f"column {field.name!r}",
                    expected=str(field.type),
                    got=str(source.schema[field.name].type),
                    remedy="give it the same type, or train anew on all rows",
                )
        if lacking:
            shown = ", ".join(map(repr, lacking[:8])) + (", ..." if len(lacking) > 8 else "")
            listener.said(Note("columns", f"{len(lacking)} are missing", f"nothing depends on them: {shown}"))
        return cls(source, incoming)

    @classmethod
    def again(cls, source: Source, saved: Saved) -> Source:
        """The same rows, seen as they were when a pipeline was fitted to them, for what was said of them too."""
        seen = saved.steps.incoming
        told = saved.facts.get("profile", {}).get("notes", ())
        return cls(source.like(seen), seen, tuple(Note(**note) for note in told))

    @classmethod
    def with_columns(cls, source: Source, schema: Schema) -> Source:
        """The same rows with the columns of a schema alone; itself, where it has no others or lacks one."""
        names = set(source.schema.names)
        if not set(schema.names) < names:
            return source
        return cls(source, source.schema.select(schema.names))

    def only(self, paths: Collection[str]) -> Source:
        """The source's files under these paths."""
        return AsBefore(self._source.only(paths), self.schema, self.notes)

    def laid_down(self, folder: Path, lent: Resources, listener: Listener) -> Source:
        """The source's rows, after the work that needs other rows."""
        return AsBefore(self._source.laid_down(folder, lent, listener), self.schema, self.notes)

    def chunks(self) -> Iterator[Chunk]:
        """The source's plan."""
        return self._source.chunks()

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The source's blocks, with nulls in the columns that it lacks."""
        names = tuple(self.schema.names if columns is None else columns)
        there = [name for name in names if name in self._source.schema]
        for batch in self._source.read(chunk, there):
            arrays = [
                batch.column(name) if name in there else pa.nulls(len(batch), self.schema[name].type) for name in names
            ]
            yield batch.with_columns(record_batch(arrays, names, len(batch)))

    def fingerprints(self) -> Sequence[Fingerprint]:
        """The source's."""
        return self._source.fingerprints()

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same columns, some with other roles."""
        there = {name: role for name, role in roles.items() if name in self._source.schema}
        source = self._source.with_roles(there)
        schema = self.schema.put(*(source.schema[name] for name in there if name in self.schema))
        return AsBefore(source, schema, self.notes)

    @property
    def planned_nbytes(self) -> int | None:
        """The source's."""
        return self._source.planned_nbytes

    @property
    def block_nbytes(self) -> int:
        """The source's."""
        return self._source.block_nbytes

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()


def _read(saved: Saved) -> set[str]:
    """The columns that anything of a fitted pipeline looks at."""
    config = saved.config
    found = {name for name in (config.target, config.weight, config.group, config.time) if name is not None}
    for steps in [member.steps for member in saved.members] or [saved.steps]:
        schema = steps.incoming
        for fitted, states in zip(steps.steps, steps.states, strict=True):
            found |= {*fitted.step.touches(schema).reads, *(name for one in states.values() for name in one.columns)}
            schema = fitted.schema
        found |= set(schema.names) if not saved.members else set()
    for member in saved.members:
        found |= set(member.model.features.names)
    return found
