"""Files behind an address of HTTP.

Part of the remote source.
"""

from __future__ import annotations

import email.utils
import http.client
import posixpath
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from penstock.errors import ResourceError, SourceError, UsageError
from penstock.sources.remote_store import Found, Opened, RemoteObject, Store, Unsteady, shown

_TIMEOUT = 60.0
"""How long a server may be silent [s]."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP states that may be others the next time (RFC 9110, section 15; RFC 6585)."""


class HttpStore(Store):
    """A file behind an address of HTTP: there is no list of others, so a glob means nothing."""

    reads_one_version = True

    def find(self, address: str) -> Found:
        """The one object of this address."""
        parts = urlsplit(address)
        name = unquote(posixpath.basename(parts.path)) or parts.hostname or ""
        if not parts.hostname:
            raise UsageError("an address without a host", where=shown(address), expected="https://HOST/PATH")
        if "*" in parts.path:
            raise UsageError(
                "a web server lists no files, so a pattern can't be matched",
                where=shown(address),
                expected="the address of one file",
                remedy="give the addresses one after the other",
            )
        return Found((RemoteObject(shown(address), address, name),))

    @contextmanager
    def open(self, one: RemoteObject, start: int, tag: str) -> Iterator[Opened]:
        """From a byte on where the server can give ranges of the same version (RFC 9110, section 14), else from 0."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "penstock"}
        if start and tag and not tag.startswith("W/"):
            headers |= {"Range": f"bytes={start}-", "If-Range": tag}
        request = urllib.request.Request(one.name, headers=headers)
        try:
            with closing(urllib.request.urlopen(request, timeout=_TIMEOUT)) as answer:
                yield _answered(answer, start)
        except urllib.error.HTTPError as error:
            raise _refused(one, error) from error
        except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and those of TLS are of the first
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise SourceError(
                    "the server's certificate is not trusted", where=one.address, got=str(reason)
                ) from error
            raise Unsteady(str(reason) or type(error).__name__) from error
        except ValueError as error:
            raise UsageError("not an address", where=one.address, got=str(error)) from error


class _Body:
    """What a server sends. What came before the connection broke is given first: it is not fetched again."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._broken: Exception | None = None

    def read(self, size: int, /) -> bytes:
        """So many bytes, fewer at the end or before an error."""
        if self._broken is not None:
            raise self._broken
        pieces: list[bytes] = []
        left = size
        while left:
            try:
                piece = self._answer.read1(left)
            except (OSError, http.client.HTTPException) as error:
                if not pieces:
                    raise
                self._broken = error
                break
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _answered(answer: Any, start: int) -> Opened:
    length = answer.headers.get("Content-Length")
    size = int(length) if length is not None and length.isdecimal() else None
    first = 0
    if answer.status == http.client.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            raise Unsteady("the server gave another range than it was asked for")
        first, size = start, None if found[2] == "*" else int(found[2])
    changed = answer.headers.get("Last-Modified")
    when = email.utils.parsedate_to_datetime(changed).timestamp() if changed else 0.0
    return Opened(_Body(answer), first, size, answer.headers.get("ETag") or changed or "", int(when) * 10**9)


def _refused(one: RemoteObject, error: urllib.error.HTTPError) -> Exception:
    got = f"{error.code} {error.reason}"
    if error.code in _PASSING:
        return Unsteady(got)
    if error.code in (401, 403):
        return ResourceError("access is refused", where=one.address, got=got, remedy="use an address that is signed")
    return SourceError("the server does not give it", where=one.address, expected="200 OK", got=got)
