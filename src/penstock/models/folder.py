"""``model.json``: what every fitted model writes beside its numbers, and the checks when it is read again.

A helper of models. Whether the files are the ones that were written is checked by the artifact, by hash; here it is
checked that they say what a model needs, so that nothing is believed for being there.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from penstock.durable import write_json
from penstock.errors import ArtifactError, PenstockError
from penstock.model import Target, TaskName
from penstock.schema import Schema

FORMAT = 1
MODEL_JSON = "model.json"
_TASKS = get_args(TaskName)


@dataclass(frozen=True, slots=True)
class Described:
    """What ``model.json`` says.

    Attributes:
        target: what is predicted.
        features: the columns wanted, in order.
        summary: of the training.
        own: what only this kind of model has.
    """

    target: Target
    features: Schema
    summary: Mapping[str, Any]
    own: Mapping[str, Any]


def write_description(folder: Path, name: str, described: Described, libraries: tuple[str, ...]) -> None:
    """Write ``model.json`` into the folder.

    Raises:
        ResourceError: it can't be written.
    """
    write_json(
        folder / MODEL_JSON,
        {
            "format": FORMAT,
            "model": name,
            "target": described.target.to_json(),
            "features": described.features.to_json(),
            "versions": {"python": platform.python_version(), **{library: version(library) for library in libraries}},
            "summary": described.summary,
            "own": described.own,
        },
    )


def read_description(folder: Path, name: str) -> Described:
    """Read what `write_description` wrote for a model of this name.

    Raises:
        ArtifactError: it is not there, damaged, of another format or of another model.
    """
    path = folder / MODEL_JSON
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        got = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise ArtifactError(
            "the model's format is not known",
            where=str(path),
            expected=f"format {FORMAT}",
            got=repr(got),
            remedy="open it with the version of Penstock that wrote it, or train again",
        )
    if value.get("model") != name:
        raise damaged(path, f"a model {value.get('model')!r}", f"a model {name!r}")
    try:
        target = Target.from_json(value["target"])
        features = Schema.from_json(value["features"])
        summary, own = value["summary"], value["own"]
    except (KeyError, TypeError, ValueError, PenstockError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    classes = len(set(target.classes))
    right = classes == len(target.classes) and {"binary": classes == 2, "multiclass": classes >= 2}.get(
        target.task, classes == 0
    )
    if target.task not in _TASKS or not right or not isinstance(summary, dict) or not isinstance(own, dict):
        raise damaged(path, f"the task {target.task!r} with {classes} classes")
    return Described(target, features, summary, own)


def damaged(path: Path, got: str, expected: str = "a file that Penstock wrote") -> ArtifactError:
    """The error for a file of a model that does not hold what it should."""
    return ArtifactError(
        "the saved model is damaged",
        where=str(path),
        expected=expected,
        got=got,
        remedy="restore the folder from a copy, or train again",
    )
