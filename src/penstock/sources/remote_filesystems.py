"""Object stores, HDFS and what fsspec knows, through Arrow's file systems.

Part of the remote source.
"""

from __future__ import annotations

import datetime
import difflib
import glob
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from penstock import registry
from penstock.errors import MissingExtra, PenstockError, ResourceError, SourceError, UsageError
from penstock.sources.formats import WHOLE, extension
from penstock.sources.remote_store import Found, Opened, RemoteObject, Store, Unsteady, scheme_of, shown

_TIMEOUT = 60.0
"""How long a store may be silent [s]."""
_CONNECT_TIMEOUT = 10.0
_LASTING = re.compile(
    r"ACCESS_DENIED|Forbidden|HTTP status 40[134]|NO_SUCH|not found|does not exist|InvalidAccessKey|INVALID_ACCESS"
    r"|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|UNRECOGNIZED_CLIENT|INVALID_CLIENT|credential|Unauthor|Permission"
    r"|Permanent|301|BUCKET_REGION|Unable to load lib|Authentication",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(
    r"ACCESS_DENIED|Forbidden|40[13]\b|InvalidAccess|INVALID_|SIGNATURE|credential|Unauthor|Permission", re.I
)


def filesystem_of(address: str) -> Store:
    """The store that an address is of, by its scheme; credentials and endpoints are the environment's.

    Raises:
        MissingExtra: a library is not installed.
        UsageError: the address lacks a part.
        SourceError: there is no way to it.
    """
    scheme = scheme_of(address)
    with told(address, steady=True):
        return ArrowStore(_MAKERS[scheme](address), scheme)


class ArrowStore(Store):
    """What Arrow's file systems reach: S3, Google Cloud Storage, Azure, HDFS, and those of fsspec."""

    reads_one_version = False

    def __init__(self, files: Any, scheme: str) -> None:
        self._files = files
        self._scheme = scheme

    def find(self, address: str) -> Found:
        """One object; all data objects below a prefix; or those that match a glob."""
        path = _path_of(address)
        with told(address):
            if not path:
                raise UsageError("an address without a name", where=shown(address), expected="such as s3://bucket/key")
            info = self._files.get_file_info(path.rstrip("/"))
            if info.type == pafs.FileType.File and not path.endswith("/"):
                return Found((self._object(info, posixpath.dirname(info.path)),))
            if info.type == pafs.FileType.Directory:
                return self._below(address, path.rstrip("/"), None)
            if glob.has_magic(path):
                fixed = []
                for part in path.split("/"):
                    if glob.has_magic(part):
                        break
                    fixed.append(part)
                return self._below(address, "/".join(fixed), pattern_of(path))
            raise self._missing(address, path.rstrip("/"))

    def _below(self, address: str, base: str, pattern: re.Pattern[str] | None) -> Found:
        infos = self._files.get_file_info(pafs.FileSelector(base, allow_not_found=True, recursive=True))
        here = [self._object(info, base) for info in infos if info.type == pafs.FileType.File]
        others = 0
        if pattern is not None:
            found = [one for one in here if pattern.fullmatch(one.name.strip("/"))]
        else:
            shown_ones = [one for one in here if not any(part[:1] in (".", "_", "") for part in one.key.split("/"))]
            found = _of_most([one for one in shown_ones if _is_data(one.key)])
            others = len(shown_ones) - len(found)
        if not found:
            raise SourceError(
                "no object matches" if pattern else "the folder holds no data",
                where=shown(address),
                expected=f"at least one object below {self._scheme}://{base}",
                got=f"{others} objects with other extensions" if others else "none",
            )
        return Found(tuple(sorted(found, key=lambda one: one.key.split("/"))), others)

    def _object(self, info: Any, base: str) -> RemoteObject:
        key = info.path.lstrip("/")[len(base.lstrip("/")) :].lstrip("/")
        return RemoteObject(
            f"{self._scheme}://{info.path.lstrip('/')}", info.path, key, info.size, int(info.mtime_ns or 0)
        )

    def _missing(self, address: str, path: str) -> SourceError:
        parent, _, wanted = path.rpartition("/")
        near: Sequence[str] = ()
        if parent:
            infos = self._files.get_file_info(pafs.FileSelector(parent, allow_not_found=True))
            near = difflib.get_close_matches(wanted, sorted(info.base_name for info in infos), n=1, cutoff=0.5)
        return SourceError(
            "no such object",
            where=shown(address),
            expected=f"{wanted!r} in {self._scheme}://{parent}",
            remedy=f"did you mean {self._scheme}://{parent}/{near[0]}?" if near else "see what is there",
        )

    @contextmanager
    def open(self, one: RemoteObject, start: int, tag: str) -> Iterator[Opened]:
        """Each piece is asked for by its range."""
        with told(one.address), self._files.open_input_file(one.name) as file:
            info = self._files.get_file_info(one.name)
            metadata = {_text(name).lower(): _text(value) for name, value in (file.metadata() or {}).items()}
            file.seek(start)
            found = metadata.get("etag", "") or metadata.get("generation", "")
            yield Opened(file, start, file.size(), found, int(info.mtime_ns or 0))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _of_most(found: Sequence[RemoteObject]) -> list[RemoteObject]:
    """Of pictures, clips and files of records those that are most, as in a folder; the others are passed over."""
    kinds = [extension(Path(one.key))[0] for one in found]
    kinds = [kind if kind in WHOLE else "" for kind in kinds]
    most = max(sorted(set(kinds)), key=kinds.count, default="")
    return [one for one, kind in zip(found, kinds, strict=True) if kind == most]


def _is_data(key: str) -> bool:
    """Whether a name says that it is data; what is in an archive is seen when it is here."""
    name, compression = extension(Path(key))
    return name in registry.names("sources") or compression == ".zip"


def pattern_of(path: str) -> re.Pattern[str]:
    """A glob as a regular expression: ``*`` and ``?`` stay within a name, ``**`` does not.

    Example:
        >>> bool(pattern_of("b/*.csv").fullmatch("b/x.csv")), bool(pattern_of("b/*.csv").fullmatch("b/c/x.csv"))
        (True, False)
        >>> bool(pattern_of("b/**/x.csv").fullmatch("b/x.csv")), bool(pattern_of("b/[!a]?").fullmatch("b/bc"))
        (True, True)
    """
    made = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", path, re.DOTALL):
        if token == "**/":
            made += "(?:.*/)?"
        elif token == "**":
            made += ".*"
        elif token in ("*", "?"):
            made += "[^/]" + ("*" if token == "*" else "")
        elif len(token) > 1:
            inner = token[1:-1].replace("\\", r"\\")
            made += "[" + ("^" + inner[1:] if inner.startswith("!") else inner.replace("^", r"\^")) + "]"
        else:
            made += re.escape(token)
    return re.compile(made, re.DOTALL)


def _path_of(address: str) -> str:
    """The path that Arrow knows an object by."""
    scheme = scheme_of(address)
    rest = address.partition("://")[2]
    if scheme in ("abfs", "abfss"):  # container@account.dfs.core.windows.net/path
        place, _, path = rest.partition("/")
        return f"{place.partition('@')[0]}/{path}"
    if scheme == "hdfs":
        return "/" + rest.partition("/")[2]
    return rest


def _s3(address: str) -> Any:
    bucket = _path_of(address).partition("/")[0]
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings: dict[str, Any] = {"request_timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        settings |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        region = region or "us-east-1"
    if region is None and bucket:
        region = pafs.resolve_s3_region(bucket)
    anonymous = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes")
    return pafs.S3FileSystem(
        anonymous=anonymous,
        region=region,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),  # tries are ours to count and to tell
        **settings,
    )


def _gcs(_: str) -> Any:
    endpoint = os.environ.get("STORAGE_EMULATOR_HOST")
    settings: dict[str, Any] = {"retry_time_limit": datetime.timedelta(seconds=_CONNECT_TIMEOUT)}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        settings |= {"endpoint_override": parts.netloc, "scheme": parts.scheme, "anonymous": True}
    return pafs.GcsFileSystem(**settings)


def _azure(address: str) -> Any:
    place = address.partition("://")[2].partition("/")[0]
    account = place.partition("@")[2].partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    if not account:
        raise UsageError(
            "no storage account is named",
            where=shown(address),
            expected="abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, or AZURE_STORAGE_ACCOUNT in the environment",
        )
    return pafs.AzureFileSystem(account, account_key=os.environ.get("AZURE_STORAGE_KEY") or None)


def _hdfs(address: str) -> Any:
    parts = urlsplit(address)
    return pafs.HadoopFileSystem(parts.hostname or "default", parts.port or 0, user=parts.username)


def _fsspec(address: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(
            f"{scheme_of(address)}:// needs a library that is not installed",
            where=shown(address),
            expected="fsspec",
            remedy="pip install 'penstock[cloud]'",
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme_of(address))))


_MAKERS = {
    "s3": _s3,
    "gs": _gcs,
    "gcs": _gcs,
    "az": _azure,
    "abfs": _azure,
    "abfss": _azure,
    "hdfs": _hdfs,
    "memory": _fsspec,
}


@contextmanager
def told(address: str, *, steady: bool = False) -> Iterator[None]:
    """Errors of Arrow's file systems in our words; ``steady`` where trying again is of no use.

    Raises:
        Unsteady: it may work the next time.
    """
    try:
        yield
    except PenstockError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = shown(address)
        if "Unable to load lib" in text:
            raise MissingExtra(
                "hdfs:// needs Hadoop's client, which is not installed",
                where=where,
                got=text[:200],
                remedy="install Hadoop, and set JAVA_HOME, HADOOP_HOME and CLASSPATH=$(hadoop classpath --glob)",
            ) from error
        if isinstance(error, FileNotFoundError):
            raise SourceError("no such object", where=where, got=text[:200], remedy="see what is there") from error
        if isinstance(error, PermissionError) or _FORBIDDEN.search(text):
            raise ResourceError(
                "access is refused",
                where=where,
                got=text[:200],
                remedy="give credentials by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY; "
                "AWS_SKIP_SIGNATURE=true for what is public), or the permission to read and to list",
            ) from error
        if steady or _LASTING.search(text):
            raise SourceError(
                "can't be read",
                where=where,
                got=text[:200],
                remedy="see whether the address is right and the store can be reached from here (AWS_ENDPOINT_URL, "
                "AWS_REGION, STORAGE_EMULATOR_HOST name another), and run the command again",
            ) from error
        raise Unsteady(text[:200]) from error
