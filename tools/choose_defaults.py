"""Compare settings of `needle train` without its test images: `python tools/choose_defaults.py`.

The defaults of TrainConfig were chosen with this. Each argument is one setting, written as options
of `needle train` (`"--lr 0.002 --blocks 2"`); "" is the defaults. For each of ten seeds a random
fifth of the training images is held out. The rest is trained on by the rule of `needle train`,
which splits off its own validation part, and the model it keeps is tried on that fifth. Printed
are mean, standard error and minimum of its accuracy, its mean loss, the seconds a run takes.
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace

import click
import numpy as np

from needle.cli.config import TrainConfig, from_command_line, train_options
from needle.cli.source import open_source
from needle.cli.train import fit_arguments, split
from needle.training import evaluate, fit

SEEDS = range(100, 110)  # not those that the accuracy is reported for


@click.command()
@train_options
@click.pass_context
def held_out_scores(context: click.Context, /, **_: object) -> list[tuple[float, float, float]]:
    """Return (accuracy, loss, seconds) for each seed."""
    config = from_command_line(context)
    return [held_out_score(config, seed) for seed in SEEDS]


def held_out_score(config: TrainConfig, seed: int) -> tuple[float, float, float]:
    """Return (accuracy, loss, seconds) of the kept model on a fifth of the training images."""
    source, began = open_source(config), time.perf_counter()
    np.random.seed(seed)
    rest, fifth = split(source.train, 0.2)
    arguments = fit_arguments(config, replace(source, train=rest))
    fit(**arguments, progress=False)
    scores = evaluate(arguments["model"], fifth, arguments["loss"])
    return scores["accuracy"], scores["loss"], time.perf_counter() - began


def main() -> None:
    """Print one line for each setting."""
    for text in sys.argv[1:] or [""]:
        scores = np.array(held_out_scores.main(shlex.split(text), standalone_mode=False))
        accuracy, loss, seconds = scores.mean(axis=0)
        error = scores[:, 0].std(ddof=1) / len(scores) ** 0.5
        line = f"accuracy {accuracy:.4f} +- {error:.4f}, at least {scores[:, 0].min():.4f}"
        print(f"{line}  loss {loss:.4f}  {seconds:5.1f} s  {text or 'defaults'}", flush=True)


if __name__ == "__main__":
    main()
