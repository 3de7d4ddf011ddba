"""A trace read again: where the time of a job went, and what would make it faster, from its figures alone.

Part of the room of `penstock.trace`; what it looks like in a terminal is `penstock.terminal_trace`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import DataError
from penstock.resources import show_bytes, size_to_ask
from penstock.trace import PROGRAM

STAGES = ("plan", "read", "map", "take")
MOST_SLOW = 5
_NOTABLE = 0.1
"""The share of a job's time below which a pass, the disk or a wait is not worth advice."""
_HEAVY_TRAINING = 0.3
"""The share of a job's time from which on training is worth advice."""
_FULL = 0.85
"""The share of the cores that is as busy as threads get."""


def read_trace(path: Path) -> dict[str, Any]:
    """The trace in a file, checked.

    Raises:
        DataError: it can't be read, was cut short, or is no trace that Penstock wrote.
    """

    def wrong(message: str, got: str, remedy: str = "") -> DataError:
        return DataError(message, where=str(path), expected="a file that --trace wrote", got=got, remedy=remedy)

    try:
        data = path.read_bytes()
    except OSError as error:
        raise wrong("a trace can't be read", error.strerror or str(error), "name the file after --trace") from error
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        if f'"program": "{PROGRAM}"'.encode() in data[:200]:
            raise wrong("the trace was cut short", str(error), "copy it again, or run the job again") from error
        raise wrong("not a trace", "an empty file" if not data.strip() else "something that is not JSON") from error
    if not isinstance(value, dict) or "traceEvents" not in value:
        raise wrong("not a trace", "JSON without traceEvents")
    about = value.get("otherData")
    if not isinstance(about, dict) or about.get("program") != PROGRAM:
        raise wrong("a trace of another program", "no mark of Penstock in it", "open it in ui.perfetto.dev")
    if not _sound(value):
        raise wrong("the trace is damaged", "events without what they need", "run the job again")
    return value


def _sound(trace: Mapping[str, Any]) -> bool:
    about, events = trace["otherData"], trace["traceEvents"]
    if not isinstance(events, list) or not isinstance(about.get("seconds"), (int, float)):
        return False
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("name"), str):
            return False
        if not isinstance(event.get("args", {}), dict) or event.get("ph") not in ("X", "C", "i", "M"):
            return False
        if event["ph"] == "X" and not all(isinstance(event.get(key), (int, float)) for key in ("ts", "dur")):
            return False
        if event.get("cat") == "pass" and not event["args"].keys() >= _PASS:
            return False
    return True


_PASS = {"rows", "seconds", "busy", "waiting", "cores", "memory", "memory_wanted", "chunks", "bytes"}


def findings(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Where the time went, as JSON values; shares are from 0 to 1.

    Args:
        trace: what `read_trace` gave.

    Returns:
        ``passes`` (of each: seconds, rows, share of each stage in the work, share of the threads' time that was waited,
        busy cores), ``critical``, ``slowest`` chunks, ``disk``, ``training``, ``parts`` and ``advice``.
    """
    about = trace["otherData"]
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    passes = [_pass(event["args"], event["name"]) for event in spans if event.get("cat") == "pass"]
    seconds = float(about["seconds"])
    found: dict[str, Any] = {
        "title": about.get("title", ""),
        "outcome": about.get("outcome", ""),
        "seconds": seconds,
        "peak_held": about.get("peak_held", 0),
        "memory": max((one["memory"] for one in passes), default=None),
        "cores": max((one["cores"] for one in passes), default=None),
        "passes": passes,
        "in_passes": _covered(event for event in spans if event.get("cat") == "pass"),
        "slowest": _slowest(trace["traceEvents"]),
        "disk": _disk(spans, about.get("left_out", ()), seconds),
        "training": _summed(spans, ("candidate",)),
        "parts": _summed(spans, ("part",)) or _summed(spans, ("explanation",)),
        "left_out": about.get("note", ""),
    }
    found["critical"] = critical(found)
    found["advice"] = advice(found)
    return found


def _pass(args: Mapping[str, Any], title: str) -> dict[str, Any]:
    seconds, cores = float(args["seconds"]), int(args["cores"])
    busy = {stage: float(args["busy"].get(stage, 0.0)) for stage in STAGES}
    work, threads = sum(busy.values()), seconds * cores
    return {
        "title": title,
        "seconds": seconds,
        "rows": args["rows"],
        "bytes": args["bytes"],
        "chunks": args["chunks"],
        "cores": cores,
        "memory": args["memory"],
        "memory_wanted": args["memory_wanted"],
        "busy": busy,
        "busy_cores": work / seconds if seconds else 0.0,
        "stages": {stage: value / work if work else 0.0 for stage, value in busy.items()},
        "waiting": {
            name: min(1.0, float(value) / threads) if threads else 0.0 for name, value in args["waiting"].items()
        },
    }


def _slowest(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    chunks = [dict(event.get("args", {})) for event in events if event["ph"] == "i" and event.get("cat") == "chunk"]
    return sorted(chunks, key=lambda one: -one.get("took", 0.0))[:MOST_SLOW]


def _covered(spans: Iterable[Mapping[str, Any]]) -> float:
    """The time that at least one of the spans takes [s]."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted((span["ts"], span["ts"] + span["dur"]) for span in spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total / 1e6


def _disk(spans: Sequence[Mapping[str, Any]], left_out: Iterable[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    waits = [span for span in spans if span.get("cat") == "disk"]
    gone = [one for one in left_out if one["kind"] == "disk"]
    count = len(waits) + sum(one["count"] for one in gone)
    total = _covered(waits) + sum(one["seconds"] for one in gone)
    return {"count": count, "seconds": total, "share": min(1.0, total / seconds) if seconds else 0.0}


def _summed(spans: Iterable[Mapping[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    sums: dict[str, float] = {}
    for span in spans:
        if span.get("cat") in kinds:
            sums[span["name"]] = sums.get(span["name"], 0.0) + span["dur"] / 1e6
    return [{"name": name, "seconds": value} for name, value in sums.items()]


# ---------------------------------------------------------------------- in words


def critical(found: Mapping[str, Any]) -> str:
    """What a job waited for most, in a word or two: memory, cores, a stage, the disk, training, or nothing much."""
    seconds = found["seconds"] or 1.0
    if found["disk"]["share"] >= 0.5:
        return "the disk"
    train = sum(one["seconds"] for one in found["training"])
    if not found["passes"] or found["in_passes"] < 0.3 * seconds:
        return "training" if train >= 0.5 * seconds else "work outside the passes"
    one = max(found["passes"], key=lambda each: each["seconds"])
    if one["waiting"].get("memory", 0.0) >= 0.25:
        return "memory"
    if one["busy_cores"] >= _FULL * one["cores"]:
        return "cores"
    stage = max(one["stages"], key=lambda name: one["stages"][name])
    return f"{stage}, one thread at a time" if one["waiting"].get("work", 0.0) >= 0.25 else str(stage)


def advice(found: Mapping[str, Any]) -> list[str]:
    """What would make a job faster, most first; sentences with the figures that they follow from."""
    seconds = found["seconds"] or 1.0
    told: list[tuple[float, str]] = []
    for one in found["passes"]:
        share = one["seconds"] / seconds
        if share >= _NOTABLE:
            told += [(share * weight, text) for weight, text in _of_pass(one, found["slowest"])]
    disk = found["disk"]
    if disk["share"] >= _NOTABLE:
        text = f"waiting for the disk takes {disk['share']:.0%} ({disk['count']:,} times): write to a faster disk"
        told.append((disk["share"], text))
    share = sum(one["seconds"] for one in found["training"]) / seconds
    if share >= _HEAVY_TRAINING:
        most = max(found["training"], key=lambda each: each["seconds"])
        text = f"training takes {share:.0%} of the time, most of it {most['name']!r} ({most['seconds'] / seconds:.0%})"
        told.append((share, f"{text}: --effort quick, --max-rows, or a single --model"))
    elif found["in_passes"] < seconds / 2:
        share = 1 - found["in_passes"] / seconds
        text = (
            f"{share:.0%} of the time is outside the passes: starting, opening, ending; it hardly grows with the rows"
        )
        told.append((share, text))
    unique = dict.fromkeys(text for _, text in sorted(told, key=lambda pair: -pair[0]))
    return list(unique) or ["nothing stands out: no wait and no stage takes much more than its part"]


def _of_pass(one: Mapping[str, Any], slowest: Sequence[Mapping[str, Any]]) -> Iterable[tuple[float, str]]:
    title, cores, busy = one["title"], one["cores"], one["busy_cores"]
    memory, work = one["waiting"].get("memory", 0.0), one["waiting"].get("work", 0.0)
    stage = max(one["stages"], key=lambda name: one["stages"][name])
    part = one["stages"][stage]
    if memory >= _NOTABLE:
        most = max(one["memory_wanted"], one["memory"] * 5 // 4)
        text = f"waiting for memory takes {memory:.0%} of the threads' time: --memory {size_to_ask(most)}"
        yield memory, f"{title}: {text} instead of {show_bytes(one['memory'])}"
    if busy >= _FULL * cores:
        yield 1.0, f"{title}: {_full(one, stage, slowest)}"
    elif work >= 0.25:
        yield work, f"{title}: waiting for work takes {work:.0%} of the threads' time: {_serial(one, stage)}"
    if part >= 0.6 and busy > 0:
        yield part * 0.9, f"{title}: {_HEAVY[stage].format(part=part)}"


_HEAVY = {
    "plan": "finding where records begin takes {part:.0%} of the work: Parquet needs none of that",
    "read": "reading is the bottleneck, {part:.0%} of the work: Parquet is read faster than text",
    "map": "the steps or the model take {part:.0%} of the work: fewer or cheaper steps, or a smaller model",
    "take": "statistics or writing take {part:.0%} of the work: write fewer columns, or to a folder of Parquet",
}


def _full(one: Mapping[str, Any], stage: str, slowest: Sequence[Mapping[str, Any]]) -> str:
    """All cores are busy; as many more help as there are chunks for, since a chunk is read and taken in order."""
    alone = max((one["busy"]["plan"], *(_in_order(chunk) for chunk in slowest if chunk.get("pass") == one["title"])))
    work = sum(one["busy"].values())
    most = int(work / alone) if alone > 0 else one["chunks"]
    text = f"all {one['cores']} cores are busy ({one['busy_cores']:.1f}), most of all with {stage}"
    if most > one["cores"]:
        return f"{text}: more cores would help, up to about {most}"
    return f"{text}: more cores would hardly help, since one chunk takes {alone:.1f} s in order"


def _in_order(chunk: Mapping[str, Any]) -> float:
    return max(float(chunk.get("read", 0.0)), float(chunk.get("take", 0.0)))


def _serial(one: Mapping[str, Any], stage: str) -> str:
    if one["chunks"] < 2 * one["cores"]:
        chunks = "is only one chunk" if one["chunks"] == 1 else f"are only {one['chunks']:,} chunks"
        return f"there {chunks} for {one['cores']} cores, and {one['busy_cores']:.1f} were busy; fewer cores do"
    return f"{stage} keeps up {one['busy_cores']:.1f} of {one['cores']} cores"
