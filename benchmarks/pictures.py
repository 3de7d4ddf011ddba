"""Deterministic pictures for the benchmarks: JPEGs of 500 x 375, by class, each class a folder.

With the flower photos of TensorFlow in ``$PENSTOCK_DATA/flower_photos`` (five classes) they are parts of those photos
that are large enough, mirrored and cropped by a seed. Without them, textures with the spectrum of natural pictures,
whose classes differ in color and direction.

    python -m benchmarks.pictures DIR [--count 2000]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 375, 500
CLASSES = 5
QUALITY = 90
SEED = 20_261_121
VERSION = 1
"""Raised when what is made changes, so that older folders are made anew."""

Pixels = npt.NDArray[np.uint8]


def pictures(folder: Path, count: int = 2000) -> Path:
    """The folder with so many pictures; made where it is not there."""
    photos = _photos()
    made_of = {"version": VERSION, "count": count, "from": "photos" if photos else "textures"}
    record = folder.with_name(folder.name + ".json")
    if record.exists() and json.loads(record.read_text()) == made_of:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        name, picture = _of_photo(photos, number, rng) if photos else _texture(number, rng)
        (folder / name).mkdir(parents=True, exist_ok=True)
        _write(folder / name / f"{number:05d}.jpg", picture)
    record.write_text(json.dumps(made_of))
    return folder


def _photos() -> list[Path]:
    """Photos that need not grow by much, class after class."""
    import cv2

    root = os.environ.get("PENSTOCK_DATA")
    found = []
    for path in sorted(Path(root or ".").glob("flower_photos/*/*.jpg") if root else ()):
        height, width = cv2.imread(str(path)).shape[:2]
        if width >= WIDTH and height >= 0.74 * HEIGHT:
            found.append(path)
    return found


def _of_photo(photos: list[Path], number: int, rng: np.random.Generator) -> tuple[str, Pixels]:
    """A part of a photo, mirrored or not, at its full size."""
    import cv2

    path = photos[number % len(photos)]
    photo = cv2.imread(str(path))
    scale = max(HEIGHT / photo.shape[0], WIDTH / photo.shape[1]) * rng.uniform(1.0, 1.15)
    size = max(WIDTH, round(photo.shape[1] * scale)), max(HEIGHT, round(photo.shape[0] * scale))
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    top, left = rng.integers(0, photo.shape[0] - HEIGHT + 1), rng.integers(0, photo.shape[1] - WIDTH + 1)
    photo = photo[top : top + HEIGHT, left : left + WIDTH]
    return path.parent.name, np.ascontiguousarray(photo[:, ::-1] if rng.random() < 0.5 else photo)


def _texture(number: int, rng: np.random.Generator) -> tuple[str, Pixels]:
    """Noise whose amplitudes fall as 1 / frequency, stretched in the direction of its class."""
    kind = number % CLASSES
    y, x = np.fft.fftfreq(HEIGHT)[:, None] * HEIGHT, np.fft.fftfreq(WIDTH)[None, :] * WIDTH
    angle = np.pi * kind / CLASSES
    along, across = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    amplitude = 1.0 / (1.0 + np.hypot(along, 3.0 * across))
    planes = []
    for channel in range(3):
        noise = np.fft.fft2(rng.normal(size=(HEIGHT, WIDTH)))
        plane = np.fft.ifft2(noise * amplitude).real
        tint = 12.0 * np.cos(2 * np.pi * (kind / CLASSES + channel / 3))
        planes.append(128 + tint + 45 * plane / plane.std())
    return f"texture{kind}", np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def _write(path: Path, picture: Pixels) -> None:
    import cv2

    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise OSError(f"{path} can't be written")


def main() -> None:
    """Make a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    asked = parser.parse_args()
    print(pictures(asked.folder, asked.count))


if __name__ == "__main__":
    main()
