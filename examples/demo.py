"""The main job on real data, as a user would type it: train, evaluate, predict; each command shown before it runs."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data" / "adult"
OUT = Path("demo-out")


def penstock(*arguments: str | Path) -> None:
    """Show a command, then run it; end as it ends if it fails."""
    shown = [str(argument) for argument in arguments]
    print(f"\n$ penstock {shlex.join(shown)}\n", flush=True)
    done = subprocess.run([sys.executable, "-m", "penstock", *shown], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Train on the census data, judge on the rows set aside for it, and predict those rows in bulk."""
    shutil.rmtree(OUT, ignore_errors=True)
    train, test = (DATA / f"{name}.csv.gz" for name in ("train", "test"))
    train, test = (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in (train, test))
    penstock("train", train, "--target", "income", "--to", OUT / "model")
    penstock("evaluate", OUT / "model", test)
    penstock("predict", OUT / "model", test, "--to", OUT / "predictions", "--keep", "age,occupation")
    print(f"\nThe predictions are Parquet, readable by anything: {OUT / 'predictions'}")


if __name__ == "__main__":
    main()
