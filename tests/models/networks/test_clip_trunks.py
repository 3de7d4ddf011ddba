"""Networks for clips: every frame through a network for pictures, with and without an order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from drawn import moving
from torch import nn
from torch.nn import functional

from penstock.errors import UsageError
from penstock.models.networks.catalog import names, trunk

TINY = {"filters": [4, 6], "stem": 4}
CLIPS: list[tuple[str, dict[str, Any]]] = [
    ("pooled_frames", {}),
    ("pooled_frames", {"pooling": "max"}),
    ("recurrent_frames", {"hidden": 5}),
    ("recurrent_frames", {"hidden": 5, "cell": "lstm", "pooling": "mean"}),
    ("recurrent_frames", {"hidden": 5, "pooling": "max"}),
]
all_clips = pytest.mark.parametrize(("name", "settings"), CLIPS)


def small(name: str, settings: dict[str, Any], *sizes: int) -> nn.Module:
    torch.manual_seed(0)
    sizes = sizes or (4, 3, 12, 10)
    return trunk(name, "clip", *sizes, settings={"picture_settings": TINY, **settings})


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_every_network_for_clips_is_tested_here() -> None:
    assert {name for name, _ in CLIPS} == set(names("clip"))


@all_clips
@pytest.mark.parametrize("sizes", [(1, 1, 9, 9), (5, 3, 8, 14)])
def test_clips_become_features(name: str, settings: dict[str, Any], sizes: tuple[int, ...]) -> None:
    made = small(name, settings, *sizes).eval()
    found = made(drawn(3, *sizes))
    assert found.shape == (3, made.features) and bool(torch.isfinite(found).all())


@all_clips
def test_gradients_reach_every_weight(name: str, settings: dict[str, Any]) -> None:
    made = small(name, settings)
    found = made(drawn(6, 4, 3, 12, 10))
    (found * drawn(*found.shape)).sum().backward()
    for weight, each in made.named_parameters():
        assert each.grad is not None and bool(each.grad.any()), weight


@all_clips
def test_a_clip_does_not_depend_on_its_neighbours_or_its_layout(name: str, settings: dict[str, Any]) -> None:
    made = small(name, settings).eval()
    clips = drawn(4, 4, 3, 12, 10)
    changed = torch.cat([clips[:2], 50 * clips[2:].flip(1)])
    as_stored = clips.movedim(2, -1).contiguous().movedim(-1, 2)  # channels last, as decoded
    with torch.no_grad():
        expected = made(clips)
        torch.testing.assert_close(made(changed)[:2], expected[:2], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(made(as_stored), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooled_frames_are_those_of_the_picture_network(pooling: str) -> None:
    made = small("pooled_frames", {"pooling": pooling}).eval()
    clips = drawn(2, 4, 3, 12, 10)
    with torch.no_grad():
        frames = torch.stack([made.picture(clips[:, place]) for place in range(4)])
        expected = frames.sum(0) / 4 if pooling == "mean" else frames.max(0).values
        torch.testing.assert_close(made(clips), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(made(clips.flip(1)), expected, rtol=1e-5, atol=1e-6)  # in any order


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_frames_tell_a_clip_from_the_same_one_backwards(cell: str) -> None:
    torch.manual_seed(0)
    settings = {"picture_settings": {"filters": [8, 16], "stem": 4}, "hidden": 16, "cell": cell}
    made = trunk("recurrent_frames", "clip", 4, 1, 10, 10, settings=settings)
    network = nn.Sequential(made, nn.Linear(made.features, 2))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    clips, classes = moving(240, 4, 10, seed=0)
    for _ in range(10):
        for rows in torch.randperm(240).split(30):
            functional.cross_entropy(network(clips[rows]), classes[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
    clips, classes = moving(200, 4, 10, seed=1)
    with torch.no_grad():
        right = network.eval()(clips).argmax(1) == classes
    assert float(right.float().mean()) > 0.95


def test_any_network_for_pictures_can_look_at_the_frames() -> None:
    for picture in names("picture"):
        made = trunk("pooled_frames", "clip", 2, 1, 16, 16, settings={"picture": picture}).eval()
        assert made(drawn(1, 2, 1, 16, 16)).shape == (1, made.features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"picture": "gru"}, "for picture"),
        ({"picture": "convnte"}, "convnet"),
        ({"picture_settings": {"filter": [3]}}, "did you mean 'filters'"),
        ({"picture_settings": [3]}, "picture_settings.*\n.*mapping"),
        ({"cell": "rnn"}, "cell"),
        ({"hidden": 0}, "hidden"),
        ({"hidden": 2.5}, "hidden"),
        ({"pooling": "sum"}, "pooling"),
        ({"dropout": 2}, "dropout"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trunk("recurrent_frames", "clip", 2, 1, 16, 16, settings=settings)
