"""The array functions the standard lacks: erf to the last bits, scatter_add, and their dispatch."""

import math

import mpmath
import numpy as np
import pytest

from needle.backend import extensions


def units(x):
    return abs(math.ulp(x))


def test_erf_is_within_two_units_in_the_last_place():
    edges = [0.84375, 1.25, 1 / 0.35, 6.0]
    state = np.random.RandomState(0)
    x = np.concatenate([
        np.linspace(-7, 7, 301), state.randn(200), [np.nextafter(e, 0) for e in edges], edges,
        10.0 ** np.arange(-300, 0, 20),
    ])  # fmt: skip
    y = extensions.erf(x)
    worst = 0.0
    with mpmath.workdps(40):
        for value, mine in zip(x, y, strict=True):
            exact = mpmath.erf(mpmath.mpf(float(value)))
            worst = max(worst, float(abs(mpmath.mpf(float(mine)) - exact) / units(float(exact))))
    assert worst < 2.0


def test_erf_of_special_values():
    y = extensions.erf(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e10, -1e300]))
    np.testing.assert_array_equal(y, [0.0, -0.0, 1.0, -1.0, np.nan, 1.0, -1.0])
    assert math.copysign(1, y[1]) == -1


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", "float16"), ("float32", "float32"), ("float64", "float64"), ("int8", "float64"),
     ("bool", "float64"), ("uint8", "float64")],
)  # fmt: skip
def test_erf_keeps_floating_dtypes_and_shapes(dtype, expected):
    for shape in [(), (0, 2), (2, 3)]:
        y = extensions.erf(np.ones(shape, dtype))
        assert y.shape == shape and y.dtype == expected
    x = np.linspace(-4, 4, 101).astype("float32")
    exact = np.array([math.erf(v) for v in x.astype(float)])
    assert np.abs(extensions.erf(x) - exact).max() <= 2.0**-24


def test_scatter_add_adds_repeats():
    values = np.array([1.0, 2.0, 4.0])
    assert extensions.scatter_add((3,), np.array([0, 0, 2]), values).tolist() == [3.0, 0.0, 4.0]
    assert extensions.scatter_add((2, 2), (slice(None), 0), values[:2]).tolist() == [[1, 0], [2, 0]]
    rows, columns = np.array([0, 1, 0]), np.array([1, 1, 1])
    assert extensions.scatter_add((2, 2), (rows, columns), values).tolist() == [[0, 5], [0, 2]]
    assert extensions.scatter_add((4,), slice(0, 3), values.astype("float32")).dtype == np.float32


def test_arrays_of_another_kind_bring_their_own_functions():
    class Own:
        def erf(self, x):
            return "own erf"

        def scatter_add(self, shape, index, values):
            return "own scatter_add"

        def windows(self, x, axes, sizes, strides, dilations):
            return "own windows"

        def fold(self, x, shape, axes, sizes, strides, dilations):
            return "own fold"

    class Array:
        __needle_extensions__ = Own()

    assert extensions.erf(Array()) == "own erf"
    assert extensions.scatter_add((3,), np.array([0]), Array()) == "own scatter_add"
    assert extensions.scatter_add((3,), (0, Array()), np.ones(1)) == "own scatter_add"
    assert extensions.windows(Array(), (0,), (1,), (1,), (1,)) == "own windows"
    assert extensions.fold(Array(), (3,), (0,), (1,), (1,), (1,)) == "own fold"


WINDOWS = [  # n, size, stride, dilation
    (7, 3, 1, 1), (7, 3, 2, 1), (7, 3, 3, 1), (7, 2, 1, 3), (8, 2, 2, 2), (3, 3, 1, 1),
    (5, 1, 2, 1),
    (2, 3, 1, 1), (4, 2, 1, 4), (0, 1, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("n", "size", "stride", "dilation"), WINDOWS)
def test_windows_hold_the_elements_that_their_positions_say(n, size, stride, dilation):
    x = np.random.RandomState(0).randn(2, n, 3)
    y = extensions.windows(x, (1,), (size,), (stride,), (dilation,))
    starts = [s for s in range(0, n, stride) if s + (size - 1) * dilation < n]
    assert y.shape == (2, len(starts), 3, size)
    for i, start in enumerate(starts):
        for k in range(size):
            np.testing.assert_array_equal(y[:, i, :, k], x[:, start + k * dilation])


def test_windows_of_two_axes_are_a_view_in_the_order_of_the_axes():
    x = np.arange(2 * 5 * 6 * 3.0).reshape(2, 5, 6, 3)
    y = extensions.windows(x, (1, 2), (3, 2), (2, 1), (1, 2))
    assert y.shape == (2, 2, 4, 3, 3, 2) and np.shares_memory(x, y) and not y.flags.writeable
    assert y[1, 1, 3, 2, 2, 1] == x[1, 2 + 2, 3 + 2, 2]


@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (2,), ()])
def test_fold_is_the_transpose_of_windows(axes):
    state = np.random.RandomState(1)
    x = state.randn(2, 7, 6)
    settings = axes, (3, 2)[: len(axes)], (2, 1)[: len(axes)], (1, 3)[: len(axes)]
    y = extensions.windows(x, *settings)
    g = state.randn(*y.shape)
    folded = extensions.fold(g, x.shape, *settings)
    assert folded.shape == x.shape
    np.testing.assert_allclose((folded * x).sum(), (g * y).sum(), rtol=1e-12)
