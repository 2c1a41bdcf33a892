"""Progress of a run on stderr: a bar in a terminal, one line an epoch anywhere else."""

from __future__ import annotations

import io
import os
import sys
import time
from typing import Any, TextIO

from needle.training.callbacks import Callback, Run

REDRAW_SECONDS = 0.1
NUMBERS = ("loss", "accuracy", "val_loss", "val_accuracy")
BAR_NUMBERS = ("loss", "accuracy", "val_accuracy")  # in the order in which a narrow line loses them


class Progress(Callback):
    """Show loss, accuracy, samples per second and the time left; drawn between steps.

    The calling thread draws, at most 10 times a second: a second Python thread would take the
    interpreter from the steps. Characters are ASCII where the stream's encoding is not UTF-8.
    `file` is stderr by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._bar: Any = None
        self._drawn = 0.0

    def begin(self, run: Run) -> None:
        """Open the bar, where there is a terminal."""
        self.stream = self.file or sys.stderr or io.StringIO()  # a window's program has no stderr
        if self.stream.isatty():
            done, total = len(run.history) * run.samples, run.epochs * run.samples
            self._bar = _bar(self.stream, done, total)

    def after_step(self, run: Run) -> None:
        """Bring the bar up to date, if it is time to."""
        if self._bar is not None and time.perf_counter() - self._drawn >= REDRAW_SECONDS:
            self._set(run.epoch, run, run.means.row())
            self._bar.refresh()
            self._drawn = time.perf_counter()

    def after_epoch(self, run: Run) -> None:
        """Write the epoch's line; a bar shows the epoch's numbers the next time it is drawn."""
        row = run.history.rows[-1]
        if self._bar is None:
            print(epoch_line(row, run), file=self.stream, flush=True)
        else:
            self._set(int(row["epoch"]), run, row)

    def end(self, run: Run) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()  # draws it once more
            self._bar = None

    def _set(self, epoch: int, run: Run, numbers: dict[str, Any]) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{run.epochs}: ", refresh=False)
        self._bar.set_postfix_str(numbers_text(numbers, " ", BAR_NUMBERS), refresh=False)
        self._bar.ncols = columns(self.stream)
        self._bar.n = (epoch - 1) * run.samples + run.means.samples


def numbers_text(numbers: dict[str, Any], separator: str, names: tuple[str, ...]) -> str:
    """Return those of the numbers that there are, as `loss 0.1234 accuracy 0.9712 ...`."""
    values = ((name, numbers.get(name)) for name in names)
    return separator.join(f"{name} {value:.4f}" for name, value in values if value is not None)


def epoch_line(row: dict[str, float], run: Run) -> str:
    """Return one epoch's line."""
    width = len(str(run.epochs))
    rate = run.means.samples / max(row["seconds"], 1e-9)
    counter = f"epoch {int(row['epoch']):{width}}/{run.epochs}"
    return f"{counter}  {numbers_text(row, '  ', NUMBERS)}  {rate:,.0f} samples/s"


def _bar(stream: TextIO, done: int, total: int) -> Any:
    from tqdm import tqdm

    # Without a monitor interval tqdm starts no thread of its own.
    kind = type("Bar", (tqdm,), {"monitor_interval": 0})
    is_utf8 = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return kind(
        total=total or None,
        initial=done,
        bar_format="{desc}{percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}",
        unit=" samples",
        unit_scale=True,
        file=stream,
        ascii=not is_utf8,
        ncols=columns(stream),
        delay=1e-9,  # not drawn at once: the first step may have a line to say about compiling
        nrows=20,  # one that says it has 0 rows would be shown nothing
    )


def columns(stream: TextIO) -> int:
    """Return the width of a terminal; 80 where it does not say, or says 0, as bare ones do."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
