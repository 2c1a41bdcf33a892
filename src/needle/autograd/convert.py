"""What users give as data, turned into an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from needle.autograd.value import Value
from needle.errors import DtypeError, ShapeError


def to_array(array: Any, dtype: DTypeLike | None) -> Any:
    """Return the array that a Tensor made of `array` holds: shared for a Tensor, else a copy."""
    if isinstance(array, Value):
        data = array.realize_cached_data()
        return data if dtype is None or data.dtype == dtype else data.astype(dtype)
    if hasattr(array, "__array_namespace__") and not isinstance(array, np.ndarray | np.generic):
        return array if dtype is None else array.astype(np.dtype(dtype))
    try:
        data = np.array(array, dtype=dtype)
    except (TypeError, OverflowError) as error:
        raise DtypeError(f"Tensor: cannot convert {_brief(array)}: {error}") from error
    except ValueError as error:
        raise ShapeError(f"Tensor: cannot make an array of {_brief(array)}: {error}") from error
    if data.dtype.kind not in "biuf":
        raise DtypeError(
            f"Tensor: expected numbers or booleans, got {data.dtype} from {_brief(array)}; "
            "convert text and dates to numbers first"
        )
    return data


def _brief(array: Any) -> str:
    return f"{array!r:.60}"
