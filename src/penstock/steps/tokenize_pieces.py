"""Pieces of words, learned by byte-pair encoding from how often each word occurs. Beside the step `Tokenize`.

Learning is ours: it needs no more than counts, which a fold over batches gives, and the same counts give the same
pieces in every version, so that an artifact that is fitted again from its state stays the same model. (The trainer of
the library tokenizers wants the texts themselves, and may break ties otherwise in another version.) Cutting words is
the library's, in Rust: it only applies the merges in their order. The one file about tokenizers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import MissingExtra

UNKNOWN = "<unknown>"
INSIDE = "##"
"""What a piece begins with that stands inside a word."""
_WORDS_AT_ONCE = 10_000
_Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Pieces:
    """A vocabulary of pieces of words, and how words are put together of them.

    Attributes:
        tokens: the pieces in the order of their ids: first the unknown, then characters, then what was merged.
        merges: pairs of pieces that become one, in the order in which they were learned.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    @classmethod
    def learn(cls, words: Sequence[str], counts: Sequence[int], size: int, least: int = 2) -> Pieces:
        """Learn pieces by byte-pair encoding (Sennrich, Haddow and Birch, "Neural machine translation of rare words
        with subword units", ACL 2016).

        First every character is a piece (one that stands inside a word another than one that begins it). Then the two
        neighbours that occur together most often become one piece, again and again. Of equally frequent pairs the one
        with the smaller ids is taken.

        Args:
            words: the words, each once, none of them empty.
            counts: how often each occurs.
            size: the most pieces, the unknown not counted.
            least: how often a piece has to occur where it is made.

        Example:
            >>> Pieces.learn(["low", "lower", "new"], [5, 2, 6], 8).merges
            (('##o', '##w'), ('l', '##ow'))
        """
        symbols = [[word[0], *(INSIDE + character for character in word[1:])] for word in words]
        often: Counter[str] = Counter()
        for parts, count in zip(symbols, counts, strict=True):
            for part in parts:
                often[part] += count
        usual = sorted((part for part in often if often[part] >= least), key=lambda part: (-often[part], part))
        tokens = [UNKNOWN, *sorted(usual[:size])]
        ids = {token: place for place, token in enumerate(tokens)}
        merges = []
        pairs = _Pairs([[ids.get(part, 0) for part in parts] for parts in symbols], counts, least)
        while len(tokens) <= size and (pair := pairs.most_frequent()) is not None:
            first, second = tokens[pair[0]], tokens[pair[1]]
            joined = first + second.removeprefix(INSIDE)
            if joined not in ids:  # two ways may lead to one piece
                ids[joined] = len(tokens)
                tokens.append(joined)
            pairs.merge(pair, ids[joined])
            merges.append((first, second))
        return cls(tuple(tokens), tuple(merges))

    @cached_property
    def _encoder(self) -> Any:
        check_tokenizers()
        from tokenizers import Tokenizer
        from tokenizers.models import BPE

        ids = {token: place for place, token in enumerate(self.tokens)}
        return Tokenizer(
            BPE(vocab=ids, merges=list(self.merges), unk_token=UNKNOWN, continuing_subword_prefix=INSIDE, fuse_unk=True)
        )

    def cut(self, words: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The ids of the pieces of each word, one word's after the other's, and where each word's begin (one more at
        the end).

        Raises:
            MissingExtra: tokenizers is not installed.
        """
        ids: list[npt.NDArray[np.int64]] = []
        bounds = [np.zeros(1, np.int64)]
        for start in range(0, len(words), _WORDS_AT_ONCE):
            some = words.slice(start, _WORDS_AT_ONCE).to_pylist()
            found = self._encoder.encode(some, is_pretokenized=True)
            ids.append(np.array(found.ids, np.int64))
            many = np.bincount(np.array(found.word_ids, np.int64), minlength=len(some))
            bounds.append(bounds[-1][-1] + np.cumsum(many))
        return np.concatenate([np.zeros(0, np.int64), *ids]), np.concatenate(bounds)


def check_tokenizers() -> None:
    """Say what is missing before the work, not in the middle of it.

    Raises:
        MissingExtra: tokenizers is not installed.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "pieces of words need the library tokenizers, and it is not installed",
            where="tokenize: unit: pieces",
            got=str(error),
            remedy="pip install 'penstock[text]', or unit: words",
        ) from error


class _Pairs:
    """How often each two neighbours occur in words that are put together step by step.

    Only the words that a pair stands in are looked at when it is merged.
    """

    def __init__(self, words: list[list[int]], counts: Sequence[int], least: int) -> None:
        self._words = words
        self._counts = counts
        self._least = max(least, 1)
        self._often: dict[_Pair, int] = {}
        self._where: dict[_Pair, list[int]] = {}
        for place in range(len(words)):
            self._add(place, None)
        self._heap = [(-count, pair) for pair, count in self._often.items()]
        heapify(self._heap)

    def _add(self, place: int, changed: dict[_Pair, None] | None) -> None:
        """Count the pairs of a word; the unknown (0) has no neighbours."""
        word, count = self._words[place], self._counts[place]
        for pair in pairwise(word):
            if pair[0] and pair[1]:
                self._often[pair] = self._often.get(pair, 0) + count
                self._where.setdefault(pair, []).append(place)
                if changed is not None:
                    changed[pair] = None

    def most_frequent(self) -> _Pair | None:
        """The pair that occurs most often, of equal ones that with the smaller ids; None where all are too rare."""
        while self._heap:
            count, pair = heappop(self._heap)
            # What was counted before another merge changed it is passed over: its true count stands in the heap too.
            if self._often.get(pair, 0) == -count:
                return pair if -count >= self._least else None
        return None

    def merge(self, pair: _Pair, merged: int) -> None:
        """Put this piece in the pair's places."""
        changed: dict[_Pair, None] = {}
        for place in dict.fromkeys(self._where.pop(pair)):
            word = self._words[place]
            if pair not in pairwise(word):  # another merge took one of the two
                continue
            for before in pairwise(word):
                if before in self._often:
                    self._often[before] -= self._counts[place]
                    changed[before] = None
            self._words[place] = _joined(word, pair, merged)
            self._add(place, changed)
        self._often.pop(pair, None)
        for each in changed:
            if self._often.get(each, 0) > 0:
                heappush(self._heap, (-self._often[each], each))


def _joined(word: list[int], pair: _Pair, merged: int) -> list[int]:
    """The word with each such pair, from the left, as one."""
    found: list[int] = []
    place = 0
    while place < len(word):
        here = word[place] == pair[0] and word[place + 1 : place + 2] == [pair[1]]
        found.append(merged if here else word[place])
        place += 2 if here else 1
    return found
