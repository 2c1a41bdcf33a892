"""Elementary functions in float64 (for float32) and in mpmath (for float64), and ulp distances.

    PYTHONPATH=. python -m tests.compiler.math_reference [FUNCTION ...]

compares all 2^32 float32 inputs of each function (about three minutes a function on one core).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

import mpmath as mp
import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


DOUBLE: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": lambda x: _erf(x).astype(np.float64),
    "sin": np.sin,
    "cos": np.cos,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}

EXACT: dict[str, Callable[..., mp.mpf]] = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "erf": mp.erf,
    "sin": mp.sin,
    "cos": mp.cos,
    "sqrt": mp.sqrt,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "pow": mp.power,
    "atan2": mp.atan2,
}


def ordered(x: np.ndarray) -> np.ndarray:
    """Floats as integers in their order, neighbours one apart, both zeros 0."""
    kind = {4: np.int32, 8: np.int64}[x.dtype.itemsize]
    bits = x.view(kind).astype(np.int64)
    magnitude = bits & np.int64(np.iinfo(kind).max)
    return np.where(bits < 0, -magnitude, magnitude)


def ulps(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How many floats apart; a wrong NaN or a wrong sign of zero counts 2^40."""
    distance = np.abs(ordered(got) - ordered(expected))
    both = np.isnan(got) & np.isnan(expected)
    wrong = np.isnan(got) != np.isnan(expected)
    wrong |= (got == 0) & (expected == 0) & (np.signbit(got) != np.signbit(expected))
    return np.where(both, 0, np.where(wrong, 1 << 40, distance))


def single(fn: str, *arrays: np.ndarray) -> np.ndarray:
    """The correctly rounded float32 result, but for ties of the float64 one."""
    definition = {**DOUBLE, "pow": np.power, "atan2": np.arctan2, "fmod": np.fmod}[fn]
    with np.errstate(all="ignore"):
        return definition(*[a.astype(np.float64) for a in arrays]).astype(np.float32)


def exact(fn: str, *arrays: np.ndarray) -> np.ndarray:
    """The correctly rounded float64 result, element by element, for finite results."""
    with mp.workprec(200 if fn not in ("sin", "cos") else 1300):
        rows = zip(*[a.tolist() for a in arrays], strict=True)
        return np.array([float(EXACT[fn](*map(mp.mpf, row))) for row in rows])


def main() -> None:
    """All 2^32 inputs."""
    from tests.compiler.native_helper import elementwise

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=list(DOUBLE))
    chunk = 1 << 22
    failed = False
    for fn in parser.parse_args().functions:
        compiled = elementwise(fn, "float32", 1, 16)
        worst, where, inexact = 0, 0.0, 0
        for start in range(0, 1 << 32, chunk):
            x = np.arange(start, start + chunk, dtype=np.uint32).view(np.float32)
            distance = ulps(compiled(x), single(fn, x))
            inexact += int(np.count_nonzero(distance))
            if distance.max() > worst:
                worst, where = int(distance.max()), float(x[distance.argmax()])
        failed |= worst > 2
        print(
            f"{fn}: at most {worst} ulp, at {where!r}; {inexact / 2**32:.4%} not exact", flush=True
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
