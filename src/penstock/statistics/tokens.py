"""How texts and lists become tokens, counted for each row. Part of the room of statistics.

What document frequencies and the steps that make vectors of tokens share. No Python is run for a text or a token:
texts are cut by Polars, tokens are numbered by Arrow, and n-grams are made of the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SchemaError, UsageError
from penstock.statistics.chinese import chinese_words
from penstock.statistics.values import Integers

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Analyzer: TypeAlias = Literal["auto", "word", "char", "items", "value", "sequence", "shapes", "jieba"]
ANALYZERS: tuple[str, ...] = get_args(Analyzer)
Form: TypeAlias = Literal["NFC", "NFKC"]
_TOGETHER = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
_WORDS = r"\w{2,}"  # as leftmost longest runs the same as \b\w\w+\b, and several times faster
_EITHER = rf"[{_TOGETHER}]|[\w--[{_TOGETHER}]]{{2,}}"
_SEQUENCE = rf"[{_TOGETHER}]|[\w--[{_TOGETHER}]]+|[^\w\s\p{{Cc}}]"
_RUNS = rf"\p{{Han}}{{1,100}}|[{_TOGETHER}--\p{{Han}}]|[\w--[{_TOGETHER}]]+|[^\w\s\p{{Cc}}]"
_WRITTEN = {"auto": _EITHER, "word": _WORDS, "sequence": _SEQUENCE, "shapes": _SEQUENCE, "jieba": _RUNS}
"""What the tokens of a text look like."""
_MOST_NEIGHBOURS = 10
_CHARACTERS_PER_TOKEN = 32
"""So many characters of a text are looked at for each token that is kept of it, so that no text costs without bound."""
_SHAPED, _SHAPE = r"[\p{Nd}\p{Lu}]", 12
"""Words that are told by their shape too, and how much of it."""
_LONGEST = 1_000
"""Tokens are cut after so many characters: beyond it they are no words."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    r"""How a text is cut into tokens.

    Attributes:
        analyzer: "word": words of two signs and more, as in scikit-learn (``\b\w\w+\b``); "char": characters, white
            space of several signs as one space; "auto": words, and of scripts without spaces between words (Chinese,
            Japanese, Korean) characters and pairs of neighbouring ones; "items": the entries of a list, or what stands
            between ``separator``, without white space around it; "value": the whole value is one token; "sequence": all
            that a text has, in its order: words of any length, of scripts without spaces characters, and each other
            sign; "shapes": the same, and pairs of characters of scripts without spaces, and the shape of each word that
            has a digit or a capital: 0 for a digit, A and a for letters, the first 12 of them (Collins, "Ranking
            algorithms for named-entity extraction", ACL 2002), so that a number or a name that was never seen says
            what it is; "jieba": as "sequence", but Chinese words instead of characters, as the library of this name
            finds them.
        ngrams: how many neighbours make a token: from, to, of 1 to 10.
        lowercase: whether case is ignored; of "items" and "value" it never is.
        separator: of "items", what stands between them in a text.
        form: the form of Unicode that a text is brought into before it is cut (Unicode Standard Annex 15); null for the
            characters as they are. Of "items" and "value" it never is.
        most: how many tokens of a value are kept, from its beginning; of a text no more than 32 characters are looked
            at for each of them; None for all.

    Raises:
        UsageError: an argument is none of its values.

    Example:
        >>> Tokenizer("word", (1, 2)).count(pa.array(["Good morning, good night", None]))[1].to_pylist()
        ['good', 'morning', 'night', 'good morning', 'morning good', 'good night']
        >>> Tokenizer("auto").count(pa.array(["今天 ok"]))[1].to_pylist()
        ['今', '天', 'ok', '今天']
        >>> Tokenizer("shapes").count(pa.array(["Call 80082!"]))[1].to_pylist()
        ['call', '80082', '!', '<Aaaa>', '<00000>']
    """

    analyzer: Analyzer = "auto"
    ngrams: tuple[int, int] = (1, 1)
    lowercase: bool = True
    separator: str | None = None
    form: Form | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.analyzer not in ANALYZERS:
            raise UsageError(
                "no such analyzer", where="analyzer", expected=", ".join(ANALYZERS), got=repr(self.analyzer)
            )
        object.__setattr__(self, "ngrams", _neighbours(self.ngrams))
        if not isinstance(self.lowercase, bool):
            raise UsageError("not a truth value", where="lowercase", expected="true or false", got=repr(self.lowercase))
        if self.separator is not None and (not isinstance(self.separator, str) or not self.separator):
            raise UsageError(
                "a separator is a text", where="separator", expected="one sign or more", got=repr(self.separator)
            )
        if self.form not in (*get_args(Form), None):
            raise UsageError(
                "no such form of Unicode", where="form", expected="'NFC', 'NFKC' or null", got=repr(self.form)
            )
        whole = isinstance(self.most, int) and not isinstance(self.most, bool) and self.most >= 1
        if self.most is not None and not whole:
            raise UsageError("no room for a token", where="most", expected="1 or more, or null", got=repr(self.most))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; of ``form`` and ``most`` only what is asked for."""
        asked = {"form": self.form, "most": self.most}
        return {
            "analyzer": self.analyzer,
            "ngrams": list(self.ngrams),
            "lowercase": self.lowercase,
            "separator": self.separator,
            **{name: value for name, value in asked.items() if value is not None},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(**{**value, "ngrams": tuple(value["ngrams"])})

    def count(self, values: pa.Array) -> tuple[csr_matrix, pa.Array]:
        """How often each token stands in each row.

        Args:
            values: texts (dictionary-encoded or not), truth values, or lists of texts; a null has no tokens.

        Returns:
            int64 counts in compressed rows, shape (rows, tokens), and the tokens (``large_string``), each once, in no
            order that means anything.

        Raises:
            SchemaError: the values are none of these.
        """
        from scipy.sparse import csr_matrix

        cut = self.cut(values)
        shapes = _shapes(cut) if self.analyzer == "shapes" else None
        if shapes is not None and self.lowercase:
            cut = cut.lowercase()
        found = cut.grams(self.ngrams, self.joint)
        if self.analyzer in ("auto", "shapes"):
            apart = pl.Series("", cut.alphabet).str.contains(rf"^[{_TOGETHER}]$").to_numpy()
            found += cut.grams((2, 2), "", apart)
        if shapes is not None:
            found.append(shapes)
        shifts = np.cumsum([0, *(len(part.alphabet) for part in found)])
        row = np.concatenate([part.rows for part in found])
        number = np.concatenate([part.codes + shift for part, shift in zip(found, shifts[:-1], strict=True)])
        tokens = pa.concat_arrays([part.alphabet for part in found])
        if len(found) > 1 and self.analyzer in ("auto", "shapes"):  # a pair may be there as two words already
            again = tokens.dictionary_encode()
            number, tokens = again.indices.to_numpy().astype(np.int64)[number], again.dictionary
        shape = (len(values), len(tokens))
        return csr_matrix((np.ones(len(row), np.int64), (row, number)), shape=shape), tokens

    @property
    def joint(self) -> str:
        """What is put between neighbours that make a token."""
        return "" if self.analyzer == "char" else " "

    def cut(self, values: pa.Array) -> Cut:
        """Every single token, in order.

        Args:
            values: texts (dictionary-encoded or not), truth values, or lists of texts; a null has no tokens.

        Raises:
            SchemaError: the values are none of these.
            MissingExtra: the analyzer is "jieba", and it is not installed.
        """
        found = self._cut(_plain(values))
        return found if self.most is None else found.first(self.most)

    def _cut(self, values: pa.Array) -> Cut:
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            return _numbered(values, strip=True)
        text = pl.Series("", values)
        if self.analyzer == "char" or self.analyzer in _WRITTEN:
            if self.most is not None:
                text = text.str.head(_CHARACTERS_PER_TOKEN * self.most)
            if self.form is not None:
                text = text.str.normalize(self.form)
            if self.lowercase and self.analyzer != "shapes":  # a shape is of the word as it is written
                text = text.str.to_lowercase()
        if self.analyzer == "char":
            return _characters(text)
        if self.analyzer in _WRITTEN:
            found = _numbered(text.str.extract_all(_WRITTEN[self.analyzer]).to_arrow())
            return found.divided(*chinese_words(found.alphabet)) if self.analyzer == "jieba" else found
        if self.analyzer == "items" and self.separator is not None:
            return _numbered(text.str.split(self.separator).to_arrow(), strip=True)
        whole = values.dictionary_encode()
        codes = whole.indices.drop_null().to_numpy().astype(np.int64)
        rows = np.flatnonzero(whole.indices.is_valid().to_numpy(zero_copy_only=False))
        return _cleaned(Cut(rows, codes, whole.dictionary), strip=self.analyzer == "items")


@dataclass(frozen=True, slots=True)
class Cut:
    """Tokens in their order: the row that each stands in, its number, and what the numbers stand for.

    Attributes:
        rows: int64, shape (tokens,), ascending.
        codes: int64, shape (tokens,): the place of each in ``alphabet``.
        alphabet: the tokens (``large_string``), each once, in no order that means anything.
    """

    rows: Integers
    codes: Integers
    alphabet: pa.Array

    def first(self, most: int) -> Cut:
        """The first ``most`` tokens of each row."""
        begins = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(self.rows))))
        kept = np.arange(len(self.rows)) - begins[self.rows] < most
        return self if kept.all() else Cut(self.rows[kept], self.codes[kept], self.alphabet)

    def lowercase(self) -> Cut:
        """The same in small letters: words that differ by their case alone are one."""
        small = pl.Series("", self.alphabet).str.to_lowercase().to_arrow().cast(pa.large_string())
        found = small.dictionary_encode()
        return Cut(self.rows, found.indices.to_numpy().astype(np.int64)[self.codes], found.dictionary)

    def divided(self, parts: Integers, bounds: Integers, alphabet: pa.Array) -> Cut:
        """Each token's parts in its place.

        Args:
            parts: the places in the new alphabet, one token's after the other's.
            bounds: where the parts of each token begin; one more at the end.
            alphabet: what the parts stand for.
        """
        many = np.diff(bounds)[self.codes]
        ends = np.cumsum(many)
        place = np.arange(int(many.sum())) + np.repeat(bounds[:-1][self.codes] - ends + many, many)
        return Cut(np.repeat(self.rows, many), parts[place], alphabet)

    def grams(self, ngrams: tuple[int, int], joint: str, only: npt.NDArray[np.bool_] | None = None) -> list[Cut]:
        """Neighbours taken together, by how many they are: from one number to the other.

        Args:
            ngrams: the two numbers.
            joint: what is put between neighbours.
            only: which tokens of the alphabet may be among them; None for all.
        """
        many = max(len(self.alphabet), 1)
        starts = np.arange(len(self.codes)) if only is None else np.flatnonzero(only[self.codes])
        grams, tokens = self.codes[starts], self.alphabet
        found = []
        for length in range(1, ngrams[1] + 1):
            if length > 1:
                last = np.minimum(starts + length - 1, len(self.codes) - 1)
                inside = (starts + length <= len(self.codes)) & (self.rows[starts] == self.rows[last])
                if only is not None:
                    inside &= only[self.codes[last]]
                starts, last = starts[inside], last[inside]
                joined = pa.array(grams[inside] * many + self.codes[last]).dictionary_encode()
                keys = joined.dictionary.to_numpy()
                begun, ended = tokens.take(pa.array(keys // many)), self.alphabet.take(pa.array(keys % many))
                tokens = pc.binary_join_element_wise(begun, ended, pa.scalar(joint, pa.large_string()))
                grams = joined.indices.to_numpy().astype(np.int64)
            if length >= ngrams[0]:
                found.append(Cut(self.rows[starts], grams, tokens))
        return found


def _numbered(lists: pa.Array, *, strip: bool = False) -> Cut:
    """Every item of the lists."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    found = lists.flatten().dictionary_encode()
    codes = found.indices.fill_null(-1).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    return _cleaned(Cut(rows, codes, found.dictionary.cast(pa.large_string())), strip=strip)


def _cleaned(cut: Cut, *, strip: bool) -> Cut:
    """The same without nulls (-1); tokens cut to their greatest length, and stripped if asked for."""
    codes, tokens = cut.codes, cut.alphabet
    longest = pc.max(pc.utf8_length(tokens)).as_py() or 0
    if strip or longest > _LONGEST:
        texts = pl.Series("", tokens).str.slice(0, _LONGEST)
        texts = texts.str.strip_chars().replace("", None) if strip else texts
        again = texts.to_arrow().cast(pa.large_string()).dictionary_encode()
        table = np.append(again.indices.fill_null(-1).to_numpy().astype(np.int64), -1)
        codes, tokens = table[codes], again.dictionary
    known = codes >= 0
    return Cut(cut.rows, codes, tokens) if known.all() else Cut(cut.rows[known], codes[known], tokens)


def shapes_of(words: pa.Array) -> pa.Array:
    """The shape of each word that has a digit or a capital, null for others. No word looks like it: signs are tokens of
    their own.

    Example:
        >>> shapes_of(pa.array(["call", "08002", "NOW"], pa.large_string())).to_pylist()
        [None, '<00000>', '<AAA>']
    """
    texts = pl.Series("", words)
    plain = texts.str.slice(0, _SHAPE).str.replace_all(r"\p{Nd}", "0")
    plain = plain.str.replace_all(r"\p{Lu}", "A").str.replace_all(r"[\p{L}--A]", "a")
    told = pl.select(pl.when(texts.str.contains(_SHAPED)).then("<" + plain + ">")).to_series()
    return told.to_arrow().cast(pa.large_string())


def _shapes(cut: Cut) -> Cut:
    """The shapes of the words; each different word is looked at once, however often it stands there."""
    found = shapes_of(cut.alphabet).dictionary_encode()
    table = found.indices.fill_null(-1).to_numpy().astype(np.int64)
    shaped = np.flatnonzero(table[cut.codes] >= 0) if len(table) else np.zeros(0, np.int64)
    return Cut(cut.rows[shaped], table[cut.codes[shaped]], found.dictionary)


def _characters(text: pl.Series) -> Cut:
    """Every character."""
    text = text.str.replace_all(r"\s\s+", " ")
    lengths = text.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
    points = np.frombuffer("".join(text.drop_nulls().to_list()).encode("utf-32-le"), np.uint32)
    used = np.flatnonzero(np.bincount(points))
    place = np.zeros(int(used.max(initial=0)) + 1, np.int64)
    place[used] = np.arange(len(used))
    alphabet = pa.array([chr(point) for point in used.tolist()], pa.large_string())
    return Cut(np.repeat(np.arange(len(text)), lengths), place[points], alphabet)


def _plain(values: pa.Array) -> pa.Array:
    """Text as ``large_string``, lists as they are.

    Raises:
        SchemaError: the values are neither.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if kind in (pa.null(), pa.bool_(), pa.string(), pa.large_string()):
        return values.cast(pa.large_string())
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list and kind.value_type in (pa.string(), pa.large_string()):
        return values
    raise SchemaError("tokens are of text, or of lists of text", expected="text or list<string>", got=str(kind))


def _neighbours(pair: Any) -> tuple[int, int]:
    sizes = tuple(pair) if isinstance(pair, (tuple, list)) else ()
    good = len(sizes) == 2 and all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not good or not 1 <= sizes[0] <= sizes[1] <= _MOST_NEIGHBOURS:
        expected = f"two whole numbers, 1 <= from <= to <= {_MOST_NEIGHBOURS}"
        raise UsageError("not a range of n-grams", where="ngrams", expected=expected, got=repr(pair))
    return sizes[0], sizes[1]
