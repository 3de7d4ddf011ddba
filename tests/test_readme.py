"""What the README says of names and options exists, and the examples run; what it shows is run by `test_docs.py`."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from penstock.cli import app
from penstock.config import load_config, parse_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the examples where the README has them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pipeline_file_of_the_readme_is_one() -> None:
    text, relational = blocks("yaml")
    config = parse_config(text, "README.md")
    found = parse_config(relational, "README.md").data
    assert [relation.name for relation in found] == ["deduplicate", "join", "rolling"]
    assert [step.name for step in config.steps] == ["impute", "clip", "standardize", "one_hot"]


def test_the_commands_and_names_of_the_readme_exist() -> None:
    from penstock import registry

    told = re.search(r"^Steps clean .*?`autoencoder`", README, re.DOTALL | re.MULTILINE)
    assert told is not None
    known = {*registry.names("steps"), *registry.names("models")}
    for name in re.findall(r"`([a-z_]+)`", told[0]):
        assert name in known, name
    commands: Any = typer.main.get_command(app)
    options = {name for one in commands.commands.values() for option in one.params for name in option.opts}
    assert {*re.findall(r"`(--[a-z-]+)`", README)} <= options


@pytest.mark.parametrize("name", ["adult.yaml", "prepare.yaml"])
def test_an_example_is_a_pipeline_file(name: str) -> None:
    assert load_config(ROOT / "examples" / name).target == "income"


def test_the_example_of_preparing_runs(place: Path) -> None:
    command = "prepare examples/data/adult/train.csv.gz --config examples/prepare.yaml --to prepared --json --quiet"
    done = subprocess.run([sys.executable, "-m", "penstock", *command.split()], capture_output=True, check=True)
    assert b'"rows": 32561' in done.stdout
