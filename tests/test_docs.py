"""What README.md and the pages of docs/ show is true: every fence of Python and commands runs, in order, as it stands.

A page runs in a scratch copy of what the repository's root has for readers (`examples/`, `benchmarks/`).

- ```` ```python ```` fences of a page share one namespace, in one process.
- ```` ```console ```` fences: a line that begins with `$ ` is a command for bash, lines `> ` after it go on with it. It
  has to end with 0, or as `# exit N` at its end says. The lines after it have to be in its output, in this order; `...`
  stands for any text of a line, a line `...` for any lines.
- ```` ```yaml ```` fences that have a key of a pipeline file are one.
- A page with `<!-- needs: PENSTOCK_DATA -->` in its first three lines runs where that variable names the folder of the
  public data sets: `make docs-data`.
"""

import ast
import dataclasses
import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import typer

import penstock
from penstock import registry
from penstock.batch import Batch, RowKeys
from penstock.cli import app
from penstock.config import PipelineConfig, parse_config
from penstock.expression_functions import FUNCTIONS
from penstock.statistics.classification import Classification
from penstock.statistics.regression import Regression

ROOT = Path(__file__).parents[1]
NEEDS_DATA = "<!-- needs: PENSTOCK_DATA -->"
COPIED = ("examples", "benchmarks")
FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\w+)\n(?P<body>.*?)^(?P=ticks)`*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """What a page shows between its marks, and in which line it begins."""

    language: str
    body: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command, what is shown of its output, and the code it has to end with."""

    text: str
    shown: tuple[str, ...]
    code: int


def pages() -> list[Path]:
    """Those that people write: what is generated is taken from docstrings, and runs there."""
    found = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "reference"} & set(path.parts)]
    return [ROOT / "README.md", *sorted(found)]


def needs_data(page: Path) -> bool:
    return NEEDS_DATA in page.read_text("utf-8").splitlines()[:3]


def fences_of(text: str) -> list[Fence]:
    return [Fence(m["language"], m["body"], text.count("\n", 0, m.start("body")) + 1) for m in FENCE.finditer(text)]


def commands_of(body: str) -> Iterator[Command]:
    """The commands of a fence; what stands before the first one is a mistake."""
    text: str | None = None
    shown: list[str] = []
    for line in [*body.splitlines(), "$ "]:
        if line.startswith("$ "):
            if text is not None:
                code = re.search(r"#\s*exit (\d+)\s*$", text)
                yield Command(text, tuple(shown), int(code[1]) if code else 0)
            assert text is not None or not shown, f"output without a command: {shown[0]!r}; show it as text"
            text, shown = line[2:], []
        elif line.startswith("> ") and text is not None and not shown:
            text += "\n" + line[2:]
        else:
            shown.append(line)


def first_not_shown(shown: tuple[str, ...], output: str) -> str | None:
    """The first shown line that is not in the output after the ones before it."""
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    for line in shown:
        parts = [" ".join(part.split()) for part in line.split("...")]
        if not any(parts):
            continue
        pattern = re.compile(".*".join(map(re.escape, parts)))
        if not any(pattern.search(one) for one in lines):
            return line
    return None


# The fences' namespace is that of a main module, so that classes and functions in them can be found by their module.
DRIVER = """
import json, os, sys, traceback
_answers = os.fdopen(int(sys.argv[1]), "w")
for _line in sys.stdin:
    _asked = json.loads(_line)
    _error = ""
    try:
        exec(compile("\\n" * (_asked["line"] - 1) + _asked["code"], _asked["page"], "exec"), globals())
    except BaseException:
        _error = traceback.format_exc()
    sys.stdout.flush()
    print(json.dumps(_error), file=_answers, flush=True)
"""


class Python:
    """An interpreter that runs one fence after the other."""

    def __init__(self, place: Path, environment: dict[str, str]) -> None:
        reads, writes = os.pipe()
        self.log = place.parent / "python.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(writes)],
                cwd=place, env=environment, pass_fds=[writes], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
            )  # fmt: skip
        os.close(writes)
        self.answers = os.fdopen(reads)

    def run(self, fence: Fence, page: str) -> None:
        assert self.process.stdin is not None
        print(json.dumps({"code": fence.body, "page": page, "line": fence.line}), file=self.process.stdin, flush=True)
        answer = self.answers.readline()
        error = json.loads(answer) if answer else "the interpreter ended"
        assert not error, f"{page}:{fence.line}: {error}\n{self.log.read_text('utf-8', 'replace')[-2000:]}"

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.answers.close()


def environment() -> dict[str, str]:
    """Like that of a reader: Penstock on the path, and nothing that changes what is printed."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "FORCE_COLOR"}}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}


def run_commands(fence: Fence, page: str, place: Path) -> None:
    for command in commands_of(fence.body):
        done = subprocess.run(
            ["bash", "-c", command.text], cwd=place, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        told = f"{page}:{fence.line}: $ {command.text}\n{done.stdout[-6000:]}"
        assert done.returncode == command.code, f"ended with {done.returncode}, not {command.code}: {told}"
        lacking = first_not_shown(command.shown, done.stdout)
        assert lacking is None, f"not in the output, or not at this place: {lacking!r}\n{told}"


def run_page(page: Path, scratch: Path) -> None:
    place = scratch / "root"
    for name in COPIED:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    name = page.relative_to(ROOT).as_posix()
    interpreter: Python | None = None
    try:
        for fence in fences_of(page.read_text("utf-8")):
            if fence.language == "python":
                interpreter = interpreter or Python(place, environment())
                interpreter.run(fence, name)
            elif fence.language == "console":
                run_commands(fence, name, place)
    finally:
        if interpreter is not None:
            interpreter.close()


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in pages() if not needs_data(page)], ids=named)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.timeout(7200)
@pytest.mark.skipif("PENSTOCK_DATA" not in os.environ, reason="PENSTOCK_DATA names no folder of the public data sets")
@pytest.mark.parametrize("page", [page for page in pages() if needs_data(page)], ids=named)
def test_what_a_page_shows_of_the_public_data_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", pages(), ids=named)
def test_the_yaml_of_a_page_is_a_pipeline_file(page: Path) -> None:
    keys = set(PipelineConfig.__dataclass_fields__)
    for fence in fences_of(page.read_text("utf-8")):
        if fence.language == "yaml" and keys & set(re.findall(r"^(\w+):", fence.body, re.MULTILINE)):
            parse_config(fence.body, f"{page.name}:{fence.line}")


@pytest.mark.parametrize("page", pages(), ids=named)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    prose = FENCE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", prose):
        generated = target.lstrip("./").startswith("reference/")
        assert generated or "://" in target or (page.parent / target).exists(), f"{page.name}: there is no {target}"


def test_a_shown_line_that_is_not_printed_is_found() -> None:
    output = "rows  16,281\nroc_auc 0.9301\n"
    assert first_not_shown(("rows 16,281", "...", "roc_auc 0.93..."), output) is None
    assert first_not_shown(("roc_auc 0.93...", "rows 16,281"), output) == "rows 16,281"
    assert first_not_shown(("roc_auc 0.94...",), output) == "roc_auc 0.94..."


def test_commands_have_their_output_and_code() -> None:
    first, second = commands_of("$ echo a\n> b\na\n$ false  # exit 1\n")
    assert first == Command("echo a\nb", ("a",), 0)
    assert second == Command("false  # exit 1", (), 1)
    with pytest.raises(AssertionError, match="without a command"):
        list(commands_of("a\n$ echo a\n"))


# ------------------------------------------------------------------ the reference, made from the code


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's pages, as `docs/reference_pages.py` writes them."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, ROOT / "docs" / "reference_pages.py", folder], check=True, capture_output=True)
    return folder


def sections_of(page: Path) -> dict[str, str]:
    """The text under each heading; what stands above the first one under ""."""
    text = FENCE.sub(lambda m: m[0].replace("\n#", "\n #"), page.read_text("utf-8"))
    parts = re.split(r"^##? (.*)$", text, flags=re.MULTILINE)
    return {"": parts[2].strip(), **dict(zip(parts[3::2], (part.strip() for part in parts[4::2]), strict=True))}


DEFINITIONS = [(group, name) for group in ("steps", "relations", "models") for name in registry.names(group)]


@pytest.mark.parametrize(("group", "name"), DEFINITIONS)
def test_every_definition_has_a_page_with_its_meaning_settings_and_example(
    reference: Path, group: str, name: str
) -> None:
    sections = sections_of(reference / group / f"{name}.md")
    assert len(sections[""]) > 20 or sections["Formula"]
    settings = re.findall(r"^\| `(\w+)` \|([^|]+)\|([^|]+)\| (.+) \|$", sections["Settings"], re.MULTILINE)
    fields = [item.name for item in dataclasses.fields(registry.find(group, name)) if item.init]
    assert [setting[0] for setting in settings] == fields
    assert all(meaning.strip() for *_, meaning in settings)
    assert ">>> " in sections["Example"]
    if group == "steps":
        assert sections["What it learns"]
        assert re.search(rf"^\| `{name}\b", sections["What it does with surprises"], re.MULTILINE)


@pytest.mark.parametrize(("group", "name"), DEFINITIONS)
def test_the_yaml_example_of_a_definition_says_what_its_python_example_makes(
    reference: Path, group: str, name: str
) -> None:
    example = sections_of(reference / group / f"{name}.md")["Example"]
    (fence,) = [fence for fence in fences_of(example) if fence.language == "yaml"]
    config = parse_config(fence.body, name)
    made = {"steps": config.steps, "relations": config.data, "models": (config.model,)}[group]
    definition = registry.find(group, name)
    session = "".join(fence.body for fence in fences_of(example) if fence.language == "pycon")
    code = "".join(one.source for one in doctest.DocTestParser().get_examples(session))
    calls = [
        node for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == definition.__name__
    ]  # fmt: skip
    said = min(calls, key=lambda call: call.lineno)
    wanted = definition(
        *map(ast.literal_eval, said.args),
        **{str(keyword.arg): ast.literal_eval(keyword.value) for keyword in said.keywords},
    )
    if group == "relations" and hasattr(wanted, "other"):  # in a file a path is relative to the file
        made = tuple(dataclasses.replace(one, other=Path(one.other).name) for one in made)
    assert made == (wanted,)


def test_every_metric_has_a_formula(reference: Path) -> None:
    told = {
        name for name, _ in re.findall(r"^\| `(\w+)` \| (.{10,}) \|$", (reference / "metrics.md").read_text(), re.M)
    }
    rows = pa.record_batch(
        {"y": ["a", "b"], "prediction": ["a", "b"], "probability_a": [0.9, 0.1], "probability_b": [0.1, 0.9]}
    )
    classes = Classification("y", ["a", "b"])
    classes.update(Batch(rows, RowKeys.span("", 0, 2)))
    numbers = Regression("y")
    numbers.update(Batch(pa.record_batch({"y": [1.0, 2.0], "prediction": [1.0, 2.0]}), RowKeys.span("", 0, 2)))
    known = {name for name, value in {**classes.value(), **numbers.value()}.items() if isinstance(value, float)}
    assert known <= told
    assert {"mean_cost", "f_beta", "quantile_loss"} <= told


def test_every_function_of_expressions_has_an_example(reference: Path) -> None:
    page = (reference / "expressions.md").read_text("utf-8")
    assert {*re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)} == set(FUNCTIONS)


def test_every_command_option_source_and_public_name_is_told(reference: Path) -> None:
    commands = (reference / "command-line.md").read_text("utf-8")
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        section = commands.partition(f"\n## {command.name}\n")[2].partition("\n## ")[0]
        assert all(option in section for parameter in command.params for option in parameter.opts if option[0] == "-")
    sources = (reference / "sources.md").read_text("utf-8")
    assert all(f"`{ending}`" in sources for ending in registry.names("sources"))
    assert all(f"`{scheme}" in sources for scheme in registry.names("schemes"))
    keys = (reference / "pipeline-file.md").read_text("utf-8")
    assert all(f"`{item.name}`" in keys for item in dataclasses.fields(PipelineConfig) if item.name != "places")
    python = (reference / "python.md").read_text("utf-8")
    paged = {registry.find(group, name).__name__ for group, name in DEFINITIONS}
    assert all(f"## penstock.{name}\n" in python for name in set(penstock.__all__) - paged - {"__version__"})
