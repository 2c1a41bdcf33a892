# ruff: noqa: F403, F405, UP045  as the course writes it
"""Code as the course has people write it runs unchanged and gives the right numbers."""

from typing import Optional

import numpy
import numpy as array_api
import pytest

import needle as ndl
from needle import ops
from needle.autograd import NDArray, Op, Tensor, TensorOp, TensorTuple, TensorTupleOp, Value
from needle.ops.ops_logarithmic import *
from needle.ops.ops_mathematic import *
from needle.ops.ops_tuple import *
from needle.testing import assert_close, gradcheck


class CourseAdd(TensorOp):
    def compute(self, a: NDArray, b: NDArray):
        return a + b

    def gradient(self, out_grad: Tensor, node: Tensor):
        return out_grad, out_grad


class CourseMatMul(TensorOp):
    def compute(self, a, b):
        return array_api.matmul(a, b)

    def gradient(self, out_grad, node):
        lhs, rhs = node.inputs
        grad_l = matmul(out_grad, transpose(rhs))
        grad_r = matmul(transpose(lhs), out_grad)
        if grad_l.shape != lhs.shape:
            grad_l = summation(grad_l, tuple(range(len(grad_l.shape) - len(lhs.shape))))
        if grad_r.shape != rhs.shape:
            grad_r = summation(grad_r, tuple(range(len(grad_r.shape) - len(rhs.shape))))
        return grad_l, grad_r


class CourseReLU(TensorOp):
    def compute(self, a):
        return array_api.maximum(a, 0)

    def gradient(self, out_grad, node):
        a = node.inputs[0].realize_cached_data()
        return out_grad * Tensor(a > 0)


class CourseLogSumExp(TensorOp):
    def __init__(self, axes: Optional[tuple] = None):
        self.axes = axes

    def compute(self, Z):
        maximum = array_api.max(Z, axis=self.axes, keepdims=True)
        total = array_api.sum(array_api.exp(Z - maximum), axis=self.axes)
        return array_api.log(total) + array_api.max(Z, axis=self.axes)

    def gradient(self, out_grad, node):
        Z = node.inputs[0]
        shape = list(Z.shape)
        for axis in self.axes or range(len(shape)):
            shape[axis] = 1
        spread = node.reshape(shape).broadcast_to(Z.shape)
        return out_grad.reshape(shape).broadcast_to(Z.shape) * exp(Z - spread)


def test_ops_written_for_the_course():
    state = numpy.random.RandomState(0)
    a, b, c = state.randn(3, 4), state.randn(3, 4), state.randn(2, 4, 5)
    for own, ours, inputs in [
        (CourseAdd(), ops.add, (a, b)), (CourseMatMul(), ops.matmul, (a, c)),
        (CourseReLU(), ops.relu, (a,)), (CourseLogSumExp((1,)), ops.EWiseAdd, None),
    ]:  # fmt: skip
        if inputs is None:
            own, ours, inputs = CourseLogSumExp((1,)), lambda z: ops.logsumexp(z, (1,)), (a,)
        gradcheck(own, *inputs, order=1 if own.__class__ is CourseReLU else 2)
        assert_close(own(*map(ndl.Tensor, inputs)), ours(*inputs))


def softmax_loss(Z, y_one_hot):
    batch = Z.shape[0]
    return (summation(log(summation(exp(Z), axes=(1,)))) - summation(Z * y_one_hot)) / batch


def test_an_epoch_of_a_two_layer_network_as_in_the_first_homework():
    state = numpy.random.RandomState(1)
    X, y = state.randn(20, 5).astype("float32"), state.randint(0, 3, 20).astype("uint8")
    W1 = ndl.Tensor(state.randn(5, 8).astype("float32") / 3)
    W2 = ndl.Tensor(state.randn(8, 3).astype("float32") / 3)
    A, B, lr, batch = W1.numpy().astype(float), W2.numpy().astype(float), 0.2, 5
    for start in range(0, 20, batch):
        x, one_hot = ndl.Tensor(X[start : start + batch]), numpy.eye(3)[y[start : start + batch]]
        Z = ndl.matmul(ndl.relu(ndl.matmul(x, W1)), W2)
        loss = softmax_loss(Z, ndl.Tensor(one_hot.astype("float32")))
        loss.backward()
        W1 = ndl.Tensor(W1.realize_cached_data() - lr * W1.grad.realize_cached_data())
        W2 = ndl.Tensor(W2.numpy() - lr * W2.grad.numpy())
        rows = X[start : start + batch].astype(float)
        H = numpy.maximum(rows @ A, 0)
        P = numpy.exp(H @ B)
        G = (P / P.sum(1, keepdims=True) - one_hot) / batch
        A, B = A - lr * rows.T @ (G @ B.T * (H > 0)), B - lr * H.T @ G
    assert W1.dtype == W2.dtype == "float32"
    assert_close([W1, W2], [A, B], looser="reordered float32")


def test_an_optimizer_step_through_data():
    w = ndl.Tensor([1.0, 2.0], dtype="float32")
    (w * w).sum().backward()
    w.data = w.data - 0.5 * w.grad.data
    assert w.tolist() == [0.0, 0.0] and w.dtype == "float32" and w.requires_grad and w.is_leaf()
    w.data += 1
    assert w.tolist() == [1.0, 1.0]


def test_gradients_of_the_courses_own_example():
    """The expression and the numbers of the homework's topological-sort and gradient tests."""
    x2, x3 = ndl.Tensor([6]), ndl.Tensor([0])
    y = x2 * x2 + x2 * x3
    y.backward()
    grad_x2, grad_x3 = x2.grad, x3.grad
    assert grad_x2.numpy() == 12 and grad_x3.numpy() == 6
    grad_x2.backward()
    assert x2.grad.numpy() == 2 and x3.grad.numpy() == 1
    grad_x3.backward()
    assert x2.grad.numpy() == 1


@pytest.mark.parametrize("base", [Op, TensorOp, TensorTupleOp, Tensor, TensorTuple, Value])
def test_bases_are_where_the_course_imports_them_from(base):
    assert getattr(ndl.autograd, base.__name__) is base
