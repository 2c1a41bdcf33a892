"""Layers without state of their own beside weights: Linear, Flatten, Identity."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ShapeError, whole_number
from needle.nn.calls import check_array, check_last_axes, fail, warn_precision
from needle.nn.module import Module, Parameter


class Identity(Module):
    """The input itself.

    >>> nn.Identity()(ndl.Tensor([1.0]))
    needle.Tensor([1.])
    """

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """All axes but the first joined: (N, ...) -> (N, product).

    Errors: ShapeError for a 0-d input.

    >>> nn.Flatten()(ndl.zeros(2, 3, 4)).shape
    (2, 12)
    """

    def forward(self, x: Any) -> Tensor:
        check_array(self, x)
        if len(x.shape) == 0:
            raise fail(self, ShapeError, "expected at least one axis, got ()")
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Linear(Module):
    """x W + b.

    Shapes: x (..., in_features), W (in_features, out_features), b (1, out_features); any rank of x.
    W is drawn first, by `init.kaiming_uniform(in_features, out_features)`, then b by
    `init.kaiming_uniform(out_features, 1)`. `bias` is None without a bias.

    Errors: ShapeError where the last axis of x is not in_features. Warns (PrecisionWarning) where a
    float64 input makes a float32 layer compute in float64.

    >>> nn.Linear(3, 2)(ndl.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        self.in_features = whole_number("Linear: expected in_features", in_features, 1)
        self.out_features = whole_number("Linear: expected out_features", out_features, 1)
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = Parameter(init.kaiming_uniform(self.in_features, self.out_features, **kinds))
        self.bias: Parameter | None = None
        if bias:
            column = init.kaiming_uniform(self.out_features, 1, **kinds)
            self.bias = Parameter(ops.reshape(column, (1, self.out_features)))

    def forward(self, x: Any) -> Tensor:
        check_last_axes(self, x, self.in_features)
        warn_precision(self, x, self.weight)
        y = ops.matmul(x, self.weight)
        if self.bias is None:
            return y
        bias = self.bias if len(y.shape) > 1 else ops.reshape(self.bias, (self.out_features,))
        return y + bias

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features} -> {self.out_features}{bias}"
