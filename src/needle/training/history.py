"""What happened in a training run, epoch by epoch, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


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
        return table(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from needle import markup

        pictures = [markup.chart(name, self["epoch"], c) for name, c in self.panels().items()]
        return "".join([*pictures, markup.table(self._lines())])

    def plot(self, figure: Any = None) -> list[Any]:
        """Draw loss and accuracy over the epochs with matplotlib, and return their axes.

        `figure` is one to draw into; by default a new one of pyplot, which a notebook shows by
        itself and `pyplot.show()` elsewhere. Errors: ImportError where matplotlib is not installed
        (`pip install needle-dl[plots]`).

        >>> history = ndl.training.History([{"epoch": 1, "loss": 0.5, "val_loss": 0.6}])
        >>> from matplotlib.figure import Figure
        >>> len(history.plot(Figure()))
        1
        """
        if figure is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=(9, 3.5), layout="constrained")
        panels = self.panels()
        drawn = figure.subplots(1, len(panels), squeeze=False)[0] if panels else []
        for axes, (name, curves) in zip(drawn, panels.items(), strict=True):
            for label, values in curves.items():
                axes.plot(self["epoch"], values, label=label)
            if self.best_epoch:
                axes.axvline(self.best_epoch, color="grey", linewidth=0.8, label="best epoch")
            axes.set(xlabel="epoch", ylabel=name)
            axes.legend()
        return list(drawn)

    def panels(self) -> dict[str, dict[str, list[float]]]:
        """The curves of loss and of accuracy, those that there are."""
        parts = {"training": "", "validation": "val_"}
        panels = {
            name: {k: self[p + name] for k, p in parts.items() if p + name in self.columns}
            for name in ("loss", "accuracy")
        }
        return {name: curves for name, curves in panels.items() if curves}

    def _lines(self) -> list[list[str]]:
        return [self.columns, *([_short(row.get(c)) for c in self.columns] for row in self.rows)]


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
