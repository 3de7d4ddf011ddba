"""ResNet-18, for small and for large pictures."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from penstock.models.arguments import one_of, real_number

_SMALL = 64
"""The side up to which a picture is small [pixels]."""
_FILTERS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two convolutions 3x3, and what went in added to what comes out (He et al., figure 5, left).

    Shapes: (batch, before, height, width) -> (batch, filters, height / stride, width / stride), rounded up.
    """

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, filters, 1, stride=stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        straight = maps if self.downsample is None else self.downsample(maps)
        found: torch.Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        found = self.relu(found + straight)
        return found


class ResNet18(nn.Module):
    """The residual network with 18 layers (He, Zhang, Ren and Sun, "Deep residual learning for image recognition",
    CVPR 2016, table 1).

    Its weights have the names that torchvision's have, so that published state dicts fit (``weights`` of the model;
    only their ``fc``, the head for another task, is left out). Convolutions are drawn as there: normal, scaled by the
    outputs of a filter (He et al., "Delving deep into rectifiers", ICCV 2015).

    Shapes:
        pictures (batch, channels, height, width)
        -> stem "large": convolution 7x7 with stride 2, norm, ReLU (batch, 64, height / 2, width / 2), the greatest of
           3x3 with stride 2 (batch, 64, height / 4, width / 4)
        -> or stem "small": convolution 3x3, norm, ReLU (batch, 64, height, width)
        -> four layers of two blocks (batch, 64, h, w), (batch, 128, h / 2, w / 2), (batch, 256, h / 4, w / 4),
           (batch, 512, h / 8, w / 8), each rounded up
        -> means over the picture, dropout: features (batch, 512)

    Args:
        channels: of a picture: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        stem: "large" is the paper's for 224 pixels, "small" its form for CIFAR-10 (section 4.2); "auto" is small where
            a side is 64 pixels or less.
        dropout: the share (0 to below 1) of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range.

    Example:
        >>> ResNet18(3, 32, 32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """

    features = _FILTERS[-1]

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        stem: Literal["auto", "small", "large"] = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        one_of("network 'resnet18': stem", stem, ("auto", "small", "large"))
        real_number("network 'resnet18': dropout", dropout, 0, 0.9999)
        small = stem == "small" or (stem == "auto" and min(height, width) <= _SMALL)
        if small:
            self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        before = 64
        for number, filters in enumerate(_FILTERS, 1):
            first = Block(before, filters, 1 if number == 1 else 2)
            self.add_module(f"layer{number}", nn.Sequential(first, Block(filters, filters, 1)))
            before = filters
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width) to (batch, 512)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        for number in range(1, len(_FILTERS) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
        features: torch.Tensor = self.dropout(maps.mean((2, 3)))
        return features
