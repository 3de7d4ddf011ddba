"""How often, and after how long, something is tried again that failed for a reason that may pass.

Part of the sources. The waits grow and are jittered by the name and the process: several readers do not come back at
once, nor do several processes at one address.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """A bounded number of tries.

    Attributes:
        attempts: tries in all, the first included.
        first: about the first wait [s]; each is twice the one before.
        longest: the longest wait [s].

    Example:
        >>> waits = list(Retries(attempts=4, first=1.0, longest=3.0).waits("s3://bucket/key"))
        >>> len(waits), all(0.5 <= wait <= 3.0 for wait in waits)
        (3, True)
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 8.0

    def waits(self, name: str) -> Iterator[float]:
        """The waits between the tries [s]: half of each is fixed, half random by ``name`` and process (equal jitter;
        Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015)."""
        chance = random.Random(f"{name} {os.getpid()}")
        for attempt in range(self.attempts - 1):
            yield min(self.longest, self.first * 2**attempt) * (0.5 + chance.random() / 2)
