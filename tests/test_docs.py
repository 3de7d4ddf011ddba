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

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.config import PipelineConfig, parse_config

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
