"""The pages of the reference that list: sources, metrics, keys, expressions, commands, the Python API.

Part of `reference_pages.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import polars as pl
import typer
from reference_words import cell, markdown, settings_table, table, type_in_words, words_of

import penstock
from penstock import expression, registry
from penstock.cli import app
from penstock.config import PipelineConfig
from penstock.config_schema import json_schema
from penstock.config_words import settings_of, summary_of
from penstock.decision import Decision
from penstock.expression_functions import FUNCTIONS
from penstock.inference import CLIPS, PICTURES
from penstock.schema import Role, Schema
from penstock.statistics.classification import Classification
from penstock.statistics.regression import Regression

COLUMNS = """\
Wherever a setting takes columns, it takes any of these, or a list of them:

| written | which columns |
|---|---|
| `age` | the column of this name |
| `price_*`, `x?`, `[ab]_1` | all whose names match the glob |
| `numeric`, `categorical`, `boolean`, `text`, `time` | all features of this kind |
| `features` | all columns that are learned from |
| `role:key` | all columns of this role |
| `{include: numeric, exclude: [age]}` | the first without the second |
"""

EXAMPLES = {
    "abs": "abs(-2)", "sqrt": "sqrt(9)", "exp": "exp(1)", "log": "log(10)", "log10": "log10(1000)",
    "log1p": "log1p(1)", "sin": "sin(1)", "cos": "cos(1)", "tan": "tan(1)", "floor": "floor(-1.5)",
    "ceil": "ceil(-1.5)", "sign": "sign(-3)", "round": "round(2.5)", "min": "min(3, 1, null)", "max": "max(3, 1, null)",
    "clip": "clip(12, 0, 10)", "coalesce": "coalesce(null, 2)", "if": "if(2 > 1, 'yes', 'no')",
    "is_missing": "is_missing(null)", "length": "length('naïve')", "lower": "lower('Ulm')", "upper": "upper('Ulm')",
    "trim": "trim(' a ')", "contains": "contains('sailing', 'ail')", "starts_with": "starts_with('sailing', 'sail')",
    "ends_with": "ends_with('sailing', 'ing')", "replace": "replace('a-b-c', '-', '/')",
    "concat": "concat('a', 'b', 'c')", "substring": "substring('sailing', 1, 4)", "year": "year(date('2026-11-20'))",
    "month": "month(date('2026-11-20'))", "day": "day(date('2026-11-20'))", "weekday": "weekday(date('2026-11-20'))",
    "hour": "hour(date('2026-11-20 08:30'))", "minute": "minute(date('2026-11-20 08:30'))",
    "second": "second(date('2026-11-20 08:30:15'))", "date": "date('2026-11-20')",
    "number": "number('428.5')", "date_trunc": "date_trunc('month', date('2026-11-20'))",
    "days_between": "days_between(date('2026-11-20'), date('2026-12-25'))",
}  # fmt: skip
"""An example of each function; what it gives is computed when the page is written."""


def pages() -> Iterator[tuple[str, str]]:
    """The path and text of each page."""
    yield "sources.md", sources()
    yield "metrics.md", metrics()
    yield "pipeline-file.md", pipeline_file()
    yield "expressions.md", expressions()
    yield "command-line.md", command_line()
    yield "python.md", python()
    yield "index.md", index()


def index() -> str:
    """What the reference has."""
    rows = (
        ("[Steps](steps/index.md)", "what is done to each row: clean, scale, encode, derive, arrange"),
        ("[Relations](relations/index.md)", "what needs other rows: joins, duplicates, groups, rolling windows"),
        ("[Models](models/index.md)", "what learns"),
        ("[Sources](sources.md)", "formats and addresses, and how they are read"),
        ("[Metrics](metrics.md)", "how a model is judged: formulas and their sources"),
        ("[Keys of the pipeline file](pipeline-file.md)", "every key, and the forms that columns can have"),
        ("[Expressions](expressions.md)", "what `derive` and `filter` compute"),
        ("[The command line](command-line.md)", "every command and option"),
        ("[The Python API](python.md)", "every public name"),
    )
    pages = re.findall(r"\(([\w/-]+)\.md\)", "".join(link for link, _ in rows))
    listed = "\n".join(pages)
    return (
        "# Reference\n\nTaken from the code, as it is.\n\n"
        + table(("page", "what is in it"), rows)
        + f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{listed}\n```\n"
    )


def sources() -> str:
    """What can be read: formats by the end of a name, and addresses."""
    formats: dict[str, list[str]] = {}
    for ending in registry.names("sources"):
        formats.setdefault(summary_of(registry.find("sources", ending)), []).append(_ending(ending))
    schemes: dict[str, list[str]] = {}
    for scheme in registry.names("schemes"):
        written = "`-`" if scheme == "-" else f"`{scheme}:`" if scheme == "sql" else f"`{scheme}://`"
        schemes.setdefault(summary_of(registry.find("schemes", scheme)), []).append(written)
    options = json_schema()["properties"]["read"]["anyOf"][0]
    return "\n".join(
        (
            "# Sources\n\nData are a path, a folder, a glob, or an address. [How files are read](/reading.md) says "
            "what is found out about them, and how to say it otherwise.\n\n## Formats\n",
            table(("ends with", "read as"), ((", ".join(ends), words) for words, ends in formats.items())),
            "## Addresses\n",
            table(("begins with", "what is read"), ((", ".join(names), words) for words, names in schemes.items())),
            "From Python, `ps.read` also takes Arrow tables, and Polars and pandas frames.\n\n## How to read\n",
            "The settings of `read:` in a pipeline file, and of `ps.read`:\n",
            settings_table(options),
        )
    )


def _ending(name: str) -> str:
    """What the names of files of a format end with."""
    if name in ("picture", "clip"):
        return ", ".join(f"`{ending}`" for ending in sorted(PICTURES if name == "picture" else CLIPS))
    return {"text": "any, with `each: file`", ".idx": "`.idx`, `-idx3-ubyte`, `-idx1-ubyte`"}.get(name, f"`{name}`")


def metrics() -> str:
    """Every metric: its formula, and where the formula is from."""
    parts = [
        "# Metrics\n\nNames and values are those of scikit-learn, where it has the metric. Each is computed as a fold "
        "over batches, so that no row has to be kept. In the formulas TP, FP, TN and FN are the counts of true and "
        "false positives and negatives, y the truth, p what was predicted, n the rows.\n"
    ]
    for title, definition in (("Classes", Classification), ("Numbers", Regression), ("Costs", Decision)):
        rows = ((f"`{name}`", words) for name, words in settings_of(definition, ("Metrics:",)).items())
        parts.append(f"## {title}\n\n" + table(("metric", "formula and source"), rows))
    parts.append(
        '## Intervals\n\nThe 95 % intervals are percentiles of the bootstrap (Efron, "Bootstrap methods: another look '
        'at the jackknife", Annals of Statistics 7, 1979) over the rows that were judged.\n'
    )
    return "\n".join(parts)


def pipeline_file() -> str:
    """All keys of a pipeline file, the forms that columns can have, and roles."""
    schema = json_schema()
    words = settings_of(PipelineConfig)
    told = {
        "steps": "list of [steps](/reference/steps/index.md)",
        "data": "list of [relations](/reference/relations/index.md)",
        "model": "a [model](/reference/models/index.md)",
        "read": "[how to read](/reference/sources.md#how-to-read)",
        "holdout": "number, or a text such as `10%`",
        "max_rejected": "number, or a text such as `1%`",
    }
    rows = (
        (f"`{key}`", told.get(key) or type_in_words(entry), words[key]) for key, entry in schema["properties"].items()
    )
    roles = ((f"`{role.value}`",) for role in Role)
    return "\n".join(
        (
            "# Keys of the pipeline file\n\n[The pipeline file](/pipeline-file.md) explains them with examples. "
            "`penstock schema` prints all of this as a JSON schema, for editors.\n\n## Keys\n",
            table(("key", "type", "meaning"), rows),
            "A step, relation or model is its name alone (`- sort`), its name and its first setting "
            "(`- standardize: numeric`), or its name and its settings "
            "(`- impute: {columns: numeric, strategy: mean}`).\n",
            "(columns)=\n## Columns\n",
            COLUMNS,
            "## Roles\n",
            table(("role",), roles),
        )
    )


def expressions() -> str:
    """The grammar of expressions, and every function with an example."""
    grammar = (inspect.getdoc(expression) or "").partition("\n\n")[2].partition("\n\n")[2]
    rows = (
        (f"`{name}{FUNCTIONS[name].shown}`", f"`{example}`", f"`{_computed(example)}`")
        for name, example in EXAMPLES.items()
    )
    return "\n".join(
        (
            "# Expressions\n\nWhat [`derive`](steps/derive.md) and [`filter`](relations/filter.md) compute: a small "
            "grammar of their own, never code. An expression sees the columns of one row.\n",
            markdown(grammar) + "\n",
            "## Functions\n",
            table(("function", "example", "gives"), rows),
        )
    )


def _computed(text: str) -> str:
    typed = expression.parse(text).typed(Schema(()))
    value = pl.select(typed.to_polars({})).item()
    if isinstance(value, bool):
        return str(value).lower()
    return cell(f"{value:.6g}" if isinstance(value, float) else str(value))


# ------------------------------------------------------------------ the command line


def command_line() -> str:
    """Every command with its arguments and options."""
    main: Any = typer.main.get_command(app)
    commands = [command for command in main.commands.values() if not command.hidden]
    overview = table(("command", "what it does"), ((f"[`{one.name}`](#{one.name})", one.help) for one in commands))
    return "\n".join(
        (
            f"# The command line\n\n{main.epilog} `penstock COMMAND --help` says what stands here.\n",
            overview,
            *(_section(command) for command in commands),
        )
    )


def _section(command: Any) -> str:
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = " ".join(["penstock", command.name, *map(_written, arguments)])
    parts = [f"({command.name})=\n## {command.name}\n\n{command.help}\n\n```text\n{usage} [OPTIONS]\n```\n"]
    rows = [(f"`{_written(one)}`", one.help or "") for one in arguments]
    rows += [(", ".join(f"`{name}`" for name in one.opts) + _value(one), one.help or "") for one in options]
    parts.append(table(("option", "meaning"), rows))
    return "\n".join(parts)


def _written(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _value(option: Any) -> str:
    """What stands after the option's name; nothing for a flag."""
    if option.is_flag:
        return ""
    return f" `{option.metavar or str(option.name).upper()}`" + (" (needed)" if option.required else "")


# ------------------------------------------------------------------ Python


FIRST = ("read", "Pipeline", "FittedPipeline", "load", "profile", "Profile", "replay", "repro", "Job")
"""What a reader looks for first; the other names follow in the order of the alphabet."""


def python() -> str:
    """Every public name that has no page of its own."""
    parts = [
        "# The Python API\n",
        "The names of `penstock`: `import penstock as ps`, then `ps.read`, `ps.Pipeline` and so on. "
        "[Steps](steps/index.md), [relations](relations/index.md) and [models](models/index.md) are names of it too, "
        "and have pages of their own. `penstock.testing` checks steps of your own "
        "([Contributing](/contributing.md)); all else is not public.\n",
    ]
    paged = {registry.find(group, name) for group in ("steps", "relations", "models") for name in registry.names(group)}
    for name in dict.fromkeys((*FIRST, *penstock.__all__)):
        thing = getattr(penstock, name)
        if name == "__version__" or thing in paged:
            continue
        parts += _named(f"penstock.{name}", thing, "##")
        if inspect.isclass(thing) and not issubclass(thing, (BaseException, str)):
            for method, function in vars(thing).items():
                plain = function.__func__ if isinstance(function, classmethod) else function
                if not method.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property)):
                    parts += _named(f"{name}.{method}", plain, "###")
    return "\n".join(parts)


def _named(name: str, thing: Any, head: str) -> Iterator[str]:
    words = words_of(thing)
    yield f"{head} {name}\n"
    if inspect.isfunction(thing):
        yield f"```python\n{name.rpartition('.')[2]}{_signature(thing)}\n```\n"
    yield f"{words.summary}\n"
    yield f"{markdown(words.body)}\n"
    told = settings_of(thing)
    if told:
        yield table(("name", "meaning"), ((f"`{key}`", text) for key, text in told.items()))
    if words.returns:
        yield f"**Returns** {words.returns}\n"
    if words.raises:
        yield f"{markdown(words.raises)}\n"
    if words.example:
        yield f"```pycon\n{words.example}\n```\n"


def _signature(function: Any) -> str:
    """The parameters of a function with their types and defaults, one on a line where they are many."""
    signature = inspect.signature(function)
    shown, starred = [], False
    for one in signature.parameters.values():
        if one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        kind = f": {one.annotation}" if one.annotation is not one.empty else ""
        shown.append(one.name + kind + ("" if one.default is one.empty else f" = {one.default!r}"))
    gives = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = "(" + ", ".join(shown) + ")" + gives
    return line if len(line) < 80 else "(\n    " + ",\n    ".join(shown) + ",\n)" + gives
