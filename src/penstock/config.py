"""What a pipeline file says, typed: steps, model, target, how to read. And back: the resolved definition as a file.

A contract's value. A file is data: names are looked up in the registry, values are checked against the types of the
dataclasses that they are for, and every complaint says the line, what was expected, what came, and the nearest name.
What is only YAML is in `config_text.py`; what a file's values stand for in `config_file.py`; types and their wording
in `config_types.py`.

    target: income
    holdout: 10%
    read:
      missing: ["?"]
    steps:
      - impute: {columns: numeric, strategy: median}
      - standardize: numeric
    model: boosted
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from penstock.config_text import block, flow, node_of, parse
from penstock.errors import ConfigError, UsageError
from penstock.source import ReadOptions

if TYPE_CHECKING:
    from penstock.model import Auto, Model
    from penstock.relation import Relation
    from penstock.step import Step

Group: TypeAlias = Literal["steps", "models", "relations"]


@dataclass(frozen=True)
class PipelineConfig:
    """The resolved definition of a pipeline: what a pipeline file says.

    Attributes:
        steps: what is done to the rows, in order.
        model: what learns; None for steps alone.
        target: the column to predict; null where it is said elsewhere.
        read: how to read the data.
        seed: of everything random; of 64 bits.
        holdout: the share of the rows (0 to below 1) that is kept out of training, for evaluation.
        max_rejected: the share of the rows (0 to 1) above which a job is stopped.
        weight: the column that says how much a row counts in training.
        group: the column whose rows stay on one side of every split: patients, customers.
        time: the column by which the latest rows are held out, and not any.
        costs: what an error costs, by the true label and the predicted one; what is not named costs 1.
        sensitive: columns whose values are kept out of rejected rows, audits, reports and messages.
        data: relational work on the rows before the steps, in order: of training, and of what is evaluated and
            predicted later.
        places: where each step is defined, as file and line; for messages, no key of a file.

    Raises:
        UsageError: a number is out of its range.

    Example:
        >>> PipelineConfig(target="income", holdout=0.1).seed
        0
    """

    steps: tuple[Step, ...] = ()
    model: Model | Auto | None = None
    target: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    seed: int = 0
    holdout: float = 0.0
    max_rejected: float = 0.01
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()
    data: tuple[Relation, ...] = ()
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not -(2**63) <= self.seed < 2**63:
            raise UsageError("out of range", where="seed", expected="a whole number of 64 bits", got=str(self.seed))
        if self.group is not None and self.time is not None:
            raise UsageError(
                "rows are split by group or by time",
                where="time",
                expected="one of them",
                got=f"group {self.group!r} and time {self.time!r}",
                remedy="leave one out; by time a group may stand on both sides",
            )
        if self.target is not None and self.target in self.sensitive:
            raise UsageError(
                "the target can't be sensitive: what is told of a model tells its values",
                where="sensitive",
                expected="other columns",
                got=repr(self.target),
            )
        if not 0 <= self.holdout < 1:
            raise UsageError(
                "out of range", where="holdout", expected="a share from 0 to below 1", got=f"{self.holdout:g}"
            )
        if not 0 <= self.max_rejected <= 1:
            raise UsageError(
                "out of range", where="max_rejected", expected="a share from 0 to 1", got=f"{self.max_rejected:g}"
            )


def share(value: str | float) -> float:
    """A share of rows: a number, or a text such as "1%".

    Raises:
        UsageError: it is neither.

    Example:
        >>> share("1%"), share("0.25"), share(0.5)
        (0.01, 0.25, 0.5)
    """
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise UsageError("not a share", expected="a number such as 0.01, or a text such as 1%", got=repr(value))
    return number / 100 if text.endswith("%") else number


# ---------------------------------------------------------------------- reading


def load_config(path: Path) -> PipelineConfig:
    """The pipeline file at ``path``.

    Raises:
        ConfigError: it can't be read, or is wrong; with the line.
    """
    name = str(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            "the pipeline file can't be read",
            where=name,
            expected="a text file of YAML",
            got=(error.strerror or str(error)).lower(),
            remedy="check the path after --config",
        ) from error
    try:
        return parse_config(raw.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "the pipeline file is not UTF-8",
            where=f"{name}:{line}",
            expected="UTF-8",
            got=f"the byte 0x{raw[error.start]:02x}",
            remedy="save it as UTF-8",
        ) from error


def keys_of(path: Path) -> frozenset[str]:
    """The keys that a pipeline file says itself, at its top; the others have their defaults.

    Raises:
        ConfigError: it is no YAML.
    """
    value = parse(Path(path).read_text("utf-8-sig"), str(path)).value
    return frozenset(value) if isinstance(value, dict) else frozenset()


def parse_config(text: str, where: str) -> PipelineConfig:
    """The text of a pipeline file.

    Args:
        text: YAML 1.2; see `config_text.py` for what is refused.
        where: the file's name, for messages.

    Raises:
        ConfigError: it is wrong; with the line.

    Example:
        >>> parse_config("seed: 7\\nholdout: 10%", "penstock.yaml").holdout
        0.1
        >>> parse_config("seed: 7\\nhold_out: 0.1", "penstock.yaml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        penstock.errors.ConfigError: penstock.yaml:2: no such key in a pipeline file
          expected: one of steps, model, target, read, seed, holdout, max_rejected, weight, group, time, costs, ...
          got:      'hold_out'
          remedy:   did you mean 'holdout'?
    """
    from penstock.config_file import PipelineFile

    return PipelineFile(where).config(parse(text, where))


def definition_from_json(group: Group, value: Any) -> Step | Model | Auto | Relation:
    """The inverse of `definition_to_json`; takes what may stand in a pipeline file too.

    Raises:
        ConfigError: there is no such name, or its fields are wrong.

    Example:
        >>> definition_from_json("steps", {"standardize": "numeric"})
        Standardize(columns=Selector(patterns=('numeric',), excluded=()))
    """
    from penstock.config_file import PipelineFile

    return PipelineFile("").definition(group, node_of(value))


# ---------------------------------------------------------------------- writing


def definition_to_json(definition: Step | Model | Auto | Relation) -> dict[str, Any]:
    """A step, a model or a relation as JSON values: all its fields under its name.

    Example:
        >>> from penstock.steps.scale import MinMax
        >>> definition_to_json(MinMax("numeric"))
        {'min_max': {'columns': 'numeric', 'range': [0.0, 1.0]}}
    """
    return {definition.name: _fields_of(definition)}


def dump_config(config: PipelineConfig) -> str:
    """The text of a pipeline file that says all of it, every field written out; `parse_config` is its inverse.

    Example:
        >>> print(dump_config(PipelineConfig(target="income")), end="")  # doctest: +ELLIPSIS
        target: income
        weight: null
        group: null
        time: null
        costs: {}
        seed: 0
        holdout: 0.0
        max_rejected: 0.01
        sensitive: []
        read:
        ...
        steps: []
        model: null
    """
    keys = ("target", "weight", "group", "time", "costs", "seed", "holdout", "max_rejected", "sensitive")
    lines = list(block({key: _plain(getattr(config, key)) for key in keys}))
    lines += block({"read": _fields_of(config.read)})
    lines.append("data:" if config.data else "data: []")
    lines += (f"  - {flow(definition_to_json(relation))[1:-1]}" for relation in config.data)
    lines.append("steps:" if config.steps else "steps: []")
    lines += (f"  - {flow(definition_to_json(step))[1:-1]}" for step in config.steps)
    lines += block({"model": None if config.model is None else definition_to_json(config.model)})
    return "\n".join(lines) + "\n"


def _fields_of(value: Any) -> dict[str, Any]:
    return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value) if item.init}


def _plain(value: Any) -> Any:
    from penstock.selector import Selector
    from penstock.source import Source

    if isinstance(value, Selector):
        return value.to_config()
    if isinstance(value, Source):
        raise UsageError(
            "an open source can't be written into a pipeline file",
            where="data",
            expected="the path of the other data",
            remedy='penstock.Join("other.parquet", ...); how to read it goes into read',
        )
    if isinstance(value, ReadOptions):
        return _fields_of(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
