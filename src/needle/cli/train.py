"""`needle train`: learn a data set, keep everything about the run in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from needle.cli import build, run_folder
from needle.cli.config import TEXT_MODELS, TEXTS, TrainConfig, is_text
from needle.cli.report import draw_curves, scores_table
from needle.cli.run_folder import MetricsFile
from needle.cli.source import NAMES, Source, open_source
from needle.cli.text import Samples, TextSource, open_text
from needle.data import Augment, Augmented, Dataset, Subset
from needle.errors import ArgumentError
from needle.training import Checkpoint, History, evaluate, fit


def train(config: TrainConfig) -> Path:
    """Train by the options, or continue a run; return its folder.

    The best epoch is chosen on a part of the training samples; the test samples are read once,
    after the model is written.
    """
    if config.data not in (*NAMES, *TEXTS):
        config = replace(config, data=str(Path(config.data).absolute()))
    source = open_text(config) if is_text(config.data) else open_source(config.data)
    if isinstance(source, TextSource) != (config.model in TEXT_MODELS):
        kind, fix = ("a text", "gpt") if isinstance(source, TextSource) else ("samples", "mlp")
        text = f"--data {config.data} is {kind}; choose --model {fix}"
        raise ArgumentError(f"--model {config.model}: {text}")
    held_out(len(source.train), config.val_fraction)
    build.make_model(config, source.about)  # refuses what it cannot be before there is a folder
    check_images(config, source.about)
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


def _train(config: TrainConfig, source: Source | TextSource, folder: Path) -> None:
    np.random.seed(config.seed)
    parts: tuple[Dataset, Dataset | None]
    if isinstance(source, TextSource):
        parts = source.train, source.validation
    else:
        parts = split(source.train, config.val_fraction)
    training, validation = parts
    if config.augment:
        training = Augmented(training, Augment(config.augment))
    model = build.make_model(config, source.about)
    optimizer = build.make_optimizer(config, model)
    batches = -(-len(training) // config.batch_size)
    checkpoint = Checkpoint(folder / run_folder.CHECKPOINT)
    loss = build.Loss(model, config.l1)
    schedule = build.make_schedule(config, optimizer, batches)
    metrics = MetricsFile(folder / run_folder.METRICS)
    callbacks = [checkpoint, build.Plan(schedule), metrics]
    if isinstance(source, TextSource) and not config.quiet:
        callbacks.append(Samples(model, source.characters, config))
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
        callbacks=callbacks,
        progress=not config.quiet,
        compile=not config.eager,
    )
    run_folder.save_model(folder, model, config, source.about)
    test = None
    if not isinstance(source, TextSource):  # in batches of the validation's shape, compiled already
        size = max(config.batch_size, 256)
        test = evaluate(model, source.test(), loss, size, compile=not config.eager)
    _report(history, test, folder)


def split(samples: Dataset, fraction: float) -> tuple[Dataset, Dataset | None]:
    """Return a random part to learn from, and `fraction` of the samples to choose the epoch by."""
    order = np.random.permutation(len(samples))
    count = held_out(len(samples), fraction)
    if not count:
        return samples, None
    return Subset(samples, order[count:]), Subset(samples, order[:count])


def check_images(config: TrainConfig, about: dict[str, Any]) -> None:
    """Raise ArgumentError where `--augment` meets samples that are not images (C, H, W)."""
    shape = about.get("shape", ())
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
    click.echo(scores_table(history, test))
    if test is not None:
        click.echo(f"test accuracy {test['accuracy']:.4f}")
    click.echo(f"run {folder.as_posix()}")
