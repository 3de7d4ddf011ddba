"""What users hold: `read`, `Pipeline`, `FittedPipeline`, `load`.

The outermost room but the command line: it opens sources, chooses the engine, and hands both to the jobs.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast, overload

import pyarrow as pa

from penstock import artifact
from penstock.artifact import Saved
from penstock.batch import REJECTED, Batch
from penstock.config import PipelineConfig, load_config
from penstock.engine import Engine, Listener, Resources, Silent
from penstock.engines.local import LocalEngine
from penstock.errors import UsageError
from penstock.handle import Job, startable, startable_function
from penstock.jobs.predict import predict
from penstock.jobs.publish import absolute
from penstock.masking import masking_of
from penstock.model import Auto, Model, Target
from penstock.relation import Relation
from penstock.relational import done_for
from penstock.resources import parse_bytes, resources
from penstock.schema import Role, Schema
from penstock.source import Note, Origin, ReadOptions, Source
from penstock.sources.files import open_source
from penstock.sources.frames import Table, is_table
from penstock.step import Step
from penstock.summary import Evaluation, Summary
from penstock.trace import traceable

if TYPE_CHECKING:
    from penstock.jobs.profile import Profile
    from penstock.jobs.repro import Reproduced

Data: TypeAlias = Source | str | Path | Sequence[str | Path] | Table
Bytes: TypeAlias = int | str | None


def read(
    data: str | Path | Sequence[str | Path] | Table,
    *,
    columns: Sequence[str] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    missing: Sequence[str] | None = None,
    roles: Mapping[str, Role | str] | None = None,
    written: Mapping[str, str] | None = None,
    missing_columns: Literal["insert", "raise"] | None = None,
    each: Literal["record", "file"] | None = None,
    labels: str | Path | None = None,
    root: str | Path | None = None,
    options: ReadOptions | None = None,
    memory: Bytes = None,
    cores: int | None = None,
) -> Source:
    """Open data: a path, a glob, a folder, or several of them; an address; a query; a table in memory.

    What is not given is inferred from a sample, and said in the source's ``notes``.

    Args:
        data: CSV, TSV, JSON lines (plain, .gz, .zst, .zip), Parquet or Arrow; a folder of pictures or clips; IDX,
            CIFAR, npz, tar shards; a SQLite database, or ``sqlite:///FILE?table=NAME``;
            ``s3://``, ``gs://``, ``az://``, ``hdfs://`` or ``https://``; "-" for standard input; or a query in DuckDB's
            SQL, ``sql:SELECT ... FROM 'a.parquet' JOIN 'b.csv' USING (id)``; or a table of pyarrow, Polars or pandas.
        columns: names for the columns of files without a header.
        encoding: of text files.
        delimiter: of text files.
        missing: texts that mean "no value".
        roles: roles by column, over what is inferred.
        written: how columns of text write their values, by column, over what is inferred: "1.234,5", "%d/%m/%Y", "a;b".
        missing_columns: what becomes of a column of the first file that another lacks: "insert" (nulls there, which is
            said) or "raise".
        each: "file" where every file of text is a row, and not every "record" in it; pictures and clips are anyway.
        labels: a file with the label of each picture of an IDX file.
        root: the folder that the paths of pictures and clips in a table are relative to; None for the table's own.
        options: all of these in one object, overridden by the others.
        memory: what a query may hold while it runs, half of it in DuckDB, such as "2GiB" or a number [bytes].
        cores: threads that a query runs on; None for all.

    Raises:
        UsageError: an option, an address or a query is wrong.
        SourceError: it can't be read.
        SchemaError: the files do not agree, or columns are doubled.
    """
    chosen = options or ReadOptions()
    given = {
        "columns": None if columns is None else tuple(columns),
        "encoding": encoding,
        "delimiter": delimiter,
        "missing": None if missing is None else tuple(missing),
        "missing_columns": missing_columns,
        "each": each,
        "labels": None if labels is None else str(labels),
        "root": None if root is None else str(root),
    }
    if missing_columns not in (None, "insert", "raise"):
        got = repr(missing_columns)
        raise UsageError("no such choice", where="missing_columns", expected="'insert' or 'raise'", got=got)
    chosen = replace(chosen, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    if roles is not None:
        chosen = replace(chosen, roles={**chosen.roles, **{name: _role(role) for name, role in roles.items()}})
    if written is not None:
        chosen = replace(chosen, written={**chosen.written, **written})
    return open_source(data, chosen, lent=_lent(memory, cores), queries=True)


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError as error:
        raise UsageError("no such role", where="roles", expected=", ".join(Role.__members__), got=repr(role)) from error


@dataclass(frozen=True)
class Pipeline:
    """Steps and a model, not fitted yet: frozen data that can be printed, compared and stored.

    Attributes:
        steps: what is done to each row, in order; the model adds the encoding it needs.
        model: what learns; None for a pipeline that only prepares.
        target: the column to predict.
        seed: of everything random.
        holdout: the share of rows kept out of training, for evaluation.
        read: how to read data that is given by its path, to fit and later to evaluate and predict.
        max_rejected: the share of rows that a job may reject, where it is not told otherwise.
        places: where each step is defined in a pipeline file, for messages.
        weight: the column that says how much a row counts in training.
        group: the column whose rows stay on one side of every split: patients, customers.
        time: the column by which the latest rows are held out, and not any.
        costs: what an error costs, by the true label and the predicted one; what is not named costs 1. The class of
            the least expected cost is predicted.
        sensitive: columns whose values are kept out of rejected rows, audits, reports and messages; keyed hashes stand
            there instead (see `penstock.masking`). What is published and the fitted states hold them.
        data: relational work on the rows before the steps, in order: when the pipeline is fitted, and in the same way
            when rows are evaluated or predicted.

    Example:
        >>> import penstock as ps
        >>> pipeline = ps.Pipeline([ps.Impute(ps.numeric(), "median")], ps.BoostedTrees(), target="income")
        >>> len(pipeline.steps)
        1
    """

    steps: Sequence[Step] = ()
    model: Model | Auto | None = None
    target: str | None = None
    seed: int = 0
    holdout: float = 0.0
    read: ReadOptions = field(default_factory=ReadOptions)
    max_rejected: float = 0.01
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    data: Sequence[Relation] = ()
    sensitive: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "data", tuple(self.data))
        object.__setattr__(self, "sensitive", tuple(self.sensitive))
        for relation in self.data:
            if not isinstance(relation, Relation):
                raise _not_one(relation, "relation", 'penstock.Deduplicate("id")')
        for step in self.steps:
            if not isinstance(step, Step):
                raise _not_one(step, "step", "penstock.Standardize(penstock.numeric())")
        if self.model is not None and not isinstance(self.model, (Model, Auto)):
            raise _not_one(self.model, "model", "penstock.BoostedTrees()")
        if not 0 <= self.holdout < 1:
            raise UsageError("not a share", where="holdout", expected="from 0 to below 1", got=str(self.holdout))

    @classmethod
    def of(cls, config: PipelineConfig | str | Path) -> Self:
        """The pipeline that a pipeline file defines.

        Raises:
            ConfigError: the file is wrong; the message says where.
        """
        if not isinstance(config, PipelineConfig):
            config = load_config(Path(config))
        return cls(
            config.steps,
            config.model,
            config.target,
            config.seed,
            config.holdout,
            config.read,
            config.max_rejected,
            config.places,
            config.weight,
            config.group,
            config.time,
            config.costs,
            config.data,
            config.sensitive,
        )

    @property
    def config(self) -> PipelineConfig:
        """The definition as it stands in a pipeline file."""
        return PipelineConfig(
            steps=tuple(self.steps),
            model=self.model,
            target=self.target,
            weight=self.weight,
            group=self.group,
            time=self.time,
            costs=self.costs,
            read=self.read,
            seed=self.seed,
            holdout=self.holdout,
            max_rejected=self.max_rejected,
            data=tuple(self.data),
            sensitive=tuple(self.sensitive),
            places=self.places,
        )

    @startable
    @traceable
    def fit(
        self,
        data: Data,
        *,
        test: Data | None = None,
        to: str | Path | None = None,
        memory: Bytes = None,
        cores: int | None = None,
        max_rejected: float | None = None,
        restart: bool = False,
        audit: str | Path | None = None,
        listener: Listener | None = None,
        trace: str | Path | None = None,
    ) -> FittedPipeline:
        """Fit the steps and train the model.

        Args:
            data: the training rows.
            test: rows to judge the model on.
            to: where to save the fitted pipeline, as a run: its ledger and rejected rows lie beside it in ``to.run``,
                and the same call again opens what is there. None keeps it in memory; see `FittedPipeline.save`.
            memory: what the process may hold, such as "2GiB" or a number [bytes]; None for 60 % of what is free.
            cores: threads; None for all.
            max_rejected: the share of rows (0 to 1) that may be rejected; None for the pipeline's own.
            restart: replace the pipeline that is at ``to``, and what is at ``audit``.
            audit: a file (.parquet, .csv, .arrow) or folder for every cell that the cleaning changed.
            listener: who is told how it goes.
            trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
                when the job fails.
            wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        from penstock.jobs.train import train, train_to

        listener = listener or Silent()
        engine = _engine(memory, cores, listener, self.sensitive)
        source = _source(data, self.read, lent=engine.resources)
        _refuse_unknown(self.sensitive, source.schema)
        judged_on = None if test is None else _test_source(test, self.read, source, self.target, engine.resources)
        if to is not None:
            saved, run = train_to(
                source,
                self.config,
                to=absolute(to),
                engine=engine,
                listener=listener,
                test=judged_on,
                max_rejected=self.max_rejected if max_rejected is None else max_rejected,
                restart=restart,
                audit_to=None if audit is None else absolute(audit),
            )
            timings = {name: run.document["summary"].get(name, {}) for name in ("passes", "seconds")}
            return FittedPipeline(saved, _rejected(run.rejected), timings, folder=run.destination)
        with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
            place = Path(temporary)
            trained = train(
                source,
                self.config,
                engine=engine,
                listener=listener,
                folder=place,
                rejected=place / "rejected",
                test=judged_on,
                max_rejected=self.max_rejected if max_rejected is None else max_rejected,
                audit_to=None if audit is None else absolute(audit),
                restart=restart,
            )
            return FittedPipeline(trained.saved, _rejected(place / "rejected"), trained.timings)

    @startable
    @traceable
    def prepare(
        self,
        data: Data,
        *,
        to: str | Path,
        memory: Bytes = None,
        cores: int | None = None,
        max_rejected: float | None = None,
        restart: bool = False,
        audit: str | Path | None = None,
        new_only: bool = False,
        listener: Listener | None = None,
        trace: str | Path | None = None,
    ) -> Summary:
        """Fit the steps to some rows and write the rows as they come out of them: to a folder of Parquet parts, or
        to one file (.parquet, .csv, .arrow).

        Args:
            data: the rows.
            to: the folder or file.
            memory: what the process may hold.
            cores: threads; None for all.
            max_rejected: the share of rows (0 to 1) that may be rejected; None for the definition's.
            restart: replace what an earlier run made.
            audit: a file for every cell that the cleaning changed.
            new_only: take the files that were not there last time through the steps as they were fitted then, into a
                further generation of the output.
            listener: who is told how it goes.
            trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
                when the job fails.
            wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        from penstock.jobs.prepare import prepare

        listener = listener or Silent()
        source = _source(data, self.read, lent=_lent(memory, cores))
        _refuse_unknown(self.sensitive, source.schema)
        return prepare(
            source,
            self.config,
            to=to,
            engine=_engine(memory, cores, listener, self.sensitive),
            listener=listener,
            max_rejected=self.max_rejected if max_rejected is None else max_rejected,
            restart=restart,
            audit_to=None if audit is None else absolute(audit),
            new_only=new_only,
        )


class FittedPipeline:
    """A pipeline that has learned. Frozen: evaluating and predicting change nothing.

    Attributes:
        rejected: the rows that training rejected, with their reasons.
    """

    def __init__(
        self,
        saved: Saved,
        rejected: pa.Table | None = None,
        timings: Mapping[str, Any] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self._saved = saved
        self._folder = folder
        self._timings = dict(timings or {})
        self.rejected = REJECTED.empty_table() if rejected is None else rejected

    def __repr__(self) -> str:
        from penstock.report.text import pipeline_text

        names = [fitted.step.name for fitted in self._saved.steps.steps]
        return pipeline_text(self._saved.facts, title=self._title, steps=names, model=self._model)

    def _repr_html_(self) -> str:
        from penstock.report.notebook import pipeline_html
        from penstock.report.words import definition_text

        saved = self._saved
        target = str(self.target) if saved.target else ""
        steps = [definition_text(fitted.step) for fitted in saved.steps.steps]
        return pipeline_html(saved.facts, title=self._title, target=target, steps=steps, model=self._model)

    @property
    def _model(self) -> str:
        from penstock.report.words import definition_text

        return definition_text(self._saved.config.model) if self._saved.config.model else ""

    @property
    def _title(self) -> str:
        if self._saved.model is None:
            return f"FittedPipeline: {len(self._saved.steps.steps)} steps, no model"
        what = f"for {self.target.column!r}" if self.target.has_labels else "without a target"
        return f"FittedPipeline: {self._saved.model.name} {what} ({self.target.task})"

    @property
    def schema(self) -> Schema:
        """The columns that come in."""
        return self._saved.steps.incoming

    @property
    def target(self) -> Target:
        """What is predicted.

        Raises:
            UsageError: the pipeline has no model.
        """
        if self._saved.target is None:
            raise UsageError("the pipeline has no model", expected="one that was trained")
        return self._saved.target

    @property
    def summary(self) -> Mapping[str, Any]:
        """What it was fitted on and how well it did, as JSON values; of a training also what took how long."""
        return {**self._saved.facts, **self._timings}

    @property
    def definition(self) -> Pipeline:
        """The pipeline that was fitted."""
        return Pipeline.of(self._saved.config)

    @startable
    @traceable
    def evaluate(
        self,
        data: Data,
        *,
        memory: Bytes = None,
        cores: int | None = None,
        max_rejected: float | None = None,
        by: Sequence[str] = (),
        beta: Sequence[float] = (),
        quantile: Sequence[float] = (),
        mistakes: int = 20,
        sensitive: Sequence[str] = (),
        listener: Listener | None = None,
        trace: str | Path | None = None,
    ) -> Evaluation:
        """Judge it on labelled rows.

        Args:
            data: the rows.
            memory: what the process may hold.
            cores: threads; None for all.
            max_rejected: the share of rows (0 to 1) that may be rejected; None for the pipeline's own.
            by: columns by whose values, or ranges of values, the metrics are told as well.
            beta: of F-beta, for classes.
            quantile: of the quantile loss, for numbers.
            mistakes: how many of the worst rows are told.
            sensitive: further columns whose values are not told; those of the pipeline never are.
            listener: who is told how it goes.
            trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
                when the job fails.
            wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        from penstock.jobs.evaluate import Judging, evaluate

        source = _source(data, self._saved.config.read, self.schema, lent=_lent(memory, cores))
        _refuse_unknown(sensitive, source.schema)
        return evaluate(
            source,
            self._saved,
            engine=_engine(memory, cores, listener or Silent(), self._hidden(sensitive)),
            max_rejected=self._bound(max_rejected),
            asked=Judging(tuple(by), tuple(beta), tuple(quantile), mistakes),
        )

    @startable
    @traceable
    def explain(
        self,
        data: Data,
        *,
        rows: int = 1000,
        memory: Bytes = None,
        cores: int | None = None,
        listener: Listener | None = None,
        trace: str | Path | None = None,
    ) -> dict[str, Any]:
        """What it leans on as a whole, by a sample of labelled rows, best ones that it did not learn from.

        Returns:
            By column of the data: ``permutation``, how much worse it predicts with the column shuffled; ``shap``, the
            mean size of its contributions, where the model tells them; ``dependence``, the mean prediction by value.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        from penstock.jobs.explain import explain

        source = _source(data, self._saved.config.read, self.schema)
        engine = _engine(memory, cores, listener or Silent(), self._hidden(()))
        with done_for(source, self._saved.config.data, self.schema, engine) as laid:
            return explain(laid, self._saved, engine=engine, rows=rows)

    @overload
    def predict(
        self,
        data: Data,
        *,
        to: None = None,
        keep: Sequence[str] = ...,
        explain: bool = ...,
        output: Literal["predictions", "features"] = ...,
    ) -> pa.Table: ...

    @overload
    def predict(
        self,
        data: Data,
        *,
        to: str | Path,
        keep: Sequence[str] = ...,
        memory: Bytes = ...,
        cores: int | None = ...,
        max_rejected: float | None = ...,
        restart: bool = ...,
        explain: bool = ...,
        output: Literal["predictions", "features"] = ...,
        new_only: bool = ...,
        sensitive: Sequence[str] = ...,
        listener: Listener | None = ...,
        trace: str | Path | None = ...,
        wait: Literal[True] = ...,
    ) -> Summary: ...

    @overload
    def predict(
        self,
        data: Data,
        *,
        to: str | Path,
        keep: Sequence[str] = ...,
        memory: Bytes = ...,
        cores: int | None = ...,
        max_rejected: float | None = ...,
        restart: bool = ...,
        explain: bool = ...,
        output: Literal["predictions", "features"] = ...,
        new_only: bool = ...,
        sensitive: Sequence[str] = ...,
        listener: Listener | None = ...,
        trace: str | Path | None = ...,
        wait: Literal[False],
    ) -> Job[Summary]: ...

    @overload
    def predict(
        self,
        data: Data,
        *,
        to: None = None,
        keep: Sequence[str] = ...,
        memory: Bytes = ...,
        cores: int | None = ...,
        max_rejected: float | None = ...,
        restart: bool = ...,
        explain: bool = ...,
        output: Literal["predictions", "features"] = ...,
        new_only: bool = ...,
        sensitive: Sequence[str] = ...,
        listener: Listener | None = ...,
        trace: str | Path | None = ...,
        wait: Literal[False],
    ) -> Job[pa.Table]: ...

    @traceable
    def predict(
        self,
        data: Data,
        *,
        to: str | Path | None = None,
        keep: Sequence[str] = (),
        memory: Bytes = None,
        cores: int | None = None,
        max_rejected: float | None = None,
        restart: bool = False,
        explain: bool = False,
        output: Literal["predictions", "features"] = "predictions",
        new_only: bool = False,
        sensitive: Sequence[str] = (),
        listener: Listener | None = None,
        trace: str | Path | None = None,
        wait: bool = True,
    ) -> Summary | pa.Table | Job[Summary] | Job[pa.Table]:
        """Predict every row: into a folder of Parquet parts, into one file, or, without ``to``, as a table in memory.

        Args:
            data: the rows.
            to: a folder, or a file (.parquet, .csv, .arrow).
            keep: columns to write beside the predictions, as they were read, by name or glob; where each file is a
                row (pictures, clips, texts), its path if none is named.
            memory: what the process may hold.
            cores: threads; None for all.
            max_rejected: the share of rows (0 to 1) that may be rejected; None for the pipeline's own.
            restart: replace what an earlier run made.
            explain: write beside each prediction how much each column of the data moved it: ``contribution_NAME``, and
                ``contribution`` where it began, which add up to the raw score (log odds; a number's own unit).
            output: "predictions", or "features": what a network's last hidden layer gives, a column for each unit.
            new_only: take the files that were not there last time into a further generation of the output.
            sensitive: further columns whose values are kept out of rejected rows and messages; those of the pipeline
                always are. Columns to keep are written as they are.
            listener: who is told how it goes.
            trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
                when the job fails.
            wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        if not wait:
            options: dict[str, Any] = {"memory": memory, "cores": cores, "max_rejected": max_rejected}
            options |= {"restart": restart, "explain": explain, "new_only": new_only, "keep": keep, "to": to}
            options |= {"sensitive": sensitive, "output": output}
            return Job(lambda heard: cast(Any, self.predict)(data, **options, listener=heard, trace=trace), listener)
        engine = _engine(memory, cores, listener or Silent(), self._hidden(sensitive))
        source = _source(data, self._saved.config.read, self.schema, lent=engine.resources)
        _refuse_unknown(sensitive, source.schema)
        if to is not None:
            return predict(
                source,
                self._saved,
                to=to,
                keep=keep,
                engine=engine,
                max_rejected=self._bound(max_rejected),
                restart=restart,
                explain=explain,
                output=output,
                new_only=new_only,
                model=self._folder,
            )
        with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
            whole = Path(temporary) / "predictions.arrow"
            done = predict(
                source,
                self._saved,
                to=whole,
                keep=keep,
                engine=engine,
                max_rejected=self._bound(max_rejected),
                explain=explain,
                output=output,
            )
            bad = sum(count.rejected for count in done.counts)
            if bad and listener is not None:
                listener.said(Note("rejected", f"{bad:,} rows are not in the table", "see them with to=FOLDER"))
            with pa.OSFile(str(whole), "rb") as file:
                return pa.ipc.open_file(file).read_all()

    def _hidden(self, sensitive: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._saved.config.sensitive, *sensitive)))

    @startable
    @traceable
    def update(
        self,
        data: Data,
        *,
        to: str | Path | None = None,
        test: Data | None = None,
        holdout: float | None = None,
        memory: Bytes = None,
        cores: int | None = None,
        max_rejected: float | None = None,
        restart: bool = False,
        audit: str | Path | None = None,
        listener: Listener | None = None,
    ) -> FittedPipeline:
        """Take it further with new rows, without reading those that it was fitted to: gives another one, and changes
        nothing in this one.

        The statistics of its steps are merged with those of the new rows, and its models learn on from where they are.
        What comes out of the steps stays what the model knows: a new category counts as unseen. The summary's "update"
        says for which statistics the result is not exactly that of all rows, and judges both pipelines on the same new
        rows.

        Args:
            data: the new rows; read as those that it was fitted to.
            to: where to save the updated pipeline, as a run; None keeps it in memory.
            test: rows to judge both on; None for a share of the new rows.
            holdout: that share (0 to below 1); None for the pipeline's own.
            memory: what the process may hold.
            cores: threads; None for all.
            max_rejected: the share of rows (0 to 1) that may be rejected; None for the pipeline's own.
            restart: replace the pipeline that is at ``to``, and what is at ``audit``.
            audit: a file for every cell of the new rows that the cleaning changed.
            listener: who is told how it goes.
            wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

        Raises:
            PenstockError: see its tree in `penstock.errors`.
        """
        from penstock.jobs.update import Parent, update, update_to

        if holdout is not None and not 0 <= holdout < 1:
            raise UsageError("not a share", where="holdout", expected="from 0 to below 1", got=str(holdout))
        listener = listener or Silent()
        engine = _engine(memory, cores, listener, self._saved.config.sensitive)
        options: dict[str, Any] = {
            "engine": engine,
            "listener": listener,
            "holdout": holdout,
            "test": None
            if test is None
            else _source(test, self._saved.config.read, self.schema, lent=engine.resources),
            "max_rejected": self._bound(max_rejected),
            "restart": restart,
            "audit_to": None if audit is None else absolute(audit),
        }
        source = _source(data, self._saved.config.read, self.schema, lent=engine.resources)
        parent = Parent.of(self._saved, self._folder)
        if to is not None:
            saved, run = update_to(source, parent, to=absolute(to), **options)
            timings = {name: run.document["summary"].get(name, {}) for name in ("passes", "seconds")}
            return FittedPipeline(saved, _rejected(run.rejected), timings, folder=run.destination)
        with tempfile.TemporaryDirectory(prefix="penstock-") as temporary:
            place = Path(temporary)
            updated = update(source, parent, folder=place, rejected=place / "rejected", **options)
            return FittedPipeline(updated.saved, _rejected(place / "rejected"), updated.timings)

    def _bound(self, max_rejected: float | None) -> float:
        return self._saved.config.max_rejected if max_rejected is None else max_rejected

    def inverse(self, batch: Batch) -> Batch:
        """Undo the steps on a batch that came out of them, for the columns that are there.

        Raises:
            UsageError: a step has no inverse.
        """
        return self._saved.steps.inverse(batch)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Save it as a folder that `load` opens.

        Raises:
            UsageError: the folder is there already and ``overwrite`` is false.
        """
        path = Path(folder).absolute()
        empty = path.is_dir() and not any(path.iterdir())
        if path.exists() and not empty and not (overwrite and artifact.is_artifact(path)):
            raise UsageError(
                "there is something of that name already",
                where=str(path),
                expected="a name that is free",
                got="a saved pipeline" if artifact.is_artifact(path) else "something else",
                remedy="save it elsewhere, or overwrite=True for a saved pipeline",
            )
        artifact.save(self._saved, path)
        self._folder = path
        return path


def load(folder: str | Path, *, module: Any = None) -> FittedPipeline:
    """Open a saved pipeline. Nothing in it is run: it is data.

    Args:
        folder: where it was saved.
        module: of one whose network is a ``torch.nn.Module`` of your own, that module, made as it was for the training:
            its weights come from the artifact, its code never does.

    Raises:
        ArtifactError: it is damaged, altered, or of another version.
        UsageError: the module is not the one, or there is no place for one.
    """
    path = Path(folder).absolute()
    saved = artifact.load(path)
    return FittedPipeline(saved if module is None else artifact.with_module(saved, module), folder=path)


@startable_function
@traceable
def replay(
    run: str | Path,
    *,
    config: Pipeline | None = None,
    options: ReadOptions | None = None,
    memory: Bytes = None,
    cores: int | None = None,
    listener: Listener | None = None,
    trace: str | Path | None = None,
) -> Summary:
    """Put the rows that a finished `predict` or `prepare` rejected through again, after a fix to the data or to the
    definition, and publish them in their places, exactly once, as the output's next generation.

    Args:
        run: the output, or its folder that ends in ".run".
        config: the definition as it now is, of a `prepare`: of its steps, those that learn must be the same.
        options: how the data are now read; None for as before, or as ``config`` says.
        memory: what the process may hold.
        cores: threads; None for all.
        listener: who is told how it goes.
        trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
            when the job fails.
        wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

    Raises:
        PenstockError: see its tree in `penstock.errors`.
    """
    from penstock.jobs.again import Record, replay_predictions, replay_prepared

    record = Record.of(Path(run).absolute())
    engine = _engine(memory, cores, listener or Silent(), record.asked.get("sensitive", ()))
    items = record.items
    if record.command == "predict":
        if config is not None:
            raise UsageError("predictions have no definition of their own", where="config", remedy="change the model")
        saved = record.model()
        read = options or record.data.options
        source = _source(items, read, saved.steps.incoming, lent=engine.resources, labels=read.labels)
        return replay_predictions(record, saved, source, engine=engine)
    if record.command != "prepare":
        raise UsageError(
            "a run of this kind publishes no rows",
            where=str(run),
            expected="one of predict or prepare",
            got=record.command,
            remedy="mend the data, and do it anew with --restart",
        )
    definition = record.config if config is None else config.config
    read = options or (record.data.options if config is None else definition.read)
    source = _source(items, read, record.fitted.steps.incoming, lent=engine.resources, labels=read.labels)
    return replay_prepared(record, definition, source, engine=engine)


@startable_function
@traceable
def repro(
    run: str | Path,
    *,
    memory: Bytes = None,
    cores: int | None = None,
    listener: Listener | None = None,
    trace: str | Path | None = None,
) -> Reproduced:
    """Do a finished run again from its own record, beside it, and compare every file that it made, byte by byte.

    Args:
        run: the output, or its folder that ends in ".run".
        memory: what the process may hold.
        cores: threads; None for all. The result does not depend on it.
        listener: who is told how it goes.
        trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
            when the job fails.
        wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

    Returns:
        Whether all files are the same; else where each first differs: which chunk's file, which row and column.

    Raises:
        RunError: the run is not finished, can't be done again, or its inputs are not what they were.
    """
    from penstock.jobs.again import Record
    from penstock.jobs.as_before import AsBefore
    from penstock.jobs.prepare import prepare
    from penstock.jobs.repro import repro as repro_run
    from penstock.jobs.train import train_to
    from penstock.jobs.update import Parent, update_to

    record = Record.of(Path(run).absolute())
    listener = listener or Silent()
    asked = record.asked
    lent, labels = (
        replace(_lent(memory, cores), masking=masking_of(asked.get("sensitive", ()))),
        record.data.options.labels,
    )

    def engine() -> Engine:
        return LocalEngine(lent, listener)

    if record.command == "predict":
        saved = record.model()
        source = _source(record.items, record.data.options, saved.steps.incoming, lent=lent, labels=labels)

        def predict_again(source: Source, to: Path, further: bool) -> Summary:
            return predict(
                source,
                saved,
                to=to,
                keep=asked["keep"],
                engine=engine(),
                max_rejected=asked["max_rejected"],
                explain=asked["explain"],
                output=asked.get("output", "predictions"),
                new_only=further,
            )

        return repro_run(record.destination, source, predict_again)
    origin = None if asked.get("test") is None else Origin.from_json(asked["test"])
    if record.command == "update":
        parent = Parent.of(record.model(), Path(asked["model"]))
        like = parent.saved.steps.incoming
        source = _source(record.items, record.data.options, like, lent=lent, labels=labels)
        test = None
        if origin is not None:
            read = origin.options
            test = _source(list(origin.items), read, like, lent=lent, labels=read.labels)

        def update_again(source: Source, to: Path, further: bool) -> object:
            return update_to(
                source,
                parent,
                to=to,
                engine=engine(),
                listener=listener,
                holdout=asked["holdout"],
                test=test,
                max_rejected=asked["max_rejected"],
            )

        return repro_run(record.destination, source, update_again, test=test)
    definition = record.config
    source = _source(record.items, record.data.options, lent=lent)
    if not definition.data and record.has_more(source):  # which may have other columns, and change what is inferred
        saved = record.fitted if record.command == "prepare" else artifact.load(record.destination)
        source = AsBefore.again(source, saved)
    if record.command == "prepare":

        def prepare_again(source: Source, to: Path, further: bool) -> Summary:
            return prepare(
                source,
                definition,
                to=to,
                engine=engine(),
                listener=listener,
                max_rejected=asked["max_rejected"],
                new_only=further,
            )

        return repro_run(record.destination, source, prepare_again)
    judged_on = None
    if origin is not None:
        judged_on = _test_source(list(origin.items), origin.options, source, definition.target, lent)

    def train_again(source: Source, to: Path, further: bool) -> object:
        return train_to(
            source,
            definition,
            to=to,
            engine=engine(),
            listener=listener,
            test=judged_on,
            max_rejected=asked["max_rejected"],
        )

    return repro_run(record.destination, source, train_again, test=judged_on)


@startable_function
@traceable
def profile(
    data: Data,
    *,
    target: str | None = None,
    against: Data | None = None,
    on: str | None = None,
    options: ReadOptions | None = None,
    seed: int = 0,
    memory: Bytes = None,
    cores: int | None = None,
    max_rejected: float | None = None,
    sensitive: Sequence[str] = (),
    listener: Listener | None = None,
    trace: str | Path | None = None,
) -> Profile:
    """Say what some data are like, from one scan: types, missing values, distributions, correlations, warnings.

    Args:
        data: the rows.
        target: the column to predict, where there is one: how well each column alone tells it, and what leaks.
        against: other rows (test data, another month): how far each column's distribution has moved there.
        on: what those are, in words; None for their path.
        options: how to read both.
        seed: of the sample of rows that ``target`` is compared on.
        memory: what the process may hold.
        cores: threads; None for all.
        max_rejected: the share of rows (0 to 1) that may be rejected; None for any.
        sensitive: columns whose values are not told.
        listener: who is told how it goes.
        trace: a file for what happened when, for ui.perfetto.dev and `penstock trace`; it is written also
            when the job fails.
        wait: whether to wait for it; False gives a `penstock.handle.Job` at once.

    Raises:
        PenstockError: see its tree in `penstock.errors`.
    """
    from penstock.jobs.profile import profile as profile_of

    listener = listener or Silent()
    chosen = options or ReadOptions()
    source = _source(data, chosen)
    _refuse_unknown(sensitive, source.schema)
    if target is not None and target in source.schema:
        source = source.with_roles({target: Role.target})
    return profile_of(
        source,
        engine=_engine(memory, cores, listener, sensitive),
        listener=listener,
        target=target,
        against=None if against is None else _source(against, chosen, source.schema),
        on=on or ("the other data" if against is None or isinstance(against, Source) else _named(against)),
        seed=seed,
        max_rejected=max_rejected,
    )


def _test_source(test: Data, options: ReadOptions, source: Source, target: str | None, lent: Resources) -> Source:
    """The rows that a training is judged on, read as those that it learns from."""
    labelled = source.with_roles({target: Role.target}) if target is not None and target in source.schema else source
    return _source(test, options, labelled.schema, lent=lent)


def _named(data: str | Path | Sequence[str | Path] | Table) -> str:
    """Data in words: its path, and how many more there are."""
    if is_table(data):
        return "a table in memory"
    items = list(data) if isinstance(data, (list, tuple)) else [data]
    return str(items[0]) + (f" and {len(items) - 1} more" if len(items) > 1 else "")


def _not_one(got: object, what: str, example: str) -> UsageError:
    remedy = "call it: it is a class" if isinstance(got, type) else ""
    return UsageError(f"not a {what}", where="Pipeline", expected=f"such as {example}", got=repr(got), remedy=remedy)


def _lent(memory: Bytes, cores: int | None) -> Resources:
    asked = parse_bytes(memory) if isinstance(memory, str) else memory
    return resources(cores_asked=cores, memory_asked=asked)


def _engine(memory: Bytes, cores: int | None, listener: Listener, sensitive: Iterable[str] = ()) -> Engine:
    return LocalEngine(replace(_lent(memory, cores), masking=masking_of(sensitive)), listener)


def _refuse_unknown(sensitive: Sequence[str], schema: Schema) -> None:
    """A name with a slip in it would hide nothing."""
    for name in sensitive:
        if name not in schema:
            near = difflib.get_close_matches(name, schema.names, n=1)
            raise UsageError(
                "no such column to keep out",
                where="sensitive",
                expected="one of " + ", ".join(map(repr, schema.names[:20])),
                got=repr(name),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )


def _source(
    data: Data,
    options: ReadOptions,
    like: Schema | None = None,
    *,
    lent: Resources | None = None,
    labels: str | None = None,
) -> Source:
    """The data as a source; read with the roles of an earlier schema, where there is one; then with these labels."""
    items = data if isinstance(data, (list, tuple)) else [data]
    if not isinstance(data, Source) and not is_table(data) and not all(isinstance(item, (str, Path)) for item in items):
        raise UsageError(
            "not data that can be read",
            expected="a path, a glob, a folder, a list of paths, a table, or what penstock.read gave",
            got=type(data).__name__,
            remedy="write it to a Parquet file, and give its path",
        )
    roles, written = options.roles, options.written
    if like is not None and not isinstance(data, Source):
        # The schema has the roles, and a column may be gone; labels are of the data that they were given with.
        options = replace(options, roles={}, written={}, labels=labels)
    source = data if isinstance(data, Source) else open_source(data, options, lent=lent, queries=True)
    if like is None:
        return source
    # Columns that only relational work reads are not in the pipeline's schema: they are read as they were.
    others = set(source.schema.names) - set(like.names)
    source = source.with_written({name: way for name, way in written.items() if name in others})
    return source.with_roles({name: role for name, role in roles.items() if name in others}).like(like)


def _rejected(folder: Path) -> pa.Table | None:
    import pyarrow.parquet as pq

    paths = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    return pa.concat_tables([pq.read_table(path) for path in paths]) if paths else None
