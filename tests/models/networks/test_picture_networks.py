"""Networks for pictures: shapes, weights, what they learn, and that no row sees another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn import shapes
from scipy.signal import correlate
from torch import nn
from torch.nn import functional

from penstock.errors import UsageError
from penstock.models.networks.autoencoder import PictureAutoencoder
from penstock.models.networks.catalog import names, trunk
from penstock.models.networks.conv4 import Conv4
from penstock.models.networks.convnet import ConvNet
from penstock.models.networks.lenet import LeNet
from penstock.models.networks.resnet import ResNet18

SMALL: dict[str, dict[str, Any]] = {
    "lenet": {},
    "convnet": {"filters": [4, 6, 8], "stem": 4},
    "conv4": {"filters": [4, 6, 8, 10]},
    "resnet18": {"stem": "large"},
    "picture_autoencoder": {"filters": [4, 6], "size": 7},
}
"""Settings that make each network for pictures small."""


def small(name: str, channels: int = 3, height: int = 24, width: int = 20, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return trunk(name, "picture", channels, height, width, settings=SMALL[name])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_network_for_pictures_is_tested_here() -> None:
    assert set(names("picture")) == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 65, 50), (1, 7, 90), (2, 1, 1)]
)
def test_pictures_of_every_size_become_features(name: str, channels: int, height: int, width: int) -> None:
    made = small(name, channels, height, width).eval()
    found = made(drawn(3, channels, height, width))
    assert found.shape == (3, made.features) and bool(torch.isfinite(found).all())


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_weight(name: str) -> None:
    made = small(name)
    pictures = drawn(8, 3, 24, 20)
    found = made.reconstruct(pictures) if isinstance(made, PictureAutoencoder) else made(pictures)
    (found * drawn(*found.shape, seed=1)).sum().backward()
    for weight, each in made.named_parameters():
        assert each.grad is not None and bool(each.grad.any()), weight


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_says_the_weights_and_what_comes_out(name: str) -> None:
    one, again, other = small(name), small(name), small(name, seed=1)
    pictures = drawn(4, 3, 24, 20)
    assert torch.equal(one(pictures), again(pictures))
    assert not torch.equal(one(pictures), other(pictures))


@pytest.mark.parametrize("name", SMALL)
def test_a_picture_does_not_depend_on_its_neighbours(name: str) -> None:
    made = small(name).eval()
    pictures = drawn(6, 3, 24, 20)
    changed = pictures.clone()
    changed[3:] = 100 * drawn(3, 3, 24, 20, seed=2)
    with torch.no_grad():
        together, beside, alone = made(pictures), made(changed), made(pictures[:1])
    torch.testing.assert_close(together[:3], beside[:3], rtol=0, atol=0)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_how_pictures_lie_in_memory_changes_nothing(name: str) -> None:
    made = small(name).eval()
    pictures = drawn(4, 3, 24, 20)
    with torch.no_grad():
        plain = made(pictures)
        last = made.to(memory_format=torch.channels_last)(pictures.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_gives_about_the_same(name: str) -> None:
    made = small(name).eval()
    pictures = drawn(4, 3, 24, 20)
    with torch.no_grad():
        plain = made(pictures)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            short = made(pictures).float()
    assert float((plain - short).norm() / plain.norm()) < 0.03


@pytest.mark.parametrize(
    ("name", "settings", "epochs", "rate"),
    [
        ("lenet", {}, 6, 0.1),
        ("convnet", {"filters": [8, 12, 16], "stem": 8}, 4, 0.1),
        ("conv4", {"filters": [16, 24, 32, 48]}, 10, 0.1),
        ("resnet18", {"stem": "large"}, 3, 0.01),
    ],
)
def test_drawn_shapes_are_told_apart(name: str, settings: dict[str, Any], epochs: int, rate: float) -> None:
    torch.manual_seed(0)
    made = trunk(name, "picture", 1, 20, 20, settings=settings)
    network = nn.Sequential(made, nn.Linear(made.features, 3))
    pictures, classes = shapes(300, 20, 1, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=10 * epochs, cycle_momentum=False)
    for _ in range(epochs):
        for rows in torch.randperm(300).split(30):
            functional.cross_entropy(network(pictures[rows]), classes[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    pictures, classes = shapes(200, 20, 1, seed=1)
    with torch.no_grad():
        right = network.eval()(pictures).argmax(1) == classes
    assert float(right.float().mean()) > 0.95


# ---------------------------------------------------------------------- LeNet


def test_lenet_has_as_many_weights_as_the_paper_says() -> None:
    """Section II.B: C1 156, C5 48,120, F6 10,164; C3 would have 2,416 where every map goes to every filter."""
    made = LeNet(1, 32, 32)
    counts = {name: sum(each.numel() for each in layer.parameters()) for name, layer in made.named_children()}
    assert {name: count for name, count in counts.items() if count} == {
        "c1": 156,
        "c3": 16 * (6 * 25 + 1),
        "c5": 48_120,
        "f6": 10_164,
    }


@pytest.mark.parametrize("side", [28, 32])
def test_lenet_is_correlations_means_and_tanh(side: int) -> None:
    made = LeNet(1, side, side).double().eval()
    layer = {name: each.detach().numpy() for name, each in made.named_parameters()}
    picture = drawn(1, 1, side, side).double()
    maps = np.pad(picture[0].numpy(), ((0, 0), (32 // 2 - side // 2,) * 2, (32 // 2 - side // 2,) * 2))
    for name, pooled in (("c1", True), ("c3", True), ("c5", False)):
        each = zip(layer[f"{name}.weight"], layer[f"{name}.bias"], strict=True)
        maps = np.tanh(np.concatenate([correlate(maps, weight, "valid") + bias for weight, bias in each]))
        if pooled:
            maps = (maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]) / 4
    expected = np.tanh(layer["f6.weight"] @ maps.ravel() + layer["f6.bias"])
    np.testing.assert_allclose(made(picture).detach().numpy()[0], expected, rtol=1e-9)


# ---------------------------------------------------------------------- ConvNet and Conv4


def test_a_convnet_halves_the_sides_once_a_group_and_large_pictures_once_before() -> None:
    def sides(height: int, width: int) -> list[tuple[int, ...]]:
        made = ConvNet(1, height, width, filters=(2, 2, 2), stem=2).eval()
        found = []
        for layer in made.layers:
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda _, given, output: found.append(tuple(output.shape[2:])))
        made(torch.zeros(1, 1, height, width))
        return found

    assert sides(28, 28) == [(28, 28), (28, 28), (14, 14), (14, 14), (7, 7), (7, 7), (3, 3)]
    assert sides(96, 64)[0] == (48, 32)
    assert sides(2, 5) == [(2, 5), (2, 5), (1, 2), (1, 2), (1, 1), (1, 1), (1, 1)]


def test_conv4_ends_at_a_thirty_second_of_the_sides() -> None:
    made = Conv4(3, 224, 224)
    assert made.layers(torch.zeros(1, 3, 224, 224)).shape == (1, 256, 7, 7)


# ---------------------------------------------------------------------- ResNet-18

BLOCKS = [(1, 64, 64, 1), (2, 64, 128, 2), (3, 128, 256, 2), (4, 256, 512, 2)]
"""Table 1 of the paper: layer, filters before and of it, stride of its first block."""


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published state dict of ResNet-18 for 1,000 classes, without its ``fc``."""

    def norm(name: str, filters: int) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {**{f"{name}.{part}": (filters,) for part in parts}, f"{name}.num_batches_tracked": ()}

    found: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    for layer, before, filters, stride in BLOCKS:
        for block in (0, 1):
            at = f"layer{layer}.{block}"
            found[f"{at}.conv1.weight"] = (filters, before if block == 0 else filters, 3, 3)
            found |= norm(f"{at}.bn1", filters)
            found[f"{at}.conv2.weight"] = (filters, filters, 3, 3)
            found |= norm(f"{at}.bn2", filters)
            if block == 0 and stride == 2:
                found[f"{at}.downsample.0.weight"] = (filters, before, 1, 1)
                found |= norm(f"{at}.downsample.1", filters)
    return found


def test_resnet18_has_the_names_and_shapes_of_the_published_weights() -> None:
    state = ResNet18(3, 224, 224).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == published()
    assert len(state) == 120


def test_resnet18_has_as_many_weights_as_published() -> None:
    """11,689,512 with 1,000 classes' layer of 513,000 (torchvision); the form for CIFAR-10 11,173,962 with 5,130."""
    counts = [sum(each.numel() for each in ResNet18(3, side, side).parameters()) for side in (224, 32)]
    assert counts == [11_689_512 - 513_000, 11_173_962 - 5_130]


@pytest.mark.parametrize("stem", ["large", "small"])
def test_resnet18_is_the_network_of_the_paper(stem: Any) -> None:
    made = ResNet18(3, 21, 18, stem=stem).double().eval()
    with torch.no_grad():
        for each in made.buffers():  # norms that do something
            if each.dtype.is_floating_point:
                each.add_(torch.rand(each.shape, generator=torch.Generator().manual_seed(0)))
    weights = made.state_dict()

    def normed(maps: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (maps - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def convolved(maps: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        return functional.conv2d(maps, weights[f"{name}.weight"], stride=stride, padding=padding)

    pictures = drawn(2, 3, 21, 18).double()
    large = stem == "large"
    maps = torch.relu(normed(convolved(pictures, "conv1", 2 if large else 1, 3 if large else 1), "bn1"))
    maps = functional.max_pool2d(maps, 3, 2, 1) if large else maps
    for layer, _, _, first_stride in BLOCKS:
        for block, stride in ((0, first_stride), (1, 1)):
            at = f"layer{layer}.{block}"
            inner = torch.relu(normed(convolved(maps, f"{at}.conv1", stride, 1), f"{at}.bn1"))
            inner = normed(convolved(inner, f"{at}.conv2", 1, 1), f"{at}.bn2")
            if stride == 2:
                maps = normed(convolved(maps, f"{at}.downsample.0", 2, 0), f"{at}.downsample.1")
            maps = torch.relu(inner + maps)
    torch.testing.assert_close(made(pictures), maps.mean((2, 3)), rtol=1e-9, atol=1e-9)


def test_resnet18_takes_the_stem_that_fits_the_size() -> None:
    assert [ResNet18(1, side, 90).conv1.kernel_size for side in (64, 65)] == [(3, 3), (7, 7)]


# ---------------------------------------------------------------------- the autoencoder


@pytest.mark.parametrize(("height", "width"), [(28, 28), (33, 18), (1, 5), (70, 70)])
def test_an_autoencoder_gives_pictures_of_the_same_size_back(height: int, width: int) -> None:
    made = PictureAutoencoder(2, height, width, size=5).eval()
    pictures = drawn(3, 2, height, width)
    found = made.reconstruct(pictures)
    assert found.shape == pictures.shape and made(pictures).shape == (3, 5)
    expected = ((found.detach().numpy() - pictures.numpy()) ** 2).reshape(3, -1).mean(1)
    np.testing.assert_allclose(made.errors(pictures).detach().numpy(), expected, rtol=1e-5)


def test_an_autoencoder_tells_what_is_unlike_all_it_has_learned_from() -> None:
    torch.manual_seed(0)
    made = PictureAutoencoder(1, 16, 16, size=8, filters=(8, 16))
    pictures, classes = shapes(400, 16, 1, seed=0)
    squares = pictures[classes == 0]
    optimizer = torch.optim.AdamW(made.parameters(), 5e-3)
    begin = made.errors(squares).mean().item()
    for _ in range(30):
        for rows in torch.randperm(len(squares)).split(32):
            made.errors(squares[rows]).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    pictures, classes = shapes(200, 16, 1, seed=1)
    with torch.no_grad():
        errors = made.eval().errors(pictures)
    known, odd = errors[classes == 0], errors[classes != 0]
    assert float(known.mean()) < begin / 3
    assert float((odd[:, None] > known[None, :]).float().mean()) > 0.9  # the area under the ROC curve


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("convnet", {"filters": []}, "filters"),
        ("convnet", {"filters": [8, 0]}, "filters.*\n.*from 1"),
        ("convnet", {"dropout": 1.0}, "dropout"),
        ("conv4", {"filters": [8, 8, 8]}, "filters"),
        ("resnet18", {"stem": "tiny"}, "stem.*\n.*'small', 'large'.*\n.*'tiny'"),
        ("resnet18", {"dropout": -0.1}, "dropout"),
        ("picture_autoencoder", {"size": 0}, "size"),
        ("picture_autoencoder", {"filters": []}, "filters"),
        ("lenet", {"activation": "step"}, "activation.*\n.*'tanh'.*\n.*'step'"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trunk(name, "picture", 1, 28, 28, settings=settings)
