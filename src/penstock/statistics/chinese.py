"""Chinese words, as the library jieba finds them. Part of the room of statistics: how texts become tokens.

The one file about jieba. Its dictionary is read from the installed package, never from the cache that it keeps in the
folder of temporary files, which anybody may write to.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.errors import MissingExtra
from penstock.statistics.values import Integers

_HAN = re.compile(r"[\u2e80-\u2fdf\u3005\u3007\u3021-\u303b\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_ALONE = Lock()


def chinese_words(texts: pa.Array) -> tuple[Integers, Integers, pa.Array]:
    """Runs of Chinese characters cut into words by the most probable path through a dictionary, and by a hidden Markov
    model where it has no word; each other text stays whole.

    Args:
        texts: ``large_string`` without nulls.

    Returns:
        The words of each text as places in the third, where those of each text begin (one more at the end), and the
        words, each once.

    Raises:
        MissingExtra: jieba is not installed.

    Example:
        >>> places, bounds, words = chinese_words(pa.array(["我们学习", "ok"], pa.large_string()))
        >>> words.take(pa.array(places)).to_pylist(), bounds.tolist()
        (['我们', '学习', 'ok'], [0, 2, 3])
    """
    segmenter = chinese_segmenter()
    found = [list(segmenter.cut(text)) if _HAN.match(text) else [text] for text in texts.to_pylist()]
    bounds = np.cumsum([0, *(len(words) for words in found)], dtype=np.int64)
    words = pa.array([word for words in found for word in words], pa.large_string()).dictionary_encode()
    return words.indices.to_numpy().astype(np.int64), bounds, words.dictionary


def chinese_segmenter() -> Any:
    """The segmenter with its dictionary, read once.

    Raises:
        MissingExtra: jieba is not installed.
    """
    with _ALONE:  # threads of a scan ask at once, and reading takes a second
        return _segmenter()


@cache
def _segmenter() -> Any:
    try:
        import jieba
    except ImportError as error:
        raise MissingExtra(
            "Chinese words need jieba, and it is not installed",
            where="jieba",
            got=str(error),
            remedy="pip install 'penstock[chinese]', or cut Chinese by characters: unit: words",
        ) from error
    jieba.default_logger.setLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
