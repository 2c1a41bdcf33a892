"""Compare settings of `needle train` by their validation loss: `python tools/choose_defaults.py`.

The defaults of TrainConfig were chosen with this. Each argument is one setting, written as options
of `needle train` (`"--lr 0.002 --blocks 2"`); "" is the defaults. Five seeds each, and so five
validation parts; the test images are never read. Printed are the means of the best epoch's
validation loss and accuracy, the standard error of the loss, and the seconds a run takes.
"""

from __future__ import annotations

import shlex
import sys

import click
import numpy as np

from needle.cli import build
from needle.cli.config import from_command_line, train_options
from needle.cli.source import open_source
from needle.cli.train import split
from needle.training import fit

SEEDS = range(10, 15)  # not those that the accuracy is reported for


@click.command()
@train_options
@click.pass_context
def validation_scores(context: click.Context, /, **_: object) -> list[tuple[float, float, float]]:
    """Return (loss, accuracy, seconds) of the best epoch for each seed."""
    config = from_command_line(context)
    source, scores = open_source(config.data), []
    for seed in SEEDS:
        np.random.seed(seed)
        training, validation = split(source.train, config.val_fraction)
        model = build.make_model(config, source.features, source.classes)
        optimizer = build.make_optimizer(config, model)
        steps = -(-len(training) // config.batch_size)
        history = fit(
            model,
            training,
            loss=build.Loss(model, config.l1),
            optimizer=optimizer,
            epochs=config.epochs,
            batch_size=config.batch_size,
            val=validation,
            early_stopping=build.make_early_stopping(config),
            schedule=build.make_schedule(config, optimizer, steps),
            progress=False,
        )
        best = history.rows[(history.best_epoch or len(history)) - 1]
        scores.append((best["val_loss"], best["val_accuracy"], sum(history["seconds"])))
    return scores


def main() -> None:
    """Print one line for each setting."""
    for text in sys.argv[1:] or [""]:
        scores = np.array(validation_scores.main(shlex.split(text), standalone_mode=False))
        loss, accuracy, seconds = scores.mean(axis=0)
        error = scores[:, 0].std(ddof=1) / len(scores) ** 0.5
        line = f"loss {loss:.4f} +- {error:.4f}  accuracy {accuracy:.4f}  {seconds:5.1f} s"
        print(f"{line}  {text or 'defaults'}", flush=True)


if __name__ == "__main__":
    main()
