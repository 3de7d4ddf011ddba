"""A finished run done again from its own record: what it was asked, opened anew, and what its rejected rows go through.

Shared by the jobs that begin with a run instead of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock import artifact
from penstock.artifact import Saved
from penstock.config import PipelineConfig, dump_config, parse_config
from penstock.durable import read_json
from penstock.engine import Engine
from penstock.errors import RunError, UsageError
from penstock.jobs.predict import digest_of_model, inner_threads, prediction_of
from penstock.jobs.replay import replay
from penstock.pipeline import FittedSteps, refit
from penstock.run import Run
from penstock.run_identity import inputs_of, reading_of
from penstock.run_inputs import Inputs, read_asked
from penstock.source import Origin, Source
from penstock.statistic import Statistic
from penstock.step import Step, Use
from penstock.summary import Summary


@dataclass(frozen=True)
class Record:
    """What a run was asked, from its `run.json`.

    Attributes:
        destination: what it made.
        command: the job.
        data: what it read, and how.
        asked: all else.
    """

    destination: Path
    command: str
    data: Origin
    asked: Mapping[str, Any]

    @classmethod
    def of(cls, run: Path) -> Record:
        """Of a run's folder, or of what the run made.

        Raises:
            RunError: there is no such run, or its data can't be opened again.
        """
        destination = run.with_name(run.name.removesuffix(".run")) if run.name.endswith(".run") else run
        folder = destination.with_name(destination.name + ".run")
        if not (folder / "run.json").is_file():
            raise RunError(
                "no run of Penstock made this",
                where=str(run),
                expected=f"a folder {folder.name} beside the output, with a run.json",
                got="none",
                remedy="name the output, or its folder that ends in .run",
            )
        asked = read_json(folder / "run.json").get("asked")
        if asked is None:
            raise RunError(
                "the data of this run can't be opened again",
                where=str(folder),
                expected="files, addresses or a query",
                got="a table in memory, or a source of another kind",
                remedy="write the data to a file, and run the job on it",
            )
        asked = read_asked(asked, folder)
        return cls(destination, asked["command"], Origin.from_json(asked["data"]), asked)

    @property
    def items(self) -> str | list[str]:
        """The data, as a person would name them."""
        return list(self.data.items) if len(self.data.items) > 1 else self.data.items[0]

    def model(self) -> Saved:
        """The fitted pipeline that the run predicted with.

        Raises:
            RunError: it was never saved, or is another one by now.
            ArtifactError: it can't be opened.
        """
        path = self.asked["model"]
        if path is None:
            raise RunError(
                "the model of this run was not saved",
                where=str(self.destination),
                expected="predictions of a saved model",
                remedy="save the model, and predict with penstock.load(...)",
            )
        saved = artifact.load(Path(path))
        identity = read_json(self.destination.with_name(self.destination.name + ".run") / "run.json")["identity"]
        if digest_of_model(saved) != identity["model"]:
            raise RunError(
                "the model is no longer the one that the run predicted with",
                where=str(path),
                expected=f"model {identity['model']}",
                got=f"model {digest_of_model(saved)}",
                remedy="put that one back, or predict anew with --restart",
            )
        return saved

    @property
    def config(self) -> PipelineConfig:
        """The definition that the run was asked to fit."""
        return parse_config(self.asked["config"], str(self.destination) + ".run/run.json")

    def has_more(self, source: Source) -> bool:
        """Whether files have come in that the run did not read when it began."""
        folder = self.destination.with_name(self.destination.name + ".run")
        document = read_json(folder / "run.json")
        first = Inputs.read(document["identity"]["inputs"], folder)
        for one in document["generations"][1:]:
            first = first.beyond(Inputs.read(one["current"], folder))
        return len(inputs_of(source.fingerprints()).beyond(first)) > 0

    @property
    def fitted(self) -> Saved:
        """The steps as a run of `prepare` fitted them."""
        return artifact.load(self.destination.with_name(self.destination.name + ".run") / "fitted")


def replay_predictions(record: Record, saved: Saved, source: Source, *, engine: Engine) -> Summary:
    """Put the rejected rows of a prediction through again; see `replay`."""
    _refuse_relations(saved.config)
    keep, explain, output = record.asked["keep"], record.asked["explain"], record.asked.get("output", "predictions")
    predicts, schema = prediction_of(source, saved, keep=keep, explain=explain, output=output)
    predicts = replace(predicts, threads=inner_threads(source, engine.resources))
    with Run.reopen(record.destination, engine.resources) as run:
        identity = {"reading": reading_of(source, predicts.inputs), "inputs": _inputs_now(run, source)}
        return replay(run, source, predicts, schema, engine=engine, identity=identity, asked=_asked_now(record, source))


def replay_prepared(record: Record, config: PipelineConfig, source: Source, *, engine: Engine) -> Summary:
    """Put the rejected rows of a preparation through its steps again, as they are defined now; see `replay`."""
    _refuse_relations(config)
    steps = redefined(record.fitted.steps, config.steps)
    with Run.reopen(record.destination, engine.resources) as run:
        text = dump_config(config)
        identity = {"reading": reading_of(source), "inputs": _inputs_now(run, source), "config": text}
        asked = {**_asked_now(record, source), "config": text}
        chain = steps.chain(Use("train", config.seed))
        done = replay(run, source, chain, steps.schema, engine=engine, identity=identity, asked=asked)
        if not done.already_done:
            artifact.save(artifact.Saved(config, steps), run.folder / "fitted")
        return done


def redefined(fitted: FittedSteps, steps: Sequence[Step]) -> FittedSteps:
    """Fitted steps after a change of their definitions: what they have learned stays.

    Raises:
        UsageError: a definition that learns is another one, or what comes out is.
    """
    left = list(zip(fitted.steps, fitted.states, strict=True))
    states: list[Mapping[str, Statistic[Any]]] = []
    schema = fitted.incoming
    for step in steps:
        state: Mapping[str, Statistic[Any]] = {}
        if step.statistics(schema):
            at = next((i for i, (one, _) in enumerate(left) if one.step == step), None)
            if at is None:
                raise UsageError(
                    f"the step {step.name!r} learns from the rows, and is not one that the run has fitted",
                    expected="changes of steps that learn nothing, such as validate or reject_missing",
                    got=repr(step),
                    remedy="do the whole again with --restart",
                )
            state = left[at][1]
            del left[: at + 1]
        states.append(state)
        schema = step.fit(schema, {name: statistic.value() for name, statistic in state.items()}).schema
    changed = refit(steps, fitted.incoming, states, fitted.scans)
    if changed.schema.to_arrow() != fitted.schema.to_arrow():
        raise UsageError(
            "other columns would come out than those that the run published",
            expected=", ".join(fitted.schema.names),
            got=", ".join(changed.schema.names),
            remedy="do the whole again with --restart",
        )
    return changed


def _refuse_relations(config: PipelineConfig) -> None:
    if config.data:
        raise UsageError(
            "rows of this run can't be put through by themselves",
            expected="a pipeline without relational work",
            got=", ".join(relation.name for relation in config.data),
            remedy="do the whole again with --restart",
        )


def _inputs_now(run: Run, source: Source) -> Inputs:
    """The inputs of a run in its order, those that are there as they are now."""
    return run.inputs.renewed(inputs_of(source.fingerprints()))


def _asked_now(record: Record, source: Source) -> dict[str, Any]:
    data = source.origin.to_json() if source.origin is not None else record.asked["data"]
    return {**record.asked, "data": data}
