"""What is told of a training run: the run's state, and the base class of listeners."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from needle.autograd import Tensor
from needle.errors import whole_number
from needle.optim.lr_scheduler import OneCycleLR
from needle.training.early_stopping import EarlyStopping
from needle.training.evaluation import Means
from needle.training.history import History


@dataclass
class Run:
    """A training run as its callbacks see it.

    `epoch` counts from 1; `samples` is the length of an epoch; `means.row()` has the loss and
    accuracy of the epoch so far. Setting `stop` ends the run after this epoch.
    """

    model: Any
    optimizer: Any
    schedule: Any
    early_stopping: EarlyStopping | None
    epochs: int
    samples: int
    history: History = field(default_factory=History)
    means: Means = field(default_factory=Means)
    stop: bool = False

    def __post_init__(self) -> None:
        self.epochs = whole_number("fit: expected epochs an integer", self.epochs, 0)

    @property
    def epoch(self) -> int:
        """The epoch at work, or the next one, from 1."""
        return len(self.history) + 1

    def finish_step(self, loss: Tensor, output: Tensor, labels: Tensor) -> None:
        """Take note of a step's numbers; a schedule by batches steps."""
        self.means.add(loss, output, labels)
        if steps_by_batch(self.schedule):
            self.schedule.step()

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Take note of an epoch's numbers; the schedule steps, early stopping judges."""
        row["lr"] = self.optimizer.lr
        if self.early_stopping is not None:
            judged = row.get("val_loss", row["loss"])
            self.early_stopping.update(self.epoch, judged, self.model)
            self.history.best_epoch = self.early_stopping.best_epoch
            self.history.stopped_early = self.early_stopping.should_stop
            self.stop = self.stop or self.early_stopping.should_stop
        if self.schedule is not None and not steps_by_batch(self.schedule):
            self.schedule.step()
        self.history.rows.append(row)

    def finish(self) -> None:
        """Give the model its best epoch back, where early stopping asks for it."""
        if self.early_stopping is not None:
            self.early_stopping.restore(self.model)


def steps_by_batch(schedule: Any) -> bool:
    """Whether a schedule counts batches, as OneCycleLR does, instead of epochs."""
    return isinstance(schedule, OneCycleLR)


class Callback:
    """Base of what `fit` tells about a run; override what you need.

    >>> class PrintLoss(ndl.training.Callback):
    ...     def after_epoch(self, run):
    ...         print(run.history.rows[-1]["loss"])
    """

    def begin(self, run: Run) -> None:
        """Act before the first step; may put an earlier run's state into `run`."""

    def after_step(self, run: Run) -> None:
        """Act after each step; it runs between steps, so be quick."""

    def after_epoch(self, run: Run) -> None:
        """Act after each epoch; its numbers are `run.history.rows[-1]`."""

    def end(self, run: Run) -> None:
        """Act at the end, also after an error or an interrupt."""


@contextlib.contextmanager
def telling(listeners: Sequence[Callback], run: Run) -> Iterator[None]:
    """Tell the listeners of the run's begin, and of its end even after an error."""
    try:
        for listener in listeners:
            listener.begin(run)
        yield
    finally:
        for listener in listeners:
            listener.end(run)
