"""What the arguments of a network may be, and which of them can't be done with the rows at hand. A helper of
`network.py`.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, get_args

from penstock.errors import UsageError
from penstock.model import Effort, TrainingData
from penstock.models.arguments import one_of, real_number, truth_value, whole_number
from penstock.models.labels import checked_class_weight
from penstock.models.network_parts import OWN_NAME
from penstock.models.networks.names import ACTIVATIONS, CLASS_LOSSES, OPTIMIZERS, SCHEDULES, VALUE_LOSSES

if TYPE_CHECKING:
    from penstock.models.network import Network

_AUTO = dict.fromkeys(("label_smoothing", "averaging", "l2"), ("auto",))


def check_arguments(model: Network, own: Set[str]) -> None:
    """See that each argument is in its range; those named in ``own`` are objects of the user's.

    Raises:
        UsageError: one is not, or would do nothing.
    """
    for units in model.hidden:
        whole_number("network: hidden", units, 1, 65_536)
    one_of("network: activation", model.activation, ACTIVATIONS)
    one_of("network: number_embedding", model.number_embedding, ("periodic", "none"))
    one_of("network: normalization", model.normalization, ("none", "layer", "batch"))
    for name, known in (("optimizer", OPTIMIZERS), ("loss", ("auto", *CLASS_LOSSES, *VALUE_LOSSES))):
        if name not in own:
            one_of(f"network: {name}", getattr(model, name), known)
    one_of("network: schedule", model.schedule, ("auto", *SCHEDULES))
    one_of("network: augment", model.augment, ("auto", "none"))
    one_of("network: effort", model.effort, get_args(Effort))
    truth_value("network: flip_average", model.flip_average, words=("auto",))
    one_of("network: precision", model.precision, ("auto", "float32", "bfloat16"))
    for share in ("dropout", "momentum", "label_smoothing", "averaging"):
        real_number(f"network: {share}", getattr(model, share), 0, 0.9999, words=_AUTO.get(share, ()))
    real_number("network: learning_rate", model.learning_rate, 0, above=True, words=("auto",))
    for penalty in ("l1", "l2"):
        real_number(f"network: {penalty}", getattr(model, penalty), 0, words=_AUTO.get(penalty, ()))
    for bound in ("clip_norm", "clip_value"):
        if getattr(model, bound) is not None:
            real_number(f"network: {bound}", getattr(model, bound), 0, above=True)
    real_number("network: validation_share", model.validation_share, 0, 0.9, above=True, words=("auto",))
    real_number("network: mixup", model.mixup, 0)
    real_number("network: checkpoint_seconds", model.checkpoint_seconds, 0)
    whole_number("network: loading_threads", model.loading_threads, 0, 64)
    whole_number("network: epochs", model.epochs, 1, words=("auto",))
    for count in ("restart_epochs", "max_categories", "max_tokens", "accumulate"):
        whole_number(f"network: {count}", getattr(model, count), 1)
    for count in ("warmup_steps", "plateau_patience"):
        whole_number(f"network: {count}", getattr(model, count), 0)
    _refuse_what_does_nothing(model)
    whole_number("network: batch_rows", model.batch_rows, 1, words=("auto",))
    whole_number("network: patience", model.patience, 1, words=(None, "auto"))
    whole_number("network: max_rows", model.max_rows, 1, words=(None,))
    checked_class_weight(model.class_weight, "network: class_weight")


def _refuse_what_does_nothing(model: Network) -> None:
    if model.nesterov and (model.optimizer != "sgd" or model.momentum == 0):
        raise UsageError(
            "only sgd with momentum looks ahead",
            where="network: nesterov",
            expected="optimizer sgd, and momentum above 0",
            got=f"{model.optimizer}, momentum {model.momentum:g}",
        )
    if model.warmup_steps and model.schedule in ("auto", "one_cycle"):
        raise UsageError(
            "one_cycle warms up by itself",
            where="network: warmup_steps",
            expected="0, or another schedule",
            got=str(model.warmup_steps),
        )


def refuse_other_data(model: Network, data: TrainingData) -> None:
    """Refuse what was asked for and can't be done with these rows, or here.

    Raises:
        UsageError: the module is not here, or an argument is for other rows.
    """
    _refuse_no_module(model)
    if model.label_smoothing not in ("auto", 0) and data.target.task == "regression":
        raise UsageError(
            "numbers have no labels to smooth", where="network: label_smoothing", got=str(model.label_smoothing)
        )
    if model.flip_average is True and not data.mirrored:
        raise UsageError(
            "no picture is mirrored in training: its mirror image says nothing of it",
            where="network: flip_average",
            expected="a step flip_picture, from left to right",
            got="none",
            remedy="put flip_picture before, or leave flip_average out",
        )


def _refuse_no_module(model: Network) -> None:
    if isinstance(model.module, str) and model.module.startswith(OWN_NAME) and model.own_module is None:
        raise UsageError(
            "the network is a module of one's own, and it is not here",
            where="network: module",
            expected="the torch.nn.Module itself, from Python",
            got=model.module,
            remedy="penstock.Network(MODULE, ...)",
        )
