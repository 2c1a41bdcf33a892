"""The one table of tolerances: per dtype, and the few looser ones, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """Two numbers are close where |a - b| <= atol + rtol * |b|."""

    rtol: float
    atol: float
    reason: str = ""


TOLERANCES = {  # some 10 to 100 roundings of the dtype; integers and booleans are compared exactly
    "float64": Tolerance(rtol=1e-11, atol=1e-13),
    "float32": Tolerance(rtol=1e-5, atol=1e-6),
    "float16": Tolerance(rtol=5e-3, atol=1e-3),
}

LOOSER = {
    "reordered float32": Tolerance(
        rtol=1e-4, atol=2e-5, reason="another formula or compiled: sums in another order, fma"
    ),
    "reordered float64": Tolerance(
        rtol=1e-9, atol=1e-11, reason="another formula or compiled: sums in another order, fma"
    ),
    "training float32": Tolerance(
        rtol=1e-3, atol=1e-4, reason="rounding grows over the steps of an optimizer"
    ),
}


def tolerance_for(*dtypes: np.dtype) -> Tolerance:
    """Return the tolerance of the coarsest floating dtype; exact where there is none."""
    floats = [np.dtype(d) for d in dtypes if np.dtype(d).kind == "f"]
    if not floats:
        return Tolerance(rtol=0.0, atol=0.0)
    coarsest = min(floats, key=lambda d: d.itemsize)
    return TOLERANCES.get(coarsest.name, TOLERANCES["float64"])
