"""Which roles models can learn from, and the steps that they put times, texts and lists through. A helper of models."""

from __future__ import annotations

from penstock.schema import Role, Schema
from penstock.step import Step

NUMBERS = (Role.number, Role.integer, Role.boolean)
"""Roles of columns that are numbers already."""
WORDS = (Role.text, Role.list, Role.vector)
"""Roles of columns that are sparse vectors, or become them."""


def time_steps(schema: Schema, *, cyclic: bool) -> tuple[list[Step], tuple[str, ...]]:
    """Times by what a model can learn from: the year, month, weekday and hour, and the days since 1970.

    Args:
        schema: the columns.
        cyclic: whether what comes round is told by sine and cosine (for weights), or by its number (for splits).

    Returns:
        The step, where there are times, and the names of the columns it makes.
    """
    from penstock.steps.dates import DateParts, Part

    times = schema.of_role(Role.time)
    if not times:
        return [], ()
    round_parts: tuple[Part, ...] = ("month", "weekday", "hour")
    if cyclic:
        step = DateParts(times, ("year", "elapsed_days"), round_parts)
    else:
        step = DateParts(times, ("year", *round_parts, "elapsed_days"))
    made = tuple(name for name in step.touches(schema).writes)
    return [step], made


def word_steps(schema: Schema, max_tokens: int) -> list[Step]:
    """Texts by TF-IDF of words, signs and shapes of words, lists with a place for each item; vectors as they are.

    Args:
        schema: the columns.
        max_tokens: the most tokens, or items, of a column.
    """
    from penstock.steps.tokens import MultiHot, TfIdf

    steps: list[Step] = []
    if texts := schema.of_role(Role.text):
        steps.append(TfIdf(texts, "shapes", max_features=max_tokens, sublinear=True))
    if lists := schema.of_role(Role.list):
        steps.append(MultiHot(lists, min_df=2, max_features=max_tokens))
    return steps
