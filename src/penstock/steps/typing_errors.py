"""Which of a column's values are typing errors of others, on the evidence of the column alone.

Beside the steps, and no step itself: `penstock.steps.spellings` uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SHORTEST = 5
"""Words of fewer letters are never taken for typing errors of one another: too many of them differ by one letter."""
LEAST = 3
"""Values that have to look like typing errors before any is taken for one."""
_LONGEST = 200
"""Values of more letters are texts."""
_MOST_FREQUENT = 5_000
_MOST_ALIKE = 1_000


@dataclass(frozen=True, slots=True)
class TypingError:
    """A value, and the one that was meant.

    Attributes:
        value: as it was typed.
        meant: the frequent value near it.
        words: how many words differ by a letter; 0 where only spaces do.
    """

    value: str
    meant: str
    words: int


def typing_errors(totals: Mapping[str, int], ratio: float, evidence: float) -> list[TypingError]:
    """The values that are typing errors, ascending by value; none where the column shows too little evidence.

    A value looks like one if exactly one other is ``ratio`` times as frequent and near it: the same words, but that in
    some of them, of five letters or more, one letter is added, left out, another, or swapped with its neighbour
    (Damerau 1964); or the same letters with other spaces. Looking like one is not enough: rare values can be names of
    their own. Let a value be rare if it occurs at most so often as some bound; there has to be a bound for which the
    share ``evidence`` of the rare values look like typing errors, and three at least. The greatest such bound is taken.
    Of the rare values then those are typing errors whose words begin and end as the words meant do: at its ends a word
    is inflected (gender, number), negated, or made another.

    Only words of letters that have a case are looked at: a digit, a sign or an ideograph is a meaning of its own.

    Args:
        totals: how often each value occurs; words in lower case with a space between them.
        ratio: how many times as frequent the value meant is, at least.
        evidence: from 0 to 1.

    Example:
        >>> totals = {"boston": 90, "chicago": 60, "bosston": 1, "bostn": 2, "chicgao": 1, "austin": 3}
        >>> [(error.value, error.meant) for error in typing_errors(totals, ratio=10, evidence=0.5)]
        [('bosston', 'boston'), ('bostn', 'boston'), ('chicgao', 'chicago')]
    """
    words = {value: tuple(value.split(" ")) for value in sorted(totals) if _is_of_letters(value)}
    frequent = sorted((value for value in words if totals[value] >= ratio), key=lambda value: (-totals[value], value))
    neighbours = _Neighbours({value: words[value] for value in frequent[:_MOST_FREQUENT]})
    near: dict[str, str] = {}
    for value, its_words in words.items():
        found = [other for other in neighbours.of(value, its_words) if totals[other] >= ratio * totals[value]]
        if len(found) == 1:
            near[value] = found[0]
    bound = _bound({value: totals[value] for value in words}, near, evidence)
    accepted = {value: other for value, other in near.items() if totals[value] <= bound and other not in near}
    errors = [TypingError(value, other, _differing(words[value], words[other])) for value, other in accepted.items()]
    return [error for error in errors if _alike_at_ends(words[error.value], words[error.meant])]


def _is_of_letters(value: str) -> bool:
    letters = value.replace(" ", "")
    if not SHORTEST <= len(letters) <= _LONGEST:
        return False
    return all(letter.lower() != letter.upper() for letter in letters)


def _bound(totals: Mapping[str, int], near: Mapping[str, str], evidence: float) -> int:
    """The greatest number of times that a rare value occurs, so that enough rare values are near another; or 0."""
    ordered = sorted(totals.values())
    best, met, place = 0, 0, 0
    found = sorted(totals[value] for value in near)
    for total in dict.fromkeys(found):
        while met < len(found) and found[met] <= total:
            met += 1
        while place < len(ordered) and ordered[place] <= total:
            place += 1
        if met >= LEAST and met >= evidence * place:
            best = total
    return best


class _Neighbours:
    """Finds the values whose words are each at most one edit from those of another.

    Words that are one edit apart share a form with one letter left out, or one is such a form of the other (Mor and
    Fraenkel, "A hash code method for detecting and correcting spelling errors", CACM 25, 1982).
    """

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._words = values
        self._by_gap: dict[tuple[int, int, str], list[str]] = defaultdict(list)
        self._by_letters: dict[str, list[str]] = defaultdict(list)
        for value, words in values.items():
            self._by_letters["".join(words)].append(value)
            for place, word in enumerate(words):
                for form in _with_gap(word):
                    self._by_gap[len(words), place, form].append(value)

    def of(self, value: str, words: tuple[str, ...]) -> list[str]:
        """The values near this one, itself apart, in no order that matters."""
        spaced = [other for other in self._by_letters.get("".join(words), ()) if other != value]
        buckets = [
            [self._by_gap[form] for form in forms if form in self._by_gap]
            for forms in ([(len(words), place, form) for form in _with_gap(word)] for place, word in enumerate(words))
        ]
        fewest = min(buckets, key=lambda bucket: sum(map(len, bucket)))
        if sum(map(len, fewest)) > _MOST_ALIKE:  # a family of names, and no errors of one of them
            return spaced
        met = dict.fromkeys(other for bucket in fewest for other in bucket)
        return spaced + [other for other in met if other != value and _are_near(words, self._words[other])]


def _with_gap(word: str) -> Iterator[str]:
    yield word
    if len(word) >= SHORTEST - 1:
        yield from dict.fromkeys(word[:place] + word[place + 1 :] for place in range(len(word)))


def _are_near(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether the words are the same, but for an edit in some that are long enough."""
    return all(
        word == other or (min(len(word), len(other)) >= SHORTEST and one_edit_apart(word, other))
        for word, other in zip(words, others, strict=True)
    )


def _differing(words: tuple[str, ...], others: tuple[str, ...]) -> int:
    return sum(map(str.__ne__, words, others)) if len(words) == len(others) else 0


def _alike_at_ends(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether each word begins and ends as the other does; words with other spaces do."""
    if len(words) != len(others):
        return True
    return all(word[0] == other[0] and word[-1] == other[-1] for word, other in zip(words, others, strict=True))


def one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter was added, left out, replaced, or swapped with its neighbour.

    Damerau, "A technique for computer detection and correction of spelling errors", CACM 7 (1964).

    Example:
        >>> [one_edit_apart("boston", other) for other in ("bostn", "bosston", "bostom", "botson", "boston", "botsen")]
        [True, True, True, True, False, False]
    """
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, others = one[start:], other[start:]
    if len(rest) == len(others):
        swapped = len(rest) >= 2 and rest[:2] == others[1::-1] and rest[2:] == others[2:]
        return rest[1:] == others[1:] or swapped
    longer, shorter = (rest, others) if len(rest) > len(others) else (others, rest)
    return longer[1:] == shorter
