"""Weights from a file to begin with, and layers that stay as they are.

A file holds a *state dict*, named tensors: ``.safetensors``, or what ``torch.save`` makes of one (``.pth``, ``.pt``,
``.bin``, ``.ckpt``). Nothing else in it is ever unpickled. Names may have a training's prefixes before them
(``module.``, ``backbone.``, ``model.``, ``_orig_mod.``, ``encoder.``), and the state dict may lie under
``state_dict``, ``model`` or the like.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from penstock.errors import UsageError

_WITHIN = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts put the state dict in what they save."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
"""What wrappers and training scripts put before names."""
_HEADS = {"fc", "head", "heads", "classifier", "linear", "last_linear", "logits"}
"""What the layers of an output are called in published state dicts."""
_COUNTERS = "num_batches_tracked"
"""A batch norm's counter: older state dicts have none, and nothing depends on it."""
_SHOWN = 8
"""How many names a message shows."""


@dataclass(frozen=True)
class Loaded:
    """What became of a file of weights.

    Attributes:
        where: the part of the network that they were for; "" is all of it.
        names: the tensors of the network that were loaded.
        kept: its tensors that stay as they were drawn: those of its head.
        left_out: tensors of the file that were not used: those of the file's head.
    """

    where: str
    names: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]


def begin(network: nn.Module, weights: str | os.PathLike[str] | None, frozen: Sequence[str] = ()) -> Iterator[str]:
    """Load the weights and freeze the layers, and say what was done, a sentence each.

    Raises:
        UsageError: the file can't be read or does not fit; a pattern is for no layer, or nothing is left to learn.
    """
    if weights is not None:
        for loaded in load(network, weights):
            place = f" of {loaded.where}" if loaded.where else ""
            told = f"{len(loaded.names)} tensors{place} begin as in {os.fspath(weights)}"
            if loaded.kept:
                told += f"; drawn anew: {_listed(loaded.kept)}"
            if loaded.left_out:
                told += f"; of the file not used: {_listed(loaded.left_out)}"
            yield told
    if frozen:
        names = freeze(network, frozen)
        count = sum(each.numel() for each in network.parameters() if not each.requires_grad)
        yield f"{len(names)} tensors of {count:,} weights stay as they are ({', '.join(frozen)})"


def load(network: nn.Module, path: str | os.PathLike[str]) -> list[Loaded]:
    """Load a file's tensors into the network, or into the trunks that they are for (several where they are alike).

    Only the head may differ: the last linear layer of the network, and layers of the file that are called like one.

    Raises:
        UsageError: the file can't be read; or names or shapes differ, and which. The network is then as it was.
    """
    given = read(path)
    places, states = _places(network), _stripped(given)
    fits = {(where, each): _fit(part, state) for where, part in places for each, state in enumerate(states)}
    inmost = max(fits, key=lambda key: (fits[key], _depth(key[0])))
    if not fits[inmost]:
        raise _no_name_in_common(network, given, path)
    state = states[inmost[1]]
    alike = [where for where, _ in places if fits[where, inmost[1]] == fits[inmost]]
    chosen = [where for where in alike if not any(_is_within(other, where) for other in alike)]
    parts = dict(places)
    plans = [_plan(network, where, parts[where], state, path) for where in chosen]
    for plan in plans:
        own = parts[plan.where].state_dict(keep_vars=True)
        with torch.no_grad():
            for name in plan.names:
                own[name].copy_(state[name])
    return plans


def read(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The named tensors of a file; those of a ``.pth`` are memory-mapped where its format allows.

    Raises:
        UsageError: it is not there, is damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("no file of weights here", where="network: weights", got=str(path))
    if path.suffix == ".safetensors":
        try:
            return _checked(safetensors.torch.load_file(path), path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise _unreadable(path, error) from error
    try:
        found = _torch_load(path)
    except Exception as error:  # a pickle that is damaged, or holds objects, fails in any way that pickles fail
        raise _unreadable(path, error) from error
    if isinstance(found, Mapping):
        found = next((found[key] for key in _WITHIN if isinstance(found.get(key), Mapping)), found)
    if isinstance(found, Mapping):
        return _checked(found, path)
    raise _no_state_dict(path, type(found).__name__)


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6 can't be mapped


def _checked(found: Mapping[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _no_state_dict(path, f"{name!r}: {type(value).__name__}")
        if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
            raise _no_state_dict(path, f"{name!r}: {value.dtype}, {value.layout}")
        if not bool(torch.isfinite(value.float()).all()):
            raise UsageError(
                "weights that are not finite",
                where="network: weights",
                expected="finite numbers",
                got=f"{path}: NaN or infinity in {name!r}",
            )
        tensors[name] = value
    if not tensors:
        raise _no_state_dict(path, "no tensor")
    return tensors


def _no_state_dict(path: Path, got: str) -> UsageError:
    return UsageError(
        "not a state dict",
        where="network: weights",
        expected="named dense tensors of real numbers",
        got=f"{path}: {got}",
        remedy="save it with torch.save(module.state_dict(), PATH)",
    )


def _unreadable(path: Path, error: Exception) -> UsageError:
    first = next(iter(str(error).splitlines()), "")[:200]
    return UsageError(
        "not a file of weights, or one that holds more than weights, which is not read: objects in it could run code",
        where="network: weights",
        expected="a state dict: .safetensors, or .pth made by torch.save(module.state_dict(), PATH)",
        got=f"{path}: {type(error).__name__}: {first}",
        remedy="open it where it was made, and save module.state_dict() alone",
    )


def _places(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts that a file may be for, by name: all, a trunk, a trunk's network for frames, a user's module."""
    found: list[tuple[str, nn.Module]] = [("", network)]
    for name, module in network.named_modules():
        above, _, last = name.rpartition(".")
        if above == "trunks" or name == "module" or (last == "picture" and above.startswith("trunks.")):
            found.append((name, module))
    return found


def _depth(where: str) -> int:
    return where.count(".") + 1 if where else 0


def _is_within(where: str, other: str) -> bool:
    return where != other and (other == "" or where.startswith(f"{other}."))


def _stripped(given: Mapping[str, torch.Tensor]) -> list[Mapping[str, torch.Tensor]]:
    """The tensors under the names that they may have meant: as they are, then with each prefix taken away in turn."""
    found: list[Mapping[str, torch.Tensor]] = [given]
    while True:
        before = found[-1]
        prefix = next((one for one in _PREFIXES if any(name.startswith(one) for name in before)), None)
        if prefix is None:
            return found
        after = {name.removeprefix(prefix): value for name, value in before.items()}
        if len(after) < len(before):  # two names became one: they meant different tensors
            return found
        found.append(after)


def _fit(part: nn.Module, state: Mapping[str, torch.Tensor]) -> int:
    """How many names are the same, and shapes of the same names."""
    own = {name: value.shape for name, value in part.state_dict().items() if not name.endswith(_COUNTERS)}
    return sum(1 + (state[name].shape == shape) for name, shape in own.items() if name in state)


def _head_of(network: nn.Module) -> nn.Linear | None:
    """The last linear layer: what comes before it are features."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def _plan(
    network: nn.Module, where: str, part: nn.Module, state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> Loaded:
    """What is to be loaded into a part.

    Raises:
        UsageError: it does not fit, but for the head.
    """
    head = _head_of(network)
    heads = [] if head is None else [name for name, module in part.named_modules() if module is head]
    of_head = {f"{heads[0]}.{name}" for name in ("weight", "bias")} if heads else set()
    own = part.state_dict()
    names, kept, problems = [], [], []
    for name, value in own.items():
        if name in state and state[name].shape == value.shape:
            names.append(name)
        elif name in of_head:
            kept.append(name)
        elif name in state:
            problems.append(f"{name} is {_shape(state[name])} in the file, and {_shape(value)} in the network")
        elif not name.endswith(_COUNTERS):
            problems.append(f"{name} is not in the file")
    if any(name in kept for name in of_head):  # a head's weight and bias go together
        names, kept = [name for name in names if name not in of_head], [name for name in own if name in of_head]
    unknown = [name for name in state if name not in own and name.split(".")[0] not in _HEADS]
    problems += [f"{name} is not in the network" for name in unknown]
    if problems:
        more = len(problems) - _SHOWN
        told = "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise UsageError(
            "the file's weights are for another network",
            where="network: weights",
            expected=f"the {len(own)} tensors of {where or 'the network'}, the head aside",
            got=f"{os.fspath(path)}: {told}",
            remedy="the network and the settings that the weights were made with",
        )
    return Loaded(where, tuple(names), tuple(kept), tuple(name for name in state if name not in names))


def _shape(value: torch.Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _no_name_in_common(
    network: nn.Module, given: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> UsageError:
    where, part = _places(network)[-1]
    return UsageError(
        "the file's weights are for another network: no name is the same",
        where="network: weights",
        expected=f"names such as {_listed(list(part.state_dict()))}" + (f" (of {where})" if where else ""),
        got=f"{os.fspath(path)}: {_listed(list(given))}",
        remedy="the network and the settings that the weights were made with",
    )


def freeze(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let weights stay as they are: those of the layers of these names.

    A pattern is a layer's or a tensor's name, with ``*`` and ``?`` for any characters ("layer1*", "conv1"), as it is
    in the network ("trunks.0.conv1") or in a trunk ("conv1"); or "all", for all but the head.

    Returns:
        The names of the tensors that are frozen.

    Raises:
        UsageError: a pattern is for none, or nothing is left to learn.
    """
    parameters = dict(network.named_parameters())
    prefixes = [f"{where}." for where, _ in _places(network) if where]
    frozen: list[str] = []
    for pattern in patterns:
        if pattern == "all":
            found = _all_but_head(network)
        else:
            found = [name for name in parameters if any(_meant(one, pattern) for one in _told(name, prefixes))]
        if not found:
            raise _no_layer(network, pattern)
        frozen += found
    if not set(parameters) - set(frozen):
        raise UsageError(
            "nothing is left to learn", where="network: frozen", expected="some layers", got=", ".join(patterns)
        )
    for name in frozen:
        parameters[name].requires_grad_(False)
    rest(network)
    return [name for name in parameters if name in set(frozen)]


def _told(name: str, prefixes: Sequence[str]) -> list[str]:
    """What a tensor is called: in the network, and in each part that holds it."""
    return [name, *(name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix))]


def _meant(name: str, pattern: str) -> bool:
    """Whether a pattern is for a tensor: by its own name, or by that of a layer around it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def _all_but_head(network: nn.Module) -> list[str]:
    names = [name for name, _ in network.named_parameters()]
    if any(name.startswith("trunks.") for name in names):
        return [name for name in names if name.startswith("trunks.")]
    head = _head_of(network)
    kept = set() if head is None else {id(each) for each in head.parameters()}
    return [name for name, each in network.named_parameters() if id(each) not in kept]


def _no_layer(network: nn.Module, pattern: str) -> UsageError:
    layers = list(
        dict.fromkeys(name.split(".")[0] for _, part in _places(network)[1:] for name, _ in part.named_parameters())
    )
    layers = layers or list(dict.fromkeys(name.split(".")[0] for name, _ in network.named_parameters()))
    near = difflib.get_close_matches(pattern, layers, n=1)
    return UsageError(
        "no layer of this name",
        where="network: frozen",
        expected=f"'all', or names or patterns of: {_listed(layers)}",
        got=repr(pattern),
        remedy=f"did you mean {near[0]!r}?" if near else "",
    )


def rest(network: nn.Module) -> None:
    """Put what is frozen in evaluation: its batch norms keep the means they have, its dropouts drop nothing.

    To be called after each ``network.train()``.
    """
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(each.requires_grad for each in parameters):
            module.eval()
