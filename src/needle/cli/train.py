"""`needle train`: learn a data set, keep everything about the run in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from needle.cli import build, run_folder
from needle.cli.config import TrainConfig
from needle.cli.report import draw_curves, scores_table
from needle.cli.run_folder import MetricsFile
from needle.cli.source import NAMES, Source, open_source
from needle.data import Dataset, Subset
from needle.errors import ArgumentError
from needle.training import Checkpoint, History, evaluate, fit


def train(config: TrainConfig) -> Path:
    """Train by the options, or continue a run; return its folder.

    The best epoch is chosen on a part of the training samples; the test samples are read once,
    after the model is written.
    """
    if config.data not in NAMES:
        config = replace(config, data=str(Path(config.data).absolute()))
    source = open_source(config.data)
    held_out(len(source.train), config.val_fraction)
    if config.resume is None:
        folder = run_folder.new_folder(config.out, source.name)
    else:
        folder = Path(config.resume)
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
    training, validation = split(source.train, config.val_fraction)
    model = build.make_model(config, source.features, source.classes)
    optimizer = build.make_optimizer(config, model)
    batches = -(-len(training) // config.batch_size)
    checkpoint = Checkpoint(folder / run_folder.CHECKPOINT)
    loss = build.Loss(model, config.l1)
    schedule = build.make_schedule(config, optimizer, batches)
    history = fit(
        model,
        training,
        loss=loss,
        optimizer=optimizer,
        epochs=config.epochs,
        batch_size=config.batch_size,
        val=validation,
        early_stopping=build.make_early_stopping(config),
        schedule=schedule,
        callbacks=[checkpoint, build.Plan(schedule), MetricsFile(folder / run_folder.METRICS)],
        progress=not config.quiet,
        compile=not config.eager,
    )
    run_folder.save_model(folder, model, config, source)
    _report(history, evaluate(model, source.test(), loss), folder)


def split(samples: Dataset, fraction: float) -> tuple[Dataset, Dataset | None]:
    """Return a random part to learn from, and `fraction` of the samples to choose the epoch by."""
    order = np.random.permutation(len(samples))
    count = held_out(len(samples), fraction)
    if not count:
        return samples, None
    return Subset(samples, order[count:]), Subset(samples, order[:count])


def held_out(samples: int, fraction: float) -> int:
    """Return how many of the training samples validate.

    Raises: ArgumentError where none is left to learn from.
    """
    count = round(samples * fraction)
    if samples and count == samples:
        raise ArgumentError(f"--val-fraction {fraction}: leaves none of {samples} to learn from")
    return count


def _report(history: History, test: dict[str, float], folder: Path) -> None:
    drawn = draw_curves(history, folder / run_folder.CURVES)
    if not drawn:
        click.echo("no curves.png: it needs matplotlib: pip install needle-dl[plots]", err=True)
    click.echo(scores_table(history, test))
    click.echo(f"test accuracy {test['accuracy']:.4f}")
    click.echo(f"run {folder.as_posix()}")
