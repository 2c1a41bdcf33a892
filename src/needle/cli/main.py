"""The console script `needle`: its verbs, its errors, its exit codes."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from needle import __version__
from needle.cli.config import FILE, FOLDER, Finite, from_command_line, recipes, train_options
from needle.errors import NeedleError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done; 1: an error, told in one line on stderr (`--debug` for the traceback); 2: wrong usage;
    130: interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with contextlib.suppress(AttributeError):  # a stream put in place of stdout may lack it
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        commands.main(arguments, prog_name="needle", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.UsageError as error:
        error.show()
        return USAGE
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        else:
            click.echo(f"needle: {one_line(error)}", err=True)
        return FAILED
    return OK


def one_line(error: Exception) -> str:
    """Return an error's text in one line; the class too where the text alone says little."""
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    text = " ".join(text.split())
    plain = isinstance(error, click.ClickException | NeedleError | OSError)
    return text if plain and text else f"{type(error).__name__}: {text} (--debug shows where)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="needle-dl")
def commands() -> None:
    """Train and use small neural networks on this machine's CPU."""


debug_option = click.option(  # read by `main`
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
run_or_newest = click.argument("directory", metavar="[DIR]", required=False, type=FOLDER)


@commands.command(epilog=recipes())
@train_options
@click.pass_context
def train(context: click.Context, /, **_: object) -> None:
    """Train a model; without options, on the handwritten digits that needle ships.

    Data sets by name: digits, mnist, fashion-mnist, cifar10, text/tinyshakespeare. TEXT is a file
    in UTF-8. DIR is a folder with MNIST's four IDX files (train-images-idx3-ubyte,
    train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, gzipped or not), or
    with x_train.npy, y_train.npy, x_test.npy, y_test.npy: samples (N, ...), labels (N,) from 0.

    Models: mlp, an MLPResNet for samples of any shape; resnet20 and resnet18 for images (3, H, W),
    resnet20 unless said otherwise for cifar10; gpt and lstm for text, gpt unless said otherwise.

    Everything about a run is in its folder: config.json, metrics.csv, model.safetensors,
    checkpoint.safetensors, curves.png.
    """
    from needle.cli.train import train as run

    run(from_command_line(context))


@commands.command()
@run_or_newest
@debug_option
def eval(directory: Path | None) -> None:
    """Print loss, accuracy and confusion matrix on the test samples; of a text, its loss.

    DIR is the folder of a run; by default the newest in runs/.
    """
    from needle.cli.verbs import evaluate_run

    evaluate_run(directory)


@commands.command()
@run_or_newest
@debug_option
def report(directory: Path | None) -> None:
    """Write report.html, one page about a run that needs no other file.

    Curves, confusion matrix, the test samples that are most wrong, weights and gradients by layer,
    where the time went. DIR is the folder of a run; by default the newest in runs/.
    """
    from needle.cli.report_page import write_report

    write_report(directory)


@commands.command()
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.argument("file", metavar="FILE", type=FILE)
@debug_option
def predict(directory: Path, file: Path) -> None:
    """Print index,label,probability for each sample in FILE, as CSV.

    FILE is a .npy or .csv file with one sample a row, scaled as in training: images from 0 to 1. A
    .npy file of uint8 holds raw pixels and is scaled here.
    """
    from needle.cli.verbs import predict_file

    predict_file(directory, file)


@commands.command()
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.option("--prompt", default="", help="The text to continue.")
@click.option("--length", default=500, show_default=True, type=click.IntRange(0))
@click.option("--temperature", default=0.8, show_default=True, type=Finite(0, 100))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1))
@debug_option
def generate(directory: Path, prompt: str, length: int, temperature: float, seed: int) -> None:
    """Let the model of a run that learned a text write; temperature 0 is the likeliest text."""
    from needle.cli.text import write_sample

    write_sample(directory, prompt, length, temperature, seed)


@commands.command()
@click.argument("action", type=click.Choice(["info", "clear"]))
@debug_option
def cache(action: str) -> None:
    """Show or remove the compiled programs kept on disk."""
    from needle.cli.verbs import clear_cache, compiled_programs

    click.echo(compiled_programs() if action == "info" else clear_cache())


@commands.command()
@debug_option
def info() -> None:
    """Print versions, CPU features, usable cores, threads, caches and data folders."""
    from needle.cli.verbs import show_info

    show_info()
