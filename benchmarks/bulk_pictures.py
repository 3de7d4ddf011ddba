"""Bulk prediction over pictures: `penstock predict MODEL photos/ --to out/` beside loops of torch, as whole processes.

2,000 JPEGs of 500 x 375 (see `benchmarks.pictures`) through decoding, a resize to 224 and four convolutions to Parquet.
All read the same weights, of a network that is first trained on these pictures, so that what it says is mostly decided.
Start-up counts, runs are interleaved, medians are shown. The peers are described in `peers/pictures_by_hand.py`.

    python -m benchmarks.bulk_pictures [--count 2000] [--repeats 5] [--work DIR]

Asked for, on two cores: 700 pictures/s by the default settings, and predictions that agree with those of float32 after
decoding in full (Pillow, the mean of areas) on 99.5 % of the pictures. What was measured before for the same task: Ray
Data 85 pictures/s, Daft 230, a DataLoader 250, threads by hand 390, with bfloat16 and half the picture 820.
`--memory SIZE` predicts within so much, and shows the peak.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.measure import Command, Run, measure, medians, run, table, write_json
from benchmarks.pictures import pictures
from penstock.resources import cores, parse_bytes, show_bytes

ASKED_RATE, ASKED_AGREEMENT = 700, 0.995
OURS = "penstock predict"
PEER = Path(__file__).parent / "peers" / "pictures_by_hand.py"
PEERS = {
    "loader": "torch DataLoader, Pillow, float32",
    "threads": "threads, OpenCV, float32",
    "reduced": "threads, half the picture, bfloat16",
}
EPOCHS = 12


def trained(folder: Path, photos: Path) -> Path:
    """The artifact of four convolutions, learned from the pictures themselves."""
    import penstock as ps

    if not (folder / "manifest.json").exists():
        model = ps.Network("conv4", epochs=EPOCHS)
        pipeline = ps.Pipeline([ps.DecodePicture("picture", 224)], model, target="label")
        pipeline.fit(photos, to=folder)
    return folder


def commands(model: Path, photos: Path, work: Path) -> list[Command]:
    """The whole processes: ours, and the peers."""
    out = work / "pictures-out"

    def emptied() -> None:
        for path in (out, out.with_name(out.name + ".run")):
            shutil.rmtree(path, ignore_errors=True)

    ours = [sys.executable, "-m", "penstock", "predict", str(model), str(photos), "--to", str(out), "--keep", "path"]
    found = [Command(OURS, [*ours, "--quiet"], before=emptied)]
    found += [
        Command(name, [sys.executable, str(PEER), way, str(model), str(photos), str(work / f"pictures-{way}.parquet")])
        for way, name in PEERS.items()
    ]
    return found


def agreement(work: Path, model: Path, photos: Path) -> dict[str, float]:
    """Of each way's predictions, the share that float32 after full decoding gives too."""
    truth = work / "pictures-reference.parquet"
    done = run(Command("reference", [sys.executable, str(PEER), "reference", str(model), str(photos), str(truth)]))
    if done.status:
        raise SystemExit(done.error)
    files = {OURS: work / "pictures-out"} | {name: work / f"pictures-{way}.parquet" for way, name in PEERS.items()}
    expected = _said(truth)
    found = {}
    for name, path in files.items():
        if path.exists():
            said = _said(path)
            found[name] = sum(said.get(one) == label for one, label in expected.items()) / len(expected)
    return found


def _said(path: Path) -> dict[str, str]:
    rows = pq.read_table(path, columns=["path", "prediction"]).to_pydict()
    return dict(zip(rows["path"], map(str, rows["prediction"]), strict=True))


def bounded(command: Command, memory: str) -> None:
    """Predict within so much memory, and print the peak."""
    done = run(Command(command.name, [*command.argv, "--memory", memory], before=command.before))
    if done.status:
        raise SystemExit(done.error)
    within = "within" if done.memory <= parse_bytes(memory) else "BEYOND"
    print(f"--memory {memory}: peak {show_bytes(done.memory)}, {within}; {done.wall:.2f} s")


def shown(runs: dict[str, list[Run]], agreed: dict[str, float], count: int) -> str:
    """Rates beside what is asked."""
    lines = [f"{'':38} pictures/s   asked   agrees with float32, full decode   asked"]
    for name, done in runs.items():
        found = medians(done)
        if found is None:
            lines.append(f"{name:38} failed")
            continue
        ours = name == OURS
        rate, share = count / found["wall"], agreed.get(name, float("nan"))
        asked, least = (f"{ASKED_RATE:>6}", f"{ASKED_AGREEMENT:.1%}") if ours else (" " * 6, "")
        lines.append(f"{name:38} {rate:10,.0f}  {asked}   {share:32.2%}   {least}")
    return "\n".join(lines)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bulk_pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--model", type=Path, help="an artifact of conv4 over 224 x 224; else one is trained")
    parser.add_argument("--memory", default="512MiB", help="predict once more within so much")
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    photos = pictures(asked.work / f"pictures{asked.count}", asked.count)
    model = trained(asked.model or asked.work / f"pictures{asked.count}-model", photos)
    every = commands(model, photos, asked.work)
    runs = measure(every, asked.repeats)
    agreed = agreement(asked.work, model, photos)
    print(f"{asked.count:,} JPEGs of 500 x 375, {cores()} cores; medians of {asked.repeats}, start-up included")
    print(shown(runs, agreed, asked.count))
    print(table(runs, OURS))
    bounded(every[0], asked.memory)
    if asked.json:
        write_json(asked.json, runs, OURS, agreement=agreed)
    return int(any(medians(done) is None for done in runs.values()))


if __name__ == "__main__":
    sys.exit(main())
