"""Compares Penstock with scikit-learn by hand on short messages: the F1 of the class spam, over several splits.

    PENSTOCK_DATA=FOLDER python -m benchmarks.sms_spam [--splits 5] [--only NAME,...] [--json result.json]

FOLDER holds `sms-spam/SMSSpamCollection.tsv` (Almeida and Hidalgo, UCI Machine Learning Repository, 2011): 5,574
messages, 747 of them spam. Each split draws a fifth of either class for judging; nobody sees those rows before the
end, and no setting follows from them. Penstock is the command line, with nothing said but the target, or but the
network; what is judged is its own prediction, at its own threshold. By hand are TF-IDF of characters (2 to 5 of them)
with a linear support vector machine, and TF-IDF of words with logistic regression. All take turns on each split, on as
many cores as there are. Seconds are of everything: start, reading, training and judging.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

ASKED = 0.96
FILE = Path("sms-spam", "SMSSpamCollection.tsv")
Rows = Sequence[tuple[str, str]]


def messages(path: Path) -> Rows:
    """Label and text of each message."""
    lines = path.read_text("utf-8").split("\n")
    return [(label, text) for label, tab, text in (line.rstrip("\r").partition("\t") for line in lines) if tab]


def write(path: Path, rows: Rows) -> None:
    """As tab-separated values with a header; quotes of the messages stand for themselves only when doubled."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("label\tmessage\n")
        for label, text in rows:
            file.write(f'{label}\t"{text.replace(chr(34), chr(34) * 2)}"\n')


def penstock(folder: Path, settings: Sequence[str]) -> float:
    """`penstock train` on all training rows, then `penstock predict` on the others; the F1 of its predictions."""
    command = [sys.executable, "-m", "penstock"]
    model, out = folder / "model", folder / "predictions"
    train = ["train", "train.tsv", "--test", "test.tsv", "--target", "label", "--to", str(model), "--restart", "-q"]
    run([*command, *train, *settings], folder)
    run([*command, "predict", str(model), "test.tsv", "--to", str(out), "--restart", "-q"], folder)
    said = pl.read_parquet(out / "*.parquet")["prediction"].to_list()
    true = [label for label, _ in json.loads((folder / "test.json").read_text())]
    return float(f1_score(true, said, pos_label="spam"))


def run(command: Sequence[str], folder: Path) -> None:
    """Run it there; its own words where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def by_hand(folder: Path, made: Pipeline) -> float:
    """A pipeline of scikit-learn's."""
    train, test = (json.loads((folder / f"{name}.json").read_text()) for name in ("train", "test"))
    made.fit([text for _, text in train], [label for label, _ in train])
    return float(f1_score([label for label, _ in test], made.predict([text for _, text in test]), pos_label="spam"))


def characters() -> Pipeline:
    """TF-IDF of characters, and a linear support vector machine."""
    return make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True), LinearSVC())


def words() -> Pipeline:
    """TF-IDF of words, and logistic regression."""
    return make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=100, max_iter=1000))


def network(module: str) -> Callable[[Path], float]:
    """Penstock with this network, all other settings its own."""

    def train(folder: Path) -> float:
        (folder / f"{module}.yaml").write_text(f"target: label\nmodel:\n  network: {{module: {module}}}\n")
        return penstock(folder, ["--config", f"{module}.yaml"])

    return train


CONTESTANTS: Mapping[str, Callable[[Path], float]] = {
    "penstock train": lambda folder: penstock(folder, []),
    "penstock, linear": lambda folder: penstock(folder, ["--model", "linear"]),
    "penstock, network": lambda folder: penstock(folder, ["--model", "network"]),
    "penstock, embedding_bag": network("embedding_bag"),
    "penstock, text_conv": network("text_conv"),
    "penstock, gru": network("gru"),
    "scikit-learn, characters + SVM": lambda folder: by_hand(folder, characters()),
    "scikit-learn, words + logistic": lambda folder: by_hand(folder, words()),
}


def measure(rows: Rows, splits: int, only: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """F1 and seconds of each contestant on each split."""
    labels = np.array([label for label, _ in rows])
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in only}
    drawn = StratifiedShuffleSplit(splits, test_size=0.2, random_state=0).split(labels, labels)
    for number, places in enumerate(drawn):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, part in zip(("train", "test"), places, strict=True):
                write(folder / f"{name}.tsv", [rows[row] for row in part])
                (folder / f"{name}.json").write_text(json.dumps([rows[row] for row in part]))
            for name in only:
                start = time.perf_counter()
                found[name].append((CONTESTANTS[name](folder), time.perf_counter() - start))
                f1, seconds = found[name][-1]
                print(f"split {number + 1} of {splits}, {name}: {f1:.4f} in {seconds:.1f} s", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.sms_spam", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="contestants, by a part of their names")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if "PENSTOCK_DATA" not in os.environ:
        parser.error("PENSTOCK_DATA, the folder with the data sets, is not set")
    only = [name for name in CONTESTANTS if any(part in name for part in options.only.split(","))]
    found = measure(messages(Path(os.environ["PENSTOCK_DATA"], FILE)), options.splits, only)
    print(f"F1 of spam over {options.splits} splits; asked of Penstock: {ASKED}")
    print(f"{'':<32}{'mean':>8}{'lowest':>9}{'highest':>9}{'seconds':>9}")
    for name, each in found.items():
        scores, seconds = [f1 for f1, _ in each], [took for _, took in each]
        told = f"{statistics.mean(scores):>8.4f}{min(scores):>9.4f}{max(scores):>9.4f}"
        print(f"{name:<32}{told}{statistics.median(seconds):>9.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
