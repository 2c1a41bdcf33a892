"""Small runs for the tests of the command line."""

import csv
import json

import numpy as np

from needle.cli.main import main
from needle.training.storage import read_tensors

SMALL = (
    "--epochs", "4", "--hidden", "8", "--blocks", "1", "--batch-size", "16", "--quiet", "--eager",
)  # fmt: skip


def make_data(folder, count=80, dtype="float32"):
    """Write a data set of x_train.npy and so on; return its folder."""
    folder.mkdir(parents=True)
    state = np.random.RandomState(0)
    for part, rows in (("train", count), ("test", 24)):
        X = state.rand(rows, 2, 3)
        np.save(folder / f"y_{part}.npy", X[:, 0].argmax(axis=1))
        np.save(folder / f"x_{part}.npy", (X * 255 if dtype == "uint8" else X).astype(dtype))
    return folder


def train(*arguments, code=0):
    """Run `needle train` in this process with small defaults."""
    assert main(["train", *SMALL, *map(str, arguments)]) == code


def resume(folder, *arguments, code=0):
    """Run `needle train --resume`."""
    assert main(["train", "--quiet", "--resume", str(folder), *map(str, arguments)]) == code


def metrics(folder):
    """Return the rows of metrics.csv as texts, without the times."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def options(folder):
    """Return the options in config.json."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["options"]


def outcome(folder):
    """Return all that two runs with the same options share, bit for bit."""
    arrays, _ = read_tensors(folder / "checkpoint.safetensors")
    found = {name: array.tobytes() for name, array in arrays.items()}
    return found, (folder / "model.safetensors").read_bytes(), metrics(folder)
