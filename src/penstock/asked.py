"""What a command line asked for, in words of the types that jobs take. Light: it is made before anything heavy loads.

Between `cli.py`, which fills it with what was typed, and `commands.py`, which does it.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.source import ReadOptions, Source


@dataclass(frozen=True)
class Asked:
    """The arguments of a command, as they were typed; None for what was not.

    Example:
        >>> Asked(keep='id,"a,b"').kept
        ('id', 'a,b')
    """

    data: Sequence[str] = ()
    model: str | None = None
    run: str = ""
    file: str = ""
    update: str | None = None
    target: str | None = None
    config: str | None = None
    to: str = ""
    test: Sequence[str] | None = None
    holdout: str | None = None
    seed: int | None = None
    effort: str | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    costs: str | None = None
    audit: str | None = None
    by: str | None = None
    explain: bool = False
    output: str | None = None
    rows: int | None = None
    against: Sequence[str] | None = None
    beta: str | None = None
    quantile: str | None = None
    max_rows: int | None = None
    keep: str | None = None
    restart: bool = False
    new_only: bool = False
    sensitive: str | None = None
    columns: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    missing: str | None = None
    roles: str | None = None
    each: str | None = None
    labels: str | None = None
    root: str | None = None
    memory: str | None = None
    cores: int | None = None
    max_rejected: str | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns after --keep."""
        return listed(self.keep, "--keep") if self.keep is not None else ()

    @property
    def hidden(self) -> tuple[str, ...]:
        """The columns after --sensitive."""
        return listed(self.sensitive, "--sensitive") if self.sensitive is not None else ()

    @property
    def role_of(self) -> dict[str, str]:
        """The roles after --roles, by column.

        Raises:
            UsageError: one is no role.
        """
        return {} if self.roles is None else _roles(self.roles)

    def numbers_of(self, name: str) -> tuple[float, ...]:
        """The numbers between commas after an option.

        Raises:
            UsageError: one is no number.

        Example:
            >>> Asked(beta="0.5,2").numbers_of("beta")
            (0.5, 2.0)
        """
        text = getattr(self, name)
        if text is None:
            return ()
        try:
            return tuple(float(part) for part in listed(text, f"--{name}"))
        except ValueError as error:
            raise UsageError(
                "not numbers", where=f"--{name}", expected="numbers between commas", got=repr(text)
            ) from error

    @property
    def costs_of(self) -> dict[str, dict[str, float]]:
        """The costs after --costs, by true and predicted label.

        Raises:
            UsageError: one is no cost.

        Example:
            >>> Asked(costs="yes:no=5,no:yes=1").costs_of
            {'yes': {'no': 5.0}, 'no': {'yes': 1.0}}
        """
        found: dict[str, dict[str, float]] = {}
        for part in listed(self.costs or "", "--costs"):
            labels, _, cost = part.rpartition("=")
            true, colon, said = labels.partition(":")
            try:
                number = float(cost)
            except ValueError:
                colon = ""
            if not (colon and true and said):
                raise UsageError("not a cost", where="--costs", expected="TRUE:PREDICTED=COST,...", got=repr(part))
            found.setdefault(true, {})[said] = number
        return found

    @property
    def nbytes(self) -> int | None:
        """The size after --memory [bytes].

        Raises:
            UsageError: it is no size.
        """
        from penstock.resources import parse_bytes

        with option("--memory"):
            return parse_bytes(self.memory) if self.memory is not None else None

    def over(self, options: ReadOptions) -> ReadOptions:
        """How to read, with what was typed over what is there."""
        from dataclasses import replace

        typed = {
            "encoding": self.encoding,
            "delimiter": None if self.delimiter is None else _sign(self.delimiter),
            "missing": None if self.missing is None else listed(self.missing, "--missing", empty=True),
        }
        return replace(options, **{name: value for name, value in typed.items() if value is not None})  # type: ignore[arg-type]

    def open(self, data: Sequence[str], options: ReadOptions) -> Source:
        """Open files as the options say, overridden by what was typed.

        Raises:
            UsageError: what was typed is wrong.
            SourceError: the files can't be read.
        """
        from penstock.api import read

        return read(
            list(data) if len(data) > 1 else data[0],
            columns=None if self.columns is None else listed(self.columns, "--columns"),
            encoding=self.encoding,
            delimiter=None if self.delimiter is None else _sign(self.delimiter),
            missing=None if self.missing is None else listed(self.missing, "--missing", empty=True),
            roles=self.role_of or None,
            each=self.each,  # type: ignore[arg-type]
            labels=self.labels,
            root=self.root,
            options=options,
            memory=self.nbytes,
            cores=self.cores,
        )


def share_of(text: str, name: str, *, whole: bool) -> float:
    """A share after an option.

    Args:
        text: such as "1%" or "0.01".
        name: the option's.
        whole: whether 1, all of it, is allowed.

    Raises:
        UsageError: it is no share.
    """
    from penstock.config import share

    with option(name):
        value = share(text)
    if not 0 <= value <= 1 or (value == 1 and not whole):
        raise UsageError(
            "out of range", where=name, expected=f"a share from 0 to {'' if whole else 'below '}1", got=repr(text)
        )
    return value


@contextmanager
def option(name: str) -> Iterator[None]:
    """Say in an error of usage which option it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            error.message, where=name, expected=error.expected, got=error.got, remedy=error.remedy
        ) from error


def listed(text: str, name: str, *, empty: bool = False) -> tuple[str, ...]:
    """Texts between commas; one with a comma in it stands between double quotes.

    Args:
        text: as it was typed.
        name: the option's.
        empty: whether a text may be empty.

    Raises:
        UsageError: a text is empty and must not be.
    """
    try:
        parts = next(csv.reader([text], skipinitialspace=True), []) or [""]
    except csv.Error as error:
        raise UsageError(
            "not names between commas", where=name, expected="A,B,...", got=f"{text!r}: {error}"
        ) from error
    if not empty and "" in parts:
        raise UsageError("a name is empty", where=name, expected="names between commas", got=repr(text))
    return tuple(parts)


def _sign(text: str) -> str:
    return {"tab": "\t", "\\t": "\t"}.get(text, text)


def _roles(text: str) -> dict[str, str]:
    from penstock.schema import Role

    known = tuple(Role.__members__)
    roles: dict[str, str] = {}
    for part in listed(text, "--roles"):
        name, equals, role = part.rpartition("=")
        if not equals or not name:
            raise UsageError("not a role of a column", where="--roles", expected="COLUMN=ROLE,...", got=repr(part))
        if role not in known:
            near = difflib.get_close_matches(role, known, n=1)
            raise UsageError(
                "no role of this name",
                where="--roles",
                expected="one of " + ", ".join(known),
                got=repr(role),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        if name in roles:
            raise UsageError("a column has two roles", where="--roles", expected="one", got=f"{name}={role}")
        roles[name] = role
    return roles
