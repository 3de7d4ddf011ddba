"""Weights from files: what fits, what is said where it does not, and layers that stay as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from drawn import shapes
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import penstock as ps
from penstock.errors import UsageError
from penstock.models.networks.combined import CombinedArchitecture, CombinedNetwork, OwnNetwork, Part
from penstock.models.networks.convnet import ConvNet
from penstock.models.networks.pretrained import begin, freeze, load, read, rest
from penstock.models.networks.resnet import ResNet18

SETTINGS = {"filters": [4, 6], "stem": 3}
State = dict[str, torch.Tensor]


def network(*kinds: str, outputs: int = 2, seed: int = 0, settings: Any = None) -> CombinedNetwork:
    """A network over a column of 8x8 pictures, or of clips of two, for each of these kinds."""
    torch.manual_seed(seed)
    small = SETTINGS if settings is None else settings
    parts = [
        Part(f"c{place}", "picture", "convnet", (3, 8, 8), small)
        if kind == "picture"
        else Part(f"c{place}", "clip", "pooled_frames", (2, 3, 8, 8), {"picture_settings": small})
        for place, kind in enumerate(kinds or ("picture",))
    ]
    return CombinedNetwork(CombinedArchitecture(tuple(parts), None, outputs))


def pretrained(seed: int = 9) -> State:
    """A network of the same form, trained elsewhere: with norms that have seen something, and a head for 5 classes."""
    torch.manual_seed(seed)
    made = nn.Sequential()
    made.add_module("body", ConvNet(3, 8, 8, filters=(4, 6), stem=3))
    made.body(5 * torch.randn(8, 3, 8, 8))
    state = {name.removeprefix("body."): value.clone() for name, value in made.state_dict().items()}
    return {**state, "fc.weight": torch.randn(5, 6), "fc.bias": torch.randn(5)}


def saved(state: Any, path: Path, **settings: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, **settings)
    return path


def is_loaded(made: nn.Module, state: State) -> bool:
    """Whether a trunk holds the tensors of a file, its head aside."""
    own = made.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items() if not name.startswith("fc."))


WAYS: dict[str, Callable[[State, Path], Path]] = {
    "pth": lambda state, folder: saved(state, folder / "w.pth"),
    "before torch 1.6": lambda state, folder: saved(state, folder / "w.pt", _use_new_zipfile_serialization=False),
    "safetensors": lambda state, folder: saved(state, folder / "w.safetensors"),
    "of a training": lambda state, folder: saved({"epoch": 3, "state_dict": state}, folder / "w.ckpt"),
    "module.": lambda state, folder: saved({f"module.{name}": each for name, each in state.items()}, folder / "w.pth"),
    "module.backbone.": lambda state, folder: saved(
        {f"module.{'' if name.startswith('fc.') else 'backbone.'}{name}": each for name, each in state.items()},
        folder / "w.pth",
    ),
    "without counters": lambda state, folder: saved(
        {name: each for name, each in state.items() if "num_batches" not in name}, folder / "w.pth"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_published_state_dict_goes_into_the_trunk_and_its_head_is_left_out(way: str, tmp_path: Path) -> None:
    state, made = pretrained(), network()
    head = made.head.weight.detach().clone()
    (told,) = load(made, WAYS[way](state, tmp_path))
    if way == "without counters":
        state = {name: each for name, each in state.items() if "num_batches" not in name}
    assert is_loaded(made.trunks[0], state)
    assert told.where == "trunks.0" and set(told.left_out) == {"fc.weight", "fc.bias"}
    assert set(told.names) == {name for name in state if not name.startswith("fc.")} and told.kept == ()
    assert torch.equal(made.head.weight, head)


def test_weights_of_half_precision_are_kept_as_floats(tmp_path: Path) -> None:
    state = {name: each.half() if each.is_floating_point() else each for name, each in pretrained().items()}
    made = network()
    load(made, saved(state, tmp_path / "w.safetensors"))
    found = made.trunks[0].layers[0].weight
    assert found.dtype == torch.float32 and torch.equal(found, state["layers.0.weight"].float())


def test_published_weights_of_resnet18_fit_and_change_what_comes_out(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = {
        **ResNet18(3, 224, 224).state_dict(),
        "fc.weight": torch.zeros(1000, 512),
        "fc.bias": torch.zeros(1000),
    }
    torch.manual_seed(2)
    made = ResNet18(3, 40, 40, stem="large").eval()
    (told,) = load(made, saved(published, tmp_path / "resnet18.pth"))
    assert len(told.names) == 120 and told.left_out == ("fc.weight", "fc.bias")
    torch.manual_seed(1)
    expected = ResNet18(3, 40, 40, stem="large").eval()
    pictures = torch.randn(1, 3, 40, 40)
    assert torch.equal(made(pictures), expected(pictures))


def test_weights_for_pictures_go_into_the_frames_of_clips(tmp_path: Path) -> None:
    state, made = pretrained(), network("clip")
    (told,) = load(made, saved(state, tmp_path / "w.pth"))
    assert told.where == "trunks.0.picture" and is_loaded(made.trunks[0].picture, state)


def test_two_columns_of_pictures_begin_alike(tmp_path: Path) -> None:
    state, made = pretrained(), network("picture", "picture")
    assert [told.where for told in load(made, saved(state, tmp_path / "w.pth"))] == ["trunks.0", "trunks.1"]
    assert is_loaded(made.trunks[0], state) and is_loaded(made.trunks[1], state)


def test_a_whole_network_of_before_goes_in_whole_and_a_head_for_other_classes_is_drawn_anew(tmp_path: Path) -> None:
    before = network(seed=3, outputs=2)
    path = saved(before.state_dict(), tmp_path / "w.safetensors")
    same, other = network(outputs=2), network(outputs=4)
    assert load(same, path)[0].where == ""
    assert all(torch.equal(same.state_dict()[name], value) for name, value in before.state_dict().items())
    drawn = other.head.weight.detach().clone()
    (told,) = load(other, path)
    assert set(told.kept) == {"head.weight", "head.bias"} == set(told.left_out)
    assert torch.equal(other.head.weight, drawn) and is_loaded(other.trunks[0], before.trunks[0].state_dict())


class Own(nn.Module):
    """A module of a user's."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.classifier = nn.Linear(4, classes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.classifier(self.backbone(values))
        return found


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_module_of_ones_own_takes_its_own_names_and_may_have_another_head(prefix: str, tmp_path: Path) -> None:
    before = Own(7).state_dict()
    made = OwnNetwork(Own(2), (), 2)
    path = saved({prefix + name: value for name, value in before.items()}, tmp_path / "w.pth")
    (told,) = load(made, path)
    assert told.where == "module" and set(told.kept) == {"classifier.weight", "classifier.bias"}
    assert torch.equal(made.module.backbone[0].weight, before["backbone.0.weight"])


# ---------------------------------------------------------------------- what does not fit


def test_what_does_not_fit_is_said_all_at_once_and_nothing_is_changed(tmp_path: Path) -> None:
    state, made = pretrained(), network()
    state["layers.0.weight"] = torch.zeros(3, 1, 3, 3)
    del state["layers.1.bias"]
    state["extra.weight"] = torch.zeros(2)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(UsageError, match="network: weights") as caught:
        load(made, saved(state, tmp_path / "w.pth"))
    for expected in (
        "layers.0.weight is 3x1x3x3 in the file, and 3x3x3x3 in the network",
        "layers.1.bias is not in the file",
        "extra.weight is not in the network",
    ):
        assert expected in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_weights_of_another_network_are_refused_with_names_of_both(tmp_path: Path) -> None:
    path = saved({"blocks.0.attention.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"no name is the same\n.*layers\.0\.weight.*\n.*blocks\.0\.attention\.weight"):
        load(network(), path)


class Ran:
    """An object that runs code when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_in_a_file_is_refused_and_never_made(zipped: bool, tmp_path: Path) -> None:
    where = tmp_path / "made"
    path = saved({"a": Ran(str(where))}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match="could run code"):
        read(path)
    assert not where.exists()
    with pytest.raises(UsageError, match="could run code"):
        read(saved(ConvNet(1, 8, 8), tmp_path / "module.pth"))  # a whole module


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04" + bytes(50), None])
def test_a_damaged_file_is_refused(suffix: str, content: bytes | None, tmp_path: Path) -> None:
    path = saved({"a": torch.zeros(1000)}, tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[:-700] if content is None else content)
    with pytest.raises(UsageError, match="not a file of weights"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "not a state dict"),
        ([torch.zeros(3)], "not a state dict"),
        ({}, "no tensor"),
        ({"a": 3.0}, "'a': float"),
        ({1: torch.zeros(3)}, "not a state dict"),
        ({"a": torch.eye(3).to_sparse()}, "dense"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "real numbers"),
        ({"a": torch.tensor([1.0, float("nan")])}, "not finite.*\n.*\n.*'a'"),
    ],
)
def test_a_file_of_something_else_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(saved(content, tmp_path / "w.pth"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UsageError, match="no file of weights"):
            read(path)


# ---------------------------------------------------------------------- layers that stay


def learned(made: CombinedNetwork) -> None:
    """A few steps on noise."""
    torch.manual_seed(5)
    optimizer = torch.optim.SGD([each for each in made.parameters() if each.requires_grad], 0.1, weight_decay=0.1)
    for _ in range(3):
        made.train()
        rest(made)
        functional.cross_entropy(made({"c0": 3 + torch.randn(6, 8, 8, 3)}), torch.tensor([0, 1] * 3)).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    ("patterns", "stays"),
    [
        (("layers.0", "layers.1"), ("trunks.0.layers.0.", "trunks.0.layers.1.")),
        (("layers.?",), tuple(f"trunks.0.layers.{place}." for place in range(10))),
        (("trunks.0.layers.0*",), ("trunks.0.layers.0.",)),
        (("all",), ("trunks.",)),
        (("head",), ("head.",)),
    ],
)
def test_frozen_layers_and_their_norms_stay_and_the_others_learn(
    patterns: tuple[str, ...], stays: tuple[str, ...]
) -> None:
    made = network()
    freeze(made, patterns)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    learned(made)
    for name, value in made.state_dict().items():
        if not name.startswith("scaled."):
            assert torch.equal(before[name], value) == name.startswith(stays), name


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("layer",), "no layer of this name.*\n.*layers.*\n.*'layer'\n.*did you mean 'layers'"),
        (("layers.0", "nothing*"), "no layer of this name"),
        (("",), "no layer of this name"),
        (("*",), "nothing is left to learn"),
        (("all", "head"), "nothing is left to learn"),
    ],
)
def test_patterns_that_can_not_be_meant_are_refused(patterns: tuple[str, ...], message: str) -> None:
    made = network()
    with pytest.raises(UsageError, match=message):
        freeze(made, patterns)
    assert all(each.requires_grad for each in made.parameters())


def test_all_of_a_module_of_ones_own_is_all_but_its_last_layer() -> None:
    made = OwnNetwork(Own(2), (), 2)
    freeze(made, ["all"])
    assert [name for name, each in made.named_parameters() if each.requires_grad] == [
        "module.classifier.weight",
        "module.classifier.bias",
    ]
    assert not made.module.backbone.training and made.module.classifier.training


def test_what_was_loaded_and_frozen_is_said(tmp_path: Path) -> None:
    made = network()
    path = saved(pretrained(), tmp_path / "w.pth")
    loaded, frozen = begin(made, str(path), ("all",))
    count = sum(each.numel() for each in made.trunks.parameters())
    assert f"tensors of trunks.0 begin as in {path}" in loaded and "not used: fc.weight, fc.bias" in loaded
    assert f"{count:,} weights stay as they are (all)" in frozen
    assert list(begin(made, None)) == []


# ---------------------------------------------------------------------- in a training


def test_a_training_begins_with_the_weights_and_frozen_layers_stay_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(7)
    trunk = ConvNet(1, 12, 12, filters=(4, 6), stem=3)
    trunk(3 * torch.randn(8, 1, 12, 12))
    state = trunk.state_dict()
    path = saved({**state, "fc.weight": torch.zeros(9, 6)}, tmp_path / "w.pth")
    pictures, classes = shapes(90, 12, 1, seed=0)
    stored = (60 * pictures + 100).clamp(0, 255).byte().movedim(1, -1).numpy().copy()
    columns = {
        "picture": pa.FixedShapeTensorArray.from_numpy_ndarray(stored),
        "label": pa.array([str(each) for each in classes.tolist()]),
    }
    model = ps.Network(
        module="convnet", settings=SETTINGS, weights=str(path), frozen=("layers.0", "layers.1"), epochs=2, batch_rows=16
    )
    fitted = ps.Pipeline(model=model, target="label", holdout=0.2).fit(ps.read(pa.table(columns)))
    learned = load_tensors(fitted._saved.model.weights)
    same = {name for name in state if torch.equal(learned[f"trunks.0.{name}"], state[name])}
    assert same == {name for name in state if name.startswith(("layers.0.", "layers.1."))}
