"""A training run on disk after each epoch, from which it continues as if nothing had happened."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from needle.errors import DataError
from needle.training.callbacks import Callback, Run
from needle.training.history import History
from needle.training.model_file import MODEL, OPTIMIZER, read_state, restore, write_state

RANDOM = "_random"


class Checkpoint(Callback):
    """Write all that the next epochs depend on to `path`: before the first step, after each epoch.

    If the file is there when the run begins, the run continues from it, and ends bit for bit as if
    it had never been cut. It holds parameters, buffers, optimizer, schedule, history, the random
    state of NumPy, and that of early stopping with the best epoch's weights; no pickle. Writes are
    atomic: a process killed at any moment leaves a whole checkpoint.

    Raises: DataError for a file that is no checkpoint, StateDictError for one of another model.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "checkpoint.safetensors"
    >>> model, data = ndl.nn.Linear(4, 2), (np.ones((8, 4)), np.zeros(8, int))
    >>> for epochs in (1, 3):
    ...     history = ndl.fit(
    ...         model, data, loss=ndl.nn.SoftmaxLoss(), optimizer=ndl.optim.SGD(model.parameters()),
    ...         epochs=epochs, callbacks=[ndl.training.Checkpoint(path)], progress=False,
    ...     )
    >>> history["epoch"]
    [1, 2, 3]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def begin(self, run: Run) -> None:
        """Continue from the file, or write the first one."""
        if self.path.exists():
            self._restore(run)
        else:
            self._write(run)

    def after_epoch(self, run: Run) -> None:
        """Replace the file."""
        self._write(run)

    def _write(self, run: Run) -> None:
        states = {name: holder.state_dict() for name, holder in _holders(run).items()}
        states[RANDOM] = np.random.get_state(legacy=False)
        write_state(self.path, states, {"history": asdict(run.history)})

    def _restore(self, run: Run) -> None:
        states, extra = read_state(self.path)
        holders = _holders(run)
        missing = [name for name in (*holders, RANDOM) if name not in states]
        if missing or "history" not in extra:
            lacks = ", ".join(missing) or "history"
            raise DataError(f"checkpoint: {self.path}: not a checkpoint of this run: no {lacks}")
        restore(self.path, holders, states)
        np.random.set_state(states[RANDOM])
        run.history = History(**extra["history"])
        run.stop = run.early_stopping is not None and run.early_stopping.should_stop


def _holders(run: Run) -> dict[str, Any]:
    holders = {
        MODEL: run.model,
        OPTIMIZER: run.optimizer,
        "_schedule": run.schedule,
        "_early_stopping": run.early_stopping,
    }
    return {name: holder for name, holder in holders.items() if holder is not None}
