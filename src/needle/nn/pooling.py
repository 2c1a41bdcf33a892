"""Pooling of images (N, C, H, W) as modules."""

from __future__ import annotations

from typing import Any

from needle import ops
from needle.autograd import Tensor
from needle.nn.module import Module


class MaxPool2d(Module):
    """The largest element of each window; arguments and shapes as in `ops.max_pool`.

    x (N, C, H, W) -> (N, C, H', W'); `stride` is the kernel size unless it is given.

    >>> nn.MaxPool2d(3, stride=2, padding=1)(ndl.zeros(2, 8, 16, 16)).shape
    (2, 8, 8, 8)
    """

    pool = staticmethod(ops.max_pool)

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Any) -> Tensor:
        return self.pool(x, self.kernel_size, self.stride, self.padding, layout="NCHW")

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride {self.stride}"


class AvgPool2d(MaxPool2d):
    """The mean of each window; arguments and shapes as in `ops.avg_pool`.

    >>> nn.AvgPool2d(2)(ndl.zeros(2, 8, 16, 16)).shape
    (2, 8, 8, 8)
    """

    pool = staticmethod(ops.avg_pool)


class AdaptiveAvgPool2d(Module):
    """Means that leave `output_size` rows and columns, as in `ops.adaptive_avg_pool`.

    >>> nn.AdaptiveAvgPool2d(1)(ndl.zeros(2, 8, 7, 7)).shape
    (2, 8, 1, 1)
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Tensor:
        return ops.adaptive_avg_pool(x, self.output_size, layout="NCHW")

    def extra_repr(self) -> str:
        return f"{self.output_size}"
