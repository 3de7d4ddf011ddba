"""Which kind of values a stored Arrow type holds, and what is said where reading changes them.

Part of the Parquet source.
"""

from __future__ import annotations

import pyarrow as pa

from penstock.schema import Role, shape_of
from penstock.sources.conform import is_bytes, is_list, is_text

NATURAL = {
    "number": Role.number,
    "boolean": Role.boolean,
    "time": Role.time,
    "text": Role.category,
    "list": Role.list,
    "bytes": Role.picture,
    "null": Role.category,
}


def kind_of(of: pa.DataType) -> str:
    """The kind of values of a stored type; "" where there is no use for them."""
    types = pa.types
    if tensor_role(of) is not None:
        return "tensor"
    if isinstance(of, pa.FixedShapeTensorType):
        return ""
    if isinstance(of, pa.BaseExtensionType):
        return kind_of(of.storage_type)
    if types.is_dictionary(of):
        return kind_of(of.value_type)
    if types.is_integer(of) or types.is_floating(of) or types.is_decimal(of) or types.is_time(of):
        return "number"
    if types.is_duration(of):
        return "number"
    if types.is_boolean(of):
        return "boolean"
    if types.is_timestamp(of) or types.is_date(of):
        return "time"
    if types.is_null(of):
        return "null"
    if is_bytes(of):
        return "bytes"
    if is_list(of):
        return "list" if kind_of(of.value_type) in ("number", "boolean", "time", "text", "null") else ""
    return "text" if is_text(of) else ""


def tensor_role(of: pa.DataType) -> Role | None:
    """What a column of tensors holds, by their dimensions: pictures or clips; None for other types."""
    shape = shape_of(of) or ()
    turned = bool(shape) and list(of.permutation or range(len(shape))) != list(range(len(shape)))
    return None if turned else {3: Role.picture, 4: Role.clip}.get(len(shape))


def why_not(of: pa.DataType) -> str:
    """Why a type is not read, in words."""
    if isinstance(of, pa.FixedShapeTensorType) and tensor_role(of) is None:
        how = "a picture is height x width x channels, a clip frames x height x width x channels"
        return f"{how}, laid down in this order: write tensors without a permutation"
    return "no role takes nested values, or bytes that are neither pictures nor clips"


def is_usable(of: pa.DataType) -> bool:
    """Whether a role takes values of this type."""
    return kind_of(of) != ""


def is_whole(of: pa.DataType) -> bool:
    """Whether a type holds whole numbers only."""
    if pa.types.is_dictionary(of):
        return is_whole(of.value_type)
    return bool(pa.types.is_integer(of) or (pa.types.is_decimal(of) and of.scale <= 0))


def described(of: pa.DataType) -> str:
    """What is said of a stored type whose values are changed in reading."""
    types = pa.types
    if is_list(of):
        return "" if is_text(of.value_type) else f"stored as lists of {of.value_type}, whose items are read as text"
    if types.is_decimal(of):
        return f"{of} rounded to float64"
    if types.is_time(of) or types.is_duration(of):
        return f"{of} in seconds"
    if types.is_timestamp(of) and of.tz is not None:
        return f"{of} turned into UTC"
    if types.is_timestamp(of) and of.unit == "ns":
        return f"{of} cut to microseconds"
    return ""
