"""Every error that Penstock raises on purpose.

    PenstockError
    ├── UsageError            the call itself is wrong                      exit 2
    │   └── ConfigError       a pipeline file is wrong (file and line)      exit 2
    ├── DataError             the data can't be read or used as asked       exit 1
    │   ├── SourceError       a file, folder or stream can't be read
    │   ├── ChangedError      an input changed while, or since, it was read
    │   └── SchemaError       columns are missing, doubled or of another type
    ├── TooManyRejected       more rows rejected than allowed               exit 3
    ├── ResourceError         memory, disk or permission does not suffice   exit 1
    ├── ArtifactError         a saved model is damaged or of another version exit 1
    ├── RunError              a run's folder is in use or of another job    exit 1
    ├── MissingExtra          an optional library is not installed          exit 1
    └── Cancelled             the job was stopped from outside              exit 1

Each says where it happened, what was expected, what came instead, and what to do about it. Errors of other
libraries are translated where they enter (sources, sinks, models), never passed on bare.
"""

from __future__ import annotations


class PenstockError(Exception):
    """The root of the tree: a problem in four parts, printed as one message.

    Args:
        message: what is wrong, as one sentence without a full stop.
        where: the file, line, column or step it concerns.
        expected: what would have been right.
        got: what was found.
        remedy: what the reader can do now.

    Example:
        >>> print(PenstockError("no such column", where="data.csv", expected="'age'", got="'Age'", remedy="use 'Age'"))
        data.csv: no such column
          expected: 'age'
          got:      'Age'
          remedy:   use 'Age'
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", expected: str = "", got: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        for name, text in (("expected", self.expected), ("got", self.got), ("remedy", self.remedy)):
            if text:
                lines.append(f"  {name + ':':<9} {text}")
        return "\n".join(lines)


class UsageError(PenstockError):
    """The call itself is wrong: an option, an argument, a combination of them."""

    exit_code = 2


class ConfigError(UsageError):
    """A pipeline file is wrong; ``where`` is its path and line."""


class DataError(PenstockError):
    """The data can't be read or used as asked."""


class SourceError(DataError):
    """A file, folder or stream can't be read."""


class ChangedError(DataError):
    """An input changed while it was read, or since its plan was made."""


class SchemaError(DataError):
    """Columns are missing, doubled, or of a type that can't be used."""


class TooManyRejected(PenstockError):
    """More rows were rejected than ``max_rejected`` allows; nothing was published."""

    exit_code = 3


class ResourceError(PenstockError):
    """Memory, disk space or permission does not suffice."""


class ArtifactError(PenstockError):
    """A saved pipeline is damaged, altered, or of a version that can't be read."""


class RunError(PenstockError):
    """A run's folder is in use, damaged, or belongs to another job."""


class MissingExtra(PenstockError):
    """An optional library is needed and not installed."""


class Cancelled(PenstockError):
    """The job was stopped from outside; what was committed stays."""
