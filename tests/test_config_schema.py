"""The JSON schema of pipeline files, and the pipeline written out: both say what the parser takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

import penstock as ps
from penstock import registry
from penstock.config import PipelineConfig, dump_config, load_config, parse_config
from penstock.config_explained import explained
from penstock.config_schema import json_schema
from penstock.config_words import settings_of, summary_of, wrapped
from penstock.errors import ConfigError

EXAMPLES = Path(__file__).parents[1] / "examples"
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def plain(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)  # type: ignore[assignment]
    return json.loads(json.dumps(yaml.load(text)))


def test_the_schema_is_one_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_and_what_is_dumped_of_it_is_valid(path: Path) -> None:
    text = path.read_text("utf-8")
    VALIDATOR.validate(plain(text))
    VALIDATOR.validate(plain(dump_config(load_config(path))))


WRONG = [
    "hold_out: 0.1",
    "steps: [{impute: {colums: x}}]",
    "steps: [{impute: {columns: x, strategy: middle}}]",
    "steps: [nothing]",
    "model: {boosted: {rounds: many}}",
    "seed: seven",
    "holdout: [1]",
    "read: {delimiter: 5}",
    "steps: [{clip: {columns: x}, robust: {columns: x}}]",
]
RIGHT = [
    "{}",
    "steps: [{standardize: numeric}]",
    "steps: [{impute: {columns: {include: [a, b], exclude: [b]}, strategy: constant, value: 3}}]",
    "model: auto",
    "model: {auto: {effort: quick}}",
    "model: null",
    "holdout: 10%",
    "costs: {yes: {no: 5}}",
    "data: [{deduplicate: {columns: [id]}}]",
]


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_parser_takes_the_schema_takes(text: str) -> None:
    parse_config(text, "right.yaml")
    VALIDATOR.validate(plain(text))


@pytest.mark.parametrize("text", WRONG)
def test_what_the_parser_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text, "wrong.yaml")
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(plain(text))


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in ("steps", "models", "relations") for name in registry.names(group)]
)
def test_every_definition_and_every_setting_is_explained(group: str, name: str) -> None:
    definition = SCHEMA["$defs"][f"{group}.{name}"]
    assert len(definition["description"]) > 20
    settings = definition["anyOf"][0]["properties"]
    unsaid = [setting for setting, entry in settings.items() if not entry.get("description")]
    assert not unsaid, f"the docstring of {name} does not say what these are: {unsaid}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    rows = "\n".join(f"{20 + n % 40},{'Ulm' if n % 3 else 'Bern'},{'yes' if n % 2 else 'no'}" for n in range(200))
    path.write_text("age,home town,y\n" + rows + "\n")
    return path


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "penstock", *arguments], capture_output=True, text=True, check=False)


def test_init_writes_a_file_that_trains_and_explains_every_line(table: Path, tmp_path: Path) -> None:
    done = penstock("init", str(table), "--target", "y", "--effort", "quick", "-q")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "penstock.yaml"
    file.write_text(done.stdout)
    config = load_config(file)
    assert config.target == "y" and config.holdout == 0.1
    assert [step.name for step in config.steps] == ["normalize_text", "merge_spellings"]
    assert dict(config.read.roles) == {"age": "integer", "home town": "category", "y": "target"}
    VALIDATOR.validate(plain(done.stdout))
    assert "binary, two distinct values" in done.stdout
    trained = penstock(
        "train", str(table), "--config", str(file), "--model", "linear", "--to", str(tmp_path / "m"), "-q"
    )
    assert trained.returncode == 0, trained.stderr


def test_init_writes_out_how_values_are_written(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("price;day;y\n" + "".join(f"{i},5 €;{1 + i % 28:02d}/03/2026;{i % 2}\n" for i in range(100)))
    done = penstock("init", str(table), "--target", "y", "-q")
    assert done.returncode == 0, done.stderr
    VALIDATOR.validate(plain(done.stdout))
    read = parse_config(done.stdout, "penstock.yaml").read
    assert read.written == {"price": "€1234,5", "day": "%d/%m/%Y"}
    schema = ps.read(table, options=read).schema
    assert [(field.name, field.type, field.written) for field in schema] == [
        (field.name, field.type, field.written) for field in ps.read(table, roles={"y": "target"}).schema
    ]


def test_init_without_a_target_is_for_preparing(table: Path) -> None:
    done = penstock("init", str(table))
    assert parse_config(done.stdout, "x").model is None
    assert "penstock prepare" in done.stdout


def test_init_refuses_a_target_that_is_not_there(table: Path) -> None:
    done = penstock("init", str(table), "--target", "z")
    assert done.returncode == 1 and "none of the columns" in done.stderr and not done.stdout


def test_schema_prints_the_schema() -> None:
    done = penstock("schema")
    assert json.loads(done.stdout) == json.loads(json.dumps(SCHEMA))


def test_what_is_written_out_is_parsed_to_the_same(table: Path) -> None:
    from penstock.source import Note, ReadOptions

    config = PipelineConfig(
        steps=(ps.Standardize("numeric"), ps.OneHot(["a b", "*"])),
        model=ps.Linear(alpha=0.5),
        target="y",
        costs={"yes": {"no": 2.0}},
        read=ReadOptions(roles={"y": ps.Role.target, "#": ps.Role.key}, delimiter="\t"),
    )
    schema = ps.Schema(
        (
            ps.Field("y", ps.read(table).schema["age"].type, ps.Role.target, reason="a # sign: and\na line"),
            ps.Field("#", ps.read(table).schema["age"].type, ps.Role.key),
        )
    )
    note = Note("encoding", "utf-8", "no reason\nat all")
    text = explained(config, schema, title="a\nb.csv", command="penstock", reasons={"model": "so"}, notes=[note])
    assert parse_config(text, "x") == config


def test_words_come_from_docstrings() -> None:
    assert summary_of(ps.Standardize).endswith(".")
    assert settings_of(ps.BoostedTrees)["rounds"] == "the most trees (per class) of a model."
    assert wrapped("a b", 3) == ["# a", "# b"]
