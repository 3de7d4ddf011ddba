"""Pictures that a model was not trained on, labels that are lacking, rows without a picture: one clear message each."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

import penstock as ps
from penstock.cli import run
from penstock.errors import SchemaError
from penstock.schema import tensor

DATA = os.environ.get("PENSTOCK_DATA")
RANDOM = np.random.default_rng(5)
LABELS = (np.arange(40) % 2).astype(np.uint8)


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> str:
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes()))
    return str(path)


def drawn(labels: npt.NDArray[np.uint8], size: int = 6) -> npt.NDArray[np.uint8]:
    return (RANDOM.integers(0, 60, (len(labels), size, size)) + 150 * labels[:, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ps.FittedPipeline:
    folder = tmp_path_factory.mktemp("training")
    pixels = write_idx(folder / "train-images-idx3-ubyte.gz", drawn(LABELS))
    source = ps.read(pixels, labels=write_idx(folder / "train-labels-idx1-ubyte.gz", LABELS))
    network = ps.Network("lenet", epochs=1)
    return ps.Pipeline([], network, target="label", holdout=0.0).fit(source, to=folder / "model")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments, "--quiet"]) in (1, 2, 3)
    said = capsys.readouterr().err
    assert said.startswith("error:") and said.count("error") == 1 and "Traceback" not in said
    return " ".join(said.split())


def test_judging_pictures_without_their_labels_points_to_them(
    model: ps.FittedPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", drawn(LABELS[:10]))
    where = str(model._folder)
    said = refused(capsys, "evaluate", where, pixels)
    assert "'label' (the target, to compare with)" in said and "remedy: --labels FILE" in said
    said = refused(capsys, "train", pixels, "--target", "label", "--to", str(tmp_path / "m"))
    assert "the target is none of the columns" in said and "remedy: --labels FILE" in said
    labels = write_idx(tmp_path / "l-idx1-ubyte.gz", LABELS[:9])
    said = refused(capsys, "evaluate", where, pixels, "--labels", labels)
    assert "not as many labels as pictures" in said and "expected: 10" in said and "got: 9" in said
    labels = write_idx(tmp_path / "l-idx1-ubyte.gz", np.full(10, 7, np.uint8))
    said = refused(capsys, "evaluate", where, pixels, "--labels", labels)
    assert "'7': the target is none of the classes" in said
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes(b"x")
    said = refused(capsys, "train", str(flat), "--target", "label", "--to", str(tmp_path / "m"))
    assert "remedy: a folder for each label" in said


def test_pictures_of_another_size_or_as_files_are_refused_before_the_work(
    model: ps.FittedPipeline, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = write_idx(tmp_path / "a-idx3-ubyte.gz", drawn(LABELS[:4], 9))
    with pytest.raises(SchemaError, match="not of the type that the model was trained on") as raised:
        model.predict(other, to=out)
    assert (raised.value.expected, raised.value.got) == (
        "picture: 6 x 6 x 1 values of uint8",
        "picture: 9 x 9 x 1 values of uint8",
    )
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes(b"x")
    with pytest.raises(SchemaError, match="other values than in training") as raised:
        model.predict(flat, to=out)
    assert raised.value.got == "picture: binary"
    assert "decode_picture: {columns: picture, size: [6, 6], channels: 1}" in raised.value.remedy
    assert not out.exists()


def test_a_row_without_its_picture_is_rejected_and_the_others_say_which_file_they_are(
    model: ps.FittedPipeline, tmp_path: Path
) -> None:
    pixels = [None if i == 2 else row.reshape(-1) for i, row in enumerate(drawn(LABELS[:6]))]
    held = pa.array(pixels, pa.list_(pa.uint8(), 36))
    column = pa.ExtensionArray.from_storage(tensor(pa.uint8(), (6, 6, 1)), held)
    names = [f"rose/{i}.png" for i in range(6)]
    pq.write_table(pa.table({"path": names, "picture": column}), tmp_path / "a.parquet")
    done = model.predict(tmp_path / "a.parquet", to=tmp_path / "out", max_rejected=0.5)
    found = pq.read_table(tmp_path / "out")
    assert found.column_names[:2] == ["path", "prediction"] and done.rows == 5
    assert found.column("path").to_pylist() == [name for name in names if name != "rose/2.png"]
    asked = model.predict(tmp_path / "a.parquet", keep=["path", "pic*"], max_rejected=0.5)
    assert asked.column_names[:3] == ["path", "picture", "prediction"]
    rejected = pq.read_table(tmp_path / "out.run" / "rejected").to_pylist()
    assert [(row["row"], row["column"], row["code"]) for row in rejected] == [(2, "picture", "missing")]


@pytest.mark.skipif(DATA is None, reason="needs the public data sets: PENSTOCK_DATA")
@pytest.mark.parametrize(
    ("folder", "step", "out", "bad"),
    [
        ("images-odd", ps.DecodePicture("picture", size=(48, 64)), 293, 55),
        ("video/oddities", ps.DecodeClip("clip", size=(48, 64), frames=3), 8, 1),
    ],
)
def test_of_odd_files_each_is_a_row_upright_or_rejected_with_its_reason(
    tmp_path: Path, folder: str, step: ps.PictureStep, out: int, bad: int
) -> None:
    root = Path(str(DATA)) / folder
    done = ps.Pipeline([step], max_rejected=1.0).prepare(root, to=tmp_path / "out", memory="700MiB")
    table = pq.read_table(tmp_path / "out")
    rejected = pq.read_table(tmp_path / "out.run" / "rejected").to_pylist()
    assert (table.num_rows, len(rejected)) == (out, bad) and all(count.balanced for count in done.counts)
    paths = table.column("path").to_pylist()
    assert len({*paths, *(row["path"] for row in rejected)}) == out + bad
    assert all(row["code"] and row["reason"] for row in rejected)
    if folder == "images-odd":
        pixels = table.column("picture").combine_chunks().to_numpy_ndarray().astype(int)
        turned = [path for path in paths if path.startswith(("Landscape_", "Portrait_"))]
        assert len(turned) == 18
        for path in turned:
            with Image.open(root / path) as picture:
                upright = ImageOps.exif_transpose(picture).convert("RGB").resize((64, 48), Image.Resampling.BOX)
            assert np.abs(pixels[paths.index(path)] - np.asarray(upright, int)).mean() < 2, path
