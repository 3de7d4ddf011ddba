"""A module, a loss and an optimizer of the user's own: trained, saved as data, opened where the module is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pictures import CROSSES, crosses

import penstock as ps
from penstock.errors import UsageError

torch = pytest.importorskip("torch")


class Own(torch.nn.Module):
    """Something that no catalog has."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(3))
        self.head = torch.nn.Linear(54, outputs)

    def forward(self, pictures: Any) -> Any:
        return self.head(self.layers(pictures).flatten(1))


class Both(torch.nn.Module):
    """Pictures and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Own(4)
        self.head = torch.nn.Linear(5, 1)

    def forward(self, given: dict[str, Any]) -> Any:
        return self.head(torch.cat([self.own(given["picture"]), given["table"]], dim=1))


def rows(count: int = 240, seed: int = 0) -> pa.Table:
    pictures, codes = crosses(count, 12, seed)
    size = np.random.default_rng(seed).normal(size=count)
    return pa.table(
        {
            "picture": pa.FixedShapeTensorArray.from_numpy_ndarray(pictures),
            "label": pa.array([CROSSES[code] for code in codes]),
            "size": pa.array(size),
            "both": pa.array(["yes" if code == 0 and one > 0 else "no" for code, one in zip(codes, size, strict=True)]),
            "worth": pa.array(codes * 10.0 + size * 0.1),
        }
    )


def fitted(to: Path | None, target: str, model: ps.Network, columns: Iterable[str] = ("picture",)) -> ps.FittedPipeline:
    pipeline = ps.Pipeline(model=model, target=target, holdout=0.2)
    return pipeline.fit(ps.read(rows().select([*columns, target])), to=to)


def test_a_module_of_ones_own_is_trained_and_opened_where_it_is_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Own()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = fitted(tmp_path / "model", "label", ps.Network(module, epochs=6, learning_rate=0.01))
    assert made.summary["evaluation"]["metrics"]["accuracy"] > 0.9
    assert all((before[name] == value).all() for name, value in module.state_dict().items()), "it was trained in place"
    expected = made.predict(rows(seed=1))
    assert ps.load(tmp_path / "model", module=Own()).predict(rows(seed=1)).equals(expected)
    with pytest.raises(UsageError, match=r"(?s)never imports.*test_network_own\.Own.*module="):
        ps.load(tmp_path / "model").predict(rows(seed=1))
    with pytest.raises(UsageError, match="not the one"):
        ps.load(tmp_path / "model", module=Own(4))


def test_features_are_what_goes_into_the_last_layer(tmp_path: Path) -> None:
    made = fitted(None, "label", ps.Network(Own(), epochs=2))
    features = made.predict(rows(seed=1), output="features")
    assert features.num_columns == 54 and features.column_names[0] == "feature_0"
    layer = made._saved.model.module.module.head
    scores = np.column_stack(features.columns) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    labels = made.predict(rows(seed=1)).column("prediction").to_pylist()
    assert np.mean([CROSSES[place] == label for place, label in zip(scores.argmax(1), labels, strict=True)]) > 0.98


def test_several_columns_come_as_a_mapping() -> None:
    torch.manual_seed(0)
    made = fitted(None, "both", ps.Network(Both(), epochs=20, learning_rate=0.02), ("picture", "size"))
    assert made.summary["evaluation"]["metrics"]["accuracy"] > 0.85


def test_a_loss_and_an_optimizer_of_ones_own_are_used() -> None:
    asked: list[str] = []

    def far(scores: Any, labels: Any) -> Any:
        asked.append("loss")
        return (scores[:, 0] - labels).abs()

    def slow(parameters: Any) -> Any:
        asked.append("optimizer")
        return torch.optim.SGD(parameters, lr=1.0, momentum=0.9)

    torch.manual_seed(0)
    model = ps.Network(Own(1), loss=far, optimizer=slow, epochs=4, learning_rate=0.02)
    made = fitted(None, "worth", model)
    assert {"loss", "optimizer"} <= set(asked)
    assert made.summary["evaluation"]["metrics"]["mae"] < 5


def test_a_loss_that_gives_one_number_is_refused() -> None:
    with pytest.raises(UsageError, match="a number for each row"):
        fitted(None, "worth", ps.Network(Own(1), loss=lambda scores, labels: scores.mean()))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(UsageError, match=r"torch\.nn\.Module"):
        ps.Network(3)  # type: ignore[arg-type]


def test_an_artifact_keeps_settings_that_were_not_said() -> None:
    made = fitted(None, "label", ps.Network("convnet", epochs=1))
    (part,) = made._saved.model.architecture["parts"]
    assert {"filters", "stem", "activation"} <= set(part["settings"])
