"""Data that are named otherwise than by a path: which addresses there are, and who opens each.

Part of the sources. The registry's group ``schemes`` says which function opens which kind of address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock import registry
from penstock.engine import Resources
from penstock.errors import SourceError, UsageError
from penstock.resources import resources
from penstock.source import ReadOptions, Source

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_QUERY = "sql"
_ALONE = frozenset({"-", _QUERY, "sqlite"})
"""Kinds of addresses that a source has one of."""


def scheme_of(item: str | Path) -> str:
    """What kind of address something is; "" for a path.

    Example:
        >>> [scheme_of(item) for item in ("-", "sql:SELECT 1", "S3://bucket/key", "a.csv", "./sql:x.csv", "C:/x")]
        ['-', 'sql', 's3', '', '', '']
    """
    if isinstance(item, Path):
        return ""
    if item == "-":
        return item
    if item.startswith(f"{_QUERY}:"):
        return _QUERY
    found = _SCHEME.match(item)
    return found[1].lower() if found else ""


def has_address(data: str | Path | Sequence[str | Path]) -> bool:
    """Whether any of the data is named by an address."""
    return any(map(scheme_of, [data] if isinstance(data, (str, Path)) else data))


def open_local(addresses: Sequence[str], options: ReadOptions, lent: Resources) -> Source:
    """The source for ``file://`` addresses (RFC 8089).

    Raises:
        SourceError: one is of another machine, or the file can't be read.
    """
    from penstock.sources.files import open_source

    paths: list[Path] = []
    for address in addresses:
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise SourceError("a file of another machine", where=address, expected="file:///PATH", got=parts.netloc)
        paths.append(Path(unquote(parts.path)))
    return open_source(paths if len(paths) > 1 else paths[0], options)


def open_address(
    data: str | Path | Sequence[str | Path], options: ReadOptions, *, lent: Resources | None, queries: bool
) -> Source:
    """The source for one or several addresses of one kind.

    Args:
        data: the addresses.
        options: how to read.
        lent: what a query may use while it runs; None for what the machine lends.
        queries: whether queries are taken: from a command line or a call, never from a file.

    Raises:
        UsageError: there is no such kind of address, or a query came from where none may.
        SourceError: addresses of several kinds, or what the opener raises.
    """
    items = [data] if isinstance(data, (str, Path)) else list(data)
    scheme = next(scheme for scheme in map(scheme_of, items) if scheme)
    other = [item for item in items if scheme_of(item) != scheme]
    if other or (scheme in _ALONE and len(items) > 1):
        raise SourceError(
            "data of several kinds in one source" if other else "several data where one is expected",
            where=str(next(item for item in items if scheme_of(item) == scheme)),
            expected="data of one kind" if other else "no other data beside it",
            got=str(other[0] if other else items[1]),
            remedy="read one of them, or join them by a query: sql:SELECT ...",
        )
    if scheme == _QUERY and not queries:
        raise UsageError(
            "a query can't stand here",
            where=str(items[0]),
            expected="a path or an address: data and files never say what is run",
            remedy="give the query on the command line, or to penstock.read",
        )
    opener = registry.find("schemes", scheme)
    asked = str(items[0]) if scheme in _ALONE else [str(item) for item in items]
    source: Source = opener(asked, options, lent or resources())
    return source
