"""The pipeline file: what it says comes back as it was, and what is wrong is told with its line."""

from __future__ import annotations

import dataclasses
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import registry
from penstock.config import (
    PipelineConfig,
    definition_from_json,
    definition_to_json,
    dump_config,
    load_config,
    parse_config,
    share,
)
from penstock.config_text import MOST_CHARACTERS, block, parse
from penstock.errors import ConfigError, SchemaError, UsageError
from penstock.model import Auto
from penstock.models.boosted import BoostedTrees
from penstock.models.linear import Linear
from penstock.schema import Role
from penstock.selector import Selector, columns, numeric
from penstock.source import ReadOptions
from penstock.steps.columns import Cast, Select
from penstock.steps.encode import OneHot, Ordinal
from penstock.steps.impute import Impute
from penstock.steps.outliers import Clip, RejectOutliers
from penstock.steps.scale import MinMax, Robust, Standardize

FULL = """\
target: income
seed: 3
holdout: 0.1
max_rejected: 2%
read:
  missing: ["?", "NA"]
  delimiter: ","
  encoding: utf-8
  columns: [a, b]
  roles: {zip: category, 2020: key}
  sample_rows: 100
steps:
  - impute: {columns: numeric, strategy: median}
  - clip: {columns: numeric, quantiles: [0.01, 0.99]}
  - standardize: numeric              # shorthand: just the columns
  - standardize: {include: numeric, exclude: ["*_id"]}
  - one_hot:
      columns: categorical
      max_categories: 50
model:
  boosted: {learning_rate: 0.05}
"""


def test_a_file_says_everything() -> None:
    config = parse_config(FULL, "penstock.yaml")
    assert config == PipelineConfig(
        steps=(
            Impute(numeric(), strategy="median"),
            Clip(numeric(), quantiles=(0.01, 0.99)),
            Standardize(numeric()),
            Standardize(numeric().excluding("*_id")),
            OneHot("categorical", max_categories=50),
        ),
        model=BoostedTrees(learning_rate=0.05),
        target="income",
        read=ReadOptions(
            columns=("a", "b"),
            encoding="utf-8",
            delimiter=",",
            missing=("?", "NA"),
            roles={"zip": Role.category, "2020": Role.key},
            sample_rows=100,
        ),
        seed=3,
        holdout=0.1,
        max_rejected=0.02,
    )


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("model: boosted", PipelineConfig(model=BoostedTrees())),
        ("model: {boosted: }", PipelineConfig(model=BoostedTrees())),
        ("model: null\nsteps:\nread:", PipelineConfig()),
        ("steps: []", PipelineConfig()),
        ("steps:\n  - select: [a, 'b c']", PipelineConfig(steps=(Select(["a", "b c"]),))),
        ("steps:\n  - select: {include: a, exclude: b}", PipelineConfig(steps=(Select(Selector(("a",), ("b",))),))),
        (
            "steps: [standardize: a, standardize: a]",
            PipelineConfig(steps=(Standardize("a"), Standardize("a"))),
        ),
        (
            "model: {boosted: {class_weight: {0: 1, yes: 2.5}}}",
            PipelineConfig(model=BoostedTrees(class_weight={"0": 1.0, "yes": 2.5})),
        ),
        ("target: no", PipelineConfig(target="no")),
        ("\ufefftarget: 年收入", PipelineConfig(target="年收入")),
        ("holdout: 0\nmax_rejected: 100%", PipelineConfig(max_rejected=1.0)),
    ],
)
def test_short_forms_mean_what_the_long_ones_do(text: str, config: PipelineConfig) -> None:
    assert parse_config(text, "penstock.yaml") == config


# Every complaint: the file, its line, the message, what came, and the remedy (None: there is none to give).
WRONG: list[tuple[str, int | None, str, str, str]] = [
    # not plain data
    ("", None, "the file is empty", "", "write, for example, model: boosted"),
    ("# only a comment\n", None, "the file is empty", "", "write, for example"),
    ("- a", 1, "a pipeline file is a mapping", "[a]", ""),
    ("hello", 1, "a pipeline file is a mapping", "'hello'", ""),
    ("seed: 1\nseed: 2", 2, "the key 'seed' stands here twice", "first in line 1, again in line 2", "take one"),
    (
        "steps:\n  - clip: {columns: a, columns: b}",
        2,
        "the key 'columns' stands here twice",
        "first in line 2",
        "take one",
    ),
    ("seed: &x 1", 1, "an anchor is not for pipeline files", "&x", "write the value where it is wanted"),
    ("seed: 1\ntarget: *x", 2, "an alias is not for pipeline files", "*x", "write the value out; a glob"),
    ("seed: 1\n*x : 2", 2, "an alias is not for pipeline files", "*x", "write the value out; a glob"),
    ("steps:\n  - clip: *", 2, "this is not YAML: expected alphabetic", "'- clip: *'", "between quotes, globs"),
    ("seed: !!int 5", 1, "a tag is not for pipeline files", "tag:yaml.org,2002:int", "leave it out"),
    ("seed: !!python/object/apply:os.system [ls]", 1, "a tag is not for pipeline files", "os.system", "leave it out"),
    ("---\nseed: 1\n---\nseed: 2", 3, "a second document is not for pipeline files", "", "take the line '---' out"),
    ("%YAML 1.1\n---\nseed: 1", 2, "another version of YAML is not for pipeline files", "%YAML 1.1", ""),
    ("? [a]\n: 1", 1, "a list or mapping as a key is not for pipeline files", "", "write a text as the key"),
    ("seed: " + "[" * 40, 1, "so deep a nesting is not for pipeline files", "more than 16 levels", ""),
    ("seed: " + "9" * 5000, 1, "so long a number is not for pipeline files", "99999999999999999999...", ""),
    ("seed: 0x" + "f" * 200, 1, "so long a number is not for pipeline files", "0xffff", ""),
    ("seed: " + "0" * 500 + "1", 1, "so long a number is not for pipeline files", "0000", ""),
    ("holdout: 1e999", 1, "so large a number is not for pipeline files", "1e999", "write .inf"),
    ('target: "\\ud800"', 1, "half a character is not for pipeline files", "'\\ud800'", "write whole code points"),
    ("seed: 1\ntarget: \x01", 2, "a character that a text file does not have", "U+0001", "take it out"),
    ("x" * (MOST_CHARACTERS + 1), None, "too long for a pipeline file", "524,289", ""),
    # not YAML
    (
        "steps:\n\t- impute: numeric",
        2,
        "a tab where YAML takes spaces only",
        r"'\t- impute: numeric'",
        "replace the tabs",
    ),
    ("seed: 1\n\tholdout: 2", 2, "a tab where YAML takes spaces only", r"'\tholdout: 2'", "replace the tabs"),
    ("target: a: b", 1, "this is not YAML: mapping values are not allowed here", "'target: a: b'", "between quotes"),
    ("target: @x", 1, "this is not YAML: found character '@'", "'target: @x'", "between quotes"),
    ("target: 'x", 1, "this is not YAML: found unexpected end of stream", '"target: \'x"', "close the quotes"),
    ("seed: [1", 1, "this is not YAML: expected ',' or ']'", "'seed: [1'", "close the bracket"),
    ("seed: 1\nholdout", 2, "this is not YAML: could not find expected ':'", "'holdout'", "write KEY: VALUE"),
    ("- x\nseed: 1", 2, "this is not YAML: expected <block end>", "'seed: 1'", "in the same column"),
    # keys and plain values
    ("seed: 1\nhold_out: 0.1", 2, "no such key in a pipeline file", "'hold_out'", "did you mean 'holdout'?"),
    ("<<: {seed: 1}", 1, "no such key in a pipeline file", "'<<'", ""),
    ("seed: x", 1, "seed: not of its type", "'x'", ""),
    ("seed: '1'", 1, "seed: not of its type", "'1'", ""),
    ("seed: true", 1, "seed: not of its type", "true", ""),
    ("seed: 1.0", 1, "seed: not of its type", "1.0", ""),
    ("seed:", 1, "seed: not of its type", "null", ""),
    (f"seed: {2**63}", 1, "seed: out of range", str(2**63), ""),
    ("target: a\nholdout: 1", 2, "holdout: out of range", "1", ""),
    ("holdout: ten", 1, "holdout: not a share", "'ten'", ""),
    ("holdout: true", 1, "holdout: not a share", "true", ""),
    ("holdout: .nan", 1, "holdout: not a share", ".nan", ""),
    ("holdout: [1]", 1, "holdout: not a share", "[1]", ""),
    ("max_rejected: 200%", 1, "max_rejected: out of range", "2", ""),
    ("target: 5", 1, "target: not of its type", "5", "if the text is meant, put it between quotes: '5'"),
    # reading
    ("read: x", 1, "read: not a mapping", "'x'", ""),
    ("read:\n  encodin: a", 2, "read: no such setting", "'encodin'", "did you mean 'encoding'?"),
    ("read:\n  roles:\n    zip: categry", 3, "read: roles.zip: not one of its values", "'categry'", "'category'?"),
    ("read: {roles: [a]}", 1, "read: roles: not of its type", "[a]", ""),
    ("read:\n  missing:\n  - NA\n  - -999", 4, "read: missing.1: not of its type", "-999", "between quotes: '-999'"),
    ("read: {columns: [a, null]}", 1, "read: columns.1: not of its type", "null", "between quotes: 'null'"),
    ("read:\n  delimiter: \\t", 2, "read: delimiter: not one character", r"'\\t'", ""),
    ("read:\n  sample_rows: 0", 2, "read: sample_rows: out of range", "0", ""),
    # steps
    ("steps: impute", 1, "steps are a list", "'impute'", "begin the line of each step with '- '"),
    ("steps:\n  impute: numeric", 1, "steps are a list", "{impute: numeric}", "begin the line of each step"),
    ("steps:\n  - 5", 2, "not a step", "5", ""),
    ("steps:\n  -", 2, "not a step", "null", ""),
    ("steps:\n  - {}", 2, "not a step", "{}", ""),
    ("steps:\n  - imput: numeric", 2, "no step of this name", "'imput'", "did you mean 'impute'?"),
    (
        "steps:\n  - impute:\n    columns: a",
        2,
        "a step is one name with its settings under it",
        "",
        "indent the settings",
    ),
    ("steps:\n  - impute: {strategy: mean}", 2, "step 'impute': 'columns' is missing", "", ""),
    ("steps:\n  - standardize", 2, "step 'standardize': 'columns' is missing", "", ""),
    ("steps:\n  - cast: a", 2, "step 'cast': 'type' is missing", "", ""),
    (
        "steps:\n  - impute:\n      columns: a\n      strategie: mean",
        4,
        "step 'impute': no such setting",
        "'strategie'",
        "did you mean 'strategy'?",
    ),
    (
        "steps:\n  - impute:\n      columns: a\n      strategy: medain",
        4,
        "step 'impute': strategy: not one of its values",
        "'medain'",
        "did you mean 'median'?",
    ),
    ("steps:\n  - standardize: 5", 2, "columns: not a selection of columns", "5", "between quotes: '5'"),
    ("steps:\n  - standardize: [a, 5]", 2, "columns: not a selection of columns", "[a, 5]", "between quotes: '5'"),
    ("steps:\n  - standardize: []", 2, "columns: not a selection of columns", "[]", ""),
    ("steps:\n  - clip: {include: a, excluded: b}", 2, "columns: not a selection of columns", "excluded", ""),
    (
        "steps:\n  - clip:\n      columns: a\n      quantiles:\n      - x\n      - 1",
        5,
        "quantiles.0: not of its",
        "'x'",
        "",
    ),
    ("steps:\n  - clip: {columns: a, quantiles: [0.1]}", 2, "quantiles: not of its type", "[0.1]", ""),
    (
        "steps:\n  - clip:\n      columns: a\n      quantiles: [0.9, 0.1]",
        4,
        "'clip': quantiles: not a range",
        "0.9",
        "",
    ),
    (
        "steps:\n  - impute:\n      columns: a\n      value: 5",
        4,
        "step 'impute': value: the strategy 'median' takes no value",
        "5",
        "leave it out",
    ),
    ("steps:\n - reject_outliers: {columns: a, when_predicting: yes}", 2, "not of its type", "'yes'", "write true"),
    ("steps:\n - reject_outliers: {columns: a, when_predicting: off}", 2, "not of its type", "'off'", "write false"),
    # models
    ("model: bosted", 1, "no model of this name", "'bosted'", "did you mean 'boosted'?"),
    ("model: os.system", 1, "no model of this name", "'os.system'", ""),
    ("model: [boosted]", 1, "not a model", "[boosted]", ""),
    ("model: {boosted: 5}", 1, "model 'boosted': not a mapping", "5", ""),
    ("model:\n  boosted:\n  rounds: 5", 2, "a model is one name with its settings", "", "indent the settings below"),
    ("model:\n  boosted:\n    learning_rat: 1", 3, "model 'boosted': no such setting", "", "'learning_rate'?"),
    ("model: {boosted: {learning_rate: fast}}", 1, "learning_rate: not one of its values", "'fast'", ""),
    ("model: {boosted: {class_weight: {a: x}}}", 1, "class_weight.a: not of its type", "'x'", ""),
    ("model:\n  boosted:\n    rounds: -1", 3, "model 'boosted': rounds: ", "-1", ""),
]


@pytest.mark.parametrize(("text", "line", "message", "got", "remedy"), WRONG, ids=[repr(w[0][:40]) for w in WRONG])
def test_a_wrong_file_is_told_with_line_and_remedy(
    text: str, line: int | None, message: str, got: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "penstock.yaml")
    error = caught.value
    assert error.where == ("penstock.yaml" if line is None else f"penstock.yaml:{line}")
    assert message in error.message
    assert got in error.got
    assert remedy in error.remedy
    assert bool(remedy) == bool(error.remedy)
    assert error.exit_code == 2
    assert error.expected or error.got
    assert "\n" not in error.message + error.expected + error.got


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: x", "a whole number"),
        ("target: 5", "a text or null"),
        ("read: {roles: [a]}", "a mapping of texts to one of 'number', 'integer'"),
        ("read: {missing: 5}", "a list of texts or null"),
        ("steps: [impute: {columns: a, strategy: 5}]", "one of 'mean', 'median', 'most_frequent', 'constant'"),
        ("steps: [impute: {columns: a, value: []}]", "true or false, a whole number, a number, a text or null"),
        ("steps: [min_max: {columns: a, range: 5}]", "a list of 2: a number, a number"),
        ("steps: [one_hot: {columns: a, drop: last}]", "'first' or null"),
        ("model: {boosted: {learning_rate: []}}", "a number or 'auto'"),
        ("steps: [cast: {columns: a}]", "type: one of 'float32', 'float64'"),
        ("steps: [standardize: 5]", "a column's name, a glob, a kind (numeric, "),
    ],
)
def test_what_would_be_right_is_said_in_words(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "penstock.yaml")
    assert caught.value.expected.startswith(expected)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read\n.*\n.*no such file or directory\n.*check the path"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("seed: 1\ntarget: größe\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(f"{path}:2: the pipeline file is not UTF-8")):
        load_config(path)


def test_a_file_is_loaded_with_its_name_in_complaints(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(FULL, "utf-8")
    assert load_config(path) == parse_config(FULL, "")
    path.write_text("sed: 1", "utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"{path}:1: no such key")):
        load_config(path)


@pytest.mark.parametrize("value", ["", "%", "one", "nan%", "inf", True])
def test_a_share_is_a_number_or_a_percentage(value: Any) -> None:
    with pytest.raises(UsageError, match="not a share"):
        share(value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [
        "no",
        "null",
        "1",
        "1e3",
        "0x1",
        "~",
        "- a",
        "a: b",
        "#a",
        "a #b",
        " a",
        "*x",
        "{",
        "=",
        "<<",
        "a:b",
        "\x85",
        "\u2028",
    ]
)
SELECTIONS = st.builds(
    lambda chosen, gone: columns(*chosen).excluding(*gone),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.lists(TEXTS, max_size=2),
)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
RANGES = st.tuples(st.floats(0, 0.5, exclude_max=True), st.floats(0.5, 1))
CONSTANTS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
STEPS = st.one_of(
    st.builds(Impute, SELECTIONS, st.sampled_from(["mean", "median", "most_frequent"])),
    st.builds(Impute, SELECTIONS, st.just("constant"), CONSTANTS),
    st.builds(Clip, SELECTIONS, RANGES),
    st.builds(RejectOutliers, SELECTIONS, method=st.just("mad"), factor=st.floats(1, 9), when_predicting=st.booleans()),
    st.builds(Standardize, SELECTIONS),
    st.builds(MinMax, SELECTIONS, RANGES),
    st.builds(Robust, SELECTIONS, RANGES),
    st.builds(OneHot, SELECTIONS, st.none() | st.integers(1, 99), st.sampled_from([None, "first"])),
    st.builds(Ordinal, SELECTIONS, st.none() | st.integers(1, 99)),
    st.builds(Cast, SELECTIONS, st.sampled_from(["float32", "int64", "text", "time"])),
)
MODELS = st.one_of(
    st.builds(
        BoostedTrees,
        rounds=st.integers(1, 99),
        learning_rate=st.just("auto") | FRACTIONS,
        class_weight=st.sampled_from([None, "balanced"]) | st.dictionaries(TEXTS, st.floats(1, 9), min_size=1),
        max_rows=st.none() | st.integers(1000, 9999),
    ),
    st.just(Linear()),
    st.builds(Auto, effort=st.sampled_from(["quick", "best"]), metric=st.sampled_from(["auto", "rmse"])),
)
READS = st.builds(
    ReadOptions,
    st.none() | st.lists(TEXTS).map(tuple),
    st.none() | st.sampled_from(["utf-8", "gb18030"]),
    st.none() | st.characters(exclude_categories=["Cs"]),
    st.none() | st.lists(TEXTS).map(tuple),
    st.dictionaries(TEXTS, st.sampled_from(Role)),
    st.dictionaries(TEXTS, TEXTS),
    st.integers(1, 10**6),
)
CONFIGS = st.builds(
    PipelineConfig,
    st.lists(STEPS, max_size=4).map(tuple),
    st.none() | MODELS,
    st.none() | TEXTS,
    READS,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    weight=st.none() | TEXTS,
    group=st.none() | TEXTS,
    costs=st.dictionaries(TEXTS, st.dictionaries(TEXTS, st.floats(0, 9), max_size=2), max_size=2),
)


@given(CONFIGS)
@settings(max_examples=60, deadline=None)
def test_what_is_dumped_is_parsed_to_the_same(config: PipelineConfig) -> None:
    assert parse_config(dump_config(config), "dumped") == config


@given(STEPS | MODELS)
@settings(max_examples=60, deadline=None)
def test_a_definition_comes_back_from_json(definition: Any) -> None:
    import json

    group: Any = "models" if isinstance(definition, (BoostedTrees, Linear, Auto)) else "steps"
    value = json.loads(json.dumps(definition_to_json(definition)))
    assert definition_from_json(group, value) == definition
    fields = {field.name for field in dataclasses.fields(definition)}
    assert set(value[definition.name]) == fields  # every field is written out


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**90), 10**90) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, PLAIN, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_plain_values_come_back_from_yaml(value: dict[str, Any]) -> None:
    assert parse("\n".join(block(value)), "plain").plain() == value


@given(st.text(string.printable + "é\u2028\ud800", max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_config_or_a_complaint(text: str) -> None:
    try:
        parse_config(text, "penstock.yaml")
    except ConfigError as error:
        assert error.where.startswith("penstock.yaml")


@given(
    st.lists(
        st.sampled_from(["steps:", "\n", "  ", "- ", "clip: ", "a", "[", "]", "{", "}", ",", "'", "*", "1", "|", "?"])
    )
)
@settings(max_examples=60, deadline=None)
def test_any_yaml_is_a_config_or_a_complaint(pieces: list[str]) -> None:
    try:
        parse_config("".join(pieces), "penstock.yaml")
    except ConfigError as error:
        assert error.where.startswith("penstock.yaml")


@pytest.mark.parametrize("name", registry.names("steps"))
def test_every_step_of_the_registry_can_stand_in_a_file(name: str) -> None:
    of_mappings = {"rename": "columns: {a: b}", "derive": "columns: {b: a + 1}", "validate": "rules: {a: {min: 0}}"}
    settings_of = f"{{{of_mappings[name]}}}" if name in of_mappings else "a"
    more = {"cast": "{columns: a, type: int64}", "repair_by_majority": "{columns: a, by: b}"}
    more |= dict.fromkeys(("resize_picture", "crop_picture"), "{columns: a, size: 8}")
    settings_of = more.get(name, settings_of)
    (step,) = parse_config(f"steps:\n  - {name}: {settings_of}", "penstock.yaml").steps
    assert step.name == name
    if name not in of_mappings:
        assert step.columns == Selector(("a",))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", registry.names("models"))
def test_every_model_of_the_registry_can_stand_in_a_file(name: str) -> None:
    text = {"sklearn": "sklearn:ridge"}.get(name, name)
    model = parse_config(f"model: {text}", "penstock.yaml").model
    assert model is not None
    assert model.name == name


def test_an_error_of_a_step_names_its_line_in_the_file(tmp_path: Path) -> None:
    """The columns of a step are known only when it meets data; the line is still said."""
    import penstock as ps

    (tmp_path / "rows.csv").write_text("age,city\n" + "".join(f"{i},x{i % 3}\n" for i in range(50)))
    path = tmp_path / "p.yaml"
    path.write_text("steps:\n  - standardize: age\n  - standardize: aeg\n")
    with pytest.raises(SchemaError) as caught:
        ps.Pipeline.of(path).prepare(tmp_path / "rows.csv", to=tmp_path / "out")
    assert caught.value.where == f"{path}:3: step 'standardize'"
    assert "did you mean 'age'?" in str(caught.value)
    path.write_text("steps:\n  - standardize: city\n")
    with pytest.raises(SchemaError) as caught:
        ps.Pipeline.of(path).prepare(tmp_path / "rows.csv", to=tmp_path / "out")
    assert caught.value.where.startswith(f"{path}:2: step 'standardize'")
