"""Where a training stands: written as it goes, so that a killed one goes on with the very same steps.

A helper of `network_training.py`. One file, replaced by one rename: tensors and, in its header, the rest as JSON
(safetensors); never code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from penstock.durable import write_atomically
from penstock.errors import RunError

FILE = "checkpoint.safetensors"
_FORMAT = "1"


@dataclass
class Position:
    """Where a training stands, as JSON values.

    Attributes:
        epoch: the epoch under way, from 0.
        batch: batches of it that are done: with the order of an epoch, all that is needed to go on.
        step: batches done in all.
        total: sum of the losses of this epoch's rows.
        counted: sum of their weights.
        norms: sum of the gradients' norms in this epoch.
        cuts: how often "plateau" cut the rate.
        waited: epochs that it waits already.
        restarted: the step at which "restart_on_plateau" began anew.
        averaged: steps in the mean of the weights.
        threads: inner threads that it computes with: others round differently.
        best_loss: of the rows held back.
        best_epoch: the epoch after which it was that, from 1; 0 for none.
        history: what was told of each epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    total: float = 0.0
    counted: float = 0.0
    norms: float = 0.0
    cuts: int = 0
    waited: int = 0
    restarted: int = 0
    averaged: int = 0
    threads: int = 1
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    folder: Path,
    training: str,
    position: Position,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write where a training stands.

    Args:
        folder: made where it is not there.
        training: what tells this training from others.
        position: where it stands.
        tensors: states by name: the network's, the mean's, the best's.
        optimizer: its state goes with them.

    Raises:
        ResourceError: it can't be written.
    """
    flat = {f"{group}/{name}": value for group, state in tensors.items() for name, value in state.items()}
    described = optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for number, state in described["state"].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                flat[f"optimizer/{number}/{name}"] = value
            else:
                plain.setdefault(str(number), {})[name] = value
    flat["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        flat["random_cuda"] = torch.cuda.get_rng_state()
    header = {
        "format": _FORMAT,
        "training": training,
        "position": json.dumps(asdict(position)),
        "optimizer": json.dumps({"groups": described["param_groups"], "plain": plain}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    held = {name: value.detach().cpu().contiguous() for name, value in flat.items()}
    write_atomically(folder / FILE, safetensors.torch.save(held, header))


@dataclass(frozen=True)
class Kept:
    """What `save` wrote."""

    position: Position
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    optimizer: Mapping[str, Any]
    random: torch.Tensor
    random_cuda: torch.Tensor | None

    def restore_random(self) -> None:
        """Draw on from where it was."""
        torch.set_rng_state(self.random)
        if self.random_cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.random_cuda)


def load(folder: Path, training: str) -> Kept | None:
    """Where this training stood; None where it has not begun, or what is there is of another.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT or header.get("training") != training:
                return None
            flat = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, no mapping
        position = Position(**json.loads(header["position"]))
        described = json.loads(header["optimizer"])
        state: dict[int, dict[str, Any]] = {int(number): dict(one) for number, one in described["plain"].items()}
        tensors: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in flat.items():
            group, _, rest = name.partition("/")
            if group == "optimizer":
                number, _, own = rest.partition("/")
                state.setdefault(int(number), {})[own] = value
            elif rest:
                tensors.setdefault(group, {})[rest] = value
        optimizer = {"state": state, "param_groups": described["groups"]}
        return Kept(position, tensors, optimizer, flat["random"], flat.get("random_cuda"))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            "the checkpoint of the training is damaged",
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            remedy="--restart begins the training anew",
        ) from error
