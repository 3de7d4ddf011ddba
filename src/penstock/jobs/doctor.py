"""Doctor: what is installed, what this machine lends, and whether the ground under a job holds."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.resources import cores, free_memory, instruction_sets, show_bytes

MODULES = {
    "scikit-learn": "sklearn",
    "ruamel.yaml": "ruamel.yaml",
    "zstandard": "zstandard",
}
"""The module to import, where it is not called like its distribution."""
LITTLE_SPACE = 2**30
"""Less free space than this in the folder for temporary files is a finding [bytes]."""
_PROBE = 2**20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        good: whether it is as it should be.
        text: what was found.
        remedy: what to do where it is not good.
    """

    name: str
    good: bool
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "good": self.good, "text": self.text, "remedy": self.remedy}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        libraries: of the core; each was imported.
        extras: by name: whether all of it is installed, and the command that installs it.
        machine: what it lends.
        checks: what was really tried.
    """

    libraries: tuple[Finding, ...]
    extras: tuple[Finding, ...]
    machine: tuple[Finding, ...]
    checks: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """Whether jobs can run; an extra that is not installed does not hinder them."""
        return all(finding.good for finding in (*self.libraries, *self.machine, *self.checks))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        groups = ("libraries", "extras", "machine", "checks")
        return {"good": self.good, **{group: [one.to_json() for one in getattr(self, group)] for group in groups}}


def diagnose() -> Diagnosis:
    """Look at everything. Writes a file of 1 MiB to the folder for temporary files, and removes it.

    Example:
        >>> diagnose().good
        True
    """
    needed, extras = requirements()
    return Diagnosis(
        libraries=tuple(library(name) for name in needed),
        extras=tuple(extra(name, parts) for name, parts in sorted(extras.items()) if name != "dev"),
        machine=machine(),
        checks=(writable(Path(tempfile.gettempdir())),),
    )


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The distributions that Penstock needs, and those of each extra, from its own metadata."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("penstock") or []:
        found = re.match(r"[A-Za-z0-9._-]+", line)
        if not found:
            continue
        of = re.search(r"extra\s*==\s*[\"']([^\"']+)", line)
        (extras.setdefault(of[1], []) if of else needed).append(found[0])
    return needed, extras


def library(name: str) -> Finding:
    """Whether a distribution of the core can be imported, and its version."""
    remedy = f"pip install --force-reinstall {name}"
    try:
        version = importlib.metadata.version(name)
        importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", "pip install --upgrade penstock")
    except Exception as error:  # whatever a broken library raises is the finding
        return Finding(name, False, f"can't be imported: {type(error).__name__}: {error}", remedy)
    return Finding(name, True, version)


def extra(name: str, parts: list[str]) -> Finding:
    """Whether what an extra brings is installed."""
    versions, missing = [], []
    for part in parts:
        try:
            versions.append(f"{part} {importlib.metadata.version(part)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(part)
    if missing:
        return Finding(name, False, f"not installed: {', '.join(missing)}", f"pip install 'penstock[{name}]'")
    return Finding(name, True, ", ".join(versions))


def machine() -> tuple[Finding, ...]:
    """What this machine lends to a job."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    memory = free_memory()
    return (
        Finding("system", True, f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Finding("python", True, f"{platform.python_implementation()} {platform.python_version()}"),
        Finding("cores", True, str(cores())),
        Finding(
            "free memory", memory >= 2**29, show_bytes(memory), "close other programs: most jobs want 512 MiB or more"
        ),
        Finding("instruction sets", True, " ".join(instruction_sets()) or "not known"),
        Finding(
            "temporary files",
            free >= LITTLE_SPACE,
            f"{folder}: {show_bytes(free)} free",
            "make room, or set TMPDIR to a folder with more: training lays the encoded rows down there",
        ),
    )


def writable(folder: Path) -> Finding:
    """Whether files can be written, made durable, renamed and read back in a folder: what every commit needs."""
    data = os.urandom(_PROBE)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-doctor-", dir=folder) as place:
            path = Path(place) / "written"
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            renamed = path.rename(path.with_name("renamed"))
            same = renamed.read_bytes() == data
    except OSError as error:
        return Finding("write, sync, rename", False, f"{folder}: {error}", "set TMPDIR to a folder that can be written")
    if not same:
        return Finding("write, sync, rename", False, f"{folder}: read back other bytes", "check the disk")
    return Finding("write, sync, rename", True, f"1 MiB in {(time.monotonic() - began) * 1000:.0f} ms")
