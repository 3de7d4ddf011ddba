"""A 64-bit hash of each value of a column, the same in every process, on every machine and in every version.

Part of the room of statistics. Neither Python's, nor Arrow's, nor Polars' hash promises that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.statistics.values import Floats, Words, as_text, counted, microseconds, valid

_EXACT = 2**53
_LONG = 256
"""Texts of more bytes than this are hashed one by one."""
_WHOLE = np.uint64(0x6A09E667F3BCC909)  # sets whole numbers beyond 2^53 apart from floats
_ODD = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0xBB67AE8584CAA73B)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)  # the lowest `size` bytes of a word


def hashes(values: pa.Array) -> Words:
    """The hashes (uint64) of the values that are not null: of each different value at least once, in no given order.

    Numbers of one value have one hash whatever their type (truth values are 0 and 1, times whole microseconds since
    1970), as has text, dictionary-encoded or not: of the former only the entries that are used are hashed.

    Raises:
        SchemaError: the values are neither numbers, truth values, times nor text.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return hashes(counted(values)[0])
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = microseconds(values)
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    plain = valid(values) if pa.types.is_primitive(values.type) else None
    if plain is None:
        return hash_texts(as_text(values).drop_null())
    if plain.dtype.kind == "f":
        return hash_floats(plain.astype(np.float64, copy=False))
    return hash_whole(plain)


def mix(x: Words) -> Words:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one-to-one on 64 bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def hash_floats(values: Floats) -> Words:
    """Hashes of the bits of numbers; -0.0 is 0.0."""
    return mix((values + 0.0).view(np.uint64))


def hash_whole(values: npt.NDArray[np.integer[npt.NBitBase]]) -> Words:
    """Hashes of whole numbers: up to 2^53 those of the same floats, beyond it of all their bits."""
    found = hash_floats(values.astype(np.float64))
    if values.dtype.itemsize == 8 and len(values):
        big = (values > _EXACT) | (values < -_EXACT) if values.dtype.kind == "i" else values > _EXACT
        if big.any():
            found[big] = mix(mix(values[big].astype(np.uint64)) ^ _WHOLE)
    return found


def hash_texts(values: pa.Array) -> Words:
    """Hashes of texts (``large_string`` without nulls): their length, then their bytes by words of eight.

    All texts are taken a word further at a time; long ones are hashed by BLAKE2b.
    """
    count = len(values)
    _, ends, data = values.buffers()
    offsets = (
        np.frombuffer(ends, np.int64)[values.offset : values.offset + count + 1] if count else np.zeros(1, np.int64)
    )
    base = int(offsets[0])
    padded = np.zeros(int(offsets[-1]) - base + 8, np.uint8)
    if data is not None:
        padded[:-8] = np.frombuffer(data, np.uint8)[base : int(offsets[-1])]
    starts, lengths = offsets[:-1] - base, np.diff(offsets)
    # A word at every byte: little-endian whatever the machine.
    words = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, strides=(1,))
    found = mix(lengths.astype(np.uint64))
    left = np.flatnonzero((lengths > 0) & (lengths <= _LONG))
    at = 0
    while len(left):
        rest = np.minimum(lengths[left] - at, 8)
        found[left] = mix(found[left] ^ (words[starts[left] + at] & _MASKS[rest]))
        at += 8
        left = left[lengths[left] > at]
    for place in np.flatnonzero(lengths > _LONG):
        text = padded[starts[place] : starts[place] + lengths[place]]
        found[place] = int.from_bytes(hashlib.blake2b(text.tobytes(), digest_size=8).digest(), "little")
    return found


def row_hashes(columns: Sequence[pa.Array]) -> Words:
    """A hash of each row over several columns of one length (at least one), in the order of the rows.

    Null has a hash of its own. Rows of equal values have equal hashes, whatever the columns' types (see `hashes`).

    Raises:
        SchemaError: a column's values have no hash.
    """
    found = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        found *= _ODD
        found += aligned_hashes(values)
    return mix(found)


def _tensor_bytes(values: pa.Array) -> pa.Array:
    """The bytes of each tensor, as one value."""
    storage = values.storage
    size = storage.type.list_size
    numbers = storage.values.slice(storage.offset * size, len(storage) * size).to_numpy(zero_copy_only=False)
    held = np.ascontiguousarray(numbers)
    ends = np.arange(len(values) + 1, dtype=np.int64) * (size * held.dtype.itemsize)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(held)]
    whole = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), buffers)
    return pc.if_else(values.is_valid(), whole, pa.scalar(None, pa.large_binary())) if values.null_count else whole


def aligned_hashes(values: pa.Array) -> Words:
    """The hash of each value, in the order of the rows; null and lists have hashes too.

    Raises:
        SchemaError: the values have no hash.

    Example:
        >>> found = aligned_hashes(pa.array([1.0, None, 1.0]))
        >>> bool(found[0] == found[2]), bool(found[0] == found[1])
        (True, False)
    """
    kind = values.type
    if isinstance(values, pa.FixedShapeTensorArray):
        return aligned_hashes(_tensor_bytes(values))
    if pa.types.is_dictionary(kind):
        if len(values.dictionary) > 4 * len(values):  # a dictionary shared by many blocks: hash only what is used
            return aligned_hashes(values.dictionary_decode())
        table = np.append(aligned_hashes(values.dictionary), _NULL)
        places = values.indices.cast(pa.int64()).fill_null(len(values.dictionary)).to_numpy()
        entries: Words = np.take(table, places)
        return entries
    if pa.types.is_null(kind):
        return np.full(len(values), _NULL)
    if pa.types.is_decimal(kind):
        return aligned_hashes(values.cast(pa.float64()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        found = _list_hashes(values)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        # Not text, but hashed alike: a view of the same bytes.
        found = hash_texts(values.cast(pa.large_binary()).fill_null(b"").view(pa.large_string()))
    elif pa.types.is_primitive(kind):
        found = hashes(values.fill_null(_anything(kind)))
    else:
        found = hash_texts(as_text(values).fill_null(""))
    if values.null_count:
        found[values.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return found


def _list_hashes(values: pa.Array) -> Words:
    """Of each list: the sum of its items' hashes, each mixed with its place, mixed with the length."""
    lengths = pc.list_value_length(values).fill_null(0).to_numpy().astype(np.int64)
    items = aligned_hashes(values.flatten())  # without what lies under nulls
    starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    place = np.arange(len(items)) - np.repeat(starts, lengths)
    total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mix(items + place.astype(np.uint64)), dtype=np.uint64)))
    return mix(total[starts + lengths] - total[starts] + mix(lengths.astype(np.uint64)))


def _anything(kind: pa.DataType) -> pa.Scalar:
    """A value of a primitive type, to stand where there is none."""
    return pa.scalar(False) if pa.types.is_boolean(kind) else pa.scalar(0, kind)
