"""The folder of a training run: its name, config.json, metrics.csv, and the model in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from needle import nn
from needle.cli.build import make_model
from needle.cli.config import IMAGE_MODELS, TrainConfig
from needle.cli.machine import machine, versions
from needle.cli.source import Source, open_source
from needle.data import Dataset
from needle.errors import ArgumentError, DataError
from needle.files import write_text
from needle.training import Callback, Run, model_file, predict, save

CONFIG, METRICS, CURVES = "config.json", "metrics.csv", "curves.png"
MODEL, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
RUNS = Path("runs")
COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")


def new_folder(out: Path | None, name: str) -> Path:
    """Make and return the folder of a new run: `out`, or `runs/<name>-<first free number>`.

    Raises: ArgumentError where `out` holds a run already.
    """
    if out is not None:
        if any((out / file).exists() for file in (CONFIG, CHECKPOINT, MODEL)):
            text = f"holds a run; continue it with --resume {out} or name another folder"
            raise ArgumentError(f"--out {out}: {text}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    RUNS.mkdir(exist_ok=True)
    for number in count(1):
        folder = RUNS / f"{name}-{number:03}"
        try:
            folder.mkdir()  # fails where it exists: two runs at once get two folders
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def check_epochs(folder: Path, epochs: int) -> None:
    """Raise ArgumentError where the run in `folder` has more than `epochs` behind it already."""
    path = folder / CHECKPOINT
    _, extra = model_file.read_state(path) if path.is_file() else ({}, {})
    done = len(extra.get("history", {}).get("rows", []))
    if epochs < done:
        raise ArgumentError(f"--epochs {epochs}: {folder} has {done} epochs behind it already")


def newest_folder() -> Path:
    """Return the folder in `runs` whose model was written last.

    Raises: DataError where there is none.
    """
    models = list(RUNS.glob(f"*/{MODEL}"))
    if not models:
        raise DataError(f"no finished run in {RUNS.absolute()}; start one with: needle train")
    return max(models, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write config.json: what repeats the run, and what it ran on."""
    record = {
        "options": config.options(),
        "seed": config.seed,
        "versions": versions(),
        **machine(),
    }
    write_text(folder / CONFIG, json.dumps(record, indent=2) + "\n")


class MetricsFile(Callback):
    """Keep metrics.csv: a header, then a row an epoch, written as it goes.

    Comes after the checkpoint among the callbacks: a run that continues begins the file again with
    the checkpoint's rows, so that rows past it are gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, run: Run) -> None:
        """Write the header and the rows there are."""
        write_text(self.path, ",".join(COLUMNS) + "\n" + "".join(map(_line, run.history.rows)))

    def after_epoch(self, run: Run) -> None:
        """Add the epoch's row."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(run.history.rows[-1]))


def _line(row: dict[str, float]) -> str:
    return ",".join(str(row.get(column, "")) for column in COLUMNS) + "\n"


def save_model(folder: Path, model: nn.Module, config: TrainConfig, about: dict[str, Any]) -> None:
    """Write model.safetensors with what rebuilds the model, so that it needs nothing beside it."""
    save(folder / MODEL, model, options=config.options(), about=about)


@dataclass(frozen=True)
class Trained:
    """A trained model, the options it was trained with, and what its data is like."""

    model: nn.Module
    options: TrainConfig
    about: dict[str, Any]

    @property
    def compile(self) -> bool:
        """Whether predictions are worth compiling: those of convolutions are."""
        return self.options.model in IMAGE_MODELS and not self.options.eager

    def source(self) -> Source:
        """Return what the run learned from; DataError where that is something else by now."""
        source, name = open_source(self.options), self.options.data
        if source.about != self.about:
            text = f"expected {self.about!r:.100} as the run learned it, got {source.about!r:.100}"
            raise DataError(f"--data {name}: has changed: {text}")
        return source

    def predictions(self, samples: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the samples as arrays, their labels, and the logits that the model gives them."""
        X, labels = samples[np.arange(len(samples))]
        return X, labels, predict(self.model, X, compile=self.compile)


def open_run(folder: Path | None) -> tuple[Path, Trained]:
    """Return the folder of a finished run, by default the newest in `runs`, and its model."""
    folder = newest_folder() if folder is None else folder
    return folder, load_model(folder)


def load_model(folder: Path) -> Trained:
    """Return the model of a finished run.

    Raises: DataError where the folder has none or it was not written by `needle train`.
    """
    path = folder / MODEL
    if not path.is_file():
        fix = f"; finish it with: needle train --resume {folder}"
        raise DataError(f"{folder}: no {MODEL}{fix if (folder / CONFIG).exists() else ''}")
    states, extra = model_file.read_state(path)
    try:
        options, about = TrainConfig(**extra["options"]), extra["about"]
        model = make_model(options, about)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not written by needle train ({error})") from error
    model_file.restore(path, {model_file.MODEL: model}, states)
    return Trained(model, options, about)
