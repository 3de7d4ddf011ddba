"""How fast shuffled, augmented epochs come from shards, beside the same kernel in a bare loop and a torch DataLoader.

Pictures (32 x 32 and 224 x 224, three channels, bytes) are laid down in memory-mapped Arrow files, as a training does.
An epoch shuffles them, gathers batches, pads and crops each picture at a random place and mirrors half of them.

penstock     `TrainingData.epoch`: shuffled, gathered from the shards, augmented; all its batches are taken.
bare         the same kernel, the steps' own arithmetic, in a loop over shuffled rows of one NumPy array in memory.
DataLoader   torch's, over the same array: a Dataset that pads, crops and mirrors a sample, as people write it.

The bare loop and Penstock run on one thread; the DataLoader has two processes, and beside it Penstock has two threads.

    python -m benchmarks.training_input [--sizes 32 224] [--batch 64] [--repeats 5]

Asked for: 90 % of the bare loop, and three times the DataLoader. Runs are interleaved; medians are shown. `--cpu`
counts the seconds of the processors and not of the clock, for a machine that is busy with something else.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import penstock as ps
from penstock.augmenting import Late
from penstock.batch import RowKeys
from penstock.engine import Resources, Silent
from penstock.materialize import LaidDown
from penstock.model import Target
from penstock.order import Bijection
from penstock.resources import keep_freed_memory
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Use
from penstock.steps.pictures_columns import PictureStep
from penstock.steps.pictures_random import Chance
from penstock.target import HASH, LABEL

ASKED_BARE, ASKED_LOADER = 0.9, 3.0
BYTES = 150 * 2**20
"""Of all pictures of a size."""
SHARD_ROWS = 2_000
PADDING = 4
WORKERS = 2

Pixels = npt.NDArray[np.uint8]


def laid_down(folder: Path, pictures: Pixels, labels: npt.NDArray[np.int32], steps: list[PictureStep]) -> LaidDown:
    """The pictures in shards, to be augmented."""
    schema = Schema((Field("picture", tensor(pa.uint8(), pictures.shape[1:]), Role.picture),))
    rows = len(pictures)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(pictures)
    hashes = pa.array(RowKeys.span("table", 0, rows).hash(0))
    table = pa.table({"picture": column, LABEL: pa.array(labels), HASH: hashes})
    names = []
    for start in range(0, rows, SHARD_ROWS):
        names.append(f"{start}.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table.slice(start, SHARD_ROWS))
    return LaidDown(
        folder,
        names,
        schema=schema,
        target=Target("label", "multiclass", tuple("0123456789")),
        seed=1,
        resources=Resources(WORKERS, 2**33),
        listener=Silent(),
        late=Late(tuple(one.name for one in steps), tuple(one.fitted(schema) for one in steps), schema, ("picture",)),
    )


def by_penstock(data: LaidDown, batch: int, threads: int) -> Callable[[int], int]:
    """An epoch's batches, taken."""

    def epoch(number: int) -> int:
        return sum(len(found.tensors["picture"]) for found in data.epoch(number, batch, threads=threads))

    return epoch


def bare(pictures: Pixels, labels: npt.NDArray[np.int32], steps: list[PictureStep], batch: int) -> Callable[[int], int]:
    """The kernel in a loop."""

    def epoch(number: int) -> int:
        order = Bijection(len(pictures), 1, number)(np.arange(len(pictures)))
        use, taken = Use("train", 1, number), 0
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found, _ = pictures[rows][:, None], labels[rows]
            keys = RowKeys(("",), rows)
            for step in steps:
                found = step.changed(found, Chance(keys, use, repr(step)))
            taken += len(found)
        return taken

    return epoch


def by_loader(pictures: Pixels, labels: npt.NDArray[np.int32], batch: int) -> Callable[[int], int]:
    """A DataLoader with two workers."""
    import torch
    from torch.nn.functional import pad

    class Pictures(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            picture = torch.from_numpy(pictures[place]).permute(2, 0, 1)
            height, width = picture.shape[1:]
            picture = pad(picture, (PADDING, PADDING, PADDING, PADDING))
            top, left = torch.randint(0, 2 * PADDING + 1, (2,)).tolist()
            picture = picture[:, top : top + height, left : left + width]
            if torch.rand(1).item() < 0.5:
                picture = picture.flip(-1)
            return picture, int(labels[place])

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(Pictures(), batch, shuffle=True, num_workers=WORKERS)

    def epoch(number: int) -> int:
        return sum(len(found) for found, _ in loader)

    return epoch


def cpu() -> float:
    """Seconds of the processors, of this process and of those that it began and that ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def measure(side: int, batch: int, repeats: int, clock: Callable[[], float]) -> None:
    """One size of pictures: a few lines."""
    rows = max(batch, BYTES // (side * side * 3) // batch * batch)
    rng = np.random.default_rng(side)
    pictures = rng.integers(0, 256, (rows, side, side, 3), np.uint8)
    labels = rng.integers(0, 10, rows).astype(np.int32)
    steps: list[PictureStep] = [ps.RandomCrop("picture", padding=PADDING), ps.FlipPicture("picture")]
    with tempfile.TemporaryDirectory() as folder:
        data = laid_down(Path(folder), pictures, labels, steps)
        ways = {
            "bare loop": bare(pictures, labels, steps, batch),
            "penstock": by_penstock(data, batch, 0),
            f"DataLoader, {WORKERS} workers": by_loader(pictures, labels, batch),
            f"penstock, {WORKERS} threads": by_penstock(data, batch, WORKERS),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(repeats + 1):
            for name, epoch in ways.items():
                began = clock()
                assert epoch(number) == rows, name
                seconds[name].append(clock() - began)
    rates = {name: rows / statistics.median(found[1:]) for name, found in seconds.items()}  # the first one warms up
    print(f"{rows:,} pictures of {side} x {side}, batches of {batch}")
    for name, rate in rates.items():
        print(f"  {name:24} {rate:12,.0f} pictures/s")
    names = list(ways)
    for ours, other, asked in ((names[1], names[0], ASKED_BARE), (names[3], names[2], ASKED_LOADER)):
        pairs = zip(seconds[ours][1:], seconds[other][1:], strict=True)
        found = statistics.median(theirs / mine for mine, theirs in pairs)
        print(f"  {ours} / {other}: {found:.2f}   asked {asked:.2f}")


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_input",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 224], help="sides of the pictures")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="count seconds of the processors")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()  # as every pass over data has it: buffers that are freed serve the next batch, of all ways here
    for side in asked.sizes:
        measure(side, asked.batch, asked.repeats, cpu if asked.cpu else time.perf_counter)


if __name__ == "__main__":
    main()
