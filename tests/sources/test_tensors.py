"""Columns of tensors in Parquet, Arrow and memory: read as they are laid down, or not at all."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.errors import SchemaError
from penstock.schema import tensor
from penstock.source import Source
from penstock.testing.sources import read_all

PIXELS = np.arange(4 * 2 * 3 * 1, dtype=np.uint8).reshape(4, 2, 3, 1)
PLAIN = tensor(pa.uint8(), (2, 3, 1))


def column(pixels: npt.NDArray[np.generic], of: pa.FixedShapeTensorType) -> pa.Array:
    values = pa.array(np.ascontiguousarray(pixels).reshape(-1))
    return pa.ExtensionArray.from_storage(of, pa.FixedSizeListArray.from_arrays(values, int(np.prod(of.shape))))


def written(values: pa.Array, to: Path) -> Source:
    table = pa.table({"picture": values, "label": ["a", "b"] * (len(values) // 2)})
    if to.suffix == ".parquet":
        pq.write_table(table, to)
    elif to.suffix == ".arrow":
        with pa.ipc.new_file(to, table.schema) as writer:
            writer.write_table(table)
    else:
        return ps.read(table)
    return ps.read(to)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "memory"])
@pytest.mark.parametrize("order", [None, (0, 1, 2)])
def test_tensors_laid_down_in_order_are_pictures(tmp_path: Path, name: str, order: tuple[int, ...] | None) -> None:
    of = pa.fixed_shape_tensor(pa.uint8(), (2, 3, 1), permutation=order)
    source = written(column(PIXELS, of), tmp_path / name)
    assert source.schema["picture"].role is ps.Role.picture and source.schema["picture"].shape == (2, 3, 1)
    found = np.concatenate([batch.column("picture").to_numpy_ndarray() for batch in read_all(source)])
    assert np.array_equal(found, PIXELS)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "memory"])
@pytest.mark.parametrize("order", [(1, 2, 0), (0, 2, 1)])
def test_tensors_laid_down_in_another_order_are_not_read_and_it_is_said(
    tmp_path: Path, name: str, order: tuple[int, ...]
) -> None:
    of = pa.fixed_shape_tensor(pa.uint8(), (1, 2, 3), permutation=order)
    source = written(column(PIXELS.transpose(0, 3, 1, 2), of), tmp_path / name)
    assert source.schema.names == ("label",)
    assert any("'picture'" in note.topic and "without a permutation" in note.reason for note in source.notes)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_later_file_with_its_axes_in_another_order_is_refused(tmp_path: Path, suffix: str) -> None:
    square = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2, 1)
    written(column(square, tensor(pa.uint8(), (2, 2, 1))), tmp_path / f"a{suffix}")
    turned = pa.fixed_shape_tensor(pa.uint8(), (2, 2, 1), permutation=(1, 0, 2))
    written(column(square, turned), tmp_path / f"b{suffix}")
    with pytest.raises(SchemaError, match="another type than in the first file"):
        read_all(ps.read(tmp_path))


def test_tensors_of_other_dimensions_are_left_out_with_the_reason(tmp_path: Path) -> None:
    source = written(column(PIXELS, tensor(pa.uint8(), (6,))), tmp_path / "a.parquet")
    assert source.schema.names == ("label",)
    assert any("height x width x channels" in note.reason for note in source.notes)
