"""Which layers a network gets for the columns at hand, as JSON values. A helper of `network.py`.

torch is not needed for this: what a definition asks of a machine can be told before it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.model import Effort, TrainingData, in_matrix, spans_of
from penstock.models.network_defaults import picture_trunk
from penstock.models.networks import catalog
from penstock.models.networks.sizes import embedding_size
from penstock.schema import Field, Role, Schema

if TYPE_CHECKING:
    from penstock.models.network import Network

_TABLE_FEATURES = 64
OWN_NAME = "own:"
"""What stands before the name of a module of the user's in a pipeline file."""
KINDS = ("picture", "clip", "tokens")


def kind_of(field: Field) -> str | None:
    """The kind of trunk that a column goes through; None for those of the matrix."""
    if field.role is Role.tokens:
        return "tokens"
    if field.shape is None:
        return None
    return "clip" if len(field.shape) == 4 else "picture"


def has_parts(schema: Schema) -> bool:
    """Whether there is a column that goes through a trunk of its own."""
    return any(kind_of(field) is not None for field in schema)


def sizes_of(field: Field) -> tuple[int, ...]:
    """What the trunk of a column is made for: see `penstock.models.networks.combined.Part`."""
    if field.role is Role.tokens:
        return (len(field.categories or ()),)
    assert field.shape is not None
    *frames, height, width, channels = field.shape
    return (*frames, channels, height, width)


def parts_of(model: Network, schema: Schema) -> list[dict[str, Any]]:
    """The trunks of the columns that have one, as JSON values.

    Raises:
        UsageError: a network was named for a kind of columns that is not there.
    """
    named = networks_named(model)
    found, met = [], set()
    for field in schema:
        kind = kind_of(field)
        if kind is None:
            continue
        key = next((key for key in (field.name, kind) if key in named), kind)
        network, settings = named[key] if key in named else _default(kind, field, model.effort)
        met.add(key)
        found.append(
            {
                "column": field.name,
                "kind": kind,
                "network": network,
                "sizes": list(sizes_of(field)),
                "settings": catalog.complete(network, kind, settings),
                "scaled": kind != "tokens" and field.type.value_type == "uint8",
            }
        )
    for key in set(named) - met:
        kinds = ", ".join(f"{one['column']!r} ({one['kind']})" for one in found) or "none"
        raise UsageError(
            f"the network {named[key][0]!r} is for a column that is not there",
            where="network: module",
            expected=f"columns of {key}" if key in KINDS else f"a picture, clip or text column {key!r}",
            got=f"columns with a network of their own: {kinds}",
            remedy="a step that decodes pictures or clips, or cuts text into tokens; or another network",
        )
    return found


def networks_named(model: Network) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """By column or kind: the network that the definition names, and its settings."""
    if isinstance(model.module, str):
        if model.module == "auto" or model.module.startswith(OWN_NAME):
            return {}
        return {catalog.kind_of(model.module): (model.module, model.settings)}
    if isinstance(model.module, Mapping):
        return {key: (name, model.settings.get(key, {})) for key, name in model.module.items()}
    return {}


def _default(kind: str, field: Field, effort: Effort) -> tuple[str, Mapping[str, Any]]:
    if kind == "tokens":
        return "embedding_bag", {}
    if kind == "clip":
        return "pooled_frames", {}
    assert field.shape is not None
    height, width, channels = field.shape
    return picture_trunk(height, width, channels, effort)


def architecture_of(model: Network, data: TrainingData) -> dict[str, Any]:
    """All layers, as JSON values."""
    outputs = len(data.target.classes) if data.target.task == "multiclass" else 1
    matrix = data.schema.select([field.name for field in data.schema if in_matrix(field)])
    if not has_parts(data.schema) and model.own_module is None:
        return table_architecture(model, data, matrix, outputs)
    if model.own_module is not None:
        kind = type(model.own_module)
        named = f"{kind.__module__}.{kind.__qualname__}"
        parts = parts_of(model, data.schema)
        own = {"kind": "own", "module": named, "parts": parts, "outputs": outputs, "table": None}
        return {**own, "mirrored": _mirrored(model, data)}
    table = table_architecture(model, data, matrix, _TABLE_FEATURES) if len(matrix) else None
    return {
        "kind": "combined",
        "parts": parts_of(model, data.schema),
        "table": table,
        "outputs": outputs,
        "dropout": model.dropout,
        "mirrored": _mirrored(model, data),
    }


def _mirrored(model: Network, data: TrainingData) -> list[str]:
    """The columns that are predicted with their mirror images: those that are mirrored in training."""
    return [name for name in data.schema.names if name in data.mirrored] if model.flip_average is True else []


def table_architecture(model: Network, data: TrainingData, matrix: Schema, outputs: int) -> dict[str, Any]:
    """The layers for numbers, codes and sparse vectors; see `penstock.models.networks.tabular`."""
    spans = spans_of(data.schema)
    single = [field for field in matrix if field.width is None]
    numbers = [field for field in single if field.categories is None]
    table = data.table([field.name for field in numbers])
    missing = [field for field in numbers if table.column(field.name).null_count]
    return {
        "width": max(span.stop for span in spans.values()),
        "numbers": [spans[field.name].start for field in numbers],
        "missing": [spans[field.name].start for field in missing],
        "categories": [
            [spans[field.name].start, len(field.categories), embedding_size(len(field.categories) + 1)]
            for field in single
            if field.categories is not None
        ],
        "vectors": [[spans[field.name].start, spans[field.name].stop] for field in matrix if field.width is not None],
        "hidden": list(model.hidden),
        "activation": model.activation,
        "normalization": model.normalization,
        "dropout": model.dropout,
        "outputs": outputs,
        "frequencies": model.frequencies_of(len(numbers)),
    }
