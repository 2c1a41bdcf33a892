"""Convolution of images as one matrix product over sliding windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ShapeError
from needle.ops.arguments import per_axis, shape_of, wanted
from needle.ops.movement import concat, permute, reshape
from needle.ops.padding import Dilate, Pad, pad
from needle.ops.window import Windows, image_axes, windows

# Bytes of window rows that eager makes at once. They stay in the cache: 7 instead of 38 ms for
# 128 images of 32 x 32 with 16 channels.
_BLOCK = 4 << 20


class Conv(TensorOp):
    """out[n, y, x] = sum over i, j of a[n, y s + i d - p, x s + j d - p] @ b[i, j]."""

    name = "conv"

    def __init__(self, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> None:
        self.stride = stride
        self.padding = padding
        self.steps = per_axis(self.name, "stride", stride, 2)
        self.widths = per_axis(self.name, "padding", padding, 2, 0)
        self.dilation = per_axis(self.name, "dilation", dilation, 2)

    @property
    def settings(self) -> tuple[Any, ...]:
        """The arguments of an op with the same windows."""
        return self.steps, self.widths, self.dilation

    def compute(self, a: Any, b: Any) -> Any:
        self._check(a, b)
        weight = b.reshape((math.prod(b.shape[:3]), b.shape[3]))
        parts = [
            (rows @ weight).reshape((*places, b.shape[3]))
            for _, rows, places in self.rows(a, b.shape[:2])
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def rows(self, a: Any, kernel: tuple[int, ...]) -> Any:
        """Yield for some images at a time: which, windows as rows (places, K K C), the places."""
        (low, side), channels = self.widths, a.shape[3]
        a = Pad(((0, 0), (low, low), (side, side), (0, 0))).compute(a)
        view = Windows((1, 2), kernel, self.steps, self.dilation).compute(a)
        view = view.__array_namespace__().permute_dims(view, (0, 1, 2, 4, 5, 3))
        images, size = view.shape[0], math.prod(view.shape[1:]) * view.dtype.itemsize
        step = max(1, _BLOCK // max(size, 1)) if isinstance(a, np.ndarray) else images
        for i in range(0, max(images, 1), max(step, 1)):
            part = view if step >= images else view[i : i + step]
            places = part.shape[:3]
            rows = part.reshape((math.prod(places), math.prod(kernel) * channels))
            yield slice(i, i + step), rows, places

    def _check(self, a: Any, b: Any) -> None:
        if len(b.shape) != 4:
            raise ShapeError(f"conv: expected weight (K, K, C, C_out), got {tuple(b.shape)}")
        if len(a.shape) != 4 or a.shape[3] != b.shape[2]:
            second = len(a.shape) == 4 and a.shape[1] == b.shape[2]
            raise ShapeError(
                f"conv: expected input (N, H, W, {b.shape[2]}) for weight {tuple(b.shape)}, "
                f"got {tuple(a.shape)}" + ('; pass layout="NCHW"' if second else "")
            )
        for n, width, size, step in zip(
            a.shape[1:3], self.widths, b.shape, self.dilation, strict=False
        ):
            if not 0 < (size - 1) * step + 1 <= n + 2 * width:
                raise ShapeError(
                    f"conv: weight {tuple(b.shape)} with dilation {self.dilation} does not fit "
                    f"into input {tuple(a.shape)} with padding {self.widths}"
                )

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        return wanted(
            node,
            lambda: ConvInput(a.shape, *self.settings)(out_grad, b),
            lambda: ConvWeight(b.shape, *self.settings)(a, out_grad),
        )


class ConvInput(Conv):
    """The gradient of `conv` by its images: the gradient times the weight, added where it was read.

    Convolution, this and `ConvWeight` are linear in both inputs, and the gradients of each other.
    """

    name = "conv_input"

    def __init__(self, shape: tuple[int, ...], *settings: Any) -> None:
        super().__init__(*settings)
        self.shape = shape

    def compute(self, g: Any, b: Any) -> Any:
        kernel, xp = b.shape[:2], g.__array_namespace__()
        if isinstance(g, np.ndarray) and max(self.steps) > 1:
            return self._added(g, b)
        turned = xp.permute_dims(xp.flip(b, axis=(0, 1)), (0, 1, 3, 2))
        if kernel == (1, 1):  # the same result, at 1 / stride^2 of the work
            return self._spread(Conv().compute(g, turned), kernel)
        return Conv(1, 0, self.dilation).compute(self._spread(g, kernel), turned)

    def _added(self, g: Any, b: Any) -> Any:
        """Make the windows' gradients and add them up: no zeros between, as `_spread` has them."""
        (*kernel, channels, filters), (low, side) = b.shape, self.widths
        weight = b.reshape((math.prod(b.shape[:3]), filters)).T
        _, rows, columns, _ = self.shape
        result = np.empty(self.shape, np.result_type(g, b))
        step = max(1, _BLOCK // max(1, math.prod(g.shape[1:3]) * weight[0].nbytes))
        for i in range(0, len(g), step):
            part = g[i : i + step]
            found = part.reshape((-1, filters)) @ weight
            found = found.reshape((*part.shape[:3], *b.shape[:3])).transpose((0, 1, 2, 5, 3, 4))
            shape = len(part), rows + 2 * low, columns + 2 * side, channels
            whole = extensions.fold(found, shape, (1, 2), kernel, self.steps, self.dilation)
            result[i : i + step] = whole[:, low : low + rows, side : side + columns]
        return result

    def _spread(self, x: Any, kernel: tuple[int, ...]) -> Any:
        """Put zeros between and around, so that a kernel's windows give images of `shape`."""
        widths = [(0, 0)]
        for i, (step, width) in enumerate(zip(self.steps, self.widths, strict=True)):
            x = Dilate(i + 1, step - 1).compute(x) if step > 1 else x
            reach = (kernel[i] - 1) * self.dilation[i]
            widths.append((reach - width, self.shape[i + 1] + width - x.shape[i + 1]))
        return Pad([*widths, (0, 0)]).compute(x)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        g, b = node.inputs
        return wanted(
            node,
            lambda: Conv(*self.settings)(out_grad, b),
            lambda: ConvWeight(b.shape, *self.settings)(out_grad, g),
        )


class ConvWeight(Conv):
    """The gradient of `conv` by its weight: the windows, transposed, times the gradient."""

    name = "conv_weight"

    def __init__(self, shape: tuple[int, ...], *settings: Any) -> None:
        super().__init__(*settings)
        self.shape = shape

    def compute(self, a: Any, g: Any) -> Any:
        total: Any = 0
        for images, rows, places in self.rows(a, self.shape[:2]):
            part = g if places[0] == g.shape[0] else g[images]
            columns = part.reshape((math.prod(places), part.shape[3]))
            total = total + rows.__array_namespace__().matrix_transpose(rows) @ columns
        return total.reshape(self.shape)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, g = node.inputs
        return wanted(
            node,
            lambda: ConvInput(a.shape, *self.settings)(g, out_grad),
            lambda: Conv(*self.settings)(a, out_grad),
        )


def conv(
    a: Any,
    b: Any,
    stride: Any = 1,
    padding: Any = 1,
    dilation: Any = 1,
    layout: str = "NHWC",
    groups: int = 1,
) -> Tensor:
    """Convolve images a with a kernel b (cross-correlation, as all frameworks call convolution).

    out[n, y, x] = sum over i, j of a[n, y s + i d - p, x s + j d - p] @ b[i, j], with stride s,
    padding p (zeros on both sides) and dilation d, each an int or a pair (rows, columns).

    Shapes: a (N, H, W, C), b (K, L, C / groups, C_out) -> (N, H', W', C_out),
    H' = (H + 2 p - d (K - 1) - 1) // s + 1. The channels of images and results are in as many
    `groups`, each convolved by itself; with C of them the convolution is depthwise. With
    `layout="NCHW"` images have the channels second, in and out; b stays as it is.

    Errors: ShapeError where the channels differ or the kernel is larger than the padded image.

    >>> ops.conv(ndl.ones(2, 8, 8, 3), ndl.ones(3, 3, 3, 16), stride=2).shape
    (2, 4, 4, 16)
    """
    op = Conv(stride, padding, dilation)
    if layout == "NHWC":
        return op(a, b) if groups == 1 else _grouped(op, a, b, groups)
    image_axes("conv", a, layout)
    last = permute(a, (0, 2, 3, 1))
    return permute(conv(last, b, stride, padding, dilation, groups=groups), (0, 3, 1, 2))


def _grouped(op: Conv, a: Any, b: Any, groups: int) -> Tensor:
    shape, (*kernel, inputs, outputs) = shape_of("conv", a), shape_of("conv", b)
    if len(kernel) != 2 or outputs % groups or len(shape) != 4 or shape[3] != inputs * groups:
        raise ShapeError(
            f"conv: expected input (N, H, W, {groups} C) and weight (K, K, C, {groups} C_out) "
            f"for {groups} groups, got {tuple(shape)} and {tuple(b.shape)}"
        )
    each = outputs // groups
    if inputs > 1:
        parts = [slice(i * inputs, (i + 1) * inputs) for i in range(groups)]
        filters = [slice(i * each, (i + 1) * each) for i in range(groups)]
        return concat([op(a[..., i], b[..., o]) for i, o in zip(parts, filters, strict=True)], -1)
    # Of one channel each: a product and its sum, which compile to one loop, 14 times as fast.
    low, side = op.widths
    padded = pad(a, ((0, 0), (low, low), (side, side), (0, 0)))
    x = windows(padded, (1, 2), kernel, op.steps, op.dilation)
    weight = reshape(permute(b, (3, 2, 0, 1)), (groups, each, *kernel))
    y = (reshape(x, (*x.shape[:4], 1, *kernel)) * weight).sum((-2, -1))
    return reshape(y, (*x.shape[:3], outputs))
