"""IDX, the binary format of CIFAR, and npz: pictures of one shape and their labels, damaged ones refused."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import penstock as ps
from penstock.cli import run
from penstock.errors import PenstockError, SchemaError, SourceError, UsageError
from penstock.schema import tensor
from penstock.source import ReadOptions, Source
from penstock.sources.files import Limits, find_files
from penstock.sources.idx import IdxSource
from penstock.testing import check_source
from penstock.testing.sources import read_all

RANDOM = np.random.default_rng(3)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def write_idx(path: Path, values: npt.NDArray[np.generic], *, more: bytes = b"", cut: int | None = None) -> Path:
    big = values.astype(values.dtype.newbyteorder(">"))
    head = bytes([0, 0, CODES[values.dtype.str[1:]], values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data = (head + big.tobytes() + more)[:cut]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def pictures_of(source: Source) -> npt.NDArray[np.generic]:
    return np.concatenate([batch.column("picture").to_numpy_ndarray() for batch in read_all(source)])


def labels_of(source: Source, name: str = "label") -> list[object]:
    return [value for batch in read_all(source, (name,)) for value in batch.column(name).to_pylist()]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte.gz", "pictures", "pictures.gz"])
def test_pictures_and_their_labels(tmp_path: Path, name: str) -> None:
    images = RANDOM.integers(0, 256, (50, 4, 5), dtype=np.uint8)
    labels = RANDOM.integers(0, 10, 50, dtype=np.uint8)
    path = write_idx(tmp_path / name, images)
    beside = write_idx(tmp_path / "labels-idx1-ubyte.gz", labels)
    source = ps.read(path, labels=beside)
    assert source.schema["picture"].type == tensor(pa.uint8(), (4, 5, 1))
    assert source.schema["picture"].role is ps.Role.picture
    assert np.array_equal(pictures_of(source)[..., 0], images)
    assert labels_of(source) == [str(label) for label in labels]
    assert source.schema["label"].role is ps.Role.category
    assert [one.path for one in source.fingerprints()] == [name, "labels-idx1-ubyte.gz"]
    check_source(lambda: ps.read(path, labels=beside), records=50)


def test_blocks_hold_at_most_so_many_bytes(tmp_path: Path) -> None:
    files = find_files(write_idx(tmp_path / "a-idx3-ubyte", RANDOM.integers(0, 256, (100, 10, 10), dtype=np.uint8)))
    source = IdxSource(files, ReadOptions(), Limits(block_bytes=1000, chunk_bytes=3000))
    assert {len(batch) for batch in read_all(source)} <= set(range(1, 11))
    assert len(list(source.chunks())) > 2
    assert source.block_nbytes <= 2 * 1200


@pytest.mark.parametrize("kind", ["f4", "f8", "u1"])
def test_colored_and_floating_pictures(tmp_path: Path, kind: str) -> None:
    images = (RANDOM.random((6, 3, 4, 3)) * 255).astype(kind)
    found = pictures_of(ps.read(write_idx(tmp_path / "a-idx4-float", images)))
    assert found.dtype == np.dtype(kind)
    assert np.array_equal(found, images)


@pytest.mark.parametrize(
    ("values", "role", "first"),
    [
        (np.array([3, 0, 3], np.uint8), ps.Role.category, "3"),
        (np.array([-1, 70_000, 2], np.int32), ps.Role.category, "-1"),
        (np.array([0.5, 1.5, 2.5], np.float32), ps.Role.number, 0.5),
    ],
)
def test_labels_alone_are_a_table(
    tmp_path: Path, values: npt.NDArray[np.generic], role: ps.Role, first: object
) -> None:
    source = ps.read(write_idx(tmp_path / "l-idx1-ubyte", values))
    assert source.schema.names == ("label",)
    assert source.schema["label"].role is role
    assert labels_of(source)[0] == first


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.zeros((4, 3), np.uint8), "(4, 3)"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), "(2, 2, 2, 2, 2)"),
        (np.zeros((2, 3, 3), np.int16), "int16"),
        (np.zeros((2, 0, 3), np.uint8), "(2, 0, 3)"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, values: npt.NDArray[np.generic], got: str) -> None:
    with pytest.raises(SourceError, match="not pictures") as raised:
        ps.read(write_idx(tmp_path / "a-idx3-ubyte", values))
    assert got in str(raised.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("more", "cut", "got"),
    [
        (b"", 100, "too early"),
        (b"x", None, "more than its head says"),
        (b"", 7, "2 |sizes"),
        (b"", 2, "begins with 00 00"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, more: bytes, cut: int | None, got: str) -> None:
    path = write_idx(tmp_path / f"a-idx3-ubyte{suffix}", np.zeros((20, 4, 4), np.uint8), more=more, cut=cut)
    with pytest.raises(SourceError, match="not an IDX file, or a damaged one"):
        read_all(ps.read(path))


def test_a_torn_gzip_is_refused(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a-idx3-ubyte.gz", RANDOM.integers(0, 256, (200, 9, 9), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SourceError, match="damaged"):
        read_all(ps.read(path))


def test_no_picture_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no rows"):
        ps.read(write_idx(tmp_path / "a-idx3-ubyte", np.zeros((0, 4, 4), np.uint8)))


def test_another_number_of_labels_is_one_clear_error(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "a-idx3-ubyte", np.zeros((20, 4, 4), np.uint8))
    labels = write_idx(tmp_path / "l-idx1-ubyte", np.zeros(21, np.uint8))
    with pytest.raises(SourceError, match="not as many labels as pictures") as raised:
        ps.read(images, labels=labels)
    assert "20" in raised.value.expected and "21" in raised.value.got
    with pytest.raises(SourceError, match="not labels"):
        ps.read(images, labels=images)
    with pytest.raises(SourceError, match="no such file"):
        ps.read(images, labels=tmp_path / "m-idx1-ubyte")
    with pytest.raises(UsageError, match="one file of labels for several"):
        ps.read([images, write_idx(tmp_path / "b-idx3-ubyte", np.zeros((1, 4, 4), np.uint8))], labels=labels)
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="goes with pictures in an IDX file"):
        ps.read(tmp_path / "a.csv", labels=labels)
    with pytest.raises(SourceError, match="labels are read from one IDX file"):
        ps.read(images, labels=tmp_path / "a.csv")


def test_pictures_beside_their_labels_in_one_folder_are_pointed_to_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "a-idx3-ubyte", np.zeros((20, 4, 4), np.uint8))
    write_idx(tmp_path / "l-idx1-ubyte", np.zeros(20, np.uint8))
    with pytest.raises(SchemaError, match=r"\(labels\)"):
        ps.read(tmp_path)


def test_labels_are_of_the_data_and_not_of_the_model(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "a-idx3-ubyte", np.zeros((4, 2, 2), np.uint8))
    labels = write_idx(tmp_path / "l-idx1-ubyte", np.array([0, 1, 0, 1], np.uint8))
    other = write_idx(tmp_path / "b-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    read = ReadOptions(labels=str(labels))
    before = ps.read(images, options=read).schema
    assert ps.api._source(other, read, before).schema.names == ("picture",)


def test_with_labels_the_label_is_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = str(write_idx(tmp_path / "a-idx3-ubyte", RANDOM.integers(0, 256, (40, 2, 2), dtype=np.uint8)))
    labels = str(write_idx(tmp_path / "l-idx1-ubyte", np.arange(40, dtype=np.uint8) % 3))
    assert run(["init", images, "--labels", labels]) == 0
    assert "target: label" in capsys.readouterr().out
    assert run(["profile", images, "--labels", labels, "--json", "--quiet"]) == 0
    columns = {column["name"]: column for column in json.loads(capsys.readouterr().out)["columns"]}
    assert (columns["picture"]["kind"], columns["label"]["distinct"]) == ("tensor", 3)
    assert run(["train", images, "--labels", labels, "--test", images, "--model", "linear"]) == 2
    assert "judge the model afterwards: penstock evaluate MODEL DATA --labels" in capsys.readouterr().err


# --- CIFAR


def write_cifar(path: Path, images: npt.NDArray[np.uint8], *labels: npt.NDArray[np.uint8]) -> Path:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    np.concatenate([*(one[:, None] for one in labels), planes], axis=1).tofile(path)
    return path


def test_cifar_10_with_names(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    path = write_cifar(tmp_path / "data_batch_1.bin", images, labels)
    assert labels_of(ps.read(path))[:2] == ["0", "1"]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    write_cifar(tmp_path / "data_batch_2.bin", images, labels)
    source = ps.read(tmp_path)
    assert np.array_equal(pictures_of(source), np.concatenate([images, images]))
    assert labels_of(source) == 2 * [names[label] for label in labels]


def test_cifar_100_has_coarse_and_fine_labels(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (25, 32, 32, 3), dtype=np.uint8)
    coarse, fine = np.arange(25, dtype=np.uint8) % 20, np.arange(25, dtype=np.uint8) + 70
    source = ps.read(write_cifar(tmp_path / "train.bin", images, coarse, fine))
    assert labels_of(source) == [str(label) for label in fine]
    assert labels_of(source, "coarse_label") == [str(label) for label in coarse]
    assert np.array_equal(pictures_of(source), images)


def test_a_label_of_cifar_that_is_no_class_costs_its_row(tmp_path: Path) -> None:
    labels = np.zeros(150, np.uint8)
    labels[120] = 11
    path = write_cifar(tmp_path / "data_batch_1.bin", np.zeros((150, 32, 32, 3), np.uint8), labels)
    rejected = [batch.rejected for batch in read_all(ps.read(path)) if batch.rejected is not None]
    assert [(row["row"], row["code"]) for row in rejected[0].to_pylist()] == [(120, "bad_label")]


def test_other_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff" * 3073)
    (tmp_path / "b.bin").write_bytes(b"\0" * 4000)
    for name in ("a.bin", "b.bin"):
        with pytest.raises(SourceError, match="not the binary format of CIFAR"):
            ps.read(tmp_path / name)


# --- npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_pictures_and_labels(tmp_path: Path, save: object) -> None:
    images = RANDOM.random((40, 6, 5, 3)).astype(np.float32)
    labels = np.array(["cat", "dög"])[RANDOM.integers(0, 2, 40)]
    save(tmp_path / "a.npz", images=images, labels=labels)  # type: ignore[operator]
    source = ps.read(tmp_path / "a.npz")
    assert np.array_equal(pictures_of(source), images)
    assert labels_of(source) == labels.tolist()


def test_of_training_and_test_arrays_the_former_are_read_and_it_is_said(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (9, 4, 4), dtype=np.uint8)
    labels = np.arange(9)[:, None]
    np.savez(tmp_path / "mnist.npz", x_test=images[:2], y_test=labels[:2], x_train=images, y_train=labels)
    source = ps.read(tmp_path / "mnist.npz")
    assert np.array_equal(pictures_of(source)[..., 0], images)
    assert labels_of(source) == [str(n) for n in range(9)]
    assert "x_test, y_test not read" in "\n".join(map(str, source.notes))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": np.array([{}, []], object)}, "holds objects, which are never read"),
        ({"x": np.zeros((4, 3))}, "no array of pictures"),
        ({"weights": np.zeros((4, 3, 3))}, "no array of pictures"),
        ({"x": np.asfortranarray(np.ones((4, 3, 5)))}, "stored by columns"),
        ({"x": np.zeros((4, 3, 3), np.int64)}, "not pictures"),
        ({"x": np.zeros((4, 3, 3)), "y": np.zeros(5)}, "not as many labels as pictures"),
        ({}, "no array"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, npt.NDArray[np.generic]], match: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(PenstockError, match=match):
        ps.read(tmp_path / "a.npz")


@pytest.mark.parametrize("compress", [False, True])
def test_an_npz_that_is_damaged_is_refused(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "a.npz"
    (np.savez_compressed if compress else np.savez)(path, x=RANDOM.integers(0, 256, (50, 9, 9), dtype=np.uint8))
    whole = path.read_bytes()
    for broken in (whole[:500], b"PK\3\4", whole[:200] + b"\xff" * 100 + whole[300:]):
        path.write_bytes(broken)
        try:
            read_all(ps.read(path))
        except SourceError:
            continue
        assert not compress and len(broken) == len(whole)  # what is stored as it is has no way to know
