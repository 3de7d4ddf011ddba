"""Checks of the contracts' laws, for every implementation, ours and other people's.

Whoever writes a statistic, a step, a source or a sink runs the check of its contract before writing a test of his
own. Each is in a file named after the room it checks, is loaded when it is first used, and needs nothing but
Penstock itself.

Example:
    >>> import penstock.testing
    >>> penstock.testing.check_statistic.__module__
    'penstock.testing.statistics'
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES: dict[str, str] = {
    "check_engine": "penstock.testing.engines",
    "check_model": "penstock.testing.models",
    "check_sink": "penstock.testing.engines",
    "check_source": "penstock.testing.sources",
    "check_statistic": "penstock.testing.statistics",
    "check_step": "penstock.testing.steps",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
