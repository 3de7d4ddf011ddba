"""The step that turns clips into tensors, so many frames of one size: `DecodeClip`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema, tensor
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen, whole_number
from penstock.steps.clips_frames import Pixels, write_frames
from penstock.steps.clips_reading import BadClip, Limits, opened, pyav, reading
from penstock.steps.clips_sampling import HOWS, How, Sampling
from penstock.steps.pictures_columns import column_of_pixels, number_between, one_of, size_of
from penstock.steps.pictures_fitting import MODES, Mode
from penstock.steps.vectors import with_column

_MOST_FRAMES = 4096
_MOST_VALUES = 2**28
_LONGEST = 1e6
_FASTEST = 1000


@dataclass(frozen=True)
class DecodeClip(Step):
    """Clips -> tensors of so many frames of one size: uint8, (frames, height, width, channels), red, green, blue.

    A clip comes as the bytes of its file, or as the absolute path of a local file, which is opened once. MP4,
    QuickTime, Matroska, WebM, AVI, MPEG, Flash, ASF, Ogg, MXF, DV, GIF and the raw streams of H.264, H.265, AV1 and
    MJPEG are read. Of several videos in a file the first is taken; sound is left out.

    Which frames are taken, by `sampling`; times are those in the file, so that frames need not be equally long:

    - "even": the clip, or what lies between `start` and `end`, is cut in `frames` parts of equal length. Of each, the
      frame that is shown in its middle.
    - "rate": `rate` frames for each second from `start` on; the first `frames` of them.
    - "every": of the frames from `start` on each `every`-th; the first `frames` of them.
    - "key_frames": frames that are stored whole; the first `frames` of them. Others are not decoded.

    A clip that has fewer repeats its last one; of "even", frames come twice where there are fewer than parts.

    What is decoded starts at the last key frame before a frame that is taken. Frames are turned upright as the file
    says. Pixels become those of the new size by the mean of areas where it shrinks, linearly where it grows.

    A clip that is missing, damaged, cut off, without video, or beyond a limit is rejected. Where only some of the
    frames are decoded, damage to the others is not seen. One thread decodes a clip: several clips are decoded side by
    side.

    Args:
        columns: columns of encoded clips, or of the absolute paths of their files.
        frames: how many frames come out of each.
        size: [height, width], or one number for both.
        mode: "exact": stretched to the size; "fit": as large as goes within it, on black; "fill": as small as covers
            it, of what is too long the middle. The latter two make pixels square that are not.
        channels: 3, or 1 (gray: the luma).
        sampling: "even", "rate", "every" or "key_frames".
        rate: of "rate", frames [1/s].
        every: of "every", each so many-th frame.
        start: frames before are not taken [s].
        end: frames from there on are not taken [s]; none: up to the end of the clip.
        max_pixels: a clip with larger frames is rejected [pixels].
        max_bytes: a larger file is rejected; as much is held in memory while a clip is decoded [bytes].
        max_frames: a clip with more, up to `end`, is rejected.
        max_duration: a longer clip is rejected [s].
        time_limit: what decoding a clip may take, of one core [s].

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is neither of bytes nor of text.
        MissingExtra: PyAV is not installed.

    Example:
        >>> DecodeClip("role:clip", frames=16, size=112).size
        (112, 112)
    """

    columns: ColumnsLike
    frames: int = 16
    size: int | tuple[int, int] = 112
    mode: Mode = "exact"
    channels: Literal[1, 3] = 3
    sampling: How = "even"
    rate: float = 1.0
    every: int = 1
    start: float = 0.0
    end: float | None = None
    max_pixels: int = 2**25
    max_bytes: int = 2**28
    max_frames: int = 2**18
    max_duration: float = 14_400.0
    time_limit: float = 10.0

    name = "decode_clip"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "size", size_of("decode_clip: size", self.size))
        one_of("decode_clip: mode", self.mode, *MODES)
        one_of("decode_clip: sampling", self.sampling, *HOWS)
        whole_number("decode_clip: frames", self.frames, 1, _MOST_FRAMES)
        whole_number("decode_clip: every", self.every, 1, 2**31)
        if self.channels not in (1, 3) or isinstance(self.channels, bool):
            raise UsageError(
                "no such choice", where="decode_clip: channels", expected="1 or 3", got=repr(self.channels)
            )
        for limit in ("max_pixels", "max_bytes", "max_frames"):
            whole_number(f"decode_clip: {limit}", getattr(self, limit), 1, 2**40)
        for limit in ("rate", "max_duration", "time_limit"):
            number_between(
                f"decode_clip: {limit}", getattr(self, limit), 1e-6, _FASTEST if limit == "rate" else _LONGEST
            )
        number_between("decode_clip: start", self.start, 0, _LONGEST)
        if self.end is not None:
            number_between("decode_clip: end", self.end, 0, _LONGEST)
            if self.end <= self.start:
                raise UsageError(
                    "the end is not after the start",
                    where="decode_clip: end",
                    expected=f"more than {self.start:g} s",
                    got=f"{self.end:g} s",
                )
        self._check_use()

    def _check_use(self) -> None:
        for setting, unused in (("rate", 1.0), ("every", 1)):
            if self.sampling != setting and getattr(self, setting) != unused:
                raise UsageError(
                    f"nothing is done with {setting!r} by this sampling",
                    where=f"decode_clip: {setting}",
                    expected=f"sampling: {setting}",
                    got=f"sampling: {self.sampling}",
                    remedy=f"leave {setting!r} out, or change the sampling",
                )
        values = int(np.prod(self.shape))
        if values > _MOST_VALUES:
            raise UsageError(
                "a decoded clip is too large",
                where="decode_clip: frames, size",
                expected=f"at most {_MOST_VALUES:,} bytes a clip",
                got=f"{' x '.join(map(str, self.shape))} = {values:,}",
                remedy="take fewer or smaller frames",
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of a decoded clip: frames, height, width, channels."""
        height, width = size_of("decode_clip: size", self.size)
        return self.frames, height, width, self.channels

    @property
    def limits(self) -> Limits:
        """What a clip may ask for."""
        return Limits(self.max_pixels, self.max_bytes, self.max_frames, self.max_duration, self.time_limit)

    @property
    def chosen(self) -> Sampling:
        """Which frames are taken."""
        return Sampling(self.sampling, self.frames, self.rate, self.every, self.start, self.end)

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written; rows may be rejected."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names, rows=True)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = chosen(self.columns, schema)
        kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
        for field in fields:
            if not any(kind(field.type) for kind in kinds):
                raise SchemaError(
                    "not a column that the step can work on",
                    where=f"step {self.name!r}, column {field.name!r}",
                    expected="binary, the bytes of the clips' files, or string, their absolute paths",
                    got=f"{field.type} (role {field.role.value})",
                    remedy="use `resize_picture`" if field.shape else "leave it out of `columns`",
                )
        return fields

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedDecodeClip:
        """The step for these columns; it learns nothing."""
        pyav()
        fields = self._fields(schema)
        made = (_as_decoded(field, self.shape) for field in fields)
        return FittedDecodeClip(self, schema.put(*made), tuple(field.name for field in fields))


def _as_decoded(field: Field, shape: tuple[int, ...]) -> Field:
    role = Role.clip if field.role.is_feature else field.role
    values = field.values if field.values is None else Role.clip
    return replace(field, type=tensor(pa.uint8(), shape), role=role, categories=None, values=values)


@dataclass(frozen=True)
class FittedDecodeClip(FittedStep):
    """`DecodeClip` and the columns that it works on."""

    step: DecodeClip
    schema: Schema
    names: tuple[str, ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its clips decoded; rows whose clips can't be are rejected."""
        for name in self.names:
            if name in batch.columns.schema.names:
                batch = self._decoded(batch, name)
        return batch

    def _decoded(self, batch: Batch, name: str) -> Batch:
        pixels = np.empty((len(batch), *self.step.shape), np.uint8)
        faults: dict[tuple[str, str], list[int]] = {}
        for place, value in enumerate(_plain(batch.column(name))):
            try:
                self._one(_encoded(value), pixels[place])
            except BadClip as error:
                faults.setdefault((error.code, error.reason), []).append(place)
        kept = np.ones(len(batch), bool)
        tables = [] if batch.rejected is None else [batch.rejected]
        for (code, reason), places in faults.items():
            bad = np.zeros(len(batch), bool)
            bad[places] = True
            kept &= ~bad
            tables.append(batch.rejections(bad, step=self.step.name, column=name, code=code, reason=reason))
        if faults:
            batch = replace(batch.filter(kept), rejected=pa.concat_tables(tables))
            pixels = pixels[kept]
        return with_column(batch, [name], [column_of_pixels(pixels, self.schema[name])])

    def _one(self, value: memoryview | str, out: Pixels) -> None:
        """Decode one clip into its place.

        Raises:
            BadClip: it can't be.
        """
        step, limits, sampling = self.step, self.step.limits, self.step.chosen
        with reading(value, limits) as file, opened(file, limits, sampling.need) as clip:
            write_frames(clip, sampling, limits, step.mode, out)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _encoded(value: pa.Scalar) -> memoryview | str:
    if not value.is_valid:
        raise BadClip("missing", "no clip")
    if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
        return memoryview(value.as_buffer()).cast("B")
    text: str = value.as_py()
    return text
