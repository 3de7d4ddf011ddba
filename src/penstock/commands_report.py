"""What the commands that tell of data and of runs do: `penstock profile` and `penstock report`.

The outermost room, beside `commands.py`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.api import profile as profile_of
from penstock.asked import Asked
from penstock.report.document import of_folder, of_profile, refuse_other_suffix, write_page
from penstock.report.text import ProfileView
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.terminal import Terminal
from penstock.terminal_tables import facts, next_command, shown_path

if TYPE_CHECKING:
    from rich.console import RenderableType


def profile(terminal: Terminal, asked: Asked) -> None:
    """Say what some data are like; write a page of it, where one is asked for."""
    if asked.to:
        refuse_other_suffix(Path(asked.to))
    source = asked.open(asked.data, ReadOptions())
    if asked.target is not None and asked.target in source.schema:
        source = source.with_roles({asked.target: Role.target})
    for note in source.notes:
        if not note.topic.startswith("role of "):  # the table has the roles
            terminal.said(note)
    against = None
    if asked.against:
        against = asked.open(asked.against, ReadOptions())
    found = profile_of(
        source,
        target=asked.target,
        against=against,
        on=" ".join(asked.against or ()),
        seed=asked.seed or 0,
        memory=asked.nbytes,
        cores=asked.cores,
        sensitive=asked.hidden,
        listener=terminal,
    )
    document = found.to_json()
    tables: list[RenderableType] = [ProfileView(document)]
    value = {"command": "profile", **document}
    if asked.to:
        title = " ".join(one if one.startswith("sql:") else Path(one).name or one for one in asked.data)
        page = write_page(of_profile(document, title, _command(asked)), Path(asked.to))
        value["report"] = str(page)
        tables.append(facts([("page", shown_path(page))]))
    else:
        tables.append(next_command(f"{_command(asked)} --to report.html"))
    terminal.result(value, tables)


def _command(asked: Asked) -> str:
    """The command without where its page goes."""
    words = ["penstock", "profile", *asked.data]
    for name, typed in (("--target", asked.target), ("--roles", asked.roles), ("--missing", asked.missing)):
        words += [name, typed] if typed is not None else []
    for one in asked.against or ():
        words += ["--against", one]
    return shlex.join(words)


def report(terminal: Terminal, asked: Asked) -> None:
    """Make the page of a run or a saved model."""
    folder = Path(str(asked.model)).absolute()
    document = of_folder(folder)
    run = folder if folder.name.endswith(".run") else folder.with_name(folder.name + ".run")
    here = run / "report.html" if (run / "run.json").is_file() else Path("report.html")
    page = write_page(document, Path(asked.to) if asked.to else here)
    value = {"command": "report", "output": str(page), "bytes": page.stat().st_size}
    terminal.result(value, [facts([("page", shown_path(page)), ("size", f"{page.stat().st_size / 1e3:,.0f} kB")])])
