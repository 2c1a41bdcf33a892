import math

import numpy as np
import pytest

from tests.compiler.math_reference import DOUBLE, EXACT, exact, single, ulps
from tests.compiler.native_helper import elementwise

RANGES = {
    "exp": (-110, 95), "expm1": (-30, 95), "log": (0, 4), "log1p": (-1, 4), "tanh": (-11, 11),
    "sigmoid": (-110, 30), "erf": (-5, 5), "sin": (-4e5, 4e5), "cos": (-4e5, 4e5),
    "sqrt": (0, 100), "rsqrt": (0, 100),
}  # fmt: skip
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, math.inf, -math.inf, math.nan]


def special(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    extremes = [info.tiny, info.smallest_subnormal, info.max, info.eps]
    return np.array(SPECIAL + extremes + [-x for x in extremes], dtype)


def bit_patterns(seed: int, count: int, dtype: str) -> np.ndarray:
    """Any bits: all exponents, NaNs, denormals alike."""
    kind = {"float32": np.uint32, "float64": np.uint64}[dtype]
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(kind).max, count, kind, endpoint=True).view(dtype)


@pytest.mark.parametrize("fn", DOUBLE)
def test_float32_is_within_2_ulp_over_all_bits_and_over_the_range_where_it_varies(fn):
    rng = np.random.default_rng(1)
    x = np.concatenate([
        bit_patterns(0, 750_000, "float32"),
        rng.uniform(*RANGES[fn], 250_000).astype(np.float32),
        special("float32"),
    ])  # fmt: skip
    distance = ulps(elementwise(fn, "float32", 1, 16)(x), single(fn, x))
    worst = distance.argmax()
    assert distance[worst] <= 2, (fn, x[worst], distance[worst])


@pytest.mark.parametrize("fn", [fn for fn in EXACT if fn not in ("pow", "atan2")])
def test_float64_is_within_4_ulp(fn):
    rng = np.random.default_rng(2)
    low, high = RANGES[fn]
    scale = 7.0 if fn in ("exp", "expm1", "sigmoid") else 1.0
    x = np.concatenate([
        rng.uniform(scale * low, scale * high, 400),
        rng.uniform(max(low, -1), 1, 400),
        np.ldexp(rng.uniform(0.5, 1, 400), rng.integers(-1000, 1000, 400)),
    ])  # fmt: skip
    with np.errstate(all="ignore"):
        x = x[np.isfinite(DOUBLE[fn](x)) & (x >= -1 if fn == "log1p" else x == x)]
    distance = ulps(elementwise(fn, "float64", 1, 8)(x), exact(fn, x))
    worst = distance.argmax()
    assert distance[worst] <= 4, (fn, x[worst], distance[worst])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fn", DOUBLE)
def test_special_values_are_numpys(fn, dtype):
    x = special(dtype)
    with np.errstate(all="ignore"):
        expected = DOUBLE[fn](x.astype(np.float64)).astype(dtype)
    assert ulps(elementwise(fn, dtype, 1, 8)(x), expected).max() <= 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fn", ["pow", "atan2", "fmod"])
def test_special_pairs_are_numpys(fn, dtype):
    x, y = (a.ravel() for a in np.meshgrid(special(dtype), special(dtype)))
    with np.errstate(all="ignore"):
        expected = {"pow": np.power, "atan2": np.arctan2, "fmod": np.fmod}[fn](x, y)
    distance = ulps(elementwise(fn, dtype, 2, 8)(x, y), expected)
    worst = distance.argmax()
    assert distance[worst] <= 4, (fn, x[worst], y[worst], expected[worst])


@pytest.mark.parametrize("fn", ["pow", "atan2"])
def test_float32_functions_of_two_are_within_4_ulp(fn):
    rng = np.random.default_rng(3)
    x = np.concatenate([
        bit_patterns(4, 300_000, "float32"),
        np.exp(rng.uniform(-20, 20, 300_000)).astype(np.float32),
    ])  # fmt: skip
    y = np.concatenate([
        bit_patterns(5, 300_000, "float32"),
        rng.uniform(-10, 10, 300_000).astype(np.float32),
    ])  # fmt: skip
    distance = ulps(elementwise(fn, "float32", 2, 16)(x, y), single(fn, x, y))
    worst = distance.argmax()
    assert distance[worst] <= 4, (fn, x[worst], y[worst], distance[worst])


def test_float32_pow_agrees_with_mpmath():
    rng = np.random.default_rng(6)
    x = np.exp(rng.uniform(-28, 28, 2000)).astype(np.float32)
    y = rng.uniform(-3, 3, 2000).astype(np.float32)
    expected = exact("pow", x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    assert ulps(elementwise("pow", "float32", 2, 16)(x, y), expected).max() <= 4


@pytest.mark.parametrize("fn", ["pow", "atan2"])
def test_float64_functions_of_two_are_within_4_ulp(fn):
    rng = np.random.default_rng(7)
    x = np.exp(rng.uniform(-300, 300, 2000))
    y = rng.uniform(-2.3, 2.3, 2000)
    near = rng.uniform(0.5, 1.5, 1000)
    x, y = np.concatenate([x, near]), np.concatenate([y, rng.uniform(-900, 900, 1000)])
    distance = ulps(elementwise(fn, "float64", 2, 8)(x, y), exact(fn, x, y))
    worst = distance.argmax()
    assert distance[worst] <= 4, (fn, x[worst], y[worst], distance[worst])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_remainder_is_exact(dtype):
    x, y = bit_patterns(8, 100_000, dtype), bit_patterns(9, 100_000, dtype)
    with np.errstate(all="ignore"):
        expected = np.fmod(x, y)
    assert ulps(elementwise("fmod", dtype, 2, 8)(x, y), expected).max() == 0


@pytest.mark.parametrize("fn", ["exp", "log1p", "tanh", "erf", "sin", "pow"])
def test_every_width_gives_the_same_bits(fn):
    rng = np.random.default_rng(10)
    arrays = [rng.uniform(0, 9, 1003).astype(np.float32) for _ in range(2 if fn == "pow" else 1)]
    wide = elementwise(fn, "float32", len(arrays), 16)(*arrays)
    for width in (1, 4, 8):
        narrow = elementwise(fn, "float32", len(arrays), width)(*arrays)
        assert narrow.tobytes() == wide.tobytes(), width
