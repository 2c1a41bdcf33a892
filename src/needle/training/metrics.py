"""How good predictions are."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.errors import DtypeError, IndexRangeError, ShapeError


def accuracy(logits: Any, labels: Any) -> float:
    """Return the share of samples whose largest logit is that of their label.

    Shapes: logits (N, k), labels (N,) of any integral dtype or whole floats.
    Raises: ShapeError where they do not fit, or for N = 0.

    >>> ndl.training.accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        text = f"expected logits (N, k) and labels (N,), N >= 1, got {logits.shape}, {labels.shape}"
        raise ShapeError(f"accuracy: {text}")
    return float(np.mean(logits.argmax(axis=1) == labels))


def confusion_matrix(labels: Any, predicted: Any, classes: int | None = None) -> np.ndarray:
    """Return counts (k, k): row the true label, column the predicted one.

    `classes` is k; by default the largest label of both, plus 1.
    Raises: ShapeError where lengths differ, DtypeError for labels that are no integers,
    IndexRangeError for a label outside 0..k-1.

    >>> ndl.training.confusion_matrix([0, 0, 1], [0, 1, 1])
    array([[1, 1],
           [0, 1]])
    """
    true, guess = np.asarray(labels), np.asarray(predicted)
    if true.ndim != 1 or true.shape != guess.shape:
        text = f"expected two equal lengths, got {true.shape} and {guess.shape}"
        raise ShapeError(f"confusion_matrix: {text}")
    if true.dtype.kind not in "iub" or guess.dtype.kind not in "iub":
        text = f"expected integer labels, got {true.dtype} and {guess.dtype}"
        raise DtypeError(f"confusion_matrix: {text}")
    both = np.concatenate([true, guess]).astype(np.int64)
    k = int(both.max(initial=-1)) + 1 if classes is None else classes
    if both.size and (both.min() < 0 or both.max() >= k):
        wrong = both.min() if both.min() < 0 else both.max()
        raise IndexRangeError(f"confusion_matrix: label {wrong} is outside 0..{k - 1}")
    return np.bincount(true.astype(np.int64) * k + guess, minlength=k * k).reshape(k, k)
