"""Draw the pictures of examples/data/shapes: sixty small PNGs of circles, squares and triangles, twenty of each.

    python examples/make_shapes.py [FOLDER]

The same pictures each time: color, place and size follow from one seed. Needs NumPy and OpenCV.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

SIDE, EACH = 32, 20


def draw(shape: str, random: np.random.Generator) -> np.ndarray:
    """One picture of a shape, (32, 32, 3), on a darker, noisy ground."""
    ground = random.integers(0, 90, 3)
    picture = np.clip(ground + random.integers(-12, 13, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    color = [int(value) for value in random.integers(140, 256, 3)]
    half = int(random.integers(7, 12))
    x, y = (int(value) for value in random.integers(half + 1, SIDE - half - 1, 2))
    if shape == "circle":
        cv2.circle(picture, (x, y), half, color, -1, cv2.LINE_AA)
        return picture
    if shape == "square":
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    else:
        corners = [(0, -half), (half, half), (-half, half)]
    turn = float(random.uniform(-0.3, 0.3))
    turned = np.array(corners) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = np.rint(turned + np.array([x, y])).astype(np.int32)
    cv2.fillPoly(picture, [points], color, cv2.LINE_AA)
    return picture


def main(folder: Path) -> None:
    """Draw all of them below a folder, one folder a class."""
    random = np.random.default_rng(5)
    for shape in ("circle", "square", "triangle"):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            cv2.imwrite(str(folder / shape / f"{number:02d}.png"), draw(shape, random))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "shapes")
