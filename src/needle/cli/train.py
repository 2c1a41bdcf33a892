"""`needle train`: learn a data set, keep everything about the run in its folder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from needle.cli import build, run_folder
from needle.cli.config import NAMES, TEXT_MODELS, TEXTS, TrainConfig
from needle.cli.report import draw_curves, scores_table
from needle.cli.run_folder import MetricsFile
from needle.cli.source import Source, open_source
from needle.cli.text import Writer
from needle.data import Augment, Augmented, Dataset, Subset
from needle.errors import ArgumentError
from needle.training import Checkpoint, EarlyStopping, History, evaluate, fit


def train(config: TrainConfig) -> Path:
    """Train by the options, or continue a run; return its folder.

    The best epoch is chosen on a part of the training samples; the test samples are read once,
    after the model is written.
    """
    source = open_source(config)
    if config.data not in (*NAMES, *TEXTS):
        config = replace(config, data=str(Path(config.data).absolute()))
    check(config, source)  # before there is a folder
    if config.resume is None:
        folder = run_folder.new_folder(config.out, source.name)
    else:
        folder = config.resume
        run_folder.check_epochs(folder, config.epochs)
    run_folder.write_config(folder, config)
    try:
        _train(config, source, folder)
    except KeyboardInterrupt:
        name = f'"{folder}"' if " " in str(folder) else folder
        click.echo(f"\ninterrupted; continue with: needle train --resume {name}", err=True)
        raise click.Abort from None
    return folder


def _train(config: TrainConfig, source: Source, folder: Path) -> None:
    np.random.seed(config.seed)
    arguments = fit_arguments(config, source)
    model, loss = arguments["model"], arguments["loss"]
    checkpoint = Checkpoint(folder / run_folder.CHECKPOINT)
    metrics = MetricsFile(folder / run_folder.METRICS)
    callbacks = [checkpoint, build.Plan(arguments["schedule"]), metrics]
    if config.model in TEXT_MODELS and not config.quiet:
        callbacks.append(Writer(model, source.about["characters"], config))
    history = fit(**arguments, callbacks=callbacks, progress=not config.quiet)
    run_folder.save_model(folder, model, config, source.about)
    test = None
    if source.test is not None:  # in batches of the validation's shape, compiled already
        size = max(config.batch_size, 256)
        test = evaluate(model, source.test(), loss, size, compile=not config.eager)
    _report(history, test, folder)


def fit_arguments(config: TrainConfig, source: Source) -> dict[str, Any]:
    """Return what the options make of a source: a new model, and all that `fit` learns it with.

    The split, the model and nothing else draw random numbers.
    """
    training, validation = source.train, source.validation
    if validation is None:
        training, validation = split(training, config.val_fraction)
    if config.augment:
        training = Augmented(training, Augment(config.augment))
    model = build.make_model(config, source.about)
    optimizer = build.make_optimizer(config, model)
    batches = -(-len(training) // config.batch_size)
    return {
        "model": model,
        "data": training,
        "val": validation,
        "loss": build.Loss(model, config.l1),
        "optimizer": optimizer,
        "schedule": build.make_schedule(config, optimizer, batches),
        "early_stopping": EarlyStopping(config.patience or math.inf) if validation else None,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "compile": not config.eager,
    }


def split(samples: Dataset, fraction: float) -> tuple[Dataset, Dataset | None]:
    """Return a random part to learn from, and `fraction` of the samples to choose the epoch by."""
    order = np.random.permutation(len(samples))
    count = held_out(len(samples), fraction)
    if not count:
        return samples, None
    return Subset(samples, order[count:]), Subset(samples, order[:count])


def check(config: TrainConfig, source: Source) -> None:
    """Raise ArgumentError where model, validation part or augmentation do not fit the source."""
    learned, fix = ("a text", "gpt") if "characters" in source.about else ("samples", "mlp")
    if (learned == "a text") != (config.model in TEXT_MODELS):
        text = f"--data {config.data} is {learned}; choose --model {fix}"
        raise ArgumentError(f"--model {config.model}: {text}")
    if source.validation is None:
        held_out(len(source.train), config.val_fraction)
    build.make_model(config, source.about)
    shape = source.about.get("shape", ())
    if config.augment and (len(shape) != 3 or shape[0] > min(shape[1:])):
        text = f"expected images (C, H, W), got samples {tuple(shape)}"
        raise ArgumentError(f"--augment {config.augment}: {text}")


def held_out(samples: int, fraction: float) -> int:
    """Return how many of the training samples validate.

    Raises: ArgumentError where none is left to learn from.
    """
    count = round(samples * fraction)
    if samples and count == samples:
        raise ArgumentError(f"--val-fraction {fraction}: leaves none of {samples} to learn from")
    return count


def _report(history: History, test: dict[str, float] | None, folder: Path) -> None:
    drawn = draw_curves(history, folder / run_folder.CURVES)
    if not drawn:
        click.echo("no curves.png: it needs matplotlib: pip install needle-dl[plots]", err=True)
    if not math.isfinite(history["loss"][-1]):
        click.echo("the loss is no longer a number; a smaller --lr may help", err=True)
    click.echo(scores_table(history, test))
    if test is not None:
        click.echo(f"test accuracy {test['accuracy']:.4f}")
    click.echo(f"run {folder.as_posix()}")
