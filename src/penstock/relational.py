"""Relational work before the steps: laid down once in the run's folder, within memory, and read from there.

Part of the pipeline's machinery: the fourth verb, *materialize*. `related` puts relations after a source; the result
is a source whose schema is known at once and whose rows are there once it is `laid_down`:

1. One scan reads the columns that the relations look at and lays them down as Arrow files, with the number of rows of
   each chunk; the other sides of joins are laid down whole.
2. Each relation is run over positions: DuckDB sorts and joins keys, and spills; the result is scattered into arrays
   by position, so neither threads nor memory change a byte.
3. What is read in the end is the source's own blocks, in their order, with their row keys and rejects, each taken
   through the links (`relational_link.py`). Only what changes the order lays all rows down anew.

A marker with a digest of definitions and inputs is written last: a job that goes on finds the work done.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.batch import REJECTED, Batch, Count
from penstock.engine import Engine, Listener, Resources, Silent
from penstock.errors import SchemaError, UsageError
from penstock.relation import Relation, Shape
from penstock.relational_link import Link, copied
from penstock.resources import resources
from penstock.schema import ROLE_TYPES, Role, Schema
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, Chunk, Fingerprint, Source

_REJECTS = BLOCK_ROWS
"""Rejected rows of the other sides that one batch carries."""


def related(source: Source, relations: Sequence[Relation], like: Schema | None = None) -> Source:
    """A source with relations after it, not run yet; of none, the source itself.

    Args:
        source: where the rows come from.
        relations: what is done to them, in order.
        like: a schema whose roles the columns have that are in it.

    Raises:
        SchemaError: a column is missing, or of a type that a relation can't work on.
        SourceError: the other side of a join can't be read.
    """
    found = source
    if relations:
        if isinstance(source, RelatedSource):
            found = source.then(relations)
        else:
            found = RelatedSource(source, tuple((relation, _opened(relation)) for relation in relations))
    if like is None or not relations:
        return found
    return found.with_roles({field.name: field.kind for field in like if field.name in found.schema})


@contextmanager
def done_for(source: Source, relations: Sequence[Relation], like: Schema, engine: Engine) -> Iterator[Source]:
    """The rows of a source after relations, laid down as long as the context lasts: for jobs without a folder."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        found = related(source, relations, like)
        yield found.laid_down(Path(folder) / "relations", engine.resources, engine.listener)


def _opened(relation: Relation) -> Source | None:
    from penstock.sources.files import open_source

    other = relation.beside
    if other is None or isinstance(other, Source):
        return other
    return open_source(list(other) if isinstance(other, tuple) else other, relation.reading)


class RelatedSource(Source):
    """Relations after a source, to be run by `laid_down`; read before that, it lays itself down in a folder of its
    own, until `close`.

    Args:
        base: where the rows come from.
        relations: what is done to them, each with its other side.
        chosen: roles of columns that relations make, by the relation's number and the column.
    """

    def __init__(
        self,
        base: Source,
        relations: tuple[tuple[Relation, Source | None], ...],
        chosen: Mapping[tuple[int, str], Role] | None = None,
    ) -> None:
        self.base = base
        self.relations = relations
        self._chosen = dict(chosen or {})
        self._lock = threading.Lock()
        self._own: Source | None = None
        self.shapes: tuple[Shape, ...] = tuple(self._shapes())
        self.schema = self.shapes[-1].schema
        self.notes = (*base.notes, *(note for shape in self.shapes for note in shape.notes))
        definitions = [_definition(relation) for relation, _ in relations]
        others = [other.reading if other else "" for _, other in relations]
        self.reading = json.dumps([base.reading, definitions, others], default=str)
        self.origin = base.origin

    def _shapes(self) -> Iterator[Shape]:
        schema = self.base.schema
        for number, (relation, other) in enumerate(self.relations):
            shape = relation.shape(schema, other.schema if other else None)
            for (place, name), role in self._chosen.items():
                if place == number:
                    shape = replace(shape, schema=_with_role(shape.schema, name, role))
            schema = shape.schema
            yield shape

    def then(self, relations: Sequence[Relation]) -> RelatedSource:
        """More relations after these."""
        more = tuple((relation, _opened(relation)) for relation in relations)
        return RelatedSource(self.base, (*self.relations, *more), self._chosen)

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same with other roles: columns are read so where they come from."""
        base: dict[str, Role] = {}
        others: dict[int, dict[str, Role]] = {}
        chosen = dict(self._chosen)
        for name, role in roles.items():
            place, column = self._origin(name)
            if place < 0:
                base[column] = role
            elif column in self.shapes[place].others:
                others.setdefault(place, {})[self.shapes[place].others[column]] = role
            else:
                chosen[(place, column)] = role
        relations = tuple(
            (relation, other.with_roles(others[number]) if other and number in others else other)
            for number, (relation, other) in enumerate(self.relations)
        )
        return RelatedSource(self.base.with_roles(base), relations, chosen)

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for columns that come from files; what a relation makes is no text."""
        base: dict[str, str] = {}
        others: dict[int, dict[str, str]] = {}
        for name, way in written.items():
            place, column = self._origin(name)
            if place < 0:
                base[column] = way
            elif column in self.shapes[place].others:
                others.setdefault(place, {})[self.shapes[place].others[column]] = way
        relations = tuple(
            (relation, other.with_written(others[number]) if other and number in others else other)
            for number, (relation, other) in enumerate(self.relations)
        )
        return RelatedSource(self.base.with_written(base), relations, self._chosen)

    def _origin(self, name: str) -> tuple[int, str]:
        """The relation that a column comes from, or -1 for the base, and its name there."""
        self.schema[name]
        for number in range(len(self.shapes) - 1, -1, -1):
            if name not in self.shapes[number].origins:
                return number, name
            name = self.shapes[number].origins[name]
        return -1, name

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files of the base, then of the other sides."""
        others = (other.fingerprints() for _, other in self.relations if other is not None)
        return (*self.base.fingerprints(), *(fingerprint for found in others for fingerprint in found))

    def only(self, paths: Collection[str]) -> Source:
        """The same of these files of the base alone, where no relation looks at other rows of it."""
        looks = [relation.name for relation, _ in self.relations if not relation.by_row]
        if looks:
            raise UsageError(
                "these data can't be taken file by file",
                expected="relational work that looks at one row of them at a time: filter, derive, map_columns, join",
                got=", ".join(map(repr, looks)),
                remedy="do the whole again with --restart, or that work before",
            )
        own = {fingerprint.path for fingerprint in self.base.fingerprints()}
        return RelatedSource(self.base.only(own & set(paths)), self.relations, self._chosen)

    def laid_down(self, folder: Path, lent: Resources, listener: Listener) -> Source:
        """Run the relations, or find them run; what they lay down is in ``folder`` and has to stay there."""
        from penstock.relational_run import lay_down

        return lay_down(self, folder, lent, listener)

    def _laid(self) -> Source:
        with self._lock:
            if self._own is None:
                folder = Path(tempfile.mkdtemp(prefix="penstock-"))
                self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self._own = self.laid_down(folder / "relations", resources(), Silent())
            return self._own

    def chunks(self) -> Iterator[Chunk]:
        """The plan."""
        yield from self._laid().chunks()

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk."""
        yield from self._laid().read(chunk, columns)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]."""
        return self.base.block_nbytes + BLOCK_BYTES

    def close(self) -> None:
        """Remove what was laid down in a folder of its own, and close the sources."""
        with self._lock:
            if self._own is not None:
                self._remove()
                self._own = None
        for source in (self.base, *(other for _, other in self.relations if other is not None)):
            source.close()


def _with_role(schema: Schema, name: str, role: Role) -> Schema:
    """A column that a relation makes, in another role; its values stay as they are."""
    made = schema[name]
    if ROLE_TYPES.get(role, made.type) != made.type:
        raise SchemaError(
            f"column {name!r} can't be a {role.value}",
            expected=f"a role of {made.type}",
            got=f"a column that a relation makes, {made.kind.value}",
            remedy="give it another role, or cast it in the steps",
        )
    return schema.with_role(name, role) if not role.is_feature else schema.put(replace(made, role=role, values=None))


def _definition(relation: Relation) -> dict[str, Any]:
    """A relation as JSON values, without its other side, whose files are known by their fingerprints."""
    values = {item.name: getattr(relation, item.name) for item in dataclasses.fields(relation)}  # type: ignore[arg-type]
    return {"name": relation.name, **{key: value for key, value in values.items() if value is not relation.beside}}


# ---------------------------------------------------------------------- what was laid down


@dataclass(frozen=True)
class Head:
    """What comes before the first block: the ledger of work whose rows are laid down anew, and rejected rows.

    Attributes:
        counts: the ledger.
        rejected: Parquet files of rejected rows.
    """

    counts: tuple[Count, ...] = ()
    rejected: tuple[Path, ...] = ()

    def slices(self) -> Iterator[pa.Table]:
        """The rejected rows, some at a time."""
        for path in self.rejected:
            for batch in pq.ParquetFile(path).iter_batches(_REJECTS):
                yield pa.Table.from_batches([batch], REJECTED)


@dataclass(frozen=True)
class Laid:
    """All that was laid down: the base, what its blocks go through, and where each chunk begins.

    Attributes:
        base: the source that blocks are read from.
        links: what they go through.
        starts: of each chunk, the position of its first row in the base and after each link.
        plan: the base's chunks.
        head: what comes before the first block.
    """

    base: Source
    links: tuple[Link, ...]
    plan: tuple[Chunk, ...]
    starts: tuple[tuple[int, ...], ...]
    head: Head = field(default_factory=Head)


class LaidSource(Source):
    """The rows of a `RelatedSource` that was laid down."""

    def __init__(self, related: RelatedSource, laid: Laid) -> None:
        self._of = related
        self._laid = laid
        self.schema = related.schema
        self.notes = related.notes
        self.reading = related.reading

    def chunks(self) -> Iterator[Chunk]:
        """The base's chunks, each with the positions where it begins."""
        laid = self._laid
        widths = self._widths()
        for number, chunk in enumerate(laid.plan):
            start = laid.starts[number]
            stop = laid.starts[number + 1]
            rows = stop[-1] - start[-1]
            share = rows / max(1, stop[0] - start[0])
            nbytes = int(chunk.nbytes * share) + rows * widths
            yield Chunk(number, ({"chunk": chunk.to_json(), "at": list(start)},), nbytes, rows)

    def _widths(self) -> int:
        """About what the columns that are new hold in a row [bytes]."""
        return 8 * sum(len(link.shape.schema) - len(link.shape.origins) for link in self._laid.links)

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk."""
        asked = [tuple(self.schema.names if columns is None else columns)]
        for link in reversed(self._laid.links):
            asked.insert(0, link.incoming(asked[0]))
        part = chunk.parts[0]
        at = [int(place) for place in part["at"]]
        batches = self._laid.base.read(Chunk.from_json(part["chunk"]), asked[0])
        for batch in self._headed(batches) if chunk.index == 0 else batches:
            yield from self._through(0, batch, at, asked)

    def _headed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        head = self._laid.head
        counts = head.counts
        for batch in batches:
            first = batch
            for rejected in head.slices() if counts else ():
                yield replace(first.slice(0, 0), rejected=rejected, counts=())
            yield replace(first, counts=(*first.counts, *counts))
            counts = ()

    def _through(self, number: int, batch: Batch, at: list[int], asked: Sequence[Sequence[str]]) -> Iterator[Batch]:
        """A block through the links from the ``number``-th on; ``at`` says where each of them is, and goes on."""
        start, rows = at[number], len(batch)
        at[number] += rows
        if number == len(self._laid.links):
            yield batch
            return
        link = self._laid.links[number]
        counts = (*batch.counts, link.count(start, start + rows)) if batch.counts else ()
        rejected = batch.rejected
        for piece in link.pieces(batch.columns, start, at[number + 1], asked[number + 1]):
            block = Batch(piece.columns, copied(batch.keys, piece), rejected, counts)
            counts, rejected = (), None
            yield from self._through(number + 1, block, at, asked)

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files that the rows came from."""
        return self._of.fingerprints()

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows where the roles are those they have; with others, to be laid down again."""
        other = self._of.with_roles(roles)
        if other.schema == self.schema:
            return self
        if other.schema.to_arrow() == self.schema.to_arrow() and not _values_change(self.schema, other.schema):
            same = copy.copy(self)
            same.schema = other.schema
            return same
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same rows where they are written so; else to be laid down again."""
        other = self._of.with_written(written)
        return self if other.schema == self.schema else other

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return sum(chunk.nbytes for chunk in self.chunks())

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]."""
        beside = BLOCK_BYTES + BLOCK_ROWS * self._widths() if self._laid.links else 0
        return self._laid.base.block_nbytes + beside

    def close(self) -> None:
        """Close the sources; what is laid down belongs to whoever gave the folder."""
        self._of.close()


def _values_change(one: Schema, other: Schema) -> bool:
    """Whether a column would be read in another way, not only be used for something else."""
    return any(left.kind is not right.kind for left, right in zip(one, other, strict=True))
