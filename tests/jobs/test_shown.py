"""What a page shows of a training on pictures: thumbnails of the right rows, recognizable, bounded, and none hidden."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image as Pillow

import penstock as ps
from penstock.jobs.shown import MOST_BYTES
from penstock.thumbnails import Thumbnails

pytest.importorskip("torch")
pytest.importorskip("cv2")

CLASSES = ("blue", "green", "red")
HOLDOUT = 0.4


def seen(image: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """The pixels that a browser shows, by Pillow; their size is the one that is told."""
    head, _, text = image["data"].partition(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    picture = Pillow.open(io.BytesIO(base64.b64decode(text, validate=True)))
    assert picture.size == (image["width"], image["height"])
    return np.asarray(picture.convert("RGB"))


def draw(path: Path, seed: int) -> None:
    """A smooth picture of one color, brighter to one corner: 160 x 120 pixels."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0:120, 0:160]
    slope = (down * random.uniform(0.2, 0.9) + across * random.uniform(0.1, 0.6)).astype(np.uint8)
    pixels = np.stack([slope, slope, slope], axis=2)
    pixels[..., CLASSES[::-1].index(path.parent.name)] += 60
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path)


def steps() -> tuple[ps.Step, ...]:
    return (
        ps.DecodePicture("picture", size=24),
        ps.RandomCrop("picture", padding=2),
        ps.NormalizePicture("picture"),
    )


def fitted(folder: Path, **settings: Any) -> ps.FittedPipeline:
    model = ps.Network("lenet", epochs=1, patience=None)
    return ps.Pipeline(steps(), model=model, target="label", holdout=HOLDOUT, **settings).fit(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        draw(place / CLASSES[number % 3] / f"{number:03}.png", number)
    return place


Learned = tuple[Any, dict[int, npt.NDArray[Any]], Any]
"""What was laid down, what the first epoch learned from by row, and what normalized that."""


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[ps.FittedPipeline, Learned]:
    from penstock.jobs import learn

    kept: list[Learned] = []
    shows = learn.augmented

    def keeping(data: Any, steps: Any, engine: Any) -> Any:
        epoch = {
            int(row): batch.tensors["picture"][place]
            for batch in data.epoch(0, 8)
            for place, row in enumerate(batch.rows)
        }
        normalizes = next(one for one in steps.steps if one.step.name == "normalize_picture")
        kept.append((data.table(["picture"]), epoch, normalizes))
        return shows(data, steps, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "augmented", keeping)
        return fitted(folder), kept[0]


@pytest.fixture(scope="module")
def model(trained: tuple[ps.FittedPipeline, Learned]) -> ps.FittedPipeline:
    return trained[0]


@pytest.fixture(scope="module")
def pictures(model: ps.FittedPipeline) -> dict[str, Any]:
    found: dict[str, Any] = model.summary["pictures"]
    return found


def test_the_pictures_are_those_of_their_rows(folder: Path, pictures: dict[str, Any]) -> None:
    rows = [*pictures["mistakes"], *pictures["samples"]]
    assert pictures["of"] == "rows held out" and pictures["mistakes"] and pictures["samples"]
    for row in rows:
        ((column),) = row["columns"]
        assert (column["column"], column["kind"], len(column["images"])) == ("picture", "picture", 1)
        found = seen(column["images"][0])
        assert found.shape == (72, 96, 3)
        whole = Pillow.open(folder / row["path"]).convert("RGB")
        expected = np.asarray(whole.resize((96, 72), Pillow.Resampling.BOX), float)
        assert np.abs(found - expected).mean() < 4


def test_what_is_said_of_a_row_is_what_the_model_predicts(
    folder: Path, model: ps.FittedPipeline, pictures: dict[str, Any]
) -> None:
    predicted = {row["path"]: row for row in model.predict(folder, keep=["path"]).to_pylist()}
    for row in [*pictures["mistakes"], *pictures["samples"]]:
        told = predicted[row["path"]]
        assert row["row"] == 0 and row["expected"] == row["path"].split("/")[0]
        assert row["predicted"] == told["prediction"]
        assert row["probability"] == pytest.approx(told[f"probability_{told['prediction']}"], abs=1e-5)


def test_mistakes_are_mistakes_and_samples_are_of_every_class(pictures: dict[str, Any]) -> None:
    assert all(row["expected"] != row["predicted"] for row in pictures["mistakes"])
    chances = [row["probability"] for row in pictures["mistakes"]]
    assert chances == sorted(chances, reverse=True)
    labels = [row["expected"] for row in pictures["samples"]]
    assert {label: labels.count(label) for label in labels} == dict.fromkeys(CLASSES, 3)


def test_augmented_pictures_are_shown_as_they_were_before_they_were_normalized(
    folder: Path, pictures: dict[str, Any]
) -> None:
    assert {row["label"] for row in pictures["augmented"]} == set(CLASSES)
    drawn = np.stack([np.asarray(Pillow.open(path).resize((24, 24), 4)) for path in folder.rglob("*.png")]).astype(int)
    moved = 0
    for row in pictures["augmented"]:
        (before,) = map(seen, row["before"])
        assert np.abs(drawn - before).mean(axis=(1, 2, 3)).min() < 2  # one of the pictures, at the network's size
        around = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        places = {around[y : y + 24, x : x + 24].tobytes(): (y, x) for y in range(5) for x in range(5)}
        assert len(row["after"]) == 4
        for images in row["after"]:
            (after,) = map(seen, images)
            moved += places[after.tobytes()] != (2, 2)
    assert moved


def test_an_epoch_learns_from_the_augmented_pictures_that_are_shown(
    trained: tuple[ps.FittedPipeline, Learned], pictures: dict[str, Any]
) -> None:
    table, epoch, normalizes = trained[1]
    laid = table.column("picture").combine_chunks().to_numpy_ndarray()
    means, deviations = np.array(normalizes.scales[0]).T
    for row in pictures["augmented"]:
        (place,) = np.flatnonzero((laid == seen(row["before"][0])).all(axis=(1, 2, 3)))
        pixels = np.rint(epoch[int(place)] * deviations + means)
        assert np.array_equal(pixels, seen(row["after"][0][0]))


def test_of_sensitive_columns_nothing_is_shown(folder: Path) -> None:
    assert "pictures" not in fitted(folder, sensitive=["picture"]).summary


def test_however_large_the_pictures_they_take_a_bounded_part_of_the_page() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (64, 120, 120, 3), np.uint8)
    labels = pa.array([CLASSES[number % 2] for number in range(64)])
    columns = {name: pa.FixedShapeTensorArray.from_numpy_ndarray(noise) for name in ("one", "two", "three")}
    model = ps.Network("lenet", epochs=1, patience=None)
    steps = (ps.RandomCrop(("one", "two", "three"), size=96), ps.ResizePicture(("one", "two", "three"), 24))
    source = ps.read(pa.table({**columns, "label": labels}), roles=dict.fromkeys(columns, "picture"))
    pictures = ps.Pipeline(steps, model=model, target="label", holdout=0.5).fit(source).summary["pictures"]
    assert pictures["samples"] and pictures["augmented"]
    told = str(pictures)
    assert MOST_BYTES / 3 < len(told) < MOST_BYTES + 20_000
    assert {column["column"] for row in pictures["samples"] for column in row["columns"]} == {"one", "two"}


@pytest.mark.parametrize("values", [np.float32, np.uint16, np.uint8])
def test_tensors_of_any_type_become_pictures(values: type) -> None:
    ramp = np.linspace(0, 1, 8 * 8).reshape(1, 8, 8, 1)
    given = {np.float32: ramp * 3 - 1.5, np.uint16: ramp * 65535, np.uint8: ramp * 255}[values].astype(values)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate([given, given]))
    field = ps.Field("picture", column.type, ps.Role.picture)
    maker = Thumbnails(field, ps.DecodePicture("picture"), ps.DecodeClip("picture"))
    for (image,) in maker.of(column):
        assert np.abs(seen(image)[..., 0] - ramp[0, ..., 0] * 255).max() <= 1


def test_nothing_is_shown_of_what_is_no_picture() -> None:
    field = ps.Field("picture", pa.binary(), ps.Role.picture)
    maker = Thumbnails(field, ps.DecodePicture("picture"), ps.DecodeClip("picture"))
    assert maker.of(pa.array([b"no picture", None, b""])) == [[], [], []]


def test_of_a_clip_the_frames_that_the_step_takes_are_shown_upright_and_in_shape(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "bright.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for number in range(40):
            pixels = np.full((96, 192, 3), 20 + 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    field = ps.Field("clip", pa.string(), ps.Role.clip)
    step = ps.DecodeClip("clip", frames=4, size=32)
    column = pa.array([str(path), "/no/such/clip"])
    images, none = Thumbnails(field, ps.DecodePicture("clip"), step).of(column)
    assert none == []
    frames = np.stack(list(map(seen, images)))
    assert frames.shape == (4, 48, 96, 3)
    wanted = 20 + 5 * np.array([5, 15, 25, 35])  # the middles of four parts
    assert np.abs(frames.mean(axis=(1, 2, 3)) - wanted).max() < 6


def test_without_rows_to_judge_on_those_that_were_learned_from_are_shown(folder: Path) -> None:
    model = ps.Network("lenet", epochs=1, patience=None)
    found = ps.Pipeline(steps(), model=model, target="label", holdout=0).fit(folder).summary["pictures"]
    assert found["of"] == "rows learned from" and "mistakes" not in found and len(found["samples"]) == 9


def test_words_of_one_clip_each_are_learned_and_it_is_said_that_nothing_judges_them() -> None:
    class Notes:
        def __init__(self) -> None:
            self.notes: list[str] = []

        def said(self, note: Any) -> None:
            self.notes.append(str(note))

        def progressed(self, figures: Any) -> None:
            """Not of interest here."""

    noise = np.random.default_rng(2).integers(0, 256, (8, 24, 24, 1), np.uint8)
    labels = [f"word {number}" for number in range(8)]
    table = pa.table({"picture": pa.FixedShapeTensorArray.from_numpy_ndarray(noise), "word": labels})
    source = ps.read(table, roles={"picture": "picture"})
    model = ps.Network("lenet", epochs=40, patience=None, augment="none", averaging=0.0)
    listener = Notes()
    found = ps.Pipeline((), model=model, target="word", holdout=0.01).fit(source, listener=listener)
    assert found.predict(source).column("prediction").to_pylist() == labels
    assert found.summary["model"]["held_out_rows"] == 0 and "held_out" not in found.summary["model"]
    assert "evaluation" not in found.summary
    told = "\n".join(listener.notes)
    assert "no row is held back to keep the best: it would be of a class that no other row teaches" in told
    assert (
        "none: the model could not be judged (no row could be judged: none of the rows is among those to judge on)"
        in told
    )
    assert "more rows, or --test DATA" in told
