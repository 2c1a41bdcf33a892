"""The array functions that ops need and the Array API standard lacks.

Each takes arrays and dispatches on the first one's `__needle_extensions__`: an object with the same
functions, which a traced array supplies. NumPy arrays have none and get the implementations below.

    erf(x)                              the error function, same shape and dtype
    scatter_add(shape, index, values)   zeros of `shape`, then result[index] += values, repeats too
"""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.backend.erf import erf as _numpy_erf


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
