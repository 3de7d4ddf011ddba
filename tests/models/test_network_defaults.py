"""What "auto" becomes in a network's definition: by the kind of columns, the rows, the optimizer and the effort; and
that pictures are predicted with their mirror images where they are mirrored in training.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pictures import CROSSES, crosses

import penstock as ps
from penstock.augmenting import Late
from penstock.batch import Batch, RowKeys
from penstock.engine import Resources, Silent
from penstock.errors import UsageError
from penstock.materialize import LaidDown
from penstock.model import Effort, Target
from penstock.models.network_defaults import Situation, defaults_for, picture_trunk
from penstock.models.network_fitted import FittedNetwork
from penstock.models.network_parts import parts_of
from penstock.schema import Field, Role, Schema, tensor
from penstock.target import HASH, LABEL

torch = pytest.importorskip("torch")

SIDE, ROWS = 12, 64
NAMES = tuple(asdict(defaults_for(set(), Situation(10, 1, "binary", "default"))))
"""The settings that have a default by kind."""


def pictures_of(height: int, width: int, channels: int) -> Schema:
    return Schema((Field("picture", tensor(pa.uint8(), (height, width, channels)), Role.picture),))


TABLE = Schema((Field("age", pa.float64(), Role.number),))
TOKENS = Schema((Field("text", pa.list_(pa.int32()), Role.tokens, categories=("a", "b")),))
CLOTHES = pictures_of(28, 28, 1)


def test_pictures_a_table_and_texts_have_defaults_of_their_own() -> None:
    clothes = ps.Network().settled(54_000, CLOTHES)
    assert (clothes.learning_rate, clothes.l2, clothes.label_smoothing, clothes.epochs) == (4e-3, 0.05, 0.1, 10)
    assert clothes.validation_share == pytest.approx(2_500 / 54_000)
    table = ps.Network().settled(54_000, TABLE)
    assert (table.learning_rate, table.label_smoothing, table.epochs, table.validation_share) == (2e-3, 0.0, 20, 0.1)
    assert ps.Network().settled(54_000, TOKENS).learning_rate != clothes.learning_rate
    both = Schema((*TABLE, *TOKENS, *CLOTHES))
    assert ps.Network().settled(54_000, both) == clothes


def test_what_the_user_says_wins_over_every_default_at_every_effort() -> None:
    said: dict[str, Any] = {
        "learning_rate": 0.5,
        "l2": 0.0,
        "label_smoothing": 0.0,
        "schedule": "cosine",
        "averaging": 0.0,
        "validation_share": 0.25,
        "epochs": 7,
        "patience": None,
        "flip_average": False,
    }
    assert set(said) == set(NAMES)
    for effort in ("quick", "default", "best"):
        found = ps.Network(**said).at_effort(effort).settled(1_000, CLOTHES)
        assert {name: getattr(found, name) for name in said} == said


def test_what_is_settled_says_how_it_learns_in_numbers() -> None:
    for schema in (TABLE, TOKENS, CLOTHES):
        settled = ps.Network().settled(1_000, schema, "binary")
        assert "auto" not in [getattr(settled, name) for name in NAMES]


def test_small_batches_learn_at_the_root_of_their_share_of_the_rate() -> None:
    found = ps.Network(batch_rows=64).settled(54_000, CLOTHES)
    assert found.learning_rate == pytest.approx(2e-3)


def test_numbers_have_no_labels_to_smooth() -> None:
    assert ps.Network().settled(1_000, CLOTHES, "regression").label_smoothing == 0.0


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adagrad", "adam"])
def test_decay_through_the_gradient_is_less_than_adamws(name: Any) -> None:
    for schema in (TABLE, CLOTHES):
        assert (
            float(ps.Network(optimizer=name).settled(1_000, schema).l2)
            < 1e-3
            < float(ps.Network().settled(1_000, schema).l2)
        )


def test_weights_to_begin_with_are_moved_more_gently() -> None:
    begun = ps.Network("resnet18", weights="weights.pth").settled(54_000, CLOTHES)
    assert float(begun.learning_rate) == pytest.approx(4e-3 / 4)


def test_more_effort_is_more_epochs_of_a_wider_network() -> None:
    epochs, filters = [], []
    for effort in ("quick", "default", "best"):
        model = ps.Network().at_effort(effort)
        epochs.append(int(model.settled(54_000, CLOTHES).epochs))
        (part,) = parts_of(model, CLOTHES)
        filters.append(part["settings"]["filters"])
    assert epochs == [4, 10, 30]
    assert filters == [[32, 64, 128], [32, 64, 128], [48, 96, 192]]


@pytest.mark.parametrize("effort", ["quick", "default", "best"])
def test_trunks_follow_from_the_size_of_pictures(effort: Effort) -> None:
    assert picture_trunk(28, 28, 1, effort)[0] == picture_trunk(128, 100, 3, effort)[0] == "convnet"
    assert picture_trunk(129, 100, 3, effort)[0] == "resnet18"


def test_color_gets_more_filters_than_gray() -> None:
    gray, color = (picture_trunk(32, 32, channels, "default")[1]["filters"] for channels in (1, 3))
    assert all(one < other for one, other in zip(gray, color, strict=True))


# ---------------------------------------------------------------------- mirror images


def laid_down(folder: Path, step: Any) -> LaidDown:
    schema = pictures_of(SIDE, SIDE, 1)
    pictures, codes = crosses(ROWS, SIDE)
    hashes = pa.array(RowKeys.span("table", 0, ROWS).hash(0))
    columns = {"picture": pa.FixedShapeTensorArray.from_numpy_ndarray(pictures), LABEL: pa.array(codes), HASH: hashes}
    table = pa.table(columns)
    with pa.OSFile(str(folder / "0.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    return LaidDown(
        folder,
        ["0.arrow"],
        schema=schema,
        target=Target("label", "multiclass", CROSSES),
        seed=3,
        resources=Resources(1, 2**33),
        listener=Silent(),
        late=Late((step.name,), (step.fitted(schema),), schema, ("picture",)),
    )


def batch_of(pictures: Any) -> Batch:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(pictures))
    return Batch(pa.RecordBatch.from_arrays([column], names=["picture"]), RowKeys.span("", 0, len(pictures)))


def test_scores_are_the_mean_of_both_images_where_pictures_are_mirrored_in_training(tmp_path: Path) -> None:
    model = ps.Network("lenet", flip_average=True, epochs=1)
    fitted = model.train(laid_down(tmp_path, ps.FlipPicture("picture")))
    assert fitted.architecture["mirrored"] == ["picture"]
    plain: FittedNetwork = replace(fitted, architecture={**fitted.architecture, "mirrored": []})
    pictures, _ = crosses(20, SIDE)
    straight, turned = plain.scores(batch_of(pictures)), plain.scores(batch_of(pictures[:, :, ::-1]))
    assert not np.allclose(straight, turned)
    np.testing.assert_allclose(fitted.scores(batch_of(pictures)), (straight + turned) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "step",
    [
        ps.FlipPicture("picture", direction="vertical"),
        ps.FlipPicture("picture", probability=0),
        ps.RandomCrop("picture"),
    ],
    ids=["vertical", "never", "moved"],
)
def test_nothing_is_averaged_where_training_mirrors_nothing(tmp_path: Path, step: Any) -> None:
    data = laid_down(tmp_path, step)
    fitted = ps.Network("lenet", epochs=1, effort="best").train(data)
    assert fitted.architecture["mirrored"] == []
    with pytest.raises(UsageError, match=r"(?s)flip_average: .*mirrored in training.*flip_picture"):
        ps.Network("lenet", epochs=1, flip_average=True).train(data)


@pytest.mark.parametrize("kind", ["picture", "clip", "tokens"])
def test_a_few_rows_held_back_end_no_training(kind: str) -> None:
    few, many = (defaults_for({kind}, Situation(rows, 32, "multiclass", "default")) for rows in (100, 1_000))
    assert few.patience is None
    assert many.patience is not None
