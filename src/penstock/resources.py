"""What this machine lends to a job, and what our processes hold of it.

A contract's helper: used by the executor to stay within its memory, by `penstock doctor`, and by runs to record
what they ran on. Linux is measured from /proc and the control group; elsewhere psutil's nearest figures serve.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from penstock.engine import Resources
from penstock.errors import UsageError

_STATUS = Path("/proc/self/status")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""

DEFAULT_SHARE = 0.6
"""The share of the free memory that a job takes where it is not told."""


def held() -> int:
    """What this process holds: RssAnon + RssShmem, pages of files left out [bytes]."""
    try:
        text = _STATUS.read_bytes()
    except OSError:
        import psutil

        info = psutil.Process().memory_info()
        return int(info.rss)
    total = 0
    for key in (b"RssAnon:", b"RssShmem:"):
        at = text.find(key)
        if at >= 0:
            total += int(text[at + len(key) : text.index(b"kB", at)]) * 1024
    return total


def cores() -> int:
    """Cores this process may run on: affinity and the control group's quota respected."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, -(-int(quota) // int(period))))


def free_memory() -> int:
    """What is free on the machine, or left of the control group's limit, whichever is less [bytes]."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def parse_bytes(text: str) -> int:
    """A size such as "512MiB", "2GB" or "1.5G" [bytes].

    Raises:
        UsageError: it is not a size.

    Example:
        >>> parse_bytes("2GiB")
        2147483648
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].upper() not in _UNITS:
        raise UsageError("not a size", expected="a number and a unit, such as 512MiB or 2GB", got=repr(text))
    return int(float(found[1]) * _UNITS[found[2].upper()])


def show_bytes(count: float) -> str:
    """A size for people.

    Example:
        >>> show_bytes(1536)
        '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def size_to_ask(count: float) -> str:
    """A size to type after ``--memory`` that is no less than this: in one word, rounded up to ten mebibytes.

    Example:
        >>> size_to_ask(1.04 * 2**30), parse_bytes(size_to_ask(1.04 * 2**30)) >= 1.04 * 2**30
        ('1070MiB', True)
    """
    return f"{-(-int(count) // (10 * 2**20)) * 10}MiB"


def resources(*, cores_asked: int | None = None, memory_asked: int | None = None) -> Resources:
    """What a job may use: as asked, or all cores and `DEFAULT_SHARE` of the free memory.

    Raises:
        UsageError: fewer than one core, or less memory than the bare process holds.
    """
    if cores_asked is not None and cores_asked < 1:
        raise UsageError("not a number of cores", where="--cores", expected="1 or more", got=str(cores_asked))
    if memory_asked is not None and memory_asked < 2**27:
        raise UsageError(
            "too little memory to begin with",
            where="--memory",
            expected="128 MiB or more (512 MiB for most jobs)",
            got=show_bytes(memory_asked),
        )
    return Resources(cores_asked or cores(), memory_asked or max(2**28, int(free_memory() * DEFAULT_SHARE)))


@cache
def _libc(name: str) -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None  # another C library: it has no such call, and needs none


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks for the next ones: returning each to the system costs a tenth of a scan.

    What is kept still counts as held, and goes back when memory is short (`give_back`).
    """
    mallopt = _libc("mallopt")
    if callable(mallopt):
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**26)


def give_back() -> None:
    """Return memory that allocators keep for later to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = _libc("malloc_trim")
    if callable(trim):
        trim(0)


def instruction_sets() -> tuple[str, ...]:
    """Vector instruction sets of the processor that change how floats are summed: part of what a run records."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return tuple(name for name in ("sse4_2", "avx", "avx2", "fma", "avx512f", "asimd", "sve") if name in flags)
