"""The trace of a job: its format, what is in it, that it is there after a failure, and what is read out of it."""

import inspect
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import penstock as ps
from penstock import cli
from penstock.engine import Figures, Resources
from penstock.engines.local import LocalEngine
from penstock.errors import DataError, PenstockError, UsageError
from penstock.trace import Trace, Traced, recording
from penstock.trace_findings import advice, findings, read_trace


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    lines = [f"{i},{i * 7 % 13},{'yes' if i * 7 % 13 > 6 else 'no'}" for i in range(400)]
    path.write_text("id,x,label\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    code = cli.run(
        [
            "train",
            str(data),
            "--target",
            "label",
            "--model",
            "linear",
            "--to",
            str(folder / "model"),
            "-q",
            "--trace",
            str(folder / "trace.json"),
            "--holdout",
            "0.2",
        ]
    )
    assert code == 0
    return folder


def check_format(document: dict[str, Any]) -> None:
    """The published rules of the JSON Object Format, for the phases that we use."""
    assert isinstance(document["traceEvents"], list)
    assert document["displayTimeUnit"] in ("ms", "ns")
    named = set()
    for event in document["traceEvents"]:
        assert {"name", "ph", "pid", "tid", "ts"} <= event.keys()
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        elif event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
        elif event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
        else:
            assert event["ph"] == "M"
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
            named.add((event["name"], event["tid"]))
    threads = {event["tid"] for event in document["traceEvents"] if event["ph"] != "M"}
    assert {("thread_name", tid) for tid in threads} <= named
    check_nested(document)


def check_nested(document: dict[str, Any]) -> None:
    """Spans of one thread stand beside one another, or one wholly inside the other."""
    lanes: dict[int, list[tuple[float, float]]] = {}
    for event in document["traceEvents"]:
        if event["ph"] == "X":
            lanes.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in lanes.values():
        open_until: list[float] = []
        for began, ended in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= began + 0.002:
                open_until.pop()
            assert not open_until or ended <= open_until[-1] + 0.002
            open_until.append(ended)


def test_a_training_writes_a_trace_that_keeps_the_formats_rules(trained: Path) -> None:
    document = json.loads((trained / "trace.json").read_text())
    check_format(document)
    names = {event["name"] for event in document["traceEvents"]}
    assert {"profile", "fit, scan 1", "encode", "read", "map", "take", "fsync", "publish", "learn linear"} <= names
    assert {"train linear", "linear, epoch 1", "linear", "bytes", "done", "queues", "chunk"} <= names
    rates = [event["args"] for event in document["traceEvents"] if event["ph"] == "C" and event["name"] == "linear"]
    assert rates
    assert all({"validation_loss", "learning_rate"} <= one.keys() for one in rates)


@pytest.mark.parametrize(
    "name", sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)
)
def test_every_command_takes_trace(name: str) -> None:
    [command] = [one for one in cli.app.registered_commands if (one.name or one.callback.__name__) == name]
    assert command.callback is not None
    assert "trace_to" in inspect.signature(command.callback).parameters


def test_other_commands_write_a_trace_too(data: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("steps:\n  - standardize: {columns: [x]}\n")
    model = str(trained / "model")
    commands = {
        "evaluate": [model, str(data)],
        "explain": [model, str(data), "--rows", "50"],
        "predict": [model, str(data), "--to", str(tmp_path / "out")],
        "repro": [str(tmp_path / "out")],
        "prepare": [str(data), "--config", str(tmp_path / "p.yaml"), "--to", str(tmp_path / "prepared")],
        "profile": [str(data)],
        "report": [model, "--to", str(tmp_path / "report.html")],
        "init": [str(data), "--target", "label"],
        "schema": [],
    }
    for command, arguments in commands.items():
        path = tmp_path / f"{command}.json"
        assert cli.run([command, *arguments, "--trace", str(path), "-q"]) == 0, command
        document = read_trace(path)
        check_format(document)
        assert document["otherData"]["title"] == command
        assert document["otherData"]["outcome"] == "done"


def test_from_python_every_job_takes_trace(data: Path, tmp_path: Path) -> None:
    fitted = ps.Pipeline([ps.Standardize(ps.columns("x"))]).prepare(
        data, to=tmp_path / "out", trace=tmp_path / "prepare.json"
    )
    assert fitted.rows == 400
    ps.profile(data, trace=str(tmp_path / "profile.json"))
    started = ps.Pipeline([ps.Standardize(ps.columns("x"))]).prepare(
        data, to=tmp_path / "later", trace=tmp_path / "later.json", wait=False
    )
    started.result()
    for name in ("prepare", "profile", "later"):
        found = findings(read_trace(tmp_path / f"{name}.json"))
        assert found["outcome"] == "done"
        assert found["passes"][0]["rows"] == 400


def test_spans_add_up_to_the_figures_of_their_pass(data: Path) -> None:
    trace = Trace("sums")
    heard: list[Figures] = []

    class Hears:
        def said(self, note: object) -> None: ...

        def progressed(self, figures: Figures) -> None:
            heard.append(figures)

    engine = LocalEngine(Resources(2, 2**31), Traced(Hears(), trace))
    from penstock.engine import Task

    engine.fold(Task("pass", ps.read(data)))
    spans = [event for event in trace.to_json("done")["traceEvents"] if event["ph"] == "X"]
    figures = heard[-1]
    assert figures.finished
    for stage, seconds in figures.busy.items():
        told = sum(span["dur"] for span in spans if span["cat"] == "stage" and span["name"] == stage) / 1e6
        assert told == pytest.approx(seconds, abs=1e-6 * (1 + len(spans)))
    for reason, seconds in figures.waiting.items():
        told = sum(span["dur"] for span in spans if span["name"] == f"wait for {reason}") / 1e6
        assert told == pytest.approx(seconds, abs=1e-6 * (1 + len(spans)))
    assert sum(span["args"]["rows"] for span in spans if span["name"] == "read" and span["cat"] == "stage") == 400


def test_a_job_that_fails_leaves_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    bad = tmp_path / "bad.csv"
    bad.write_text("id,x,label\n" + "\n".join(f"{i},{i},{'yes' if i % 2 else 'no'}" for i in range(100)) + "\n7,\n")
    arguments = ["train", str(bad), "--target", "label", "--model", "linear", "--to", str(tmp_path / "m"), "-q"]
    assert cli.run([*arguments, "--max-rejected", "0", "--trace", str(path)]) != 0
    document = read_trace(path)
    check_format(document)
    assert document["otherData"]["outcome"].startswith("failed: ")
    assert findings(document)["passes"]


def test_a_job_that_is_stopped_leaves_its_trace(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), recording(tmp_path / "t.json", "job") as trace:
        assert trace is not None
        trace.span("read", "stage", time.monotonic(), time.monotonic())
        raise KeyboardInterrupt
    assert read_trace(tmp_path / "t.json")["otherData"]["outcome"] == "stopped"


def test_an_error_wins_over_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.raises(ValueError, match="the job's own") as caught, recording(folder / "t.json", "job"):
        folder.rmdir()
        raise ValueError("the job's own")
    assert "its trace can't be written" in caught.value.__notes__[0]


@pytest.mark.parametrize("make", ["folder", "data", "nowhere"])
def test_a_place_that_no_trace_may_take_is_refused_before_the_work(make: str, data: Path, tmp_path: Path) -> None:
    path = {"folder": tmp_path, "data": tmp_path / "rows.csv", "nowhere": tmp_path / "no" / "t.json"}[make]
    (tmp_path / "rows.csv").write_bytes(data.read_bytes())
    with pytest.raises(UsageError, match="can't be written there"):
        ps.profile(data, trace=path)
    assert (tmp_path / "rows.csv").read_bytes() == data.read_bytes()


def test_an_earlier_trace_is_replaced(tmp_path: Path) -> None:
    for title in ("one", "other"):
        with recording(tmp_path / "t.json", title):
            pass
    assert read_trace(tmp_path / "t.json")["otherData"]["title"] == "other"


def test_what_is_kept_is_bounded_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    trace = Trace("long", most=1000)
    trace.origin = 0.0
    for i in range(20_000):
        trace.span("read", "stage", i * 1.0, i * 1.0 + (0.5 if i == 77 else 1e-4))
        trace.count("bytes", float(i), held=i)
    trace.write(tmp_path / "t.json", "done")
    document = read_trace(tmp_path / "t.json")
    assert len(document["traceEvents"]) <= 1003
    assert "left out" in document["otherData"]["note"]
    kept = [event for event in document["traceEvents"] if event["ph"] == "X" and event["name"] == "read"]
    assert max(event["dur"] for event in kept) == pytest.approx(0.5e6, rel=1e-3)
    [gone] = [one for one in document["otherData"]["left_out"] if one["name"] == "read"]
    assert gone["count"] + len(kept) == 20_000
    assert document["otherData"]["peak_held"] == 19_999


def test_threads_of_one_name_share_a_line_one_after_another() -> None:
    trace = Trace("lines")

    def work() -> None:
        trace.span("read", "stage", time.monotonic(), time.monotonic())

    for _ in range(3):
        thread = threading.Thread(target=work, name="penstock-0")
        thread.start()
        thread.join()
    events = trace.to_json("done")["traceEvents"]
    assert len({event["tid"] for event in events if event["name"] == "read"}) == 1


def test_without_a_trace_nothing_is_collected(tmp_path: Path) -> None:
    with recording(None, "job") as trace:
        assert trace is None
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- what is read out of it


def made_up(**changes: Any) -> dict[str, Any]:
    """A trace of one pass of 10 s on 4 cores, half a second before and after it."""
    told: dict[str, Any] = {
        "rows": 1000, "seconds": 10.0, "cores": 4, "memory": 2**30, "memory_wanted": 2**31,
        "chunks": 100, "bytes": 2**30,
        "busy": {"plan": 0.5, "read": 10.0, "map": 10.0, "take": 10.0},
        "waiting": {"memory": 0.0, "work": 1.0},
    } | changes  # fmt: skip
    trace = Trace("made up")
    trace.origin = 0.0
    trace.span("pass", "pass", 0.5, 10.5, **told)
    document = trace.to_json("done")
    document["otherData"]["seconds"] = 11.0
    return document


def advised(**changes: Any) -> str:
    return "\n".join(findings(made_up(**changes))["advice"])


def test_waiting_for_memory_is_answered_with_how_much() -> None:
    text = advised(waiting={"memory": 10.0, "work": 0.0})
    assert "waiting for memory takes 25%" in text
    assert "--memory 2050MiB instead of 1.0 GiB" in text


def test_a_stage_that_takes_most_of_the_work_is_named() -> None:
    text = advised(busy={"plan": 1.0, "read": 15.0, "map": 2.0, "take": 2.0})
    assert "reading is the bottleneck, 75% of the work" in text


def test_full_cores_want_more_of_them_up_to_what_is_serial() -> None:
    text = advised(busy={"plan": 2.0, "read": 6.0, "map": 30.0, "take": 2.0})
    assert "all 4 cores are busy (4.0)" in text
    assert "up to about 20" in text
    alone = advised(busy={"plan": 10.0, "read": 10.0, "map": 10.0, "take": 10.0})
    assert "more cores would help, up to" not in alone


def test_too_few_chunks_are_told() -> None:
    text = advised(chunks=1, busy={"plan": 0.0, "read": 5.0, "map": 5.0, "take": 0.0}, waiting={"work": 30.0})
    assert "there is only one chunk for 4 cores, and 1.0 were busy" in text


def test_nothing_to_say_is_said() -> None:
    assert advised(busy={"plan": 1.0, "read": 10.0, "map": 10.0, "take": 10.0}).startswith("nothing stands out")


def test_training_and_the_disk_have_their_shares() -> None:
    trace = Trace("train")
    trace.origin = 0.0
    trace.span("try boosted", "candidate", 0.0, 4.0)
    trace.span("try linear", "candidate", 4.0, 5.0)
    trace.span("fsync", "disk", 6.0, 8.0, path="a")
    trace.span("fsync", "disk", 7.0, 8.0, path="b")
    document = trace.to_json("done")
    document["otherData"]["seconds"] = 10.0
    found = findings(document)
    assert found["disk"] == {"count": 2, "seconds": pytest.approx(2.0), "share": pytest.approx(0.2)}
    assert "training takes 50% of the time, most of it 'try boosted' (40%)" in advice(found)[0]
    assert "waiting for the disk takes 20% (2 times)" in advice(found)[1]
    assert found["critical"] == "training"


def test_penstock_trace_prints_where_the_time_went(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["trace", str(trained / "trace.json")]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("critical", "fit, scan 1", "slowest chunks", "learn linear", "faster"))
    assert cli.run(["trace", str(trained / "trace.json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "done"
    assert found["passes"][0]["rows"] == 400
    assert found["seconds"] >= found["in_passes"] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a trace"),
        ("a,b\n1,2\n", "not a trace"),
        ("[]", "not a trace"),
        ('{"a": 1}', "not a trace"),
        ('{"traceEvents": []}', "another program"),
        ('{"otherData": {"program": "penstock", "seconds": 1}, "traceEvents": [1]}', "damaged"),
        ('{"otherData": {"program": "penstock"}, "traceEvents": []}', "damaged"),
    ],
)
def test_what_is_no_trace_is_refused_clearly(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_trace(tmp_path / "t.json")


def test_a_trace_cut_short_is_refused_wherever_it_was_cut(trained: Path, tmp_path: Path) -> None:
    whole = (trained / "trace.json").read_bytes()
    for at in range(0, len(whole) - 2, max(1, len(whole) // 23)):
        (tmp_path / "t.json").write_bytes(whole[:at])
        with pytest.raises(PenstockError, match=r"cut short|not a trace"):
            read_trace(tmp_path / "t.json")
