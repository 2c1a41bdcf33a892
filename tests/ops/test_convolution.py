"""Convolution and pooling against loops; blocks of images; gradients that are not asked for."""

import numpy as np
import pytest

import needle as ndl
from needle import ops
from needle.ops import convolution
from needle.testing import assert_close

state = np.random.RandomState(0)


def by_loops(a, b, stride, padding, dilation):
    """The definition, an element at a time."""
    (kernel, width, channels, filters), (images, *size, _) = b.shape, a.shape
    reach = [(k - 1) * dilation for k in (kernel, width)]
    out = [(n + 2 * padding - r - 1) // stride + 1 for n, r in zip(size, reach, strict=True)]
    result = np.zeros((images, *out, filters))
    for n, y, x, i, j in np.ndindex(images, *out, kernel, width):
        row, column = y * stride + i * dilation - padding, x * stride + j * dilation - padding
        if 0 <= row < size[0] and 0 <= column < size[1]:
            for c, o in np.ndindex(channels, filters):
                result[n, y, x, o] += a[n, row, column, c] * b[i, j, c, o]
    return result


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((2, 3), 2), ((1, 1), 1)])
def test_conv_is_its_definition(stride, padding, kernel, dilation):
    a, b = state.randn(2, 6, 5, 2), state.randn(*kernel, 2, 3)
    expected = by_loops(a, b, stride, padding, dilation)
    assert_close(ops.conv(a, b, stride, padding, dilation), expected)


def test_blocks_of_images_give_the_same(monkeypatch):
    a, b = ndl.Tensor(state.randn(5, 4, 4, 2)), ndl.Tensor(state.randn(3, 3, 2, 3))

    def run():
        y = ops.conv(a, b)
        (y * y).sum().backward()
        return y.numpy(), a.grad.numpy(), b.grad.numpy()

    whole = run()
    image = 4 * 4 * 9 * 2 * 8  # bytes of one image's windows
    counts, rows = [], ops.Conv.rows

    def counted(*args):
        parts = list(rows(*args))
        counts.append(len(parts))
        return iter(parts)

    monkeypatch.setattr(ops.Conv, "rows", counted)
    for size, blocks in [(2 * image, 3), (1, 5), (5 * image, 1)]:
        monkeypatch.setattr(convolution, "_BLOCK", size)
        for mine, expected in zip(run(), whole, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12)
        assert counts[0] == blocks
        counts.clear()


def test_no_gradient_is_computed_for_constants():
    a, b = state.randn(1, 3, 3, 1), state.randn(3, 3, 1, 1)
    for x, w in [(ndl.Tensor(a), b), (a, ndl.Tensor(b))]:
        y = ops.conv(x, w)
        given = y.op.gradient_as_tuple(ndl.ones(*y.shape, dtype="float64"), y)
        assert [g is not None for g in given] == [isinstance(t, ndl.Tensor) for t in (x, w)]


def test_the_class_of_the_course():
    a, b = state.randn(2, 5, 5, 3), state.randn(3, 3, 3, 4)
    op = ops.Conv(stride=2, padding=1)
    assert (op.stride, op.padding) == (2, 1)
    assert_close(op(ndl.Tensor(a), ndl.Tensor(b)), by_loops(a, b, 2, 1, 1))
    assert ops.Conv().padding == 0 and ops.conv(a, b).shape == (2, 5, 5, 4)


def test_max_pool_shares_the_gradient_of_equal_elements():
    x = ndl.Tensor(np.array([[3.0, 3.0], [1.0, 3.0]]).reshape(1, 2, 2, 1))
    ops.max_pool(x, 2).backward()
    assert_close(x.grad.reshape(-1), np.array([1, 1, 0, 1]) / 3)


def test_max_pool_of_negative_numbers_does_not_see_its_padding():
    x = -np.ones((1, 2, 2, 1))
    assert (ops.max_pool(x, 2, padding=1).numpy() == -1).all()
    assert_close(ops.avg_pool(x, 2, padding=1), np.full((1, 2, 2, 1), -0.25))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
@pytest.mark.parametrize("wrap", [lambda f: f, ndl.jit], ids=["eager", "compiled"])
def test_max_pool_of_padded_integers(dtype, wrap):
    x = (
        np.array([[[[0], [1]], [[3], [0]]]], dtype)
        if dtype != "int64"
        else -np.ones((1, 2, 2, 1), int)
    )
    y = wrap(lambda x: ops.max_pool(x, 2, padding=1))(x)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.numpy(), x)


def test_windows_share_memory():
    x = ndl.Tensor(state.randn(6))
    assert np.shares_memory(ops.windows(x, 0, 3).cached_data, x.cached_data)
