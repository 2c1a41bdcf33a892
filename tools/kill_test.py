"""Kill training runs at random moments: `python tools/kill_test.py [kills] [seed]`.

A small run of `needle train` is killed (SIGKILL) and resumed until it has been killed often enough.
After each kill the checkpoint must load; each run that reaches its end must equal the uninterrupted
one bit for bit: model, checkpoint, and metrics.csv but for its times.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from needle.cli.run_folder import CHECKPOINT, METRICS, MODEL
from needle.training.storage import read_tensors

# Without matplotlib, whose import takes longer than the run.
NEEDLE = "import sys; sys.modules['matplotlib'] = None; from needle.cli.main import main"
NEEDLE += "; sys.exit(main())"
OPTIONS = "--eager --epochs 200 --hidden 8 --blocks 1 --batch-size 16 --val-fraction 0.25"
OPTIONS += " --schedule onecycle --patience 0 --dropout 0.2"


def make_data(folder: Path) -> Path:
    """Write a data set of 64 + 16 samples with 6 features and 3 classes; return its folder."""
    folder.mkdir()
    random_state = np.random.RandomState(0)
    for part, count in (("train", 64), ("test", 16)):
        X = random_state.randn(count, 6).astype("float32")
        np.save(folder / f"x_{part}.npy", X)
        np.save(folder / f"y_{part}.npy", X[:, :3].argmax(axis=1))
    return folder


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start `needle train` with further arguments."""
    command = [sys.executable, "-c", NEEDLE, "train", "--quiet", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def begin(data: Path, folder: Path) -> subprocess.Popen[str]:
    """Start or resume the run in `folder`."""
    if folder.exists() and (folder / "config.json").exists():
        return start("--resume", folder)
    return start("--data", data, "--out", folder, *OPTIONS.split())


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run's end; RuntimeError with what it said unless it went well."""
    output, errors = process.communicate(timeout=120)
    if process.returncode != 0:
        raise RuntimeError(f"needle train ended with {process.returncode}: {output}{errors}")


def result(folder: Path) -> tuple[bytes, dict[str, bytes], list[list[str]]]:
    """Return what must not depend on interruptions: model, checkpoint arrays, metrics."""
    arrays, _ = read_tensors(folder / CHECKPOINT)
    with (folder / METRICS).open(encoding="utf-8", newline="") as file:
        rows = [row[:-1] for row in csv.reader(file)]  # the last column is the seconds
    model = (folder / MODEL).read_bytes()
    return model, {name: array.tobytes() for name, array in arrays.items()}, rows


def stamp(folder: Path) -> int:
    """Return when the run in `folder` last wrote its metrics (ns), 0 for never."""
    path = folder / METRICS
    return path.stat().st_mtime_ns if path.exists() else 0


def kill_once(data: Path, folder: Path, draw: random.Random) -> bool:
    """Start or resume, kill at a random moment, load the checkpoint; False: it ended before.

    One kill in five comes while the process starts, the others up to 0.15 s after it has begun to
    train, which is 15 to 30 epochs.
    """
    last, process = stamp(folder), begin(data, folder)
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 0.3))
    else:
        while stamp(folder) == last and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.15))
    process.kill()  # does nothing where it has ended
    output, errors = process.communicate()
    if (folder / CHECKPOINT).exists():
        read_tensors(folder / CHECKPOINT)  # raises unless it is whole
    if process.returncode > 0 and sys.platform != "win32":
        raise RuntimeError(f"needle train ended with {process.returncode}: {output}{errors}")
    return process.returncode != 0


def check(folder: Path, expected: Path) -> None:
    """Raise RuntimeError unless a resumed run equals the uninterrupted one; then remove it."""
    parts = zip(("model", "checkpoint", "metrics"), result(folder), result(expected), strict=True)
    wrong = [name for name, mine, theirs in parts if mine != theirs]
    if wrong:
        raise RuntimeError(f"{folder}: differs from the uninterrupted run: {', '.join(wrong)}")
    shutil.rmtree(folder)


def kill_runs(kills: int, seed: int, folder: Path) -> tuple[int, int]:
    """Kill, resume, compare; return how many kills came after new epochs, and runs ended."""
    draw = random.Random(seed)
    data, expected, run = make_data(folder / "data"), folder / "expected", folder / "run"
    finish(begin(data, expected))
    killed = progressed = ended = 0
    while killed < kills:
        last = stamp(run)
        if kill_once(data, run, draw):
            killed += 1
            progressed += stamp(run) != last
        else:
            check(run, expected)
            ended += 1
    finish(begin(data, run))
    check(run, expected)
    return progressed, ended + 1


def main() -> None:
    """Kill as often as asked, 1,000 times by default."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print(f"{kills} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        progressed, ended = kill_runs(kills, seed, Path(folder))
    print(f"{ended} runs ended as the uninterrupted one; {progressed} kills came after new epochs")


if __name__ == "__main__":
    main()
