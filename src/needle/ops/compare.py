"""Comparisons, which give bool Tensors without gradient, and selection by them."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.ops.movement import sum_to


class Less(TensorOp):
    """a < b."""

    name = "less"
    differentiable = False

    def compute(self, a: Any, b: Any) -> Any:
        return a < b


class LessEqual(TensorOp):
    """a <= b."""

    name = "less_equal"
    differentiable = False

    def compute(self, a: Any, b: Any) -> Any:
        return a <= b


class Equal(TensorOp):
    """a == b."""

    name = "equal"
    differentiable = False

    def compute(self, a: Any, b: Any) -> Any:
        return a == b


class NotEqual(TensorOp):
    """a != b."""

    name = "not_equal"
    differentiable = False

    def compute(self, a: Any, b: Any) -> Any:
        return a != b


class Sign(TensorOp):
    """-1, 0 or 1."""

    name = "sign"
    differentiable = False

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().sign(a)


def less(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a < b.

    >>> ops.less(ndl.Tensor([1.0, 2.0]), 1.5)
    needle.Tensor([ True False])
    """
    return Less()(a, b)


def less_equal(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a <= b."""
    return LessEqual()(a, b)


def greater(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a > b."""
    return Less()(b, a)


def greater_equal(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a >= b."""
    return LessEqual()(b, a)


def equal(a: Any, b: Any) -> Tensor:
    """Compare values elementwise (`==` between Tensors is identity).

    >>> ops.equal(ndl.Tensor([1.0, 2.0]), 2)
    needle.Tensor([False  True])
    """
    return Equal()(a, b)


def not_equal(a: Any, b: Any) -> Tensor:
    """Compare values elementwise: True where they differ."""
    return NotEqual()(a, b)


def sign(a: Any) -> Tensor:
    """Take the sign: -1, 0 or 1; a constant, its gradient is 0."""
    return Sign()(a)


class Where(TensorOp):
    """a where the condition holds, else b."""

    name = "where"

    def compute(self, condition: Any, a: Any, b: Any) -> Any:
        return condition.__array_namespace__().where(condition, a, b)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        condition, a, b = node.inputs
        return (
            None,
            sum_to(where(condition, out_grad, 0), a.shape),
            sum_to(where(condition, 0, out_grad), b.shape),
        )


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Select elementwise with broadcasting: a where `condition` (bool) holds, else b.

    >>> x = ndl.Tensor([-1.0, 2.0])
    >>> ops.where(x > 0, x, 0)
    needle.Tensor([0. 2.])
    """
    if getattr(condition, "dtype", "bool") != "bool":
        condition = not_equal(condition, 0)
    return Where()(condition, a, b)
