"""Predict: rows through the fitted steps and the model, into parts that are published at once."""

from __future__ import annotations

import fnmatch
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from penstock.artifact import Member, Saved
from penstock.batch import Batch, Count
from penstock.decision import Decision, mean_of, predictions, probabilities_of
from penstock.engine import Engine, Listener, Resources, Transform
from penstock.errors import SchemaError, UsageError
from penstock.fusion import Chain
from penstock.jobs.contributions import Contributions, names_of, refuse_taken
from penstock.jobs.publish import absolute, asked_of, limited, publish, summary_of
from penstock.model import PREDICTION, Target
from penstock.relational import related
from penstock.run import Run
from penstock.run_identity import digest_of, inputs_of, reading_of
from penstock.schema import Field, Role, Schema
from penstock.sinks.parts import format_of
from penstock.source import Note, Source
from penstock.step import Use
from penstock.summary import Summary
from penstock.target import codes_of, those_left

PATH = "path"
"""The column that says which file a row is, where each is one."""
Output: TypeAlias = Literal["predictions", "features"]
_PLENTY = 2**30
"""Memory with which models may be opened while rows are read already [bytes]."""


@dataclass(frozen=True)
class Predictor(Transform):
    """The chain, then the model, of each member; and beside the predictions the columns to keep, as they were read.

    Attributes:
        chains: of each member, the fitted steps for its model's features.
        members: the models, and how much each counts in the mean.
        target: what is predicted.
        decision: how a class is chosen; None for the likeliest.
        keep: columns of the source that come out beside the predictions, and their names there.
        threads: inner threads of a model.
        explain: sums up what moved each prediction; None where that is not asked for.
        output: "predictions", or "features": what the network's last hidden layer gives instead.
    """

    chains: tuple[Chain, ...]
    members: tuple[Member, ...]
    target: Target
    decision: Decision | None = None
    keep: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    explain: Contributions | None = None
    output: Output = "predictions"

    def transform(self, batch: Batch) -> Batch:
        """The kept columns, the predictions, and what moved them, of a batch."""
        encoded = self.chains[0].transform(batch)
        every, averaged = [encoded], None
        if self.output == "features":
            predicted = self.members[0].model.hidden(encoded, threads=self.threads)
        else:
            predicted = self.members[0].model.predict(encoded, threads=self.threads)
        if self.output == "predictions" and (len(self.members) > 1 or self.decision is not None):
            parts = [probabilities_of(predicted, self.target)]
            for chain, member in zip(self.chains[1:], self.members[1:], strict=True):
                # The user's own steps are in every chain: the first one's rejects are everyone's.
                every.append(chain.transform(replace(batch, rejected=None)))
                parts.append(probabilities_of(member.model.predict(every[-1], threads=self.threads), self.target))
            values = mean_of(parts, [member.weight for member in self.members])
            averaged = values if len(self.members) > 1 and self.target.classes else None
            predicted = predictions(encoded, self.target, values, self.decision)
        kept = those_left(batch, encoded)
        columns = [*(kept.column(name) for name in self.keep), *predicted.columns.columns]
        names = [*self.keep.values(), *predicted.columns.schema.names]
        if self.explain is not None:
            codes = np.zeros(0, np.int64)
            if self.target.task == "multiclass":
                labels = predicted.column(PREDICTION)
                codes = codes_of(labels.dictionary_decode(), self.target.classes).astype(np.int64)
            moved = self.explain.values(every, codes, self.threads, averaged)
            columns += [pa.array(np.ascontiguousarray(column)) for column in moved.T]
            names += names_of(self.explain.columns)
        count = Count("model", rows_in=len(encoded), out=len(encoded))
        return replace(
            encoded,
            columns=pa.RecordBatch.from_arrays(columns, names=names),
            counts=(*encoded.counts, count),
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that have to be read."""
        return tuple(dict.fromkeys((*(name for chain in self.chains for name in chain.inputs), *self.keep)))


def inner_threads(source: Source, resources: Resources) -> int:
    """The threads of a model: blocks are predicted side by side, a core each; a source of a single chunk has too few
    of them, and its model gets all cores."""
    return resources.cores if len(list(islice(source.chunks(), 2))) < 2 else 1


def predictor(saved: Saved, source: Source, keep: Mapping[str, str], resources: Resources | None) -> Predictor:
    """A predictor for the rows of a source; without resources, of a source whose chunks are not known yet.

    Raises:
        UsageError: the artifact has no model; a column to keep would be doubled.
        SchemaError: a column that the model or the user needs is not there.
    """
    if saved.target is None or not saved.members:
        raise UsageError("the saved pipeline has no model", expected="one that was trained", remedy="penstock train")
    use = Use("predict", saved.config.seed)
    chains = tuple(member.steps.chain(use, member.model.features.names) for member in saved.members)
    threads = 1 if resources is None else inner_threads(source, resources)
    found = Predictor(chains, saved.members, saved.target, saved.decision, dict(keep), threads)
    require(source.schema, [name for name in found.inputs if name not in keep], "the model was trained with it")
    require(source.schema, tuple(keep), "it is to be kept")
    for name in found.inputs:
        if name in saved.steps.incoming:
            _refuse_other_kind(saved.steps.incoming[name], source.schema[name])
    made = {made.name for made in saved.members[0].model.prediction_fields}
    doubled = made & set(keep.values())
    if doubled:
        raise UsageError(
            "a column to keep has the name of a prediction",
            where="--keep",
            expected="other columns than " + ", ".join(sorted(made)),
            got=", ".join(sorted(doubled)),
        )
    return found


def _refuse_other_kind(was: Field, now: Field) -> None:
    """Refuse pixels where files were learned from, and files where pixels were: no step makes one of the other."""
    if bool(was.shape) == bool(now.shape):
        return
    how = f"size: {list(was.shape[:2])}, channels: {was.shape[-1]}" if was.shape else ""
    raise SchemaError(
        "a column holds other values than in training",
        where=f"column {now.name!r}",
        expected=was.values_in_words,
        got=now.values_in_words,
        remedy=f"decode them as they were then: penstock prepare, with decode_picture: {{columns: {now.name}, {how}}}"
        if was.shape and now.kind is Role.picture
        else "give the same kind of data as in training, or train on data like these",
    )


def _are_files(source: Source) -> bool:
    """Whether rows are files, in a folder, in a tar, or as they were prepared: then who reads asks which is which."""
    named = PATH in source.schema and source.schema[PATH].role is Role.key
    return named and (source.a_row_each or bool(source.schema.of_role(Role.picture, Role.clip)))


def labels_remedy(schema: Schema) -> str:
    """Where the column of labels may come from, in words, for data that lack it."""
    if any(field.shape for field in schema):
        return "--labels FILE, for the labels of pictures in an IDX file; else data that have the column"
    if any(field.kind in (Role.picture, Role.clip) for field in schema):
        return "a folder for each label with its files in it, or a table with a column of paths and one of labels"
    return "name the columns as they were in training (--columns for files without a header)"


def require(schema: Schema, names: Sequence[str], why: str, remedy: str = "") -> None:
    """Refuse data that lacks columns.

    Raises:
        SchemaError: a name is not in the schema.
    """
    lacking = [name for name in names if name not in schema]
    if lacking:
        shown = ", ".join(map(repr, lacking[:8])) + (" ..." if len(lacking) > 8 else "")
        raise SchemaError(
            f"{len(lacking)} column{'s are' if len(lacking) > 1 else ' is'} missing from the data",
            expected=f"{shown} ({why})",
            got="columns " + ", ".join(map(repr, schema.names[:20])) + (" ..." if len(schema) > 20 else ""),
            remedy=remedy or "name the columns as they were in training (--columns for files without a header)",
        )


def digest_of_model(saved: Saved) -> str:
    """What tells a fitted pipeline from others: what it was fitted on, and how well it did."""
    return digest_of([saved.steps.incoming.to_json(), saved.facts])


def named(patterns: Sequence[str], schema: Schema) -> tuple[str, ...]:
    """The columns that names and globs mean, each once; a name or glob that meets none stays, to be refused.

    Example:
        >>> import pyarrow as pa
        >>> schema = Schema(tuple(Field(name, pa.float64(), Role.number) for name in ("id", "x_1", "x_2")))
        >>> named(["x_*", "id", "*"], schema)
        ('x_1', 'x_2', 'id')
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        met = (
            (pattern,)
            if pattern in schema
            else tuple(name for name in schema.names if fnmatch.fnmatchcase(name, pattern))
        )
        found |= dict.fromkeys(met or (pattern,))
    return tuple(found)


def prediction_of(
    source: Source, saved: Saved, *, keep: Sequence[str], explain: bool, output: Output = "predictions"
) -> tuple[Predictor, Schema]:
    """What the rows of a source go through, and the columns that come out.

    Raises:
        SchemaError: the data lacks a column.
        UsageError: the artifact has no model; a column to keep would be doubled.
    """
    keep = named(keep, source.schema)
    predicts = predictor(saved, source, {name: name for name in keep}, None)
    if output == "features":
        return _features_of(predicts, source.schema.select(keep), explain)
    schema = source.schema.select(keep).put(*predicts.members[0].model.prediction_fields)
    if explain:
        told = Contributions.of(saved)
        refuse_taken(source.schema, told.columns, keep)
        predicts = replace(predicts, explain=told)
        schema = schema.put(*(Field(name, pa.float64(), Role.number) for name in names_of(told.columns)))
    return predicts, schema


def _features_of(predicts: Predictor, kept: Schema, explain: bool) -> tuple[Predictor, Schema]:
    if explain or len(predicts.members) > 1:
        raise UsageError(
            "features are of one network, and nothing moved them",
            where="--output features",
            expected="an artifact with one network, and no --explain",
            got=", ".join(member.model.name for member in predicts.members) + (", --explain" if explain else ""),
        )
    fields = predicts.members[0].model.hidden_fields
    doubled = {field.name for field in fields} & set(kept.names)
    if doubled:
        raise UsageError("a column to keep has the name of a feature", where="--keep", got=", ".join(sorted(doubled)))
    return replace(predicts, output="features"), kept.put(*fields)


def related_to_predict(source: Source, saved: Saved, keep: Sequence[str], listener: Listener) -> Source:
    """The relational work of the training, but for columns that can't be made and that no prediction needs.

    Raises:
        SchemaError: the data lacks a column that the work, the model or the user needs.
    """
    use = Use("predict", saved.config.seed)
    chains = (member.steps.chain(use, member.model.features.names) for member in saved.members)
    needed = {*(name for chain in chains for name in chain.inputs), *keep}
    found = source
    for relation in saved.config.data:
        possible = relation.possible(found.schema, needed)
        if possible != relation:
            listener.said(Note(relation.name, "what it makes of columns that are not there is left out", "not needed"))
        found = related(found, (possible,) if possible else ())
    like = {one.name: one.kind for one in saved.steps.incoming if one.name in found.schema}
    return found if found is source else found.with_roles(like)


def predict(
    source: Source,
    saved: Saved,
    *,
    to: str | Path,
    keep: Sequence[str] = (),
    engine: Engine,
    max_rejected: float | None,
    restart: bool = False,
    explain: bool = False,
    new_only: bool = False,
    model: Path | None = None,
    output: Output = "predictions",
) -> Summary:
    """Predict every row of a source, read with the roles of the training, into ``to``.

    Args:
        source: the rows.
        saved: the fitted pipeline.
        to: a folder or a file.
        keep: columns to write beside the predictions, by name or glob; where each file is a row, its path if none.
        engine: what reads and maps.
        max_rejected: the share of rows above which nothing is published.
        restart: whether what an earlier run made may be replaced.
        explain: whether what moved each prediction is written.
        new_only: take the files that came in since into a further generation of the output.
        model: where the fitted pipeline is saved, for doing the same again.
        output: "predictions", or "features" for what the network's last hidden layer gives.

    Raises:
        SchemaError: the data lacks a column.
        TooManyRejected: more rows were rejected than allowed; nothing was published.
        RunError: the output belongs to another job.
    """
    began = time.monotonic()
    format_of(absolute(to))
    if not keep and _are_files(source):
        keep = (PATH,)
        engine.listener.said(Note("keep", f"{PATH!r}, beside each prediction", "rows are files", "--keep COLUMN,..."))
    source = related_to_predict(source, saved, keep, engine.listener)
    predicts, schema = prediction_of(source, saved, keep=keep, explain=explain, output=output)
    identity = {
        "command": "predict",
        **({"explain": True} if explain else {}),
        **({"output": output} if output != "predictions" else {}),
        "model": digest_of_model(saved),
        "keep": list(keep),
        "reading": reading_of(source, predicts.inputs),
        "inputs": inputs_of(source.fingerprints()),
    }
    if new_only:
        source.only(())  # what can't be taken file by file is refused before anything is begun
    asked = asked_of(
        "predict",
        source,
        engine.resources,
        model=None if model is None else str(model),
        keep=list(keep),
        explain=explain,
        output=output,
        max_rejected=max_rejected,
    )
    with Run(absolute(to), identity, engine.resources, restart=restart, new_only=new_only, asked=asked) as run:
        source = limited(run, source, engine.listener)
        if run.committed:
            return summary_of(run, "predict", 0.0, already=True)
        relations = run.folder / "relations"
        source = source.laid_down(relations, engine.resources, engine.listener)
        predicts = replace(predicts, threads=inner_threads(source, engine.resources))
        if engine.resources.memory < _PLENTY:  # what is held must be known before anything is read
            for member in saved.members:
                member.model.open()
        done = publish(
            run,
            source,
            predicts,
            command="predict",
            columns=predicts.inputs,
            schema=schema,
            engine=engine,
            max_rejected=max_rejected,
            began=began,
        )
        shutil.rmtree(relations, ignore_errors=True)
        return done
