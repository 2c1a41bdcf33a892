"""What a run shows at its end: tables and curves."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from needle.files import write_bytes
from needle.training import History
from needle.training.history import table


def scores_table(history: History, test: dict[str, float]) -> str:
    """Return loss and accuracy of the epoch whose model was kept, on all parts of the data."""
    kept = history.best_epoch or len(history)
    row = history.rows[kept - 1] if history.rows else {}
    seconds = sum(row["seconds"] for row in history.rows)
    lines = [["", "loss", "accuracy"]]
    parts = {
        "training": (row.get("loss"), row.get("accuracy")),
        "validation": (row.get("val_loss"), row.get("val_accuracy")),
        "test": (test["loss"], test["accuracy"]),
    }
    for name, (loss, accuracy) in parts.items():
        if loss is not None and accuracy is not None:
            lines.append([name.ljust(10), f"{loss:.4f}", f"{accuracy:.4f}"])
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
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for column, label in ((name, "training"), (f"val_{name}", "validation")):
            if column in history.columns:
                axes.plot(history["epoch"], history[column], label=label)
        if history.best_epoch:
            axes.axvline(history.best_epoch, color="grey", linewidth=0.8, label="best epoch")
        axes.set(xlabel="epoch", ylabel=name)
        if axes.lines:
            axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_bytes(path, picture.getvalue())
    return True
