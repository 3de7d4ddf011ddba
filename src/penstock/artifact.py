"""A fitted pipeline as a folder: data that anyone can read, hashed, and never code.

    manifest.json   format and versions, the hash of every file, what it was fitted on
    schema.json     the columns that come in, the target, what is known of the fit
    pipeline.yaml   the definition, as it stands in a pipeline file
    state/          every step (steps.json), and the statistics they were fitted from (states.arrow, Arrow IPC)
    model/          the model, in its own safe format
    members/1/ ...  further models that the prediction is the mean of, each with a state/ and a model/ of its own

Opening one checks every hash first, reads nothing outside the folder, and fits the steps again from their states:
there is no second format for fitted steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from penstock import registry
from penstock.config import (
    PipelineConfig,
    definition_from_json,
    definition_to_json,
    dump_config,
    parse_config,
)
from penstock.decision import Decision
from penstock.durable import replace_folder, sha256, sync_folder, write_json, writing
from penstock.errors import ArtifactError, PenstockError, UsageError
from penstock.model import FittedModel, Target
from penstock.pipeline import Base, FittedSteps, refit
from penstock.run_identity import versions
from penstock.schema import Schema
from penstock.statistic import Statistic
from penstock.step import Step

FORMAT = 2
_STATES = "states.arrow"


@dataclass(frozen=True)
class Member:
    """A fitted model, with the steps that encode rows for it.

    Attributes:
        steps: the fitted steps, the model's own encoding included.
        model: the fitted model.
        weight: how much it counts in the mean of several.
    """

    steps: FittedSteps
    model: FittedModel
    weight: float = 1.0


@dataclass(frozen=True)
class Saved:
    """What an artifact holds.

    Attributes:
        config: the definition, as in a pipeline file.
        steps: the fitted steps, the model's own encoding included.
        target: what is predicted; None for steps alone.
        model: the fitted model; None for steps alone.
        facts: what it was fitted on and how well it did, as JSON values.
        weight: how much the model counts, where there are others.
        others: further models that a prediction is the mean of.
        parent: the hash of the manifest of the artifact that this one was updated from; empty for none.
        generation: how often it was fitted: 1, and 1 more than its parent's for each update.
    """

    config: PipelineConfig
    steps: FittedSteps
    target: Target | None = None
    model: FittedModel | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    others: tuple[Member, ...] = ()
    parent: str = ""
    generation: int = 1

    @property
    def members(self) -> tuple[Member, ...]:
        """Every model with its steps; none for steps alone."""
        return () if self.model is None else (Member(self.steps, self.model, self.weight), *self.others)

    @property
    def decision(self) -> Decision | None:
        """How a class is chosen, where costs were given."""
        if self.target is None or not self.config.costs:
            return None
        return Decision.of(self.target, self.config.costs)


def with_module(saved: Saved, module: Any) -> Saved:
    """The fitted pipeline, its network being this module of the user's.

    Raises:
        UsageError: it has no such network, or the weights are not of this module.
    """
    members = [
        replace(member, model=member.model.with_module(module)) if member.model.takes_module else member
        for member in saved.members
    ]
    if not any(member.model.takes_module for member in saved.members):
        raise UsageError(
            "this pipeline has no network that is a module of one's own",
            where="penstock.load: module",
            got=", ".join(member.model.name for member in saved.members) or "no model",
            remedy="leave module out",
        )
    first, *others = members
    return replace(saved, model=first.model, others=tuple(others))


def save(saved: Saved, destination: Path) -> None:
    """Write an artifact: all of it, or nothing that can be seen.

    Raises:
        ResourceError: the folder can't be written.
    """
    temporary = destination.with_name(f".{destination.name}.new")
    with writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        if temporary.exists():
            _remove(temporary)
        temporary.mkdir()
        (temporary / "pipeline.yaml").write_text(dump_config(saved.config), "utf-8")
        _save_part(temporary, saved.steps, saved.model)
        for number, member in enumerate(saved.others, 1):
            _save_part(temporary / "members" / str(number), member.steps, member.model)
        document = {
            "schema": saved.steps.incoming.to_json(),
            "target": saved.target.to_json() if saved.target else None,
            "facts": dict(saved.facts),
        }
        write_json(temporary / "schema.json", document)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        manifest = {
            "format": FORMAT,
            "model": saved.model.name if saved.model else None,
            "members": [[member.model.name, member.weight] for member in saved.members],
            "parent": saved.parent or None,
            "generation": saved.generation,
            "versions": versions(),
            "files": {path.relative_to(temporary).as_posix(): sha256(path) for path in files},
        }
        write_json(temporary / "manifest.json", manifest)
        for folder in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
            sync_folder(folder)
        replace_folder(temporary, destination)


def _save_part(folder: Path, steps: FittedSteps, model: FittedModel | None) -> None:
    """Steps, and the model that they encode rows for."""
    (folder / "state").mkdir(parents=True)
    write_json(folder / "state" / "steps.json", _save_states(steps, folder / "state"))
    if model is not None:
        (folder / "model").mkdir()
        model.save(folder / "model")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def _save_states(steps: FittedSteps, folder: Path) -> dict[str, Any]:
    """Write every state once, into one file; gives the steps, and which rows of it are theirs."""
    rows: dict[int, int] = {}
    states: list[Statistic[Any]] = []
    entries = []
    bases = steps.bases or tuple({} for _ in steps.steps)
    for step, own, from_which in zip(steps.steps, steps.states, bases, strict=True):
        for statistic in (*own.values(), *(base.statistic for base in from_which.values())):
            if id(statistic) not in rows:
                rows[id(statistic)] = len(states)
                states.append(statistic)
        entry = {
            "step": definition_to_json(step.step),
            "states": {name: rows[id(statistic)] for name, statistic in own.items()},
        }
        if from_which:
            entry["bases"] = {name: [base.through, rows[id(base.statistic)]] for name, base in from_which.items()}
        entries.append(entry)
    columns = [
        pa.array([statistic.kind for statistic in states], pa.string()),
        pa.array([json.dumps(dict(s.parameters()), ensure_ascii=False) for s in states], pa.string()),
        pa.array([_table_bytes(statistic.state()) for statistic in states], pa.large_binary()),
    ]
    table = pa.RecordBatch.from_arrays(columns, names=["kind", "parameters", "state"])
    with pa.OSFile(str(folder / _STATES), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_batch(table)
    return {"scans": steps.scans, "steps": entries}


def _table_bytes(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def load(folder: Path, *, opened: bool = True) -> Saved:
    """Open an artifact.

    Args:
        folder: where it is.
        opened: whether models are made ready to predict, whatever time that takes; else the first prediction does it.

    Raises:
        ArtifactError: it is not one, is damaged or altered, or of a version that can't be read.
    """
    manifest = _manifest(folder)
    _check(folder, manifest)
    try:
        saved = _open(folder, manifest)
        for member in saved.members if opened else ():
            member.model.open()
        return saved
    except ArtifactError:
        raise
    except (PenstockError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise ArtifactError(
            "the saved pipeline can't be opened",
            where=str(folder),
            expected=f"what Penstock {manifest.get('versions', {}).get('penstock', '?')} wrote",
            got=f"{type(error).__name__}: {error}",
            remedy="open it with the version that wrote it, or train again",
        ) from error


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArtifactError(
            "not a saved pipeline",
            where=str(folder),
            expected="a folder with a manifest.json, as `penstock train --to` makes",
            got="no such folder" if not folder.exists() else "no manifest.json in it",
            remedy="check the path",
        )
    try:
        manifest = json.loads(path.read_bytes())
        known = manifest["format"] == FORMAT and isinstance(manifest["files"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the manifest is damaged", where=str(path), got=str(error)) from error
    if not known:
        raise ArtifactError(
            "of a format that this version can't read",
            where=str(path),
            expected=f"format {FORMAT}",
            got=f"format {manifest['format']}",
            remedy="open it with the version of Penstock that wrote it",
        )
    return dict(manifest)


def _check(folder: Path, manifest: Mapping[str, Any]) -> None:
    root = folder.resolve()
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(root) or path.is_symlink():
            raise ArtifactError("a file of it lies outside its folder", where=str(folder), got=repr(name))
        try:
            found = sha256(path)
        except OSError as error:
            raise ArtifactError(
                "a file of it can't be read", where=str(path), got=str(error), remedy="copy the whole folder again"
            ) from error
        if found != digest:
            raise ArtifactError(
                "a file of it was altered or damaged",
                where=str(path),
                expected=f"SHA-256 {digest[:16]}...",
                got=f"{found[:16]}...",
                remedy="copy the folder again, or train again",
            )


def _open(folder: Path, manifest: Mapping[str, Any]) -> Saved:
    listed = manifest["files"]
    for name in ("schema.json", "pipeline.yaml", "state/steps.json", f"state/{_STATES}"):
        if name not in listed:
            raise ArtifactError("a file is missing from its manifest", where=str(folder), expected=name)
    document = json.loads((folder / "schema.json").read_bytes())
    config = parse_config((folder / "pipeline.yaml").read_text("utf-8"), str(folder / "pipeline.yaml"))
    incoming = Schema.from_json(document["schema"])
    steps = _open_steps(folder, incoming)
    target = Target.from_json(document["target"]) if document["target"] else None
    named = manifest["members"]
    since: dict[str, Any] = {"parent": manifest.get("parent") or "", "generation": int(manifest.get("generation", 1))}
    if not named:
        return Saved(config, steps, target, None, document["facts"], **since)
    members = [
        Member(
            _open_steps(where, incoming) if number else steps,
            registry.find("fitted_models", name).load(where / "model"),
            float(weight),
        )
        for number, (name, weight) in enumerate(named)
        for where in [folder / "members" / str(number) if number else folder]
    ]
    first, *others = members
    return Saved(config, steps, target, first.model, document["facts"], first.weight, tuple(others), **since)


def _open_steps(folder: Path, incoming: Schema) -> FittedSteps:
    saved = json.loads((folder / "state" / "steps.json").read_bytes())
    opened = _read_states(folder / "state" / _STATES)
    steps = [cast(Step, definition_from_json("steps", entry["step"])) for entry in saved["steps"]]
    states = [{name: opened[row] for name, row in entry["states"].items()} for entry in saved["steps"]]
    bases = [
        {name: Base(int(through), opened[row]) for name, (through, row) in entry.get("bases", {}).items()}
        for entry in saved["steps"]
    ]
    return refit(steps, incoming, states, int(saved["scans"]), bases)


def _read_states(path: Path) -> list[Statistic[Any]]:
    with pa.OSFile(str(path), "rb") as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    states = []
    for row in rows:
        empty: Statistic[Any] = registry.find("statistics", row["kind"])(**json.loads(row["parameters"]))
        states.append(empty.from_state(pa.ipc.open_stream(row["state"]).read_all()))
    return states


def is_artifact(folder: Path) -> bool:
    """Whether a folder holds a saved pipeline."""
    try:
        return bool(_manifest(folder))
    except ArtifactError:
        return False
