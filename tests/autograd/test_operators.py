"""Operators: values, reflected forms, arrays on the left, and which nodes they make."""

import operator

import numpy as np
import pytest

import needle as ndl
from needle import ops
from needle.errors import GradientError
from needle.testing import assert_close

A, B = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, 3.0], [2.0, 1.0]])
BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul,
    operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_tensors_and_arrays_on_either_side(function):
    expected = function(A, B)
    for a in (ndl.Tensor(A), A):
        for b in (ndl.Tensor(B), B):
            if a is not A or b is not B:
                result = function(a, b)
                assert isinstance(result, ndl.Tensor) and result.dtype == expected.dtype
                assert_close(result, expected)


@pytest.mark.parametrize(
    "function", [f for f in BINARY if f is not operator.matmul], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("number", [2, 1.5, np.float64(1.5), np.int64(2)], ids=repr)
def test_numbers_on_either_side(function, number):
    for mine, numpys in [
        (function(ndl.Tensor(A), number), function(A, number)),
        (function(number, ndl.Tensor(A)), function(number, A)),
    ]:
        assert isinstance(mine, ndl.Tensor)
        assert_close(mine, numpys)


@pytest.mark.parametrize(
    ("make", "gradient"),
    [
        (lambda t: 3 * t, 3.0), (lambda t: t * 3, 3.0), (lambda t: 3 - t, -1.0),
        (lambda t: t - 3, 1.0),
        (lambda t: 3 / t, -0.75), (lambda t: t / 4, 0.25), (lambda t: t**3, 12.0),
        (lambda t: 3**t, 9 * np.log(3)), (lambda t: -t, -1.0), (lambda t: np.float64(3) * t, 3.0),
        (lambda t: np.array([3.0]) * t, 3.0), (lambda t: np.array([3.0]) - t, -1.0),
        (lambda t: np.array([[3.0]]) @ t.reshape(1, 1), 3.0),
        (lambda t: np.array([3.0]) / t, -0.75),
        (lambda t: np.array([3.0]) ** t, 9 * np.log(3)), (lambda t: np.exp(t), np.exp(2.0)),
    ],
)  # fmt: skip
def test_gradients_of_reflected_forms(make, gradient):
    t = ndl.Tensor([2.0])
    make(t).backward()
    assert_close(t.grad, np.array([gradient]))


def test_which_nodes_operators_make():
    a, b = ndl.Tensor([1.0, 2.0]), ndl.Tensor([3.0, 4.0])
    for value, kind, inputs in [
        (a + b, ops.EWiseAdd, [a, b]), (a * b, ops.EWiseMul, [a, b]), (a / b, ops.EWiseDiv, [a, b]),
        (a**b, ops.EWisePow, [a, b]), (3 * a, ops.MulScalar, [a]), (a * 3, ops.MulScalar, [a]),
        (a + 1.5, ops.AddScalar, [a]), (1.5 + a, ops.AddScalar, [a]), (a / 2, ops.DivScalar, [a]),
        (a**2, ops.PowerScalar, [a]), (-a, ops.Negate, [a]), (a - 1.5, ops.AddScalar, [a]),
        (a.sum(), ops.Summation, [a]), (a.reshape(2, 1), ops.Reshape, [a]),
        (a.broadcast_to((3, 2)), ops.BroadcastTo, [a]), (a[0], ops.GetItem, [a]),
    ]:  # fmt: skip
        assert type(value.op) is kind
        assert len(value.inputs) == len(inputs)
        assert all(x is y for x, y in zip(value.inputs, inputs, strict=True))
    for number in (np.float64(3), np.int64(3)):  # NumPy's numbers reach the ufunc first
        assert type((number * a).op) is type((a * number).op) is ops.MulScalar
        assert type((number + a).op) is ops.AddScalar
    assert (3 * a).op.scalar == 3 and (a - 1.5).op.scalar == -1.5
    assert type((a.reshape(1, 2) @ b.reshape(2, 1)).op) is ops.MatMul


def test_a_difference_is_the_sum_with_the_negative():
    a, b = ndl.Tensor([1.0]), ndl.Tensor([3.0])
    d = a - b
    assert type(d.op) is ops.EWiseAdd and d.inputs[0] is a
    assert type(d.inputs[1].op) is ops.Negate and d.inputs[1].inputs[0] is b


def test_gradient_as_tuple_has_one_entry_per_input():
    a, b = ndl.Tensor([[1.0, 2.0]]), ndl.Tensor([[3.0, 4.0]])
    for node, expected in [
        (a + b, [[1, 1], [1, 1]]), (a * b, [[3, 4], [1, 2]]),
        (a / b, [[1 / 3, 0.25], [-1 / 9, -0.125]]),
        (3 * a, [[3, 3]]), (a + 1, [[1, 1]]), (ops.exp(a), [np.exp([1, 2])]), (-a, [[-1, -1]]),
    ]:  # fmt: skip
        out_grad = ndl.Tensor(np.ones((1, 2)))
        gradients = node.op.gradient_as_tuple(out_grad, node)
        assert isinstance(gradients, tuple) and len(gradients) == len(node.inputs)
        for g, e in zip(gradients, expected, strict=True):
            assert isinstance(g, ndl.Tensor)
            assert_close(g, np.array([e], dtype=float))


def test_ops_can_be_called_as_classes():
    a = ndl.Tensor([[1.0, 2.0]])
    assert ops.AddScalar(2.0)(a).tolist() == [[3.0, 4.0]]
    assert ops.Summation((0,))(a).tolist() == [1.0, 2.0]
    assert ops.Summation(axes=None)(a).item() == 3.0
    assert ops.Transpose(axes=(0, 1))(a).shape == (2, 1)
    assert ops.LogSoftmax()(a).shape == (1, 2) and ops.LogSumExp(axes=1)(a).shape == (1,)
    assert ops.EWiseAdd()(a, a).tolist() == [[2.0, 4.0]]


def test_results_of_constants_are_constants():
    c = ndl.Tensor([1.0], requires_grad=False)
    for y in (
        c + 1,
        c * c,
        ops.exp(c),
        c[0],
        c[ndl.Tensor([0, 0])],
        c.sum(),
        ops.add(np.ones(1), 2.0),
    ):
        assert y.op is None and not y.requires_grad and tuple(y.inputs) == ()
    assert (c * ndl.Tensor([1.0])).requires_grad


def test_comparisons_are_constants_of_bools():
    a = ndl.Tensor([1.0, 2.0])
    for y in (a < 2, a <= 2, a > 1, a >= 1, ops.equal(a, 1), ops.not_equal(a, a)):
        assert y.dtype == np.bool_ and y.op is None and not y.requires_grad
    with pytest.raises(GradientError):
        (a < 2).backward()
