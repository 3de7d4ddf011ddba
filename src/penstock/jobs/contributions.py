"""What moved a row's prediction: the model's own contributions, by the columns of the data. Used by jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.artifact import Member, Saved
from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.schema import Schema

CONTRIBUTION = "contribution_"
"""Before the name of a column of the data, the column of its contributions."""
BASE = "contribution"
"""The column of the score that a row begins with, before any column of the data moved it."""


@dataclass(frozen=True)
class Contributions:
    """Sums up the contributions of features by the columns of the data that they are made of.

    They are of raw scores: of two classes the log odds of the second, of a number its own unit, of more classes the
    score of the class predicted. Of several models they are the weighted mean. Of classes these average probabilities,
    not scores: the base then also holds what the weighted mean lacks of the log odds of the averaged probability (of
    two classes of the second, of more of the class predicted, against all others), so that everything adds up to that.

    Attributes:
        members: the models with their steps.
        columns: the columns of the data, as they are told.
    """

    members: tuple[Member, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, saved: Saved) -> Contributions:
        """For a fitted pipeline."""
        met = {_named(member, name): None for member in saved.members for name in member.model.features.names}
        return cls(saved.members, tuple(met))

    def values(
        self,
        encoded: Sequence[Batch],
        codes: npt.NDArray[np.int64],
        threads: int,
        averaged: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Shape (rows, columns + 1), last the base.

        Args:
            encoded: of each model, the rows as it takes them.
            codes: the classes predicted, where there are more than two.
            threads: inner threads of a model.
            averaged: of several models, the averaged probabilities, shape (rows, classes); None for a regression, or
                where the base is not looked at.

        Raises:
            UsageError: a model can't tell.
        """
        place = {name: number for number, name in enumerate(self.columns)}
        total = np.zeros((len(encoded[0]), len(self.columns) + 1))
        weights = sum(member.weight for member in self.members)
        for member, batch in zip(self.members, encoded, strict=True):
            found = member.model.contributions(batch, threads=threads)
            if found is None:
                raise UsageError(
                    f"the model {member.model.name!r} can't tell what moved a prediction",
                    where="--explain",
                    expected="boosted, linear, or a network on a table",
                    remedy="train with --model boosted; `penstock explain` tells what any model leans on as a whole",
                )
            chosen = found[:, :, 0] if found.shape[2] == 1 else found[np.arange(len(codes)), :, codes]
            for number, name in enumerate(member.model.features.names):
                total[:, place[_named(member, name)]] += chosen[:, number] * (member.weight / weights)
            total[:, -1] += chosen[:, -1] * (member.weight / weights)
        if averaged is not None:
            chosen_class = codes if len(codes) else np.ones(len(total), np.int64)
            _add_up(total, _log_odds(averaged, chosen_class))
        return total


def _add_up(total: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> None:
    """Put what the sums lack of the scores into the base; rows whose score is infinite stay as they are."""
    left = scores - np.add.reduce(total, axis=1)
    total[:, -1] += np.where(np.isfinite(scores), left, 0.0)


def _log_odds(probabilities: npt.NDArray[np.float64], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of each row's class against all others; infinite where a probability is 0 or 1."""
    rows = np.arange(len(codes))
    others = probabilities.copy()
    others[rows, codes] = 0.0
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probabilities[rows, codes]) - np.log(np.add.reduce(others, axis=1)))


def _named(member: Member, feature: str) -> str:
    """The one column of the data that a feature is made of; of several, the feature's own name."""
    origins = member.steps.origins.get(feature, (feature,))
    return origins[0] if len(origins) == 1 else feature


def names_of(columns: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns that hold the contributions, the base last."""
    return (*(CONTRIBUTION + name for name in columns), BASE)


def refuse_taken(schema: Schema, columns: Sequence[str], keep: Sequence[str]) -> None:
    """Refuse a column to keep that has the name of a contribution.

    Raises:
        UsageError: there is one.
    """
    taken = set(names_of(columns)) & set(keep) & set(schema.names)
    if taken:
        raise UsageError(
            "a column to keep has the name of a contribution", where="--keep", got=", ".join(sorted(taken))
        )
