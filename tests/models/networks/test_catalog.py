"""Networks by name: what there is, what is refused and how, and networks of other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from penstock.errors import UsageError
from penstock.models.networks.catalog import NETWORKS, check, kind_of, names, size_of, trunk
from penstock.models.networks.lenet import LeNet
from penstock.models.networks.settings import refuse_other_types

SIZES: dict[str, tuple[int, ...]] = {"picture": (1, 32, 32), "clip": (2, 1, 32, 32), "tokens": (50,)}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_made_by_its_name_and_says_how_many_features_it_gives(name: str) -> None:
    kind = kind_of(name)
    made: Any = trunk(name, kind, *SIZES[kind]).eval()
    rows = torch.ones(2, 4, dtype=torch.int64) if kind == "tokens" else torch.zeros(2, *SIZES[kind])
    assert made(rows).shape == (2, made.features)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_size_is_that_of_the_network_that_is_made(name: str) -> None:
    kind = kind_of(name)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = size_of(name, kind, SIZES[kind], {})
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.weights == sum(each.numel() for each in trunk(name, kind, *SIZES[kind]).parameters())
    assert found.activations > 0


def test_activations_of_lenet_are_those_of_its_layers() -> None:
    maps = 6 * 28 * 28 * 2 + 6 * 14 * 14 + 16 * 10 * 10 * 2 + 16 * 5 * 5 + 120 * 2 + 84 * 2
    assert size_of("lenet", "picture", (1, 32, 32), {}).activations == maps


def test_an_activation_that_is_none_is_refused_where_a_network_is_made_in_python_too() -> None:
    with pytest.raises(UsageError, match=r"activation.*\n.*'relu'.*\n.*'softmax'"):
        LeNet(1, 28, 28, activation="softmax")  # type: ignore[arg-type]


def test_names_are_by_kind() -> None:
    assert set(names()) == {*names("picture"), *names("clip"), *names("tokens")}
    assert "lenet" in names("picture") and "lenet" not in names("clip")
    assert names() == tuple(sorted(names()))


@pytest.mark.parametrize(
    ("name", "kind", "settings", "message"),
    [
        ("resnet", "picture", {}, "no network of this name.*\n.*lenet.*\n.*'resnet'\n.*did you mean 'resnet18'"),
        ("", "picture", {}, "no network of this name"),
        ("*", "picture", {}, "no network of this name"),
        ("lenet", "clip", {}, "not for this column.*\n.*one for clip: pooled_frames.*\n.*one for picture"),
        ("resnet18", "picture", {"stam": "small"}, "no such setting.*\n.*stem.*\n.*stam\n.*did you mean 'stem'"),
        ("resnet18", "picture", {"channels": 3}, "no such setting"),
        ("resnet18", "picture", {"stem": 3}, "stem.*\n.*'auto', 'small', 'large'.*\n.*3"),
        ("convnet", "picture", {"filters": 8}, "filters.*\n.*a list, each a whole number"),
        ("convnet", "picture", {"filters": [8, "x"]}, "filters"),
        ("convnet", "picture", {"filters": [True]}, "filters"),
        ("convnet", "picture", {"dropout": "half"}, "dropout.*\n.*a number"),
        ("convnet", "picture", {"dropout": float("nan")}, "dropout"),
        ("picture_autoencoder", "picture", {"filters": "x"}, "filters.*\n.*a list, each a whole number or null"),
    ],
)
def test_what_can_not_be_made_is_refused_with_what_could(
    name: str, kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trunk(name, kind, *SIZES[kind], settings=settings)


def test_a_definition_is_checked_before_a_network_is_made() -> None:
    check("lenet", {"activation": "relu"})
    with pytest.raises(UsageError, match="did you mean 'lenet'"):
        check("lenett", {})
    with pytest.raises(UsageError, match="not names of settings"):
        check("lenet", {"not a name": 1})


class Typed:
    """A constructor with every type that settings may have."""

    def __init__(
        self,
        whole: int = 0,
        number: float = 0,
        truth: bool = True,
        word: str = "",
        choice: Literal["a", 2] = "a",
        many: Sequence[float] = (),
        pair: tuple[int, str] = (1, ""),
        named: Mapping[str, int] | None = None,
        anything: Any = None,
        untyped=None,  # type: ignore[no-untyped-def]
    ) -> None: ...


@pytest.mark.parametrize(
    ("setting", "good", "bad"),
    [
        ("whole", [0, -3, 10**400], [True, 1.0, "1", None]),
        ("number", [0, 1.5, 10**400], [True, "1", float("inf"), None]),
        ("truth", [True], [1, "true", None]),
        ("word", ["", "a"], [1, None]),
        ("choice", ["a", 2], ["b", 2.0, None, True]),
        ("many", [[], [1, 2.5], (1,)], [1, "12", ["a"], None]),
        ("pair", [[1, "a"]], [1]),
        ("named", [{}, {"a": 1}, None], [[], "a"]),
        ("anything", [1, None, object()], []),
        ("untyped", [1, None, object()], []),
    ],
)
def test_settings_are_of_the_types_of_the_constructor(setting: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        refuse_other_types("mine", Typed, {setting: value})
    for value in bad:
        with pytest.raises(UsageError, match=setting):
            refuse_other_types("mine", Typed, {setting: value})


# ---------------------------------------------------------------------- networks of other packages

PACKAGE = """
import torch


class Mean(torch.nn.Module):
    kind = "picture"

    def __init__(self, channels: int, height: int, width: int, times: int = 1) -> None:
        super().__init__()
        if times > 9:
            raise ValueError("more than 9 times")
        self.features = channels * times

    def forward(self, pictures):
        return pictures.mean((2, 3)).repeat(1, self.features // pictures.shape[1])


class Nothing(torch.nn.Module):
    pass
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that registers networks, as pip would leave it."""
    from penstock.models.networks import catalog

    (tmp_path / "trial_networks.py").write_text(PACKAGE)
    described = tmp_path / "trial_networks-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: trial-networks\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[penstock.networks]\nchannel_means = trial_networks:Mean\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog._registered.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_package_can_register_a_network() -> None:
    assert kind_of("channel_means") == "picture"
    assert "channel_means" in names("picture") and "channel_means" not in names("clip")
    made = trunk("channel_means", "picture", 3, 4, 4, settings={"times": 2})
    assert torch.equal(made(torch.ones(1, 3, 4, 4)), torch.ones(1, 6))
    for settings, message in (
        ({"times": "x"}, "times.*\n.*whole number"),
        ({"time": 2}, "did you mean 'times'"),
        ({"times": 10}, "more than 9 times"),
    ):
        with pytest.raises(UsageError, match=message):
            trunk("channel_means", "picture", 3, 4, 4, settings=settings)


@pytest.mark.usefixtures("installed")
def test_a_registered_network_that_says_not_what_it_is_for_is_refused(tmp_path: Path) -> None:
    described = tmp_path / "trial_networks-1.0.dist-info" / "entry_points.txt"
    described.write_text("[penstock.networks]\nnothing = trial_networks:Nothing\n")
    with pytest.raises(UsageError, match=r"says not what it is for.*\n.*'picture', 'clip', 'tokens'"):
        kind_of("nothing")


def test_a_network_is_never_imported_from_a_path_that_data_names() -> None:
    where = f"{LeNet.__module__}:{LeNet.__qualname__}"
    for name in (where, where.replace(":", "."), "os:system"):
        with pytest.raises(UsageError, match="no network of this name"):
            trunk(name, "picture", 1, 32, 32)
