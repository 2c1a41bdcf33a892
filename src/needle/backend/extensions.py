"""The array functions that ops need and the Array API standard lacks.

Each takes arrays and dispatches on the first one's `__needle_extensions__`: an object with the same
functions, which a traced array supplies. NumPy arrays have none and get the implementations below.

    erf(x)                              the error function, same shape and dtype
    scatter_add(shape, index, values)   zeros of `shape`, then result[index] += values, repeats too
    checked_labels(labels, n, op)       labels as integers; an error for one outside 0 .. n - 1
    windows(x, axes, sizes, strides, dilations)       the sliding windows along axes, as a view
    fold(x, shape, axes, sizes, strides, dilations)   its gradient: windows added into zeros

Windows of k elements that lie d apart start every s elements along an axis of n: there are
(n - (k - 1) d - 1) // s + 1 of them, none where the axis is too short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from needle.backend.erf import erf as _numpy_erf
from needle.errors import ArgumentError, IndexRangeError


def _extensions(array: Any) -> Any:
    return getattr(array, "__needle_extensions__", None)


def erf(x: Any) -> Any:
    """Return 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, elementwise."""
    other = _extensions(x)
    return _numpy_erf(x) if other is None else other.erf(x)


def scatter_add(shape: tuple[int, ...], index: Any, values: Any) -> Any:
    """Return zeros of `shape` with `values` added at `index` (any NumPy index), repeats too."""
    parts = index if isinstance(index, tuple) else (index,)
    for array in (values, *parts):
        other = _extensions(array)
        if other is not None:
            return other.scatter_add(shape, index, values)
    result = np.zeros(shape, dtype=values.dtype)
    if all(isinstance(part, int | slice | type(None) | type(Ellipsis)) for part in parts):
        result[index] = values  # basic indexing meets no element twice
    else:
        np.add.at(result, index, values)
    return result


def checked_labels(labels: Any, n: int, op: str) -> Any:
    """Return labels of any dtype as integers; IndexRangeError for one outside 0 .. n - 1.

    ArgumentError for one with a fraction. A compiled program checks its labels at each call.
    """
    other = _extensions(labels)
    if other is not None:
        return other.checked_labels(labels, n)
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        wrong = labels[labels != np.floor(labels)].flat[0]
        raise ArgumentError(f"{op}: expected integers as labels, got {wrong}")
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if labels.size and (low < 0 or high >= n):
        wrong = low if low < 0 else high
        raise IndexRangeError(f"{op}: expected labels from 0 to {n - 1}, got {wrong}")
    return labels if labels.dtype.kind in "iu" else labels.astype(np.int64)


Ints = Sequence[int]


def windows(x: Any, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints) -> Any:
    """Return the sliding windows: `axes` count positions, the axes within a window come last.

    windows(x (N, H, W, C), (1, 2), (K, L), ...) has the shape (N, H', W', C, K, L). The result is
    a view that may not be written to.
    """
    other = _extensions(x)
    if other is not None:
        return other.windows(x, axes, sizes, strides, dilations)
    shape, steps = list(x.shape), list(x.strides)
    for axis, size, stride, dilation in zip(axes, sizes, strides, dilations, strict=True):
        shape[axis] = window_count(x.shape[axis], size, stride, dilation)
        steps[axis] = x.strides[axis] * stride
        shape.append(size)
        steps.append(x.strides[axis] * dilation)
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)


def window_count(n: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows fit into an axis of n elements."""
    return max(0, (n - (size - 1) * dilation - 1) // stride + 1)


def fold(x: Any, shape: Ints, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints) -> Any:
    """Add the windows x, laid out as `windows` returns them, into zeros of `shape`."""
    other = _extensions(x)
    if other is not None:
        return other.fold(x, shape, axes, sizes, strides, dilations)
    result = np.zeros(shape, dtype=x.dtype)
    for place, index in fold_slices(shape, x.shape, axes, sizes, strides, dilations):
        result[index] += x[(..., *place)]
    return result


def fold_slices(
    shape: Ints, windows_shape: Ints, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield for each place within a window the slices of `shape` that its elements belong to."""
    for place in np.ndindex(*sizes):
        index = [slice(None)] * len(shape)
        for axis, at, stride, dilation in zip(axes, place, strides, dilations, strict=True):
            first, count = at * dilation, windows_shape[axis]
            index[axis] = slice(first, first + (count - 1) * stride + 1 if count else first, stride)
        yield place, tuple(index)
