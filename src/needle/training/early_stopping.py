"""Stop when the validation loss no longer falls, and go back to where it was lowest."""

from __future__ import annotations

import math
from typing import Any

from needle.errors import ArgumentError

STATE = ("best_loss", "best_epoch", "best_state", "wait")


class EarlyStopping:
    """End training after `patience` epochs in a row that did not lower the loss by `min_delta`.

    The loss is that of the validation data, or the training loss where there is none. NaN is never
    an improvement. With `restore_best` the model gets the parameters and buffers of its best epoch
    back when training ends. `patience=math.inf` only chooses the best epoch.

    Raises: ArgumentError for a patience below 1 or a negative min_delta.
    Reference: L. Prechelt, "Early Stopping - But When?", 1998 (the criterion UP with strips of 1).

    >>> ndl.training.EarlyStopping(patience=3)
    EarlyStopping(patience=3, min_delta=0.0, restore_best=True)
    """

    def __init__(
        self, patience: float = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        if not patience >= 1:
            raise ArgumentError(f"EarlyStopping: expected patience >= 1, got {patience}")
        if not min_delta >= 0:
            raise ArgumentError(f"EarlyStopping: expected min_delta >= 0, got {min_delta}")
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.reset()

    def reset(self) -> None:
        """Forget the run before; `fit` begins with it."""
        self.best_loss = math.inf
        self.best_epoch: int | None = None
        self.best_state: dict[str, Any] = {}
        self.wait = 0

    @property
    def should_stop(self) -> bool:
        """Whether `patience` epochs have passed without an improvement."""
        return self.wait >= self.patience

    def update(self, epoch: int, loss: float, model: Any) -> None:
        """Take note of an epoch's loss; keep a copy of the model's state if it is the best."""
        if loss < self.best_loss - self.min_delta:
            self.best_loss, self.best_epoch, self.wait = loss, epoch, 0
            self.best_state = model.state_dict() if self.restore_best else {}
        else:
            self.wait += 1

    def restore(self, model: Any) -> None:
        """Give the model its best epoch's state back, if there is one."""
        if self.best_state:
            model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next epochs depend on."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        for name in STATE:
            setattr(self, name, state[name])

    def __repr__(self) -> str:
        settings = f"patience={self.patience}, min_delta={self.min_delta}"
        return f"EarlyStopping({settings}, restore_best={self.restore_best})"
