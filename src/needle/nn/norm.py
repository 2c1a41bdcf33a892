"""Normalisation: each row (LayerNorm) or each feature over the batch (BatchNorm)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ShapeError, whole_number
from needle.nn.calls import check_last_axes, check_shape, fail, warn_precision
from needle.nn.module import Module, Parameter


class LayerNorm(Module):
    """w (x - mean) / sqrt(var + eps) + b, mean and variance over the last axes together.

    `shape` is that of these axes, an int for the last one. The variance is biased (divided by the
    number of elements). Shapes: x (..., *shape); w, b of `shape`, ones and zeros.

    Errors: ShapeError where x does not end in `shape`.

    Source: Ba et al., "Layer Normalization", 2016.

    >>> nn.LayerNorm((2, 3))(ndl.zeros(5, 2, 3)).shape
    (5, 2, 3)
    """

    argument = "shape"

    def __init__(
        self,
        shape: int | Sequence[int],
        eps: float = 1e-5,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        sizes = shape if isinstance(shape, Sequence) else (shape,)
        text = f"{type(self).__name__}: expected a size"
        self.shape = tuple(whole_number(text, n, 1) for n in sizes or (0,))
        self.eps = eps
        self.weight = Parameter(init.ones(*self.shape, device=device, dtype=dtype))
        self.bias = Parameter(init.zeros(*self.shape, device=device, dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        check_last_axes(self, x, *self.shape, argument=self.argument)
        warn_precision(self, x, self.weight)
        axes = tuple(range(-len(self.shape), 0))
        return ops.normalize(x, axes, self.eps) * self.weight + self.bias

    def extra_repr(self) -> str:
        return " x ".join(map(str, self.shape))


class LayerNorm1d(LayerNorm):
    """w (x - mean) / sqrt(var + eps) + b, mean and variance over the last axis: `LayerNorm(dim)`.

    Shapes: x (..., dim); w, b (dim,), ones and zeros.

    Errors: ShapeError where the last axis of x is not dim.

    >>> nn.LayerNorm1d(2, eps=0.0)(ndl.Tensor([[1.0, 3.0]], dtype="float32"))
    needle.Tensor([[-1.  1.]])
    """

    argument = "dim"

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__(dim, eps, device, dtype)
        (self.dim,) = self.shape


class BatchNorm1d(Module):
    """w (x - mean) / sqrt(var + eps) + b, mean and variance over the batch; x (N, dim).

    In training they are those of the batch, and the running estimates follow:
    running = (1 - momentum) running + momentum batch. In evaluation the running estimates are used.
    The variance is biased (divided by N) in both places; texts that say unbiased for the running
    one differ from the results of this layer by N / (N - 1). A batch of one is allowed in training:
    its variance is 0 and the result is b.

    State: weight, bias, buffers running_mean (zeros) and running_var (ones), each (dim,).

    Errors: ShapeError unless x is (N, dim), with N at least 1 in training.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015.

    >>> norm = nn.BatchNorm1d(1, eps=0.0)
    >>> norm(ndl.Tensor([[1.0], [3.0]], dtype="float32")).numpy().tolist()
    [[-1.0], [1.0]]
    >>> norm.running_mean
    needle.Tensor([0.2])
    """

    reduced: tuple[int, ...] = (0,)  # the axes that mean and variance run over
    layout = "(N, {})"

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        self.dim = whole_number(f"{type(self).__name__}: expected dim", dim, 1)
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(init.ones(self.dim, device=device, dtype=dtype))
        self.bias = Parameter(init.zeros(self.dim, device=device, dtype=dtype))
        self.running_mean = init.zeros(self.dim, device=device, dtype=dtype)
        self.running_var = init.ones(self.dim, device=device, dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        self._check(x)
        if self.training:
            self._follow(x.data)
            y = ops.normalize(x, self.reduced, self.eps)
        else:
            deviation = (self.running_var + self.eps) ** 0.5
            y = (x - self._per_feature(self.running_mean)) / self._per_feature(deviation)
        return y * self._per_feature(self.weight) + self._per_feature(self.bias)

    def _follow(self, x: Tensor) -> None:
        """Move the running estimates towards the batch's; no graph, and their dtype stays."""
        m, dtype = self.momentum, self.running_mean.dtype
        mean, var = ops.mean(x, self.reduced), ops.var(x, self.reduced)
        if mean.dtype != dtype:
            mean, var = mean.astype(dtype), var.astype(dtype)
        self.running_mean = (1 - m) * self.running_mean.data + m * mean
        self.running_var = (1 - m) * self.running_var.data + m * var

    def _per_feature(self, t: Tensor) -> Tensor:
        """Shape a (dim,) Tensor so that it broadcasts along the features of the input."""
        return t

    def _check(self, x: Any) -> None:
        hint = "; pass dim of axis 1 or reshape"
        check_shape(self, x, f"input {self.layout.format(self.dim)}", hint)
        if self.training and x.size == 0:
            raise fail(self, ShapeError, f"expected at least one row in training, got {x.shape}")
        warn_precision(self, x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.dim}"


class BatchNorm2d(BatchNorm1d):
    """BatchNorm of images: x (N, C, H, W), mean and variance over N, H and W for each channel.

    Formula, state and errors as in `BatchNorm1d`, with dim the number of channels C.

    >>> nn.BatchNorm2d(3)(ndl.zeros(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    reduced = (0, 2, 3)
    layout = "(N, {}, H, W)"

    def _per_feature(self, t: Tensor) -> Tensor:
        return ops.reshape(t, (self.dim, 1, 1))
