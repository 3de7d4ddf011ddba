"""Shown: pictures and clips of a training as its page shows them, the rows that it was judged on and how it augments.

A part of `train`. What is shown is drawn by the hash of the row keys, and the same however the job is done. Of the data
the pictures of the chosen rows alone are read again, and the blocks that they are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock import registry
from penstock.artifact import Saved
from penstock.batch import Batch, RowKeys, record_batch
from penstock.engine import Engine, Station, Task, Transform, spanned
from penstock.errors import SourceError, UsageError
from penstock.jobs.evaluate import SHOWN, Judged
from penstock.jobs.predict import predictor
from penstock.materialize import LaidDown
from penstock.model import PREDICTION, PROBABILITY
from penstock.pipeline import FittedSteps
from penstock.schema import Field, Role
from penstock.source import Source
from penstock.step import FittedStep, Use
from penstock.target import LABEL, Labelled, Then, as_labels, salted
from penstock.thumbnails import FRAMES, Image, Thumbnails, nbytes_of

if TYPE_CHECKING:
    from penstock.jobs.learn import Learning

MOST_BYTES = 600_000
"""What all that is shown takes in a page [bytes]."""
_MISTAKES_BYTES, _AUGMENTED_BYTES = 240_000, 120_000
"""Of those, what mistakes and augmentations may take; samples take what is left [bytes]."""
_COLUMNS = 2
_MISTAKES = 12
_SAMPLES = 24
_OF_A_CLASS = 3
_DRAWN = 4_096
"""Rows of which samples are taken, class by class."""
_AUGMENTED = 4
_EPOCHS = 4
_FRAMES_AUGMENTED = 3
_NORMALIZES = "normalize_picture"

Key = tuple[str, int]
Entry = dict[str, Any]


def shown(
    saved: Saved,
    source: Source,
    job: Learning,
    *,
    test: Source | None,
    mistakes: Sequence[Mapping[str, Any]] | None,
    augmentations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Rows with pictures or clips, as a page shows them, with what was expected and what is predicted.

    Args:
        saved: the fitted pipeline.
        source: the rows of the training.
        job: everything about the training but the model.
        test: rows that it was judged on; None for those held out.
        mistakes: the rows that were predicted worst, the worst first; None where none was judged: then rows that were
            learned from are shown.
        augmentations: what `augmented` gave.

    Returns:
        ``of``: which rows these are; ``mistakes`` and ``samples``: of each row ``path``, ``row``, ``expected``,
        ``predicted``, ``probability`` (of the class predicted) and ``columns``: ``column``, ``kind`` and ``images``,
        of a clip several; ``augmented``. What there is nothing of is not there: pictures that are none, or sensitive.
    """
    found: dict[str, Any] = {"augmented": list(augmentations)}
    target = saved.target
    hidden = _hidden(job.engine)
    makers = _makers(saved, hidden) if target is not None and target.column not in {"", *hidden} else []
    if makers:
        rows, limits, beside, found["of"] = _rows(source, test, job, judged=mistakes is not None)
        wrong = [one for one in mistakes or () if one["expected"] != one["predicted"]]
        worst: list[Key] = [(str(one["path"]), int(one["row"])) for one in wrong]
        with spanned(job.listener, "show pictures", "pictures"):
            drawn = _drawn(rows, saved, job.engine, limits, beside)
            entries = _entries(saved, rows, makers, {*worst, *drawn}, job.engine)
        those = [entries[key] for key in worst if key in entries]
        those.sort(key=lambda one: -(one["probability"] or 0.0))  # numbers stay in the order of their losses
        found["mistakes"], used = _within(_MISTAKES_BYTES, those[:_MISTAKES])
        left = MOST_BYTES - _AUGMENTED_BYTES - used
        found["samples"], _ = _within(left, [entries[key] for key in drawn if key in entries])
    told = {name: one for name, one in found.items() if one}
    return {} if set(told) <= {"of"} else told


def _hidden(engine: Engine) -> frozenset[str]:
    """Columns that may not be told."""
    masking = engine.resources.masking
    return frozenset() if masking is None else masking.columns


def _rows(
    source: Source, test: Source | None, job: Learning, *, judged: bool
) -> tuple[Source, tuple[Transform, ...], tuple[str, ...], str]:
    """Of which rows some are shown, what limits them, the columns that this reads, and what they are."""
    if test is not None and judged:
        return test, (), (), "test rows"
    if judged:
        return source, (job.portion("holdout", 0.0, job.config.holdout),), job.splitting.columns, "rows held out"
    return source, job.training_rows(), job.beside, "rows learned from"


def _makers(saved: Saved, hidden: frozenset[str]) -> list[Thumbnails]:
    """What makes thumbnails of the columns of pictures and clips that the model learned from."""
    used = {
        origin
        for member in saved.members
        for name in member.model.features.names
        for origin in member.steps.origins[name]
    }
    incoming = saved.steps.incoming
    fields = [one for one in incoming if one.kind in (Role.picture, Role.clip) and one.name in used - hidden]
    return [_maker(field, saved.steps.steps) for field in fields[:_COLUMNS]]


def _maker(field: Field, steps: Sequence[FittedStep], frames: int = FRAMES) -> Thumbnails:
    """By the steps that decode the column, whose limits and choice of frames hold for the page too."""
    found = {one.step.name: one.step for one in reversed(steps) if field.name in getattr(one, "names", ())}
    usual = {name: registry.find("steps", name)(field.name) for name in ("decode_picture", "decode_clip")}
    both: dict[str, Any] = {name: found.get(name, step) for name, step in usual.items()}
    return Thumbnails(field, both["decode_picture"], both["decode_clip"], frames=frames)


def _drawn(
    source: Source, saved: Saved, engine: Engine, limits: Sequence[Transform], beside: Sequence[str]
) -> list[Key]:
    """Some rows, of each class a few; no picture is read for that."""
    target = saved.target
    assert target is not None
    sample = registry.find("statistics", "sample")(
        [], [target.column], size=_DRAWN, seed=salted(saved.config.seed, "sample")
    )
    way = Then((*limits, Labelled(target.column, target.classes or None)))
    columns = tuple(dict.fromkeys((target.column, *beside)))
    value = (
        engine.fold(Task("choose what to show", source, columns, (Station(way, (sample,)),))).statistics[0][0].value()
    )
    labels = as_labels(value.table.column(target.column).combine_chunks()).to_pylist()
    keys = list(zip(value.paths.to_pylist(), value.numbers.to_pylist(), strict=True))
    if not target.classes:
        return keys[:_SAMPLES]
    places = {label: place for place, label in enumerate(target.classes)}
    each = max(1, min(_OF_A_CLASS, _SAMPLES // len(target.classes)))
    taken: dict[str, list[Key]] = {}
    for key, label in zip(keys, labels, strict=True):
        if len(own := taken.setdefault(label, [])) < each:
            own.append(key)
    chosen = sorted(taken, key=lambda label: places.get(label, len(places)))
    return [key for label in chosen for key in taken[label]][:_SAMPLES]


def _entries(
    saved: Saved, source: Source, makers: Sequence[Thumbnails], keys: set[Key], engine: Engine
) -> dict[Key, Entry]:
    """The rows of these keys, predicted, with their thumbnails."""
    target = saved.target
    assert target is not None
    names = [maker.field.name for maker in makers]
    keep = {target.column: LABEL, **{name: SHOWN + name for name in names}}
    predicts = replace(predictor(saved, source, keep, engine.resources), threads=1)  # the same for any cores
    judges = Judged(target)
    found: dict[Key, Entry] = {}
    for batch in _those(source, keys, tuple(dict.fromkeys((*predicts.inputs, target.column, *names))), target.column):
        predicted = judges.transform(predicts.transform(batch))
        images = [maker.of(predicted.column(SHOWN + maker.field.name)) for maker in makers]
        for place, key in enumerate(_keys(predicted.keys)):
            columns = [
                {"column": maker.field.name, "kind": maker.field.kind.value, "images": of_rows[place]}
                for maker, of_rows in zip(makers, images, strict=True)
                if of_rows[place]
            ]
            if columns:
                found[key] = {**_told(predicted, place), "path": key[0], "row": key[1], "columns": columns}
    return found


def _those(source: Source, keys: set[Key], columns: Sequence[str], cheap: str) -> Iterator[Batch]:
    """The rows of these keys: of the files that they are in, the chunks that they are in."""
    with suppress(UsageError, SourceError):  # rows that come out of no one file are looked for among all
        source = source.only({path for path, _ in keys})
    for chunk in source.chunks():
        if not any(_chosen(batch.keys, keys).any() for batch in source.read(chunk, (cheap,))):
            continue
        for batch in source.read(chunk, columns):
            chosen = _chosen(batch.keys, keys)
            if chosen.any():
                yield Batch(batch.columns, batch.keys).filter(chosen)


def _keys(keys: RowKeys) -> list[Key]:
    return list(zip(keys.path_column().to_pylist(), keys.rows.tolist(), strict=True))


def _chosen(keys: RowKeys, wanted: set[Key]) -> npt.NDArray[np.bool_]:
    return np.array([key in wanted for key in _keys(keys)], bool)


def _told(predicted: Batch, place: int) -> Entry:
    label, expected = (predicted.column(name)[place].as_py() for name in (PREDICTION, LABEL))
    chance = PROBABILITY + str(label)
    there = chance in predicted.columns.schema.names
    return {
        "expected": _text(expected),
        "predicted": _text(label),
        "probability": predicted.column(chance)[place].as_py() if there else None,
    }


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _within(most: int, entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """The first entries, as many as there is room for, and the room that they take [bytes]."""
    kept, used = [], 0
    for entry in entries:
        size = sum(nbytes_of(column["images"]) for column in entry["columns"])
        if used + size > most:
            break
        used += size
        kept.append(entry)
    return kept, used


# ---------------------------------------------------------------------- augmentations


def augmented(data: LaidDown, steps: FittedSteps, engine: Engine) -> list[dict[str, Any]]:
    """Some rows before and after the augmentations, exactly as the first epochs had them.

    Returns:
        Of each row and column ``column``, ``kind``, ``label``, ``before`` (images), ``after`` (images of each epoch).
        Nothing where nothing is augmented, or the column is sensitive.
    """
    late = data.late
    if late is None or not data.rows:
        return []
    hidden = _hidden(engine)
    names = [one for one in late.inputs if one in late.outputs and not hidden & set(steps.origins.get(one, (one,)))]
    first = len(steps.steps) - len(late.steps)
    last = max(place for place, one in enumerate(late.steps) if one.step.random) + 1
    rows = _spread(data)
    before = _as_read(data.before(rows), steps.steps[:first], names)
    epochs = [
        _as_read(late.after(data.before(rows), Use("train", data.seed, epoch)), steps.steps[: first + last], names)
        for epoch in range(_EPOCHS)
    ]
    found: list[dict[str, Any]] = []
    left = _AUGMENTED_BYTES
    labels = data.labels()[rows].tolist()
    for name in names[:_COLUMNS]:
        images = [_images(one, late.incoming[name]) for one in (before, *epochs)]
        for place, label in enumerate(labels):
            own = [each[place] for each in images]
            left -= sum(map(nbytes_of, own))
            if left < 0:
                return found
            told = data.target.classes[label] if data.target.classes else _text(label)
            kind = late.incoming[name].kind.value
            found.append({"column": name, "kind": kind, "label": told, "before": own[0], "after": own[1:]})
    return found


def _spread(data: LaidDown) -> npt.NDArray[np.int64]:
    """The rows of the least hashes, of classes that differ as long as there are some."""
    order = np.argsort(data.hashes(), kind="stable")[:_DRAWN]
    if not data.target.classes:
        return order[:_AUGMENTED].astype(np.int64)
    _, first = np.unique(data.labels()[order], return_index=True)
    others = np.setdiff1d(np.arange(len(order)), first)
    chosen = [*np.sort(first).tolist(), *others.tolist()][:_AUGMENTED]
    return order[chosen].astype(np.int64)


def _as_read(batch: Batch, steps: Sequence[FittedStep], names: Sequence[str]) -> Batch:
    """Pixels as they were before they were normalized, where the shape still is that."""
    batch = Batch(record_batch([batch.column(name) for name in names], names, len(batch)), batch.keys)
    for one in reversed(steps):
        fits = all(batch.column(name).type == one.schema[name].type for name in names if name in one.schema)
        if one.step.name == _NORMALIZES and fits:
            batch = one.inverse(batch)
    return batch


def _images(batch: Batch, like: Field) -> list[list[Image]]:
    """Of decoded pictures and clips, whatever their size has become."""
    field = Field(like.name, batch.column(like.name).type, like.role)
    return _maker(field, (), _FRAMES_AUGMENTED).of(batch.column(like.name))
