"""Networks for clips: every frame through a network for pictures, then all frames together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import nn

from penstock.models.arguments import one_of, real_number, whole_number
from penstock.models.networks.catalog import trunk


class _Frames(nn.Module):
    """The frames of clips, each by itself, through one network for pictures."""

    def __init__(
        self, channels: int, height: int, width: int, picture: str, settings: Mapping[str, Any] | None
    ) -> None:
        super().__init__()
        self.picture = trunk(picture, "picture", channels, height, width, settings=settings)
        self.width = int(cast(int, self.picture.features))

    def each(self, clips: torch.Tensor) -> torch.Tensor:
        """Shape (batch, frames, channels, height, width) to (batch, frames, features of a picture)."""
        found: torch.Tensor = self.picture(clips.flatten(0, 1))
        return found.reshape(*clips.shape[:2], self.width)


class PooledFrames(_Frames):
    """The mean, or the greatest, of what a network for pictures finds in the frames; their order does not count.

    The one-frame-at-a-time form of Karpathy et al., "Large-scale video classification with convolutional neural
    networks", CVPR 2014, with features put together before the head rather than scores after it.

    Shapes:
        clips (batch, frames, channels, height, width)
        -> every frame through the network (batch, frames, features)
        -> pooled over the frames, dropout: features (batch, features)

    Args:
        frames: of a clip.
        channels: of a frame: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        picture: the network for pictures, by name.
        picture_settings: of that network.
        pooling: "mean" or "max" over the frames.
        dropout: the share (0 to below 1) of features set to 0 in training.

    Raises:
        UsageError: a setting is out of its range, or not one of the network for pictures.

    Example:
        >>> PooledFrames(8, 3, 32, 32)(torch.zeros(2, 8, 3, 32, 32)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        frames: int,
        channels: int,
        height: int,
        width: int,
        *,
        picture: str = "convnet",
        picture_settings: Mapping[str, Any] | None = None,
        pooling: Literal["mean", "max"] = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, height, width, picture, picture_settings)
        one_of("network 'pooled_frames': pooling", pooling, ("mean", "max"))
        real_number("network 'pooled_frames': dropout", dropout, 0, 0.9999)
        self.features = self.width
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Shape (batch, frames, channels, height, width) to (batch, features)."""
        found = self.each(clips)
        features: torch.Tensor = self.dropout(found.mean(1) if self.pooling == "mean" else found.amax(1))
        return features


class RecurrentFrames(_Frames):
    """What a network for pictures finds in the frames, one after the other through a recurrent layer: order counts.

    After Donahue et al., "Long-term recurrent convolutional networks for visual recognition and description", CVPR
    2015. The cell is a GRU (Cho et al., EMNLP 2014) or an LSTM (Hochreiter and Schmidhuber, Neural Computation 9,
    1997).

    Shapes:
        clips (batch, frames, channels, height, width)
        -> every frame through the network (batch, frames, features of a picture)
        -> the recurrent layer's states (batch, frames, hidden)
        -> the last state, or pooled over the frames, dropout: features (batch, hidden)

    Args:
        frames: of a clip.
        channels: of a frame: 1 for gray, 3 for color.
        height: its height [pixels].
        width: its width [pixels].
        picture: the network for pictures, by name.
        picture_settings: of that network.
        cell: "gru" or "lstm".
        hidden: units of a state.
        pooling: "last" for the state after the last frame, or "mean" or "max" over all states.
        dropout: the share (0 to below 1) of what goes into the recurrent layer, and of features, set to 0 in training.

    Raises:
        UsageError: a setting is out of its range, or not one of the network for pictures.

    Example:
        >>> RecurrentFrames(8, 3, 32, 32, cell="lstm")(torch.zeros(2, 8, 3, 32, 32)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        frames: int,
        channels: int,
        height: int,
        width: int,
        *,
        picture: str = "convnet",
        picture_settings: Mapping[str, Any] | None = None,
        cell: Literal["gru", "lstm"] = "gru",
        hidden: int = 128,
        pooling: Literal["last", "mean", "max"] = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, height, width, picture, picture_settings)
        one_of("network 'recurrent_frames': cell", cell, ("gru", "lstm"))
        one_of("network 'recurrent_frames': pooling", pooling, ("last", "mean", "max"))
        whole_number("network 'recurrent_frames': hidden", hidden, 1, 65_536)
        real_number("network 'recurrent_frames': dropout", dropout, 0, 0.9999)
        self.features = hidden
        self.pooling = pooling
        self.recurrent = (nn.GRU if cell == "gru" else nn.LSTM)(self.width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Shape (batch, frames, channels, height, width) to (batch, hidden)."""
        states = self.recurrent(self.dropout(self.each(clips)))[0]
        if self.pooling == "last":
            found = states[:, -1]
        else:
            found = states.mean(1) if self.pooling == "mean" else states.amax(1)
        features: torch.Tensor = self.dropout(found)
        return features
