"""What "auto" becomes in the definition of a network, by the kind of the columns that it learns from.

A helper of `network.py`: numbers and choices alone, no torch. One function for each kind; where columns of several
kinds are learned from, the first of `KINDS` that is there decides. What a user says always wins: only what is "auto"
is asked for here. The numbers were chosen on training rows alone, a part of them held back; docs/deep-learning.md
names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal

from penstock.model import Effort

SMALL = 128
"""The side of a picture up to which a network for small pictures is taken [pixels]."""
_TABLE_BATCHES, _MANY, _LARGE_BATCH = 128, 50_000, 1_024
"""Of tables: about how many batches there are in an epoch, and the rows from which on batches are large."""
_TRUNK_ROWS, _TRUNK_BATCHES = 256, 100
"""Of pictures, clips and texts: the most rows of a batch, and about how many batches there are in an epoch at least."""
_FEWEST, _MOST = 8, 60
"""Epochs of what has a trunk."""
_PICTURE_STEPS, _TRUNK_STEPS = 2_000, 1_600
"""Steps that a training of pictures, and of clips or texts, is about."""
_LONGER: Mapping[Effort, float] = {"quick": 0.4, "default": 1.0, "best": 3.0}
_JUDGES = 2_500
"""Pictures that are enough to tell one epoch from another."""
FEW_JUDGES = 30
"""Rows held back that are too few to tell one epoch from another: training goes on to its end, whatever they say."""
_NOT_ADAM = {"sgd": (0.05, 5e-4), "rmsprop": (1e-3, 1e-5), "adagrad": (0.02, 0.0)}
"""Learning rate and weight decay of optimizers whose steps are of another size, and whose decay goes through the
gradient."""
_BEGUN = 0.25
"""Of the learning rate, where weights are given to begin with."""
PADDING = 0.07
"""How far pictures are moved, as a share of their side: 2 of 28 or 32 pixels."""


@dataclass(frozen=True)
class Situation:
    """What a default may follow from.

    Attributes:
        rows: to learn from, those held back included.
        batch_rows: rows of a batch.
        task: "regression", "binary" or "multiclass".
        effort: how much time to take.
        optimizer: its name; "" for a function of the user's.
        begun: whether there are weights to begin with.
    """

    rows: int
    batch_rows: int
    task: str
    effort: Effort
    optimizer: str = "adamw"
    begun: bool = False

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, -(-self.rows // self.batch_rows))


@dataclass(frozen=True)
class Defaults:
    """What "auto" becomes; each is an argument of `penstock.models.network.Network`."""

    learning_rate: float
    l2: float
    epochs: int
    patience: int | None
    label_smoothing: float = 0.0
    schedule: Literal["one_cycle"] = "one_cycle"
    averaging: float = 0.99
    validation_share: float = 0.1
    flip_average: bool = False


def for_tables(at: Situation) -> Defaults:
    """Numbers and categories alone."""
    epochs: Mapping[Effort, int] = {"quick": 6, "default": 20, "best": 40}
    rate, decay = _of_optimizer(at, 2e-3, 1e-2)
    return Defaults(rate, decay, epochs[at.effort], 10 if at.effort == "best" else 5)


def for_pictures(at: Situation) -> Defaults:
    """Pictures, alone or beside other columns.

    The rate is for batches of 256 rows, and goes with the root of their size, as it does for Adam (Malladi et al., "On
    the SDEs and scaling rules for adaptive gradient algorithms", NeurIPS 2022). Strong decay, smoothed labels and one
    cycle are what small networks learn fast with (Jordan, arXiv 2404.00498).
    """
    rate, decay = _of_optimizer(at, 4e-3 * math.sqrt(min(at.batch_rows, _TRUNK_ROWS) / _TRUNK_ROWS), 0.05)
    epochs = _epochs(at, _PICTURE_STEPS)
    share = min(0.1, max(_JUDGES / max(at.rows, 1), 0.01))
    return Defaults(
        rate,
        decay,
        epochs,
        _patience(at, epochs, share),
        label_smoothing=0.0 if at.task == "regression" else 0.1,
        validation_share=share,
        flip_average=at.effort == "best",
    )


def for_clips(at: Situation) -> Defaults:
    """Clips, without pictures."""
    return _for_trunks(at)


def for_tokens(at: Situation) -> Defaults:
    """Texts cut into tokens, without pictures and clips."""
    return _for_trunks(at)


def _for_trunks(at: Situation) -> Defaults:
    rate, decay = _of_optimizer(at, 2e-3, 1e-2)
    epochs = _epochs(at, _TRUNK_STEPS)
    return Defaults(rate, decay, epochs, _patience(at, epochs, Defaults.validation_share))


KINDS: Mapping[str, Callable[[Situation], Defaults]] = {
    "picture": for_pictures,
    "clip": for_clips,
    "tokens": for_tokens,
}
"""By kind of trunk, the first that is there decides."""


def defaults_for(kinds: Set[str], at: Situation) -> Defaults:
    """What "auto" becomes where there are columns of these kinds; none of them is a table.

    Example:
        >>> found = defaults_for({"picture"}, Situation(54_000, 256, "multiclass", "default"))
        >>> found.learning_rate, found.epochs
        (0.004, 10)
    """
    return next((of for kind, of in KINDS.items() if kind in kinds), for_tables)(at)


def _of_optimizer(at: Situation, rate: float, decay: float) -> tuple[float, float]:
    """Learning rate and weight decay; those given are for AdamW. Adam's decay goes through the gradient."""
    rate, decay = _NOT_ADAM.get(at.optimizer, (rate, decay if at.optimizer == "adamw" else 0.0))
    return rate * _BEGUN if at.begun else rate, decay


def _epochs(at: Situation, steps: int) -> int:
    """As many as make about so many steps, from 8 to 60; fewer or more of them by effort."""
    plain = max(_FEWEST, min(_MOST, -(-steps // at.steps)))
    return max(1, round(plain * _LONGER[at.effort]))


def _patience(at: Situation, epochs: int, share: float) -> int | None:
    """A quarter of the epochs, 8 at least; None where hardly any row is held back to tell by."""
    return None if at.rows * share < FEW_JUDGES else max(_FEWEST, epochs // 4)


def table_batch_rows(rows: int) -> int:
    """Rows of a batch of a table: the power of two below rows / 128, from 32 to 256; 1,024 beyond 50,000 rows."""
    if rows > _MANY:
        return _LARGE_BATCH
    fit = 32
    while fit < 256 and 2 * fit * _TABLE_BATCHES <= rows:
        fit *= 2
    return fit


def trunk_batch_rows(rows: int, together: int) -> int:
    """Rows of a batch where there are trunks: a power of two, fewer where few rows are predicted together."""
    most = max(16, min(_TRUNK_ROWS, together))
    return min(most, 1 << int(math.log2(max(32, rows / _TRUNK_BATCHES))))


def picture_trunk(height: int, width: int, channels: int, effort: Effort) -> tuple[str, dict[str, Any]]:
    """The trunk of pictures of such a size, and its settings; in color there is more to tell than in gray.

    Example:
        >>> picture_trunk(28, 28, 1, "default")
        ('convnet', {'filters': [32, 64, 128]})
        >>> picture_trunk(224, 224, 3, "default")
        ('resnet18', {})
    """
    if max(height, width) > SMALL:
        return "resnet18", {}
    wide = (channels > 1) + (effort == "best") - (effort == "quick")
    return "convnet", {"filters": [[32, 64, 128], [48, 96, 192], [64, 128, 256]][max(0, wide)]}
