"""What `penstock train --update` does: a saved model taken further with new rows.

The outermost room, beside `commands.py`; loaded when it is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from penstock.api import FittedPipeline, load
from penstock.asked import Asked, share_of
from penstock.commands import DEFAULT_HOLDOUT, max_rejected_of, open_for, trained_tables
from penstock.errors import UsageError
from penstock.source import Note
from penstock.terminal import Terminal


def update(terminal: Terminal, asked: Asked) -> None:
    """Take a saved model further with new rows."""
    fitted = load(str(asked.update))
    _refuse_other_definition(asked, fitted)
    nbytes, most = asked.nbytes, max_rejected_of(asked, fitted.definition.config)
    to = Path(asked.to)
    source = open_for(fitted, terminal, asked)
    updated = fitted.update(
        source,
        test=asked.open(asked.test, replace(fitted.definition.config.read, roles={}, written={}, labels=None)).like(
            fitted.schema
        )
        if asked.test
        else None,
        to=to,
        holdout=_holdout_of_update(fitted, terminal, asked),
        memory=nbytes,
        cores=asked.cores,
        max_rejected=most,
        restart=asked.restart,
        audit=asked.audit,
        listener=terminal,
    )
    rejected = to.with_name(to.name + ".run") / "rejected" if updated.rejected.num_rows else None
    value = {"command": "update", "output": str(to.absolute()), "rejected": rejected and str(rejected)}
    terminal.result({**value, **updated.summary}, trained_tables(updated, to, rejected))


def _refuse_other_definition(asked: Asked, fitted: FittedPipeline) -> None:
    """An update has the model's own definition: what is typed may only repeat it."""
    config = fitted.definition.config
    typed = {name: getattr(asked, name) for name in ("target", "seed", "weight", "group", "time")}
    given = [name for name, value in typed.items() if value is not None and value != getattr(config, name)]
    given += [name for name in ("config", "model", "effort", "costs", "max_rows") if getattr(asked, name) is not None]
    if given:
        options = ["--" + name.replace("_", "-") for name in given]
        raise UsageError(
            "an update goes by the model's own definition",
            where=options[0],
            expected=f"nothing that {asked.update} does not say itself",
            got=", ".join(options),
            remedy="leave them out, or train anew on all rows without --update",
        )


def _holdout_of_update(fitted: FittedPipeline, terminal: Terminal, asked: Asked) -> float | None:
    """The share of the new rows to judge on: as typed, none beside test rows, the model's own, or 10 %."""
    if asked.holdout is not None:
        return share_of(asked.holdout, "--holdout", whole=False)
    if asked.test:
        return 0.0
    if fitted.definition.holdout:
        return None
    text = f"{DEFAULT_HOLDOUT:.0%} of the new rows are kept out, to judge both models on"
    terminal.said(Note("holdout", text, "there are no test rows", "--test DATA, or --holdout 0"))
    return DEFAULT_HOLDOUT
