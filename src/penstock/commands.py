"""What each command does: an `Asked` becomes calls of the API, and what they give becomes tables or JSON.

The outermost room, beside `cli.py`; loaded when a command runs.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import penstock
from penstock import artifact, registry
from penstock.api import FittedPipeline, Pipeline, load
from penstock.asked import Asked, listed, option, share_of
from penstock.batch import Count
from penstock.config import PipelineConfig, keys_of, load_config
from penstock.errors import UsageError
from penstock.model import Effort
from penstock.schema import Role
from penstock.source import Note, Source
from penstock.terminal import FAILED, Terminal
from penstock.terminal_tables import (
    confusion_table,
    duration,
    facts,
    findings_table,
    importance_tables,
    leaderboard_table,
    ledger_table,
    metrics_table,
    next_command,
    number,
    shown_path,
    slices_tables,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from penstock.model import Auto, Model
    from penstock.summary import Summary

DEFAULT_MODEL = "auto"
DEFAULT_HOLDOUT = 0.1
"""The share of rows that the command line keeps out of training where there are no test rows."""

MOST_WEIGHTS = 5
"""The features that a person is told a model leans on; JSON has them all."""


def train(terminal: Terminal, asked: Asked) -> None:
    """Fit, train, judge, save; or take a saved model further."""
    if asked.update is not None:
        from penstock.commands_update import update

        update(terminal, asked)
        return
    to = Path(asked.to)
    config = _config(terminal, asked)
    if config.target is None and config.model is None and asked.model is None:
        from penstock.jobs.train import no_target

        raise no_target()
    nbytes, most = asked.nbytes, max_rejected_of(asked, config)
    config = _with_holdout(_with_model(config, terminal, asked), terminal, asked)
    source = _open(terminal, asked, config)
    config = _with_steps(config, source, terminal, asked)
    fitted = Pipeline.of(config).fit(
        source,
        test=_test(asked, config) if asked.test else None,
        to=to,
        memory=nbytes,
        cores=asked.cores,
        max_rejected=most,
        restart=asked.restart,
        audit=asked.audit,
        listener=terminal,
    )
    rejected = to.with_name(to.name + ".run") / "rejected" if fitted.rejected.num_rows else None
    value = {"command": "train", "output": str(to.absolute()), "rejected": rejected and str(rejected), **fitted.summary}
    terminal.result(value, trained_tables(fitted, to, rejected))


def evaluate(terminal: Terminal, asked: Asked) -> None:
    """Judge a saved model."""
    fitted = load(str(asked.model))
    nbytes, most = asked.nbytes, max_rejected_of(asked, fitted.definition.config)
    source = open_for(fitted, terminal, asked)
    found = fitted.evaluate(
        source,
        memory=nbytes,
        cores=asked.cores,
        max_rejected=most,
        by=listed(asked.by, "--by") if asked.by is not None else (),
        beta=asked.numbers_of("beta"),
        quantile=asked.numbers_of("quantile"),
        sensitive=asked.hidden,
        listener=terminal,
    )
    tables = [ledger_table(found.counts), metrics_table(found.metrics, intervals=found.details.get("intervals"))]
    tables += slices_tables(found.details.get("slices", ()))
    if confusion := confusion_table(found.details):
        tables.append(confusion)
    tables.append(facts([("rows judged", f"{found.rows:,}"), ("took", duration(found.seconds))]))
    tables.append(next_command(f"penstock predict {asked.model} DATA --to predictions"))
    terminal.result({"command": "evaluate", "model": asked.model, **found.to_json()}, tables)


def explain(terminal: Terminal, asked: Asked) -> None:
    """Tell what a saved model leans on."""
    fitted = load(str(asked.model))
    nbytes = asked.nbytes
    source = open_for(fitted, terminal, asked)
    rows = asked.rows or 0
    if rows < 1:
        raise UsageError("no rows to explain by", where="--rows", expected="1 or more", got=str(asked.rows))
    found = fitted.explain(source, rows=rows, memory=nbytes, cores=asked.cores, listener=terminal)
    terminal.result({"command": "explain", "model": asked.model, **found}, importance_tables(found))


def predict(terminal: Terminal, asked: Asked) -> None:
    """Predict every row; pictures are decoded already while a network is opened."""
    folder = Path(str(asked.model)).absolute()
    fitted = FittedPipeline(artifact.load(folder, opened=False), folder=folder)
    nbytes, most = asked.nbytes, max_rejected_of(asked, fitted.definition.config)
    source = open_for(fitted, terminal, asked)
    summary = fitted.predict(
        source,
        to=asked.to,
        keep=asked.kept,
        memory=nbytes,
        cores=asked.cores,
        max_rejected=most,
        restart=asked.restart,
        explain=asked.explain,
        output=output_of(asked.output),
        new_only=asked.new_only,
        sensitive=asked.hidden,
        listener=terminal,
    )
    terminal.result(summary.to_json(), written_tables(summary, ""))


def prepare(terminal: Terminal, asked: Asked) -> None:
    """Fit the steps, write the rows."""
    config = _config(terminal, asked)
    if config.model is not None:
        terminal.said(Note("model", f"{config.model.name} is not used", "prepare only does the steps"))
    nbytes, most = asked.nbytes, max_rejected_of(asked, config)
    source = _open(terminal, asked, config)
    summary = Pipeline.of(config).prepare(
        source,
        to=asked.to,
        memory=nbytes,
        cores=asked.cores,
        max_rejected=most,
        restart=asked.restart,
        audit=asked.audit,
        new_only=asked.new_only,
        listener=terminal,
    )
    follow = f"penstock train {shown_path(summary.output)} --target {config.target or 'COLUMN'}"
    terminal.result(summary.to_json(), written_tables(summary, follow))


def init(terminal: Terminal, asked: Asked) -> None:
    """Write out the pipeline that would be used."""
    from penstock.config_explained import explained
    from penstock.jobs.suggest import suggest

    config = _config(terminal, asked)
    source = asked.open(asked.data, config.read)
    found = suggest(source, config)
    config = found.config
    if asked.model is not None or (config.target is not None and config.model is not None):
        config = _with_model(config, terminal, asked)
        config = config if config.holdout else replace(config, holdout=DEFAULT_HOLDOUT)
    schema = (
        source.with_roles({config.target: Role.target}).schema
        if config.target in source.schema.names
        else source.schema
    )
    shown = shlex.join(map(str, asked.data))
    verb = "train" if config.model is not None else "prepare"
    text = explained(
        config,
        schema,
        title=f"{shown}: {len(schema)} columns",
        command=f"penstock {verb} {shown} --config FILE" + ("" if verb == "train" else " --to OUT"),
        reasons=found.reasons,
        step_reasons=found.step_reasons,
        notes=[note for note in source.notes if not note.topic.startswith(("role of ", "format of "))],
    )
    terminal.written(text)


def schema(terminal: Terminal, asked: Asked) -> None:
    """Print the JSON schema of pipeline files."""
    from penstock.config_schema import json_schema_text

    terminal.written(json_schema_text())


def doctor(terminal: Terminal, asked: Asked) -> None:
    """Say what is installed, and whether jobs can run here."""
    from penstock.jobs.doctor import diagnose

    found = diagnose()
    tables = [findings_table(name, getattr(found, name)) for name in ("libraries", "extras", "machine", "checks")]
    verdict = "jobs can run here" if found.good else "something is missing: see above"
    terminal.result(
        {"command": "doctor", "version": penstock.__version__, **found.to_json()},
        [*tables, facts([(f"penstock {penstock.__version__}", verdict)])],
    )
    if not found.good:
        terminal.exit_code = FAILED


# ---------------------------------------------------------------------- what was asked for


def _open(terminal: Terminal, asked: Asked, config: PipelineConfig) -> Source:
    """The data, what was inferred of them said, and the target made known: it is no feature for any step."""
    source = asked.open(asked.data, config.read)
    if config.target is not None and config.target in source.schema:
        source = source.with_roles({config.target: Role.target})
    for note in source.notes:
        if note.topic != f"role of {config.target!r}":
            terminal.said(note)
    return source


def open_for(fitted: FittedPipeline, terminal: Terminal, asked: Asked) -> Source:
    """The data, read as the training data were; the roles are the model's, and not up for discussion."""
    again = [name for name in asked.role_of if name in fitted.schema]
    if again:
        raise UsageError(
            "the model knows the roles of its columns from its training",
            where="--roles",
            expected="columns that the training did not have",
            got=", ".join(map(repr, again)),
            remedy="leave them out, or train anew with these roles",
        )
    before = replace(fitted.definition.config.read, roles={}, written={}, labels=None)
    source = asked.open(asked.data, before).like(fitted.schema)
    known = {f"format of {field.name!r}" for field in fitted.schema if field.written}
    for note in source.notes:
        if not note.topic.startswith("role of ") and note.topic not in known:
            terminal.said(note)
    terminal.said(Note("roles", "as in training" + ("; values are written as they were then" if known else "")))
    return source


def _test(asked: Asked, config: PipelineConfig) -> Source:
    """The rows to judge on."""
    if asked.labels is not None:
        raise UsageError(
            "the labels are of the training rows, and the test rows have others",
            where="--test",
            expected="no --test beside --labels",
            got=", ".join(asked.test or ()),
            remedy="judge the model afterwards: penstock evaluate MODEL DATA --labels FILE",
        )
    return asked.open(asked.test or (), config.read)


def _config(terminal: Terminal, asked: Asked) -> PipelineConfig:
    """The pipeline file, overridden by what was typed; what is overridden is said."""
    config = load_config(Path(asked.config)) if asked.config else PipelineConfig()
    for name in ("target", "seed", "weight", "group", "time"):
        value, before = getattr(asked, name), getattr(config, name)
        if value is None:
            continue
        if asked.config and name in keys_of(Path(asked.config)) and value != before:
            terminal.said(Note(name, str(value), f"over {before} in {asked.config}", f"leave --{name} out"))
        with option(f"--{name}"):
            config = replace(config, **{name: value})
    if config.target is None and asked.labels is not None:
        config = replace(config, target="label")
    if asked.sensitive is not None:
        config = replace(config, sensitive=tuple(dict.fromkeys((*config.sensitive, *asked.hidden))))
    if asked.costs is not None:
        config = replace(config, costs=asked.costs_of)
    return config


def _with_model(config: PipelineConfig, terminal: Terminal, asked: Asked) -> PipelineConfig:
    model = config.model
    if asked.model is not None and (model is None or asked.model != model.name):
        if model is not None:
            terminal.said(Note("model", asked.model, f"over {model.name} in {asked.config}", "leave --model out"))
        with option("--model"):
            model = registry.model_named(asked.model)
    if model is None:
        model = registry.find("models", DEFAULT_MODEL)()
        text = "tries " + ", ".join(model.candidates) + " and keeps the best, or their average"
        terminal.said(Note("model", text, "none was named", f"--model {'|'.join(model.candidates)}"))
    if asked.effort is not None:
        model = model.at_effort(_effort(asked.effort))
    return replace(config, model=_with_max_rows(model, asked.max_rows))


def output_of(text: str | None) -> Literal["predictions", "features"]:
    """What --output asks for."""
    if text in (None, "predictions"):
        return "predictions"
    if text == "features":
        return "features"
    raise UsageError("no such output", where="--output", expected="predictions or features", got=repr(text))


def _effort(text: str) -> Effort:
    if text in get_args(Effort):
        return cast("Effort", text)
    raise UsageError("no such effort", where="--effort", expected="quick, default or best", got=repr(text))


def _with_max_rows(model: Model | Auto, most: int | None) -> Model | Auto:
    if most is None:
        return model
    if "max_rows" not in {item.name for item in dataclasses.fields(model)}:  # type: ignore[arg-type]
        raise UsageError(
            f"the model {model.name!r} takes all rows", where="--max-rows", got=str(most), remedy="leave it out"
        )
    with option("--max-rows"):
        changed: Model | Auto = replace(model, max_rows=most)  # type: ignore[type-var]
    return changed


def _with_steps(config: PipelineConfig, source: Source, terminal: Terminal, asked: Asked) -> PipelineConfig:
    """The default cleaning, where there is no pipeline file to say otherwise."""
    if asked.config is not None:
        return config
    from penstock.jobs.suggest import suggest

    found = suggest(source, config)
    for step, reason in zip(found.config.steps, found.step_reasons, strict=True):
        terminal.said(
            Note(f"step {step.name!r}", "part of the default cleaning", reason, "penstock init, --config FILE")
        )
    return found.config


def _with_holdout(config: PipelineConfig, terminal: Terminal, asked: Asked) -> PipelineConfig:
    """The share to keep out of training: as typed, as in the file, none beside test rows, or 10 %."""
    if asked.holdout is not None:
        return replace(config, holdout=share_of(asked.holdout, "--holdout", whole=False))
    if asked.test:
        if config.holdout:
            terminal.said(Note("holdout", "none", "there are test rows", f"--holdout {config.holdout:g}"))
        return replace(config, holdout=0.0)
    if asked.config and "holdout" in keys_of(Path(asked.config)):
        return config
    terminal.said(
        Note(
            "holdout",
            f"{DEFAULT_HOLDOUT:.0%} of the rows are kept out of training, to judge the model on",
            "there are no test rows",
            "--test DATA, or --holdout 0 to learn from all rows",
        )
    )
    return replace(config, holdout=DEFAULT_HOLDOUT)


def max_rejected_of(asked: Asked, config: PipelineConfig) -> float:
    """The share of rows that may be rejected: as typed, or as the definition says."""
    if asked.max_rejected is None:
        return config.max_rejected
    return share_of(asked.max_rejected, "--max-rejected", whole=True)


# ---------------------------------------------------------------------- what came of it


def trained_tables(fitted: FittedPipeline, to: Path, rejected: Path | None) -> list[RenderableType]:
    """What a training tells a person, and what to type next."""
    summary = fitted.summary
    tables: list[RenderableType] = [ledger_table([Count.from_json(item) for item in summary["ledger"]["steps"]])]
    if summary.get("leaderboard"):
        tables.append(leaderboard_table(summary["leaderboard"]))
    judged = summary.get("evaluation")
    if not judged and fitted.definition.holdout:
        tables.append(
            facts([("judged", "NOT AT ALL: no row was held out that could be judged; --test DATA judges it")])
        )
    if judged:
        tables.append(metrics_table(judged["metrics"], f"{judged['rows']:,} rows: {judged['on']}", judged["intervals"]))
    model = summary["model"]
    simple = {key: value for key, value in model.items() if isinstance(value, (int, float, str)) and key != "rows"}
    weights = sorted(dict(model.get("importance") or {}).items(), key=lambda pair: -pair[1])
    tables.append(
        facts(
            [
                ("target", str(fitted.target)),
                ("learned from", f"{summary['rows']:,} rows"),
                ("model", ", ".join(f"{name} {number(value)}" for name, value in simple.items())),
                ("leans on", ", ".join(f"{name} {weight:.0%}" for name, weight in weights[:MOST_WEIGHTS])),
                ("took", ", ".join(f"{name} {duration(value)}" for name, value in summary["seconds"].items())),
                ("saved in", shown_path(to)),
                ("rejected rows", shown_path(rejected) if rejected else ""),
            ]
        )
    )
    tables.append(next_command(f"penstock predict {shown_path(to)} DATA --to predictions"))
    return tables


def written_tables(summary: Summary, follow: str) -> list[RenderableType]:
    """What a job that writes rows tells a person, and what to type next."""
    from penstock.resources import show_bytes

    rejected = sum(count.rejected for count in summary.counts)
    done = ""
    if summary.already_done:
        done = "by an earlier run of the same job; nothing was read (--restart does it anew)"
    elif summary.resumed:
        done = f"{summary.resumed} chunk{'s' if summary.resumed > 1 else ''} by an earlier try, the rest now"
    tables = [
        ledger_table(summary.counts),
        facts(
            [
                ("done", done),
                ("rows", f"{summary.rows:,}, {show_bytes(summary.nbytes)}"),
                ("took", "" if summary.already_done else duration(summary.seconds)),
                ("output", shown_path(summary.output)),
                ("rejected rows", f"{rejected:,} in {shown_path(summary.run / 'rejected')}" if rejected else ""),
                ("record", shown_path(summary.run / "run.json")),
            ]
        ),
    ]
    return [*tables, next_command(follow)] if follow else tables
