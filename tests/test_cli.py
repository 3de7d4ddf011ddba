"""The command line: what is printed where, which exit code, and that every option does something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from penstock import __version__, cli
from penstock.api import load
from penstock.asked import listed
from penstock.batch import Count
from penstock.engine import Figures
from penstock.errors import ConfigError, UsageError
from penstock.jobs import doctor
from penstock.source import Note
from penstock.terminal import Terminal
from penstock.terminal_tables import MOST_ROLES, error_lines, ledger_table, metrics_table, progress_lines, progress_text

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIG = """\
target: bought
seed: 1
holdout: 20%
steps:
  - impute: {columns: numeric, strategy: median}
  - standardize: numeric
  - one_hot: categorical
model:
  linear: {epochs: 3}
"""


def write_people(path: Path, rows: int, seed: int = 0) -> Path:
    """People, some of whom bought: by age and city, with noise."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 90, rows)
    city = random.choice(["Bern", "Oslo", "Riga"], rows)
    score = (age - 50) / 15 + (city == "Oslo") + random.normal(0, 1, rows)
    bought = np.where(score > 0, "yes", "no")
    lines = [f"p{i},{a},{c},{b}" for i, (a, c, b) in enumerate(zip(age, city, bought, strict=True))]
    path.write_text("\n".join(["id,age,city,bought", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a pipeline file, and a model trained by them."""
    folder = tmp_path_factory.mktemp("place")
    write_people(folder / "people.csv", 600)
    write_people(folder / "others.csv", 200, seed=1)
    (folder / "penstock.yaml").write_text(CONFIG)
    code = cli.run(
        ["train", str(folder / "people.csv"), "--config", str(folder / "penstock.yaml"), "--to", str(folder / "model")]
    )
    assert code == 0
    return folder


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path) -> Call:
    """The command line in this process, in the folder of the data."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("PENSTOCK_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def process(*arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-c", "from penstock.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---------------------------------------------------------------------- help and usage


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("train", "--target --config --model --to --test --holdout --seed --max-rows --restart --memory --cores"),
        ("evaluate", "--columns --encoding --delimiter --missing --roles --max-rejected --json --quiet --debug"),
        ("predict", "--to --keep --restart --columns --memory --cores --max-rejected --json --quiet"),
        ("prepare", "--config --to --seed --restart --roles --json --quiet"),
        ("doctor", "--json --quiet"),
    ],
)
def test_help_lists_the_options(call: Call, command: str, options: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    for option in options.split():
        assert f"{option} " in out or f"{option}\n" in out, option


def test_help_names_the_commands_and_exit_codes(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(f"\n  {command} " in out for command in ("train", "evaluate", "predict", "prepare", "doctor"))
    assert "0 done, 1 failed, 2 wrong usage, 3 too many rows rejected" in " ".join(out.split())


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version") == (0, f"penstock {__version__}\n", "")


def test_help_loads_nothing_heavy() -> None:
    heavy = "pyarrow polars numpy ruamel lightgbm sklearn rich"
    code = (
        "import sys; from penstock import cli; code = cli.run(['train', '--help']); "
        f"sys.exit(' '.join(name for name in {heavy.split()} if name in sys.modules) or code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trai", "x"], "No such command 'trai'"),
        (["train"], "Missing argument 'DATA"),
        (["train", "x", "--tarjet", "y"], "No such option: --tarjet"),
        (["train", "x", "--cores", "many"], "Invalid value for '--cores'"),
        (["prepare", "x"], "Missing option '--config'"),
        (["predict", "model", "x"], "Missing option '--to'"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(call: Call, arguments: list[str], message: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "--help" in err or "-h" in err
    code, out, _ = call(*arguments, "--json")
    error = json.loads(out)["error"]
    assert code == 2
    assert error["exit_code"] == 2
    assert message.split(":", maxsplit=1)[0] in error["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "bought", "--holdout", "1"], "--holdout: out of range"),
        (["--target", "bought", "--holdout", "x"], "--holdout: not a share"),
        (["--target", "bought", "--max-rejected", "200%"], "--max-rejected: out of range"),
        (["--target", "bought", "--memory", "2 apples"], "--memory: not a size"),
        (["--target", "bought", "--memory", "1MiB"], "--memory: too little memory"),
        (["--target", "bought", "--cores", "0"], "--cores: not a number of cores"),
        (["--target", "bought", "--seed", str(2**63)], "--seed: out of range"),
        (["--target", "bought", "--model", "bosted"], "did you mean 'boosted'?"),
        (["--target", "bought", "--roles", "age=categry"], "did you mean 'category'?"),
        (["--target", "bought", "--roles", "age"], "--roles: not a role of a column"),
        (["--target", "bought", "--roles", "age=key,age=text"], "--roles: a column has two roles"),
        (["--target", "bought", "--columns", "a,,b"], "--columns: a name is empty"),
        (["--target", "bought", "--delimiter", ";;"], "not a delimiter"),
        (["--target", "bought", "--max-rows", "-1"], "--max-rows"),
        ([], "no target to learn"),
    ],
)
def test_wrong_values_end_with_2_before_anything_is_written(
    call: Call, place: Path, arguments: list[str], message: str
) -> None:
    code, out, err = call("train", "people.csv", "--to", "none", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["evaluate", "none", "others.csv"], 1, "ArtifactError"),
        (["evaluate", "model", "none.csv"], 1, "SourceError"),
        (["predict", "model", "others.csv", "--to", "p0", "--keep", "salary"], 1, "SchemaError"),
        (["predict", "model", "others.csv", "--to", "p0", "--roles", "age=text"], 2, "UsageError"),
        (["prepare", "people.csv", "--config", "none.yaml", "--to", "p0"], 2, "ConfigError"),
        (["train", "people.csv", "--target", "salary", "--to", "none"], 1, "SchemaError"),
        (["train", "people.csv", "--target", "bought", "--to", "model"], 1, "RunError"),
    ],
)
def test_errors_are_told_in_words_and_as_json(call: Call, arguments: list[str], code: int, kind: str) -> None:
    assert call(*arguments, "-q")[:2] == (code, "")
    found, out, err = call(*arguments, "-q", "--json")
    error = json.loads(out)["error"]
    assert (found, error["exit_code"], error["type"]) == (code, code, kind)
    assert error["message"] in " ".join(err.split())
    assert "Traceback" not in err


def test_a_wrong_pipeline_file_is_told_with_its_line(call: Call, place: Path) -> None:
    (place / "wrong.yaml").write_text("target: bought\nsteps:\n  - imput: numeric\n")
    code, _, err = call("train", "people.csv", "--config", "wrong.yaml", "--to", "none")
    assert code == 2
    assert "wrong.yaml:3: no step of this name" in err
    assert "did you mean 'impute'?" in err


# ---------------------------------------------------------------------- the commands


def test_train_evaluate_predict_by_the_model_folder(call: Call, place: Path) -> None:
    code, out, err = call("evaluate", "model", "others.csv", "--json", "--quiet")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["command"], found["rows"], found["rejected"]) == ("evaluate", 200, 0)

    code, out, err = call("predict", "model", "others.csv", "--to", "answers", "--keep", "id,bought", "--json", "-q")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["rows"], told["output"]) == (200, str(place / "answers"))
    answers = pl.read_parquet(place / "answers" / "*.parquet")
    assert answers.columns == ["id", "bought", "prediction", "probability_no", "probability_yes"]
    assert answers["id"].to_list() == [f"p{i}" for i in range(200)]
    right = float((answers["bought"] == answers["prediction"]).mean())  # type: ignore[arg-type]
    assert found["metrics"]["accuracy"] == pytest.approx(right, abs=1e-12)

    code, out, _ = call("predict", "model", "others.csv", "--to", "answers", "--keep", "id,bought")
    assert code == 0
    assert "by an earlier run of the same job" in out


def test_predict_without_the_target_and_into_one_file(call: Call, place: Path) -> None:
    pl.read_csv(place / "others.csv").drop("bought").write_csv(place / "unlabelled.csv")
    code, out, _ = call("predict", "model", "unlabelled.csv", "--to", "one.csv", "-q")
    assert code == 0
    assert pl.read_csv(place / "one.csv").height == 200
    assert "one.csv.run/run.json" in out


def test_train_says_what_it_decided_and_shows_what_came_of_it(call: Call, place: Path) -> None:
    arguments = ["train", "people.csv", "--target", "bought", "--model", "linear", "--to", "said", "--max-rows", "300"]
    code, out, err = call(*arguments)
    assert code == 0
    said = " ".join(err.split())
    assert "holdout 10% of the rows are kept out of training" in said
    assert "to override: --test DATA, or --holdout 0" in said
    assert "delimiter ','" in said
    assert "age integer whole numbers" in said
    assert "task binary" in said
    for shown in ("roc_auc", "rejected", "10% of the rows, held out", "penstock predict said DATA --to predictions"):
        assert shown in out
    assert max(map(len, (out + err).splitlines())) <= 80
    assert load(place / "said").definition.model.max_rows == 300  # type: ignore[union-attr]

    times = {path: path.stat().st_mtime_ns for path in (place / "said").rglob("*")}
    code, again, _ = call(*arguments)
    assert code == 0
    assert again == out, "the same command on a finished run opens what is there"
    assert times == {path: path.stat().st_mtime_ns for path in (place / "said").rglob("*")}
    code, _, err = call(*arguments, "--seed", "1")
    assert code == 1
    assert "begin anew with --restart" in err
    code, out, _ = call(*arguments, "--restart", "--holdout", "0", "--json", "-q")
    assert code == 0
    assert "evaluation" not in json.loads(out)


def test_options_override_the_pipeline_file_and_say_so(call: Call, place: Path) -> None:
    (place / "penstock2.yaml").write_text(CONFIG.replace("  - one_hot: categorical\n", ""))
    base = ["train", "people.csv", "--config", "penstock2.yaml", "--to", "over", "--restart", "--json"]
    code, out, _ = call(*base)
    plain = json.loads(out)
    assert code == 0
    assert plain["evaluation"]["on"].startswith("20%")
    assert not {note["topic"] for note in plain["notes"]} & {"seed", "model", "holdout", "target"}

    code, out, _ = call(*base, "--seed", "9", "--target", "city", "--model", "boosted", "--test", "others.csv")
    told = json.loads(out)
    notes = {note["topic"]: note for note in told["notes"]}
    assert code == 0
    assert notes["seed"]["reason"] == "over 1 in penstock2.yaml"
    assert notes["target"]["text"] == "city"
    assert notes["model"] == {
        "topic": "model",
        "text": "boosted",
        "reason": "over linear in penstock2.yaml",
        "override": "leave --model out",
    }
    assert (notes["holdout"]["text"], notes["holdout"]["reason"]) == ("none", "there are test rows")
    assert told["evaluation"]["on"] == "test data"
    fitted = load(place / "over")
    assert (fitted.target.column, fitted.definition.seed, fitted.definition.holdout) == ("city", 9, 0.0)


def test_a_holdout_of_nothing_in_the_file_is_respected(call: Call, place: Path) -> None:
    (place / "all.yaml").write_text(CONFIG.replace("20%", "0"))
    code, out, _ = call("train", "people.csv", "--config", "all.yaml", "--to", "all", "--json", "-q")
    assert code == 0
    assert "evaluation" not in json.loads(out)


def test_how_to_read_can_be_typed(call: Call, place: Path) -> None:
    (place / "bare.txt").write_bytes("a|Zürich|-9\nb|Genève|2\nc|-9|3\n".encode("latin-1") * 20)
    (place / "drop.yaml").write_text("steps:\n  - standardize: size\n")
    code, _, err = call(
        *("prepare", "bare.txt", "--config", "drop.yaml", "--to", "bare.parquet", "--columns", "name,town,size"),
        *("--encoding", "latin-1", "--delimiter", "|", "--missing", "-9", "--roles", "name=key,size=number"),
    )
    assert (code, "delimiter " in err) == (0, False)
    table = pl.read_parquet(place / "bare.parquet")
    assert table.columns == ["name", "town", "size"]
    assert table["town"].to_list()[:3] == ["Zürich", "Genève", None]
    assert table["size"].to_list()[:3] == pytest.approx([None, -1.0, 1.0])


def test_prepare_leaves_the_target_as_it_is(call: Call, place: Path) -> None:
    code, out, err = call("prepare", "people.csv", "--config", "penstock.yaml", "--to", "prepared")
    assert code == 0
    assert "linear is not used" in err
    assert "penstock train prepared --target bought" in out
    table = pl.read_parquet(place / "prepared" / "*.parquet")
    assert set(table["bought"].unique()) == {"yes", "no"}
    assert {"city_Bern", "city_Oslo", "city_Riga"} < set(table.columns)


def test_rejected_rows_are_counted_shown_and_kept(call: Call, place: Path) -> None:
    lines = (place / "people.csv").read_text().splitlines()
    lines[5] += ",too,many"
    (place / "dirty.csv").write_text("\n".join(lines) + "\n")
    common = ["train", "dirty.csv", "--target", "bought", "--model", "linear", "--to", "dirty", "-q"]
    code, out, _ = call(*common)
    assert code == 0
    assert "dirty.run/rejected" in out
    rejected = pq.read_table(place / "dirty.run" / "rejected")
    assert rejected.column("record").to_pylist() == [lines[5]]

    code, out, err = call(*common, "--restart", "--max-rejected", "0", "--json")
    assert code == 3
    assert json.loads(out)["error"]["type"] == "TooManyRejected"
    assert "remedy" in err

    code, _, _ = call("train", "people.csv", *common[2:], "--restart")
    assert code == 0
    assert not (place / "dirty.run" / "rejected").exists()


def test_several_files_and_test_files_are_taken(call: Call, place: Path) -> None:
    code, out, _ = call(
        *("train", "people.csv", "others.csv", "--target", "bought", "--model", "linear", "--to", "several"),
        *("--test", "others.csv", "--test", "people.csv", "--json", "-q"),
    )
    told = json.loads(out)
    assert code == 0
    assert (told["rows"], told["evaluation"]["rows"]) == (800, 800)


@pytest.mark.parametrize("name", ["adult.yaml", "prepare.yaml"])
def test_the_pipeline_files_of_the_examples_are_read(name: str) -> None:
    from penstock.config import dump_config, load_config, parse_config

    config = load_config(EXAMPLES / name)
    assert config.target == "income"
    assert parse_config(dump_config(config), name) == config


# ---------------------------------------------------------------------- doctor


def test_doctor_finds_what_is_there(call: Call) -> None:
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert (code, found["good"], found["version"]) == (0, True, __version__)
    versions = {one["name"]: one["text"] for one in found["libraries"]}
    assert versions["polars"] == pl.__version__
    assert {"numpy", "pyarrow", "scikit-learn", "ruamel.yaml"} < set(versions)
    code, out, _ = call("doctor")
    assert (code, "jobs can run here" in out) == (0, True)


def test_doctor_tells_what_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.library("no-such-library").text == "not installed"
    assert doctor.extra("torch", ["no-such-library"]).remedy == "pip install 'penstock[torch]'"
    found = doctor.writable(tmp_path / "none")
    assert (found.good, found.remedy) == (False, "set TMPDIR to a folder that can be written")
    monkeypatch.setitem(doctor.MODULES, "psutil", "penstock.no_such_module")
    code, out, _ = call("doctor")
    assert code == 1
    assert "can't be imported: ModuleNotFoundError" in " ".join(out.split())
    assert "something is missing" in out


# ---------------------------------------------------------------------- the process


def test_the_output_stream_is_one_json_object_and_notes_go_to_the_other(place: Path) -> None:
    done = process("evaluate", "model", "others.csv", "--json", folder=place)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["rows"] == 200
    assert "as in training" in done.stderr
    assert "\x1b" not in done.stderr


def test_exit_codes_of_the_process(place: Path) -> None:
    done = process("evaluate", "model", "none.csv", folder=place)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such file" in done.stderr
    assert process("evaluate", folder=place).returncode == 2


def test_any_name_can_be_printed_on_a_stream_that_takes_ascii_only(place: Path) -> None:
    (place / "names.csv").write_text("größe,年\n" + "1,2\n" * 50, "utf-8")
    (place / "names.yaml").write_text("steps: [standardize: größe]", "utf-8")
    for form in ([], ["--json"]):
        done = process(
            *("prepare", "names.csv", "--config", "names.yaml", "--to", "names", *form),
            folder=place,
            environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        )
        assert done.returncode == 0, done.stderr
        assert "\\xf6" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(place: Path) -> None:
    code = "import sys, os; from penstock.cli import main; sys.argv[1:] = ['doctor']; main()"
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen([sys.executable, "-c", code], cwd=place, stdout=write, stderr=subprocess.PIPE) as child:
        os.close(write)
        assert child.stderr is not None
        told = child.stderr.read()
    assert (child.returncode, told) == (1, b"")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_goes_on_by_the_same_command(tmp_path: Path, stop: signal.Signals) -> None:
    lines = write_people(tmp_path / "people.csv", 20_000).read_text().splitlines(keepends=True)
    big = tmp_path / "big.csv"
    big.write_text("".join([lines[0], *lines[1:] * 40]))
    (tmp_path / "steps.yaml").write_text("steps:\n  - standardize: numeric\n  - one_hot: city\n")
    arguments = ["prepare", big.name, "--config", "steps.yaml", "--to", "out"]
    command = [sys.executable, "-c", "from penstock.cli import main; main()", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        until = time.monotonic() + 30
        while not (tmp_path / "out.run" / "run.json").exists() and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(stop)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (1, ""), err
    assert "stopped; finished chunks are kept, and the same command goes on from there" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    done = process(*arguments, "-q", "--json", folder=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, 800_000)


# ---------------------------------------------------------------------- what it looks like


def printed(what: Any, width: int = 80, **options: Any) -> str:
    from rich.console import Console

    console = Console(width=width, **options)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_steps_that_changed_nothing_share_a_line() -> None:
    counts = (
        Count("read", 100, 0, 98, 2, 0),
        Count("impute", 98, 0, 98),
        Count("clip", 98, 0, 98),
        Count("standardize", 98, 0, 98),
        Count("holdout", 98, 0, 88, 0, 10),
        Count("one_hot", 88, 0, 88),
    )
    lines = [line.split() for line in printed(ledger_table(counts)).splitlines() if line.strip()]
    assert lines[2:] == [
        ["read", "100", "-", "98", "2", "-"],
        ["impute", "to", "standardize", "(3", "steps)", "98", "-", "98", "-", "-"],
        ["holdout", "98", "-", "88", "-", "10"],
        ["one_hot", "88", "-", "88", "-", "-"],
    ]


def test_a_ledger_of_billions_fits_eighty_columns() -> None:
    big = 12_345_678_901
    shown = printed(ledger_table([Count("a_step_with_a_long_name", big, 0, big, big, 0)]))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count(f"{big:,}") == 3
    assert "a_step_with_a_long_name" in "".join(line.split()[0] for line in shown.splitlines() if line.strip())


def test_metrics_that_are_undefined_say_so() -> None:
    shown = printed(metrics_table({"accuracy": 0.98765, "roc_auc": float("nan"), "mse": 1.5e-9}))
    assert [line.split() for line in shown.splitlines()[3:]] == [
        ["accuracy", "0.9877"],
        ["roc_auc", "undefined"],
        ["mse", "1.5e-09"],
    ]


def test_progress_tells_speed_bytes_and_the_time_left() -> None:
    figures = Figures("fit", 2_000_000, None, 2**30, 4 * 2**30, 64 * 2**20, 410 * 2**20, seconds=10.0)
    line = str(progress_text(figures))
    assert line == "fit: 25%, 2,000,000 rows, 200 k rows/s, 64.0 MiB in flight, 410 MiB held, 30 s left"
    shown = printed(progress_lines(figures, ascii_only=True))
    assert "########......................" in shown
    assert "25%  30 s left" in shown
    assert max(map(len, shown.splitlines())) <= 80
    unknown = str(progress_text(Figures("fit", 5, seconds=0.0)))
    assert unknown == "fit: running, 5 rows, 0 B held"


def test_of_a_training_the_loss_is_told_first_and_memory_and_time_are_never_cut_off() -> None:
    names = ("train", "validation", "accuracy", "dead_units", "gradient_norm", "loss")
    values = {name: 0.123456789 * (place + 1) for place, name in enumerate(names)}
    figures = Figures("train, all passes", 300, 600, held=410 * 2**20, seconds=10.0, values=values)
    line = str(progress_text(figures))
    assert line.startswith(
        "train, all passes: 50%, 300 rows, 30 rows/s, 410 MiB held, 10 s left, loss 0.7407, train 0.1235, validation"
    )
    assert line.endswith("accuracy 0.3704, dead units 0.4938, gradient norm 0.6173")
    first, cost, told = printed(progress_lines(figures, ascii_only=True)).splitlines()
    assert first.endswith("50%  10 s left") and cost == "  300 rows, 30 rows/s, 410 MiB held"
    assert told.startswith("  loss 0.7407, train 0.1235, validation 0.2469, accuracy 0.3704") and len(told) <= 80


def test_text_of_the_user_is_never_markup() -> None:
    shown = printed(error_lines({"message": "no column [bold]x[/]", "got": "[red]"}))
    assert "[bold]x[/]" in shown
    assert "[red]" in shown


def test_many_roles_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    for i in range(MOST_ROLES + 5):
        terminal.said(Note(f"role of 'c{i}'", "number", "numbers", "read: {roles: {c0: category}}"))
    terminal.said(Note("task", "binary"))
    told = capsys.readouterr().err
    assert "column (30)" in told
    assert f"c{MOST_ROLES - 1} " in told
    assert f"c{MOST_ROLES} " not in told
    assert "and 5 more" in told
    assert told.index("and 5 more") < told.index("binary")


def test_progress_in_a_log_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    terminal = Terminal()
    for _ in range(250):  # 25 seconds, ten times a second
        now += 0.1
        terminal.progressed(Figures("fit", 5))
    assert len(capsys.readouterr().err.splitlines()) == 2
    terminal.progressed(Figures("fit", 5, seconds=25.0, finished=True))
    assert capsys.readouterr().err.split() == ["fit", "5", "rows", "in", "25", "s,", "0.2", "rows/s"]


def test_quiet_tells_nothing_but_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(quiet=True) as terminal:
        terminal.said(Note("task", "binary"))
        terminal.progressed(Figures("fit", 5, finished=True))
        raise UsageError("no such column", where="data.csv", expected="'age'", got="'Age'", remedy="use 'age'")
    told = capsys.readouterr()
    assert [line.rstrip() for line in told.err.splitlines()] == [
        "error: data.csv: no such column",
        "  expected: 'age'",
        "  got:      'Age'",
        "  remedy:   use 'age'",
    ]
    assert told.out == ""
    assert terminal.exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("wrong"), 2, "error: wrong"),
        (KeyboardInterrupt(), 1, "stopped; nothing was written"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_every_error_has_an_exit_code_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.delenv("PENSTOCK_DEBUG", raising=False)
    with Terminal(as_json=True) as terminal:
        raise error
    told = capsys.readouterr()
    assert terminal.exit_code == code
    assert said in " ".join(told.err.split())
    assert "Traceback" not in told.err
    assert json.loads(told.out)["error"]["exit_code"] == code
    for way in ("option", "environment"):
        monkeypatch.setenv("PENSTOCK_DEBUG", "1" if way == "environment" else "")
        with Terminal(debug=way == "option"):
            raise error
        assert "Traceback" in capsys.readouterr().err


def test_a_log_that_nobody_reads_does_not_stop_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal() as terminal:
        terminal.said(Note("task", "binary"))
        terminal.progressed(Figures("fit", 5, finished=True))
    assert terminal.exit_code is None
    with pytest.raises(BrokenPipeError):  # what was to be told is still there, and has no reader
        stream.close()


def test_json_has_null_where_a_number_is_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(as_json=True) as terminal:
        terminal.result({"metrics": [{"roc_auc": float("nan")}, 1.5, (float("inf"),)]}, ())
    told = json.loads(capsys.readouterr().out)
    assert told == {"metrics": [{"roc_auc": None}, 1.5, [None]], "notes": []}


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a", ("a",)), ("a, b", ("a", "b")), ('"a,b",c', ("a,b", "c")), ("年,größe", ("年", "größe"))],
)
def test_lists_are_typed_with_commas(text: str, parts: tuple[str, ...]) -> None:
    assert listed(text, "--keep") == parts


def test_an_empty_text_may_mean_missing_but_is_no_name() -> None:
    assert listed("", "--missing", empty=True) == ("",)
    assert listed("?,", "--missing", empty=True) == ("?", "")
    with pytest.raises(UsageError, match="--keep: a name is empty"):
        listed("", "--keep")


def test_the_table_of_roles_shows_every_role_however_long_the_reasons_are() -> None:
    from rich.console import Console

    from penstock.source import Note
    from penstock.terminal_tables import roles_table

    notes = [
        Note(f"role of 'a_rather_long_name_{i}'", "category", "many distinct texts, " * 9, "read: ...")
        for i in range(3)
    ]
    for width in (60, 80, 120):
        console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(roles_table(notes))
        shown = console.export_text().splitlines()
        assert sum("category" in line for line in shown) == 3
        assert all(len(line) <= width for line in shown)
        assert sum("a_rather_long_name_" in line for line in shown) == 3
