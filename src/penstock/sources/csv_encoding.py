"""In which encoding a text file is written: by its mark, by what decodes, and by what the letters then are.

Part of the CSV source.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.errors import UsageError

CODECS = {
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "gb18030": "gb18030",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
}
"""Names that a user may give, and the codec of each."""

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec, why it was taken, and whether that was a guess that a person should hear of."""

    codec: str
    reason: str
    guessed: bool = False


def named_encoding(name: str, head: bytes) -> Encoding:
    """The encoding that a user asked for, for a file that begins with these bytes.

    Raises:
        UsageError: it is not known.
    """
    codec = CODECS.get(name.lower().replace("_", "-").replace("utf8", "utf-8").replace("utf16", "utf-16"))
    if codec is None:
        raise UsageError("not a known encoding", expected="one of " + ", ".join(CODECS), got=repr(name))
    if codec == "utf-16" and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        codec = _unmarked_utf_16(head) or "utf-16-le"
    return Encoding(codec, "as asked")


def find_encoding(pieces: Sequence[bytes]) -> Encoding:
    """The encoding of a file, from its head and more of its pieces.

    Example:
        >>> find_encoding(["年龄,城市\\n3,北京\\n".encode("gb18030")]).codec
        'gb18030'
        >>> find_encoding(["straße,größe\\n".encode("latin-1")]).codec
        'latin-1'
    """
    head = pieces[0]
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, "the byte order mark at its beginning")
    wide = _unmarked_utf_16(head)
    if wide:
        return Encoding(wide, "every other byte is zero", guessed=True)
    text = b"\n".join(_whole_lines(piece) for piece in pieces)
    good, bad = _utf_8_letters(text)
    if not bad:
        return Encoding("utf-8", "it decodes")
    if good > bad:
        return Encoding("utf-8", f"{good} letters of several bytes decode, {bad} bytes do not", guessed=True)
    if _is_chinese(text):
        return Encoding("gb18030", "it decodes, mostly to common Chinese characters", guessed=True)
    high = np.frombuffer(text, np.uint8)
    high = high[high >= 0x80]
    if np.all((high >= 0xA0) & (high <= 0xFD)):
        return Encoding("latin-1", "it is neither UTF-8 nor Chinese, and has letters of Latin-1", guessed=True)
    if len(high) * 1000 < len(text):
        return Encoding("utf-8", f"all but {bad} bytes decode", guessed=True)
    return Encoding("latin-1", "it is neither UTF-8 nor Chinese", guessed=True)


def _whole_lines(piece: bytes) -> bytes:
    end = piece.rfind(b"\n")
    return piece[: end + 1] if end >= 0 else piece


def _unmarked_utf_16(head: bytes) -> str:
    pairs = np.frombuffer(head[: len(head) // 2 * 2], np.uint8).reshape(-1, 2) == 0
    if len(pairs) < 2:
        return ""
    first, second = pairs.mean(axis=0).tolist()
    if second > 0.4 and first < 0.05:
        return "utf-16-le"
    return "utf-16-be" if first > 0.4 and second < 0.05 else ""


def _utf_8_letters(text: bytes) -> tuple[int, int]:
    """(letters of several bytes that decode, runs of bytes that do not)."""
    if text.isascii():
        return 0, 0
    decoded = text.decode("utf-8", "surrogateescape")
    codes = np.frombuffer(decoded.encode("utf-32-le", "surrogatepass"), np.uint32)
    escaped = (codes >= 0xDC80) & (codes <= 0xDCFF)
    return int(((codes >= 0x80) & ~escaped).sum()), int(escaped.sum())


def _is_chinese(text: bytes) -> bool:
    try:
        decoded = text.decode("gb18030")
    except UnicodeDecodeError:
        return False
    letters = [letter for letter in decoded if ord(letter) >= 0x80][:20_000]
    common = sum(1 for letter in letters if _is_common(letter))
    return common >= 0.7 * len(letters) > 0


def _is_common(letter: str) -> bool:
    """Whether it is in GB 2312: by chance, letters of Latin-1 in a row decode to rarer ones."""
    try:
        return len(letter.encode("gb2312")) == 2
    except UnicodeEncodeError:
        return False
