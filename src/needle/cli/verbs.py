"""`needle eval`, `predict`, `info` and `cache`."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from needle import nn, ops
from needle.autograd import Tensor
from needle.cli.build import Loss
from needle.cli.machine import machine, versions
from needle.cli.report import confusion_table
from needle.cli.run_folder import load_model, open_run
from needle.cli.source import as_float32, read_npy
from needle.data import cache_folder
from needle.errors import DataError
from needle.training import accuracy, confusion_matrix, evaluate, predict


def evaluate_run(directory: Path | None) -> None:
    """Print loss, accuracy and confusion matrix of a run's model on the test samples.

    Of a text, the loss on the part that validates.
    """
    folder, trained = open_run(directory)
    options, source = trained.options, trained.source()
    if source.test is None:
        part: Any = source.validation
        loss, native = Loss(trained.model, 0.0), not options.eager
        scores = evaluate(trained.model, part, loss, 256, compile=native)
        count = len(part) * options.context
        click.echo(f"run {folder.as_posix()}: {count:,} characters of {options.data}")
        return click.echo(f"loss {scores['loss']:.4f} nats per character")
    _, labels, logits = trained.predictions(source.test())
    mean = nn.SoftmaxLoss()(Tensor.make_const(logits), Tensor.make_const(labels))
    click.echo(f"run {folder.as_posix()}: {len(labels):,} test samples of {options.data}")
    click.echo(f"loss {float(mean):.4f}")
    click.echo(f"accuracy {accuracy(logits, labels):.4f}")
    matrix = confusion_matrix(labels, logits.argmax(axis=1), trained.about["classes"])
    return click.echo(confusion_table(matrix))


def predict_file(directory: Path, file: Path) -> None:
    """Print `index,label,probability` for each sample in a file."""
    trained = load_model(directory)
    if "shape" not in trained.about:
        raise DataError(f"{directory}: this run learned a text; see needle generate")
    samples = read_samples(file, trained.about["shape"], trained.about["maximum"])
    logits = predict(trained.model, samples, compile=trained.compile)
    probabilities = ops.softmax(Tensor.make_const(logits)).numpy()
    click.echo("index,label,probability")
    for index, row in enumerate(probabilities):
        click.echo(f"{index},{row.argmax()},{row.max():.6f}")


def read_samples(path: Path, shape: Sequence[int], maximum: int) -> np.ndarray:
    """Return the samples of a .npy or .csv file as float32 (N, *shape), one a row in the file.

    Floats are taken as they are, so they must be scaled as in training: images from 0 to 1. A .npy
    file of uint8 holds raw pixels, which are divided by `maximum`, the largest one of the data set
    (255, for digits 16). A .csv file may begin with a line of names.
    Raises: DataError where it holds no such rows.
    """
    reader = {".npy": read_npy, ".csv": read_csv}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a .npy or a .csv file")
    array, features = reader(path), math.prod(shape)
    if array.ndim < 2 or array[:1].size != features or not len(array):
        numbers = "numbers" if reader is read_npy else "numbers, with commas between,"
        text = f"expected one sample of {features} {numbers} a row, got shape {array.shape}"
        raise DataError(f"{path}: {text}")
    return as_float32(array.reshape(len(array), *shape), maximum)


def read_csv(path: Path) -> np.ndarray:
    """Return the numbers of a .csv file, one row a line, without a line of names at its top."""
    try:
        text = path.read_text(encoding="utf-8-sig").splitlines()
        with warnings.catch_warnings(action="ignore"):  # an empty file: the shape tells
            return np.loadtxt(text[_is_header(text) :], delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: {str(error).partition(';')[0]}") from error  # numpy's own advice


def _is_header(lines: list[str]) -> bool:
    try:
        [float(cell) for cell in (lines or [""])[0].split(",")]
    except ValueError:
        return True
    return False


def show_info() -> None:
    """Print versions, the machine, caches and data folders."""
    facts: dict[str, Any] = {name: text or "not installed" for name, text in versions().items()}
    for name, value in machine().items():
        facts[name.replace("_", " ")] = " ".join(value) if isinstance(value, list) else value
    facts["compiled programs"] = compiled_programs()
    facts["downloaded data"] = cache_folder()
    facts["NEEDLE_DATA"] = os.environ.get("NEEDLE_DATA") or "not set"
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {value}")


def compiled_programs() -> str:
    """Return where compiled programs are kept, how many, and their size."""
    try:
        from needle.compiler.run import cache
    except ImportError:
        return "none: llvmlite is not installed"
    facts = cache.info()
    if facts["folder"] is None:
        return "not kept"
    return f"{facts['folder']}: {facts['entries']} programs, {facts['bytes'] / 1e6:.1f} MB"


def clear_cache() -> str:
    """Remove all compiled programs and say how many."""
    from needle.compiler.run import cache

    return f"{cache.clear()} programs removed"
