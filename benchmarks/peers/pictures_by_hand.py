"""Bulk prediction over pictures, as people write it: decode, resize to 224, four convolutions, Parquet.

    python pictures_by_hand.py loader|threads|reduced|reference MODEL PICTURES OUT.parquet

MODEL is an artifact of Penstock with the network `conv4`; of it the weights alone are read. The ways:

loader      a torch DataLoader with two worker processes, Pillow, batches of 32, float32: the usual script.
threads     two threads that decode with OpenCV, a batch at a time, and torch on two threads, float32: written by hand.
reduced     the same with JPEGs decoded at half their size, where rows are lost that a resize to 224 would keep, in
            bfloat16 and channels last: how fast one may get by giving quality away.
reference   Pillow decodes the whole picture and resizes by the mean of areas; float32. No race: what agrees with what.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

SIDE, BATCH, WORKERS = 224, 32, 2

Pixels = npt.NDArray[np.uint8]


def conv4(classes: int) -> nn.Sequential:
    """Four convolutions with a stride, each with a norm; the mean over the picture; one linear layer."""
    layers: list[nn.Module] = []
    before = 3
    for kernel, stride, filters in ((7, 4, 32), (3, 2, 64), (3, 2, 128), (3, 2, 256)):
        layers.append(nn.Conv2d(before, filters, kernel, stride, kernel // 2, bias=False))
        layers += [nn.BatchNorm2d(filters), nn.ReLU()]
        before = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def opened(folder: Path) -> tuple[nn.Module, torch.Tensor, torch.Tensor, list[str]]:
    """The network with the artifact's weights; mean and deviation of each channel; the classes."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model" / "weights.safetensors")
    classes = json.loads((folder / "schema.json").read_text())["target"]["classes"]
    network = conv4(len(classes))
    kept = {name.split("layers.", 1)[1]: each for name, each in weights.items() if ".layers." in name}
    head = {f"14.{name.removeprefix('head.')}": each for name, each in weights.items() if name.startswith("head.")}
    network.load_state_dict(kept | head)
    return network.eval(), weights["scaled.0.mean"], weights["scaled.0.deviation"], classes


def with_pillow(path: Path, whole: bool = False) -> Pixels:
    """A picture by Pillow: bilinear as scripts have it, or by the mean of areas."""
    from PIL import Image

    with Image.open(path) as picture:
        way = Image.Resampling.BOX if whole else Image.Resampling.BILINEAR
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), way))


def with_opencv(path: Path, reduced: bool) -> Pixels:
    """A picture by OpenCV, resized by the mean of areas; bilinear where it was decoded at half its size."""
    import cv2

    flag = cv2.IMREAD_REDUCED_COLOR_2 if reduced else cv2.IMREAD_COLOR
    picture = cv2.cvtColor(cv2.imread(str(path), flag), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR if reduced else cv2.INTER_AREA))


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """Each picture by itself, as a normalized tensor."""

    def __init__(self, paths: list[Path], mean: torch.Tensor, deviation: torch.Tensor) -> None:
        self.paths, self.mean, self.deviation = paths, mean, deviation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        picture = torch.from_numpy(with_pillow(self.paths[place]).copy()).permute(2, 0, 1).float()
        return (picture - self.mean[:, None, None]) / self.deviation[:, None, None]


def by_loader(paths: list[Path], mean: torch.Tensor, deviation: torch.Tensor) -> Iterator[torch.Tensor]:
    """Batches of a DataLoader."""
    yield from torch.utils.data.DataLoader(Pictures(paths, mean, deviation), BATCH, num_workers=WORKERS)


def by_threads(
    paths: list[Path], mean: torch.Tensor, deviation: torch.Tensor, decode: Callable[[Path], Pixels]
) -> Iterator[torch.Tensor]:
    """Batches that threads have decoded, a few ahead."""

    def batch(start: int) -> torch.Tensor:
        found = torch.from_numpy(np.stack([decode(path) for path in paths[start : start + BATCH]]))
        return ((found.float() - mean) / deviation).permute(0, 3, 1, 2)

    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: list[Any] = []
        for start in range(0, len(paths), BATCH):
            waiting.append(pool.submit(batch, start))
            if len(waiting) > 2 * WORKERS:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def main() -> None:
    """Predict, and write."""
    way, model, pictures, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    network, mean, deviation, classes = opened(model)
    paths = sorted(pictures.rglob("*.jpg"))
    torch.set_num_threads(WORKERS)
    if way == "loader":
        batches = by_loader(paths, mean, deviation)
    else:
        import cv2

        cv2.setNumThreads(1)
        decoders: dict[str, Callable[[Path], Pixels]] = {
            "threads": lambda path: with_opencv(path, reduced=False),
            "reduced": lambda path: with_opencv(path, reduced=True),
            "reference": lambda path: with_pillow(path, whole=True),
        }
        batches = by_threads(paths, mean, deviation, decoders[way])
    if way == "reduced":
        network = network.to(memory_format=torch.channels_last)
    half = torch.autocast("cpu", dtype=torch.bfloat16) if way == "reduced" else nullcontext()
    with torch.inference_mode(), half:
        scores = torch.cat([network(batch).float() for batch in batches])
    shares = torch.softmax(scores, 1).double().numpy()
    columns: dict[str, Any] = {
        "path": [path.relative_to(pictures).as_posix() for path in paths],
        "prediction": [classes[place] for place in shares.argmax(1)],
    }
    columns |= {f"probability_{name}": shares[:, place] for place, name in enumerate(classes)}
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), out)


if __name__ == "__main__":
    main()
