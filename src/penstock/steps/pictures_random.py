"""What is drawn at random to augment pictures: a function of (seed, epoch, row key) and of the step. No step itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.batch import RowKeys
from penstock.statistics.hashing import mix
from penstock.step import Use


@dataclass(frozen=True)
class Chance:
    """The draws of one step for the rows of a batch: the same whatever the batch and whoever draws.

    Two equal steps draw the same; steps that differ in anything draw independently.

    Attributes:
        keys: the rows.
        use: seed and epoch.
        salt: the step, as text.
    """

    keys: RowKeys
    use: Use
    salt: str

    def bits(self, count: int, place: int = 0) -> npt.NDArray[np.uint64]:
        """Hashes, uint64, shape (rows, count): draws number ``place`` to ``place + count - 1`` of each row."""
        digest = hashlib.blake2b(self.salt.encode("utf-8", "surrogateescape"), digest_size=8, person=b"augment")
        digest.update(self.use.epoch.to_bytes(8, "little", signed=True))
        own = mix(self.keys.hash(self.use.seed) ^ np.uint64(int.from_bytes(digest.digest(), "little")))
        return mix(own[:, None] + np.arange(place, place + count, dtype=np.uint64)[None, :])

    def uniform(self, count: int, place: int = 0) -> npt.NDArray[np.float64]:
        """Numbers from 0 (with it) to 1 (without), shape (rows, count)."""
        return (self.bits(count, place) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def whole(self, below: int, count: int = 1, place: int = 0) -> npt.NDArray[np.int64]:
        """Whole numbers from 0 to ``below - 1``, shape (rows, count)."""
        return np.asarray((self.uniform(count, place) * below).astype(np.int64))
