"""Matrix multiplication."""

from __future__ import annotations

import math
from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.errors import ShapeError
from needle.ops.arguments import shape_of, wanted
from needle.ops.movement import reshape, squeeze, sum_to, transpose, unsqueeze


class MatMul(TensorOp):
    """a @ b over the last two axes."""

    name = "matmul"

    def compute(self, a: Any, b: Any) -> Any:
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
            raise ShapeError(
                f"matmul: expected (..., n, k) @ (..., k, m), "
                f"got {tuple(a.shape)} @ {tuple(b.shape)}"
            )
        if len(b.shape) == 2 and len(a.shape) > 2:  # one large product instead of many small ones
            rows = math.prod(a.shape[:-1])
            return (a.reshape((rows, a.shape[-1])) @ b).reshape((*a.shape[:-1], b.shape[-1]))
        return a @ b

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        return wanted(
            node,
            lambda: sum_to(out_grad @ transpose(b), a.shape),
            lambda: sum_to(transpose(_joined(a, b)) @ _joined(out_grad, b), b.shape),
        )


def _joined(x: Tensor, b: Tensor) -> Tensor:
    """Return x as one tall matrix where b is a single matrix for the whole batch."""
    if b.ndim > 2 or x.ndim == 2:
        return x
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def matmul(a: Any, b: Any) -> Tensor:
    """Multiply matrices: (..., n, k) @ (..., k, m); leading axes broadcast; vectors are allowed.

    >>> ops.matmul(ndl.Tensor([[1.0, 2.0]]), ndl.Tensor([[3.0], [4.0]]))
    needle.Tensor([[11.]])
    """
    rows, columns = len(shape_of("matmul", a)), len(shape_of("matmul", b))
    if rows == 1 and columns > 0:
        return squeeze(matmul(unsqueeze(a, 0), b), -1 if columns == 1 else -2)
    if columns == 1 and rows > 0:
        return squeeze(matmul(a, unsqueeze(b, 1)), -1)
    return MatMul()(a, b)
