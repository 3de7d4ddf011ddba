"""What `penstock train` reaches with its default settings: clothes, flowers, small photos, and a table by a network.

    PENSTOCK_DATA=DIR python -m benchmarks.pictures_training [fashion|fashion-long|flowers|adult|cifar10 ...]

Each run is the command that a user types, `penstock train` and then `penstock evaluate`, with default settings. What is
shown is the figure asked for, the one reached on rows that the training never saw, and the seconds from the start of
the training command to its end. Times count where nothing else runs.

fashion       Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), 60,000 and 10,000 pictures; learned from the IDX files.
              A tenth of the rows is kept out of training to judge on, as by default; the test file is judged on after.
fashion-long  the same with `--effort best`, `--holdout 0` (all rows of the training file are learned from) and a
              pipeline file that says that clothes may be mirrored: of pictures in gray, which may be letters, that is
              not done by itself.
flowers       flower_photos, five classes, a folder of JPEGs: `--holdout 0.2`, which is drawn by hash, for five seeds.
adult         the Adult census data by `--model network`: ROC AUC on the test file.
cifar10       a folder `cifar10` with `train` and `test`, each with a folder of JPEGs for each class.

Without words all but fashion-long are run. What the folder does not have is left out, and said.
With `--peer` an epoch of fashion is also timed as a plain script runs it: the same layers, float32, AdamW, batches of
64 by a DataLoader with the same movement of the pictures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Command, machine, run

PENSTOCK = (sys.executable, "-c", "import sys; from penstock.cli import main; sys.exit(main())")
FLOWER_SEEDS = (0, 1, 2, 3, 4)
PEER_ROWS = 12_800
MIRRORED = {
    "target": "label",
    "steps": [
        {"random_crop": {"columns": "picture", "padding": 0.07}},
        {"flip_picture": {"columns": "picture"}},
    ],
    "model": {"network": {}},
}
"""A pipeline file: pictures are mirrored."""


@dataclass(frozen=True)
class Reached:
    """One run.

    Attributes:
        name: what was learned.
        metric: what is asked for.
        asked: the least it should be.
        reached: what it is.
        within: the seconds that the training command may take; None where none are asked.
        seconds: those that it took.
        cpu: its processor time [s].
        epochs: passes over the rows.
    """

    name: str
    metric: str
    asked: float
    reached: float
    within: float | None
    seconds: float
    cpu: float
    epochs: int

    @property
    def kept(self) -> bool:
        """Whether it is what was asked for."""
        return self.reached >= self.asked and (self.within is None or self.seconds <= self.within)


def penstock(*arguments: str | Path) -> tuple[dict[str, Any], float, float]:
    """Run a command with ``--json``: what it prints, its seconds, and its processor time [s]."""
    done = run(Command(str(arguments[0]), [*PENSTOCK, *map(str, arguments), "--json"]))
    if done.status or done.reported is None:
        raise SystemExit(f"penstock {' '.join(map(str, arguments))}\n{done.error}")
    return done.reported, done.wall, done.cpu


def learned(
    name: str, metric: str, asked: float, within: float | None, train: Sequence[str | Path], test: Sequence[str | Path]
) -> Reached:
    """Train with what is in ``train``, and judge on ``test``."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        told, seconds, cpu = penstock("train", *train, "--to", model)
        judged, _, _ = penstock("evaluate", model, *test)
        return Reached(name, metric, asked, judged["metrics"][metric], within, seconds, cpu, told["model"]["epochs"])


def fashion(root: Path, name: str, asked: float, within: float, *more: str) -> Reached:
    """Clothes from IDX files."""
    folder = root / "fashion-mnist"
    files = {
        part: (folder / f"{start}-images-idx3-ubyte.gz", "--labels", folder / f"{start}-labels-idx1-ubyte.gz")
        for part, start in (("train", "train"), ("test", "t10k"))
    }
    return learned(name, "accuracy", asked, within, (*files["train"], *more), files["test"])


def fashion_long(root: Path) -> Reached:
    """The same with all the effort there is, and with what a person knows of clothes."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "clothes.yaml"
        config.write_text(json.dumps(MIRRORED))
        more = ("--config", str(config), "--effort", "best", "--holdout", "0")
        return fashion(root, "fashion, best", 0.945, 1800, *more)


def flowers(root: Path) -> Reached:
    """Photos, from scratch: the mean over the seeds."""
    found, took, cpu, epochs = [], [], [], 0
    for seed in FLOWER_SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            told, seconds, used = penstock(
                "train", root / "flower_photos", "--target", "label", "--holdout", "0.2", "--seed", str(seed),
                "--to", Path(folder) / "model",
            )  # fmt: skip
        found.append(told["evaluation"]["metrics"]["accuracy"])
        took.append(seconds)
        cpu.append(used)
        epochs = told["model"]["epochs"]
        print(f"flowers, seed {seed}: accuracy {found[-1]:.4f}, {seconds:.0f} s", file=sys.stderr)
    mean = statistics.mean(found)
    name = f"flowers, mean of {len(found)} ({min(found):.3f} to {max(found):.3f})"
    return Reached(name, "accuracy", 0.65, mean, None, statistics.median(took), statistics.median(cpu), epochs)


def adult(root: Path) -> Reached:
    """A table by a network."""
    folder = root / "adult"
    train = (folder / "train.csv.gz", "--target", "income", "--model", "network")
    return learned("adult by a network", "roc_auc", 0.914, None, train, (folder / "test.csv.gz",))


def cifar10(root: Path) -> Reached:
    """Small photos, from a folder of JPEGs."""
    folder = root / "cifar10"
    return learned("cifar10", "accuracy", 0.897, 480, (folder / "train", "--target", "label"), (folder / "test",))


RUNS: dict[str, tuple[str, Callable[[Path], Reached]]] = {
    "fashion": ("fashion-mnist", lambda root: fashion(root, "fashion", 0.930, 300)),
    "fashion-long": ("fashion-mnist", fashion_long),
    "flowers": ("flower_photos", flowers),
    "adult": ("adult", adult),
    "cifar10": ("cifar10", cifar10),
}
"""What is run, the folder that it needs, and how."""


def plain_script(root: Path) -> float:
    """Pictures that a plain training script learns from in a second."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    from penstock.models.networks.convnet import ConvNet

    files = [root / "fashion-mnist" / f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1")]
    raw = [gzip.decompress(path.read_bytes()) for path in files]
    pictures = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28)[:PEER_ROWS]
    labels = np.frombuffer(raw[1], np.uint8, offset=8)[:PEER_ROWS]

    class Clothes(Dataset[Any]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            around = np.pad(pictures[place], 2)
            top, left = np.random.default_rng().integers(0, 5, 2)
            moved = around[top : top + 28, left : left + 28].astype(np.float32)
            return torch.from_numpy((moved - 73.0) / 90.0)[None], int(labels[place])

    network = torch.nn.Sequential(ConvNet(1, 28, 28), torch.nn.Linear(128, 10)).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    start = time.perf_counter()
    for batch, wanted in DataLoader(Clothes(), 64, shuffle=True):
        loss = torch.nn.functional.cross_entropy(network(batch), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return len(labels) / (time.perf_counter() - start)


def table(found: Sequence[Reached]) -> str:
    """As lines."""
    lines = [f"{'':<36}{'metric':<10}{'asked':>8}{'reached':>9}{'within':>9}{'took':>9}{'cpu':>9}{'epochs':>8}"]
    for one in found:
        within = "" if one.within is None else f"{one.within:.0f} s"
        lines.append(
            f"{one.name:<36}{one.metric:<10}{one.asked:>8.3f}{one.reached:>9.4f}{within:>9}{one.seconds:>7.0f} s"
            f"{one.cpu:>7.0f} s{one.epochs:>8}{'' if one.kept else '   not reached'}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what is named; 1 where a figure is not reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", choices=[[], *RUNS], help=", ".join(RUNS))
    parser.add_argument("--peer", action="store_true", help="time a plain training script too")
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    options = parser.parse_args()
    root = Path(os.environ["PENSTOCK_DATA"]) if "PENSTOCK_DATA" in os.environ else None
    found: list[Reached] = []
    for name in options.runs or [name for name in RUNS if name != "fashion-long"]:
        folder, measured = RUNS[name]
        if root is None or not (root / folder).is_dir():
            print(f"{name}: left out: there is no folder {folder!r} in PENSTOCK_DATA ({root or 'not set'})")
            continue
        found.append(measured(root))
        print(table(found[-1:]), flush=True)
    if found:
        print("\n" + table(found))
    if options.peer and root is not None:
        print(f"plain script: {plain_script(root):,.0f} pictures/s; of float32, {os.cpu_count()} cores")
    if options.json:
        runs = [asdict(one) | {"kept": one.kept} for one in found]
        options.json.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
    return int(not all(one.kept for one in found))


if __name__ == "__main__":
    sys.exit(main())
