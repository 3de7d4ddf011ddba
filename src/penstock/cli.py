"""The command line: what can be typed, and what it means. Nothing heavy is imported before a command runs.

The outermost room: arguments become an `Asked`, which `commands.py` does; `terminal.py` prints.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, TypeAlias

import typer

import penstock
from penstock.asked import Asked

app = typer.Typer(
    name="penstock",
    help="Batch-first machine learning: from files to a trusted model and its predictions, in bounded memory.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 too many rows rejected.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Data: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA",
        help="Files, folders or globs: CSV, TSV, JSON lines (plain, .gz, .zst, .zip), Parquet, Arrow, SQLite; "
        "pictures, clips, IDX, CIFAR, npz, tar; "
        "s3://, https:// and the like; - for standard input; 'sql:SELECT ...'.",
        show_default=False,
    ),
]
ModelFolder: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="The folder that `penstock train` made.", show_default=False)
]
ConfigFile: TypeAlias = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A pipeline file (YAML). Options here override it.")
]
Restart: TypeAlias = Annotated[bool, typer.Option("--restart", help="Replace what is there, and begin anew.")]
NewOnly: TypeAlias = Annotated[
    bool, typer.Option("--new-only", help="Take the files that were not there last time, and add what they give.")
]
Columns: TypeAlias = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Names of the columns, for files without a header.")
]
Encoding: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Of text files: utf-8, gb18030, ...")]
Delimiter: TypeAlias = Annotated[str | None, typer.Option(metavar="SIGN", help="Between fields; `tab` for a tab.")]
Missing: TypeAlias = Annotated[str | None, typer.Option(metavar="?,NA,...", help='Texts that mean "no value".')]
Roles: TypeAlias = Annotated[
    str | None, typer.Option(metavar="A=ROLE,...", help="Roles of columns, such as zip=category,id=key.")
]
Each: TypeAlias = Annotated[
    str | None, typer.Option(metavar="record|file", help="`file`: each file of text is a row. Default: record.")
]
Labels: TypeAlias = Annotated[
    str | None, typer.Option(metavar="FILE", help="The labels of pictures in an IDX file: IDX too.")
]
Root: TypeAlias = Annotated[
    str | None, typer.Option(metavar="DIR", help="What paths of pictures and clips in a table are relative to.")
]
Memory: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SIZE", help="What the process may hold, such as 2GiB. Default: 60 % of the free.")
]
Cores: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Threads that work at once. Default: all cores.")
]
MaxRejected: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Stop when more rows are rejected: 0.01 or 1%. Default: 1%.")
]
Sensitive: TypeAlias = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Keep these columns' values out of rejects, audits and reports.")
]
TraceTo: TypeAlias = Annotated[
    str | None, typer.Option("--trace", metavar="FILE", help="Write what happened when; see `penstock trace`.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on the output stream, errors too.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress.")]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Print tracebacks (so does PENSTOCK_DEBUG=1).")]


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """What stands before a command."""
    if version:
        print(f"penstock {penstock.__version__}")
        raise typer.Exit


@app.command()
def train(
    *,
    data: Data,
    update: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Take this model further with DATA, new rows, into another (--to)."),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    config: ConfigFile = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="auto, boosted, linear, network, or sklearn:NAME. Default: auto."),
    ] = None,
    effort: Annotated[
        str | None, typer.Option(metavar="quick|default|best", help="How much time to take. Default: default.")
    ] = None,
    weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="How much each row counts.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows of one value stay on one side of every split.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Hold out the latest rows by it, and not any.")
    ] = None,
    costs: Annotated[
        str | None, typer.Option(metavar="TRUE:SAID=COST,...", help="What an error costs; the cheapest class is said.")
    ] = None,
    to: Annotated[str, typer.Option(metavar="DIR", help="Where to save the model.")] = "model",
    test: Annotated[list[str] | None, typer.Option(metavar="DATA", help="Rows to judge the model on.")] = None,
    holdout: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Rows kept out of training to judge on. Default: 10% without --test."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of everything random. Default: 0.")] = None,
    max_rows: Annotated[int | None, typer.Option(metavar="N", help="Learn from a sample of so many rows.")] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write every cell that the cleaning changed: .parquet, .csv.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace the model that is there.")] = False,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    max_rejected: MaxRejected = None,
    sensitive: Sensitive = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit the steps, train a model, judge it on rows that it has not seen, and save it."""
    _do("train", locals())


@app.command()
def evaluate(
    *,
    model: ModelFolder,
    data: Data,
    by: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Tell the metrics by the values of these columns too.")
    ] = None,
    beta: Annotated[str | None, typer.Option(metavar="B,...", help="F-beta beside f1, for classes.")] = None,
    quantile: Annotated[
        str | None, typer.Option(metavar="Q,...", help="Quantile losses, for numbers: 0.1,0.9.")
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    max_rejected: MaxRejected = None,
    sensitive: Sensitive = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a saved model on labelled rows."""
    _do("evaluate", locals())


@app.command()
def explain(
    *,
    model: ModelFolder,
    data: Data,
    rows: Annotated[int, typer.Option(metavar="N", help="Labelled rows to explain by, drawn at random.")] = 1000,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What a saved model leans on: importance, contributions, partial dependence."""
    _do("explain", locals())


@app.command()
def predict(
    *,
    model: ModelFolder,
    data: Data,
    to: Annotated[
        str, typer.Option(metavar="DIR|FILE", help="A folder of Parquet, or one file: .parquet, .csv, .arrow.")
    ],
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Columns to write beside the predictions; globs too. Where files are rows: path."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Write beside each prediction what each column contributed.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(metavar="predictions|features", help="Features: what a network's last hidden layer gives."),
    ] = None,
    restart: Restart = False,
    new_only: NewOnly = False,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    max_rejected: MaxRejected = None,
    sensitive: Sensitive = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict every row. Stopped, it goes on where it was by the same command."""
    _do("predict", locals())


@app.command()
def prepare(
    *,
    data: Data,
    config: Annotated[str, typer.Option("--config", metavar="FILE", help="A pipeline file (YAML) with the steps.")],
    to: Annotated[
        str, typer.Option(metavar="DIR|FILE", help="A folder of Parquet, or one file: .parquet, .csv, .arrow.")
    ],
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of everything random. Default: 0.")] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write every cell that the cleaning changed: .parquet, .csv.")
    ] = None,
    restart: Restart = False,
    new_only: NewOnly = False,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    max_rejected: MaxRejected = None,
    sensitive: Sensitive = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit the steps and write the rows as they come out. Stopped, it goes on by the same command."""
    _do("prepare", locals())


@app.command()
def replay(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="An output, or its folder .run.", show_default=False)],
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The pipeline file as it now is, for prepare.")
    ] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    memory: Memory = None,
    cores: Cores = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put rejected rows through again, after a fix, and publish them in their places."""
    _do("replay", locals())


@app.command()
def repro(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="An output, or its folder .run.", show_default=False)],
    memory: Memory = None,
    cores: Cores = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Do a finished run again beside it, and compare every file it made."""
    _do("repro", locals())


@app.command()
def profile(
    *,
    data: Data,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column to predict: what tells it, and what leaks.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Other rows, such as test data: what has moved there.")
    ] = None,
    to: Annotated[str, typer.Option(metavar="FILE", help="Write a page of it: one file of HTML.")] = "",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the sample of rows. Default: 0.")] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    memory: Memory = None,
    cores: Cores = None,
    sensitive: Sensitive = None,
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what data are like, in one scan: types, missing values, distributions, correlations, what to look at."""
    _do("profile", locals())


@app.command()
def report(
    *,
    model: Annotated[
        str,
        typer.Argument(metavar="RUN|MODEL", help="What `penstock train`, predict or prepare made.", show_default=False),
    ],
    to: Annotated[
        str, typer.Option(metavar="FILE", help="The page. Default: report.html in the run's folder, or here.")
    ] = "",
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make the page of a run or a saved model again: one file of HTML."""
    _do("report", locals())


@app.command()
def trace(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What --trace wrote.", show_default=False)],
    trace_to: TraceTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Where the time of a job went, and what would make it faster."""
    _do("trace", locals())


@app.command()
def init(
    *,
    data: Data,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, boosted, linear, network, or sklearn:NAME. Default: auto.")
    ] = None,
    effort: Annotated[
        str | None, typer.Option(metavar="quick|default|best", help="How much time to take. Default: default.")
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    missing: Missing = None,
    roles: Roles = None,
    each: Each = None,
    labels: Labels = None,
    root: Root = None,
    trace_to: TraceTo = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print the pipeline that would be used, as a pipeline file with each line explained."""
    _do("init", {**locals(), "as_json": False})


@app.command()
def schema(trace_to: TraceTo = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the JSON schema of pipeline files, for editors."""
    _do("schema", {**locals(), "as_json": False})


@app.command()
def doctor(trace_to: TraceTo = None, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """What is installed, what this machine lends, and whether jobs can run here."""
    _do("doctor", locals())


_INTERRUPTED = 130
"""What Typer makes of Ctrl-C before a command has begun; not one of our exit codes."""
_ROOMS = {"profile": "commands_report", "report": "commands_report", "replay": "commands_runs"}
_ROOMS |= {"repro": "commands_runs", "trace": "commands_runs"}
_STOPPED = {
    "train": "stopped; what was counted and learned so far is kept, and the same command goes on from there",
    "prepare": "stopped; finished chunks are kept, and the same command goes on from there",
    "predict": "stopped; finished chunks are kept, and the same command goes on from there",
}


def _do(command: str, typed: dict[str, Any]) -> None:
    from penstock.terminal import Terminal
    from penstock.trace import recording

    trace_to = typed.pop("trace_to")
    look = {name: typed.pop(name) for name in ("as_json", "quiet", "debug")}
    with (
        Terminal(**look, stopped=_STOPPED.get(command, "stopped; nothing was written")) as terminal,
        recording(trace_to, command) as tracer,
    ):
        terminal.tracer = tracer
        began = time.monotonic()
        module = importlib.import_module(f"penstock.{_ROOMS.get(command, 'commands')}")
        gc.enable()
        if tracer is not None:
            tracer.span("load", "part", began, time.monotonic())
        do: Callable[[Terminal, Asked], None] = getattr(module, command)
        do(terminal, Asked(**typed))
    if terminal.exit_code:
        raise typer.Exit(terminal.exit_code)


# ---------------------------------------------------------------------- the process


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say (None: those of the process); gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(app(args=given, prog_name="penstock", standalone_mode=False) or 0)
        return 1 if code == _INTERRUPTED else code
    except Exception as error:
        # Typer's errors of usage, whichever class this version of it has for them; ours never come this far.
        if not hasattr(error, "format_message") or not hasattr(error, "show"):
            raise
        error.show(file=sys.stderr)
        code = int(getattr(error, "exit_code", 2))
        if "--json" in given:
            told = {"type": "UsageError", "message": str(error.format_message()), "exit_code": code}
            print(json.dumps({"error": told}, ensure_ascii=False))
        return code


def main() -> NoReturn:
    """The process: streams that take any text, a stop from outside that is like Ctrl-C, a reader that goes away."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _stop)
    # One allocator for Arrow and NumPy: what one frees serves the other, and nothing is cleared twice.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    gc.disable()  # what an import makes stays: to look through it for garbage takes a tenth of the time
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush has no reader
        code = 1
    sys.exit(code)


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt
