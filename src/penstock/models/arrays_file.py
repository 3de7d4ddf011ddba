"""Named arrays of float64 as one Arrow file: how models that are nothing but numbers are saved. A helper of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.durable import write_atomically
from penstock.models.folder import damaged

_SCHEMA = pa.schema([("name", pa.string()), ("shape", pa.list_(pa.int64())), ("values", pa.list_(pa.float64()))])


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays, a row for each: its name, its shape, its values.

    Raises:
        ResourceError: it can't be written.
    """
    rows = [
        {"name": name, "shape": list(array.shape), "values": np.asarray(array, np.float64).reshape(-1)}
        for name, array in arrays.items()
    ]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    write_atomically(path, buffer.getvalue().to_pybytes())


def read_arrays(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, npt.NDArray[np.float64]]:
    """Read what `write_arrays` wrote.

    Args:
        path: the file.
        shapes: the arrays that have to be there, and the size of each of their dimensions; None for any.

    Raises:
        ArtifactError: an array is missing, of another shape, or holds what is not finite.
    """
    try:
        table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error)) from error
    if not table.schema.equals(_SCHEMA):
        raise damaged(path, str(table.schema), str(_SCHEMA))
    if table.column("name").to_pylist() != list(shapes):
        raise damaged(path, ", ".join(map(str, table.column("name").to_pylist())), ", ".join(shapes))
    found: dict[str, npt.NDArray[np.float64]] = {}
    for place, (name, wanted) in enumerate(shapes.items()):
        shape = table.column("shape")[place].as_py()
        values = table.column("values")[place].values
        fits = (
            shape is not None
            and values is not None
            and len(shape) == len(wanted)
            and all(size is not None and size >= 0 for size in shape)
            and all(size is None or size == here for size, here in zip(wanted, shape, strict=True))
            and math.prod(shape) == len(values)
        )
        if not fits:
            raise damaged(path, f"{name!r} of shape {shape}", f"one of shape {wanted}")
        array = np.array(values.to_numpy(zero_copy_only=False), np.float64).reshape(shape)
        if not np.isfinite(array).all():
            raise damaged(path, f"{name!r} with values that are not finite", "finite numbers")
        found[name] = array
    return found
