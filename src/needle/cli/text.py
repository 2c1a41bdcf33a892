"""What a model of text writes: samples while it learns, and `needle generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from needle.autograd import Tensor, no_grad
from needle.cli.config import TrainConfig
from needle.cli.run_folder import load_model
from needle.data import Characters
from needle.errors import DataError
from needle.training import Callback, Run, generate
from needle.training.evaluation import evaluating

SAMPLE, TEMPERATURE = 200, 0.8


class Writer(Callback):
    """A model that writes; compiled at its first character, unless the run is eager.

    As a callback it shows on stderr after each epoch what the model writes.
    """

    def __init__(self, model: Any, characters: str, config: TrainConfig) -> None:
        self.model, self.characters, self.context = model, Characters(characters), config.context
        self.step: Any = self._logits
        if not config.eager:
            from needle.compiler.jit.jit import jit

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

    def after_epoch(self, run: Run) -> None:
        """Show a sample of 200 characters."""
        text = self.write("", SAMPLE, TEMPERATURE, seed=len(run.history))
        click.echo(f"--- epoch {len(run.history)}\n{text.strip()}\n---", err=True)


def write_sample(directory: Path, prompt: str, length: int, temperature: float, seed: int) -> None:
    """Print what the model of a finished run writes.

    Raises: DataError for a run that learned no text, or a prompt of characters it never saw.
    """
    trained = load_model(directory)
    if "characters" not in trained.about:
        raise DataError(f"{directory}: this run learned no text; see needle predict")
    writer = Writer(trained.model, trained.about["characters"], trained.options)
    click.echo(writer.write(prompt, length, temperature, seed))
