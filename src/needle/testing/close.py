"""Compare values; the error shows how many differ, and where most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from needle.autograd import TensorTuple
from needle.testing.tolerances import LOOSER, Tolerance, tolerance_for


def assert_close(a: Any, b: Any, *, looser: str | None = None, name: str = "values") -> None:
    """Check that two values agree: |a - b| <= atol + rtol |b|, NaN equal to NaN.

    `a` and `b` are Tensors, arrays, numbers, or lists, tuples and dicts of them. Shapes must be
    equal. The tolerance is that of the coarser floating dtype of the two, integers and booleans are
    compared exactly; `looser` names an entry of `needle.testing.LOOSER` instead.

    Errors: AssertionError with the first value that differs, and its worst element.

    >>> ndl.testing.assert_close(ndl.Tensor([1.0, 2.0]), np.array([1.0, 2.0]))
    >>> ndl.testing.assert_close(ndl.Tensor([1.0, 2.0]), np.array([1.0, 2.5]))
    Traceback (most recent call last):
        ...
    AssertionError: values: 1 of 2 elements differ, most at [1]: 2.0 against 2.5 ...
    """
    tolerance = None if looser is None else LOOSER[looser]
    _compare(a, b, tolerance, name)


def _compare(a: Any, b: Any, tolerance: Tolerance | None, name: str) -> None:
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        _keys_agree(a, b, name)
        for key in a:
            _compare(a[key], b[key], tolerance, f"{name}[{key!r}]")
    elif all(isinstance(x, list | tuple | TensorTuple) for x in (a, b)):
        if len(a) != len(b):
            raise AssertionError(f"{name}: length {len(a)} against {len(b)}")
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(x, y, tolerance, f"{name}[{i}]")
    else:
        message = difference(np.asarray(a), np.asarray(b), tolerance)
        if message:
            raise AssertionError(f"{name}: {message}")


def _keys_agree(a: Any, b: Any, name: str) -> None:
    if not (isinstance(a, Mapping) and isinstance(b, Mapping) and list(a) == list(b)):
        keys = [sorted(x) if isinstance(x, Mapping) else type(x).__name__ for x in (a, b)]
        raise AssertionError(f"{name}: keys differ: {keys[0]} against {keys[1]}")


def difference(a: np.ndarray, b: np.ndarray, tolerance: Tolerance | None = None) -> str:
    """Say in a line how two arrays differ; an empty text where they are close."""
    if a.shape != b.shape:
        return f"shape {a.shape} against {b.shape}"
    tolerance = tolerance or tolerance_for(a.dtype, b.dtype)
    if any(x.dtype.kind not in "biuf" for x in (a, b)):
        return f"cannot compare {a.dtype} with {b.dtype}"
    if tolerance.rtol == tolerance.atol == 0.0:
        gap = np.asarray(a != b, dtype=np.float64)
        excess = gap
    else:
        gap, excess = _gap(a.astype(np.float64), b.astype(np.float64), tolerance)
    if not np.any(excess > 0):
        return ""
    worst = np.unravel_index(int(np.argmax(excess)), a.shape)
    index = "[" + ", ".join(str(int(i)) for i in worst) + "]"
    return (
        f"{np.count_nonzero(excess > 0)} of {a.size} elements differ, most at {index}: "
        f"{a[worst].item()!r} against {b[worst].item()!r} (off by {gap[worst]:.3g}; "
        f"{a.dtype} against {b.dtype}, rtol {tolerance.rtol:g}, atol {tolerance.atol:g})"
    )


def _gap(a: np.ndarray, b: np.ndarray, tolerance: Tolerance) -> tuple[np.ndarray, np.ndarray]:
    """Return |a - b| and by how much it exceeds the tolerance; infinite if only one is finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(a - b)
        excess = gap - (tolerance.atol + tolerance.rtol * np.abs(b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    odd = ~same & ~(np.isfinite(a) & np.isfinite(b))
    return np.where(same, 0.0, gap), np.where(same, 0.0, np.where(odd, np.inf, excess))
