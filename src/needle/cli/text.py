"""Text on the command line: what is learned, and samples of what a model writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from needle import data
from needle.autograd import Tensor, no_grad
from needle.cli.build import Loss
from needle.cli.config import TEXTS, TrainConfig
from needle.cli.run_folder import Trained, load_model
from needle.data import Characters, TextDataset
from needle.errors import DataError
from needle.training import Callback, Run, evaluate, generate
from needle.training.evaluation import evaluating

SAMPLE, TEMPERATURE = 200, 0.8


@dataclass(frozen=True)
class TextSource:
    """A text as windows of characters: its beginning to learn from, its end to validate."""

    name: str
    train: TextDataset
    validation: TextDataset

    @property
    def characters(self) -> Characters:
        """The characters and their ids."""
        assert self.train.characters is not None
        return self.train.characters

    @property
    def about(self) -> dict[str, Any]:
        """What a model of it must know."""
        return {"characters": self.characters.text}


def open_text(config: TrainConfig) -> TextSource:
    """Return the text of `--data`, cut into windows of `--context` characters.

    Raises: DataError for a file that is no text or too short.
    """
    length, share = config.context, config.val_fraction
    if config.data in TEXTS:
        return TextSource("tinyshakespeare", *data.tiny_shakespeare(length, share))
    return TextSource(Path(config.data).stem, *data.text_file(config.data, length, share))


class Writer:
    """A model that writes; compiled at its first character, unless the run is eager."""

    def __init__(self, model: Any, characters: Characters, config: TrainConfig) -> None:
        self.model, self.characters, self.context = model, characters, config.context
        self.step: Any = self._logits
        if not config.eager:
            from needle.compiler.jit import jit

            self.step = jit(self._logits)

    def _logits(self, ids: Tensor) -> Tensor:
        with no_grad():
            return self.model(ids)

    def write(self, prompt: str, count: int, temperature: float, seed: int) -> str:
        """Return the prompt and `count` characters that continue it."""
        ids = self.characters.encode(prompt or self.characters.text[:1])
        with evaluating(self.model):
            new = generate(
                self.step, ids, count, context=self.context, temperature=temperature, seed=seed
            )
        return prompt + self.characters.decode(new)


class Samples(Callback):
    """Show on stderr after each epoch what the model writes."""

    def __init__(self, model: Any, characters: Characters, config: TrainConfig) -> None:
        self.writer = Writer(model, characters, config)

    def after_epoch(self, run: Run) -> None:
        """Write a sample of 200 characters."""
        text = self.writer.write("", SAMPLE, TEMPERATURE, seed=len(run.history))
        click.echo(f"--- epoch {len(run.history)}\n{text.strip()}\n---", err=True)


def evaluate_text(folder: Path, trained: Trained) -> None:
    """Print the loss of a run's model on the part of its text that validates."""
    source = open_text(trained.options)
    loss, native = Loss(trained.model, 0.0), not trained.options.eager
    scores = evaluate(trained.model, source.validation, loss, 256, compile=native)
    count = len(source.validation) * trained.options.context
    click.echo(f"run {folder.as_posix()}: {count:,} characters of {trained.options.data}")
    click.echo(f"loss {scores['loss']:.4f} nats per character")


def write_sample(directory: str, prompt: str, length: int, temperature: float, seed: int) -> None:
    """Print what the model of a finished run writes.

    Raises: DataError for a run that learned no text, or a prompt of characters it never saw.
    """
    trained = load_model(Path(directory))
    if "characters" not in trained.about:
        raise DataError(f"{directory}: this run learned no text; see needle predict")
    writer = Writer(trained.model, Characters(trained.about["characters"]), trained.options)
    click.echo(writer.write(prompt, length, temperature, seed))
