"""The default cleaning: which steps are used where the user wrote none, and why. Part of the pipeline's machinery.

It repairs how a value is written, never what it says: nothing is imputed (models take missing values as they are),
no number is changed, no row is left out. Keys, groups, weights and the target stay as they are. Precision is worth more
than recall here: what may be right is left alone. What it changes is told cell by cell by an audit.
"""

from __future__ import annotations

from penstock.schema import Role, Schema
from penstock.step import Step

MOST_NAMED = 4


def default_steps(schema: Schema) -> tuple[tuple[Step, str], ...]:
    """The steps for these columns, each with its reason.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Field
        >>> schema = Schema((Field("city", pa.string(), Role.category), Field("age", pa.float64(), Role.number)))
        >>> [step.name for step, _ in default_steps(schema)]
        ['normalize_text', 'merge_spellings']
    """
    from penstock.steps.spellings import MergeSpellings
    from penstock.steps.text import NormalizeText

    categories, texts = schema.of_role(Role.category), schema.of_role(Role.text)
    found: list[tuple[Step, str]] = []
    if categories:
        reason = f"{_named(categories)}: one category may be written in several ways that look the same"
        found.append((NormalizeText("categorical"), reason))
    if texts:
        # Lines and paragraphs stay: they are part of a text.
        found.append((NormalizeText("text", spaces="trim"), f"{_named(texts)}: for blanks and signs that are not seen"))
    if categories:
        reason = f"{_named(categories)}: spellings of one category would be taken for several"
        found.append((MergeSpellings("categorical"), reason))
    return tuple(found)


def _named(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
