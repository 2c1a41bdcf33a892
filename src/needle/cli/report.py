"""What a run shows at its end: tables and curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from needle.files import atomic_write
from needle.training import History
from needle.training.history import table


def scores_table(history: History, test: dict[str, float] | None) -> str:
    """Return loss and accuracy of the epoch whose model was kept, on all parts of the data.

    Of a text there is no test part and no accuracy; its losses are in nats per character.
    """
    kept = history.best_epoch or len(history)
    row = history.rows[kept - 1] if history.rows else {}
    seconds = sum(row["seconds"] for row in history.rows)
    names = ("loss", "accuracy") if test else ("loss",)
    lines = [["", *names]]
    parts = (("training", row, ""), ("validation", row, "val_"), ("test", test or {}, ""))
    for part, scores, prefix in parts:
        if f"{prefix}loss" in scores:
            numbers = [f"{scores[prefix + name]:.4f}" for name in names]
            lines.append([part.ljust(10), *numbers])
    stopped = ", stopped early" if history.stopped_early else ""
    return f"{table(lines)}\nepoch {kept} of {len(history)}{stopped}, {seconds:.1f} s"


def confusion_table(matrix: np.ndarray) -> str:
    """Return a confusion matrix with its labels: a row for each true one."""
    labels = [str(label) for label in range(len(matrix))]
    rows = [[label, *map(str, row)] for label, row in zip(labels, matrix, strict=True)]
    return "rows: true label, columns: predicted\n" + table([["", *labels], *rows])


def draw_curves(history: History, path: Path) -> bool:
    """Write loss and accuracy over the epochs as a picture; False where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    history.plot(figure)
    with atomic_write(path) as picture:
        figure.savefig(picture, format="png", dpi=120)
    return True
