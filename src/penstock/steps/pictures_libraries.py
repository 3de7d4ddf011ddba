"""OpenCV and simplejpeg, imported when they are first needed and set up once. No step itself.

Both let go of Python's lock while they work, so that the threads of the executor decode side by side: OpenCV's own
threads are therefore turned off.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from penstock.errors import MissingExtra


@cache
def opencv() -> Any:
    """The module ``cv2``, on one thread and silent: what is wrong with a picture stands in its reject.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise _missing("OpenCV", error) from error
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


@cache
def opencv_if_there() -> Any | None:
    """The same; None where it is not installed: for what can be done without, in more time."""
    try:
        return opencv()
    except MissingExtra:
        return None


@cache
def jpeg_decoder() -> Any:
    """The function ``simplejpeg.decode_jpeg``: libjpeg-turbo, which says what it finds damaged.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import simplejpeg
    except ImportError as error:
        raise _missing("simplejpeg", error) from error
    return simplejpeg.decode_jpeg


def _missing(library: str, error: ImportError) -> MissingExtra:
    return MissingExtra(
        f"pictures need {library}, and it is not installed", got=str(error), remedy="pip install 'penstock[image]'"
    )
