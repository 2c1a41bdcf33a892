"""What happened in a training run, epoch by epoch, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class History:
    """One row of numbers an epoch: `history["val_loss"]` is a list, `history.rows[0]` a dict.

    Columns: `epoch` (from 1), `loss` (mean over the epoch's samples, while training), `accuracy`
    (where labels are integers), `val_loss` and `val_accuracy` (with validation data), `lr`,
    `seconds`. `best_epoch` is None unless early stopping chose one.

    >>> history = ndl.training.History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    >>> print(history)
    epoch    loss
        1  0.5000
        2  0.2500
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

    def __getitem__(self, column: str) -> list[float]:
        if not any(column in row for row in self.rows):
            raise KeyError(f"History: no column {column!r}; there are {', '.join(self.columns)}")
        return [row.get(column, float("nan")) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # a history of no epochs is still one

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order in which they appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __str__(self) -> str:
        lines = [self.columns, *([_short(row.get(c)) for c in self.columns] for row in self.rows)]
        return table(lines)


def table(lines: Iterable[Iterable[str]]) -> str:
    """Return rows of texts as one text, columns right-aligned and two blanks apart."""
    rows = [list(line) for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[text.rjust(w) for text, w in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row) for row in aligned)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:#.4g}"
