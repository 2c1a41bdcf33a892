"""An op of your own: what it computes, how it is differentiated, and a check of the latter."""

from typing import Any

import numpy as np

import needle as ndl
from needle.testing import gradcheck


class Softplus(ndl.TensorOp):
    """log(1 + e^a), without overflow."""

    def compute(self, a: Any) -> Any:
        return np.logaddexp(a, 0)

    def gradient(self, out_grad: ndl.Tensor, node: ndl.Tensor) -> ndl.Tensor:
        return out_grad * ndl.sigmoid(node.inputs[0])


def softplus(a: Any) -> ndl.Tensor:
    """Apply it like any other op."""
    return Softplus()(a)


if __name__ == "__main__":
    x = ndl.Tensor(np.linspace(-3, 3, 7))
    softplus(x).sum().backward()
    print("softplus", softplus(x))
    print("gradient", x.grad)
    gradcheck(softplus, x, order=2)
    print("first and second derivative agree with finite differences")
