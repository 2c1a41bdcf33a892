"""Images (N, C, H, W): convolution, with the course's layout of weights, and pooling."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError, whole_number
from needle.nn.calls import check_shape, warn_precision
from needle.nn.module import Module, Parameter
from needle.ops.arguments import per_axis


class Conv(Module):
    """Convolve images: y[n, :, i, j] = sum of the window's x times W, plus b.

    Shapes: x (N, in_channels, H, W) -> (N, out_channels, H', W'),
    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1; sizes are ints, or pairs
    (rows, columns). Unless it is given, `padding` is dilation (kernel_size // 2): odd kernels with
    stride 1 keep the size. W (kernel_size, kernel_size, in_channels / groups, out_channels) is
    drawn first, by `init.kaiming_uniform` with fan_in = in_channels / groups kernel_size^2, then b
    (out_channels,), uniformly within +- 1 / sqrt(fan_in). `bias` is None without a bias. Each of
    `groups` parts of the channels is convolved by itself.

    Inside, images lie with their channels last, and results keep that order in memory: layers that
    follow each other copy nothing.

    Errors: ShapeError unless x is (N, in_channels, H, W) and the kernel fits into the padded image;
    ArgumentError for groups that do not divide the channels.

    >>> nn.Conv(3, 8, 3, stride=2)(ndl.zeros(2, 3, 32, 32)).shape
    (2, 8, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        bias: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
        *,
        padding: Any = None,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels = whole_number("Conv: expected in_channels", in_channels, 1)
        self.out_channels = whole_number("Conv: expected out_channels", out_channels, 1)
        self.groups = whole_number("Conv: expected groups", groups, 1)
        if self.in_channels % groups or self.out_channels % groups:
            channels = f"{in_channels} and {out_channels} channels"
            raise ArgumentError(f"Conv: expected groups that divide {channels}, got {groups}")
        kernel = per_axis("Conv", "kernel_size", kernel_size, 2)
        self.kernel_size = kernel[0] if kernel[0] == kernel[1] else kernel
        self.stride = stride[0] if isinstance(stride, tuple) and len(stride) == 1 else stride
        self.dilation = dilation
        steps = per_axis("Conv", "dilation", dilation, 2)
        same = tuple(k // 2 * step for k, step in zip(kernel, steps, strict=True))
        self.padding = same if padding is None else padding
        ops.Conv(self.stride, self.padding, dilation)  # reads them now, not in the first call
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (*kernel, self.in_channels // groups, self.out_channels)
        fan_in, fan_out = math.prod(shape[:3]), self.out_channels * math.prod(kernel)
        self.weight = Parameter(init.kaiming_uniform(fan_in, fan_out, shape, **kinds))
        self.bias: Parameter | None = None
        if bias:
            bound = 1 / math.sqrt(fan_in)
            self.bias = Parameter(init.rand(self.out_channels, low=-bound, high=bound, **kinds))

    def forward(self, x: Any) -> Tensor:
        check_shape(self, x, f"input (N, {self.in_channels}, H, W)")
        warn_precision(self, x, self.weight)
        x = ops.permute(x, (0, 2, 3, 1))
        options = self.stride, self.padding, self.dilation
        y = ops.conv(x, self.weight, *options, groups=self.groups)
        return ops.permute(y if self.bias is None else y + self.bias, (0, 3, 1, 2))

    def extra_repr(self) -> str:
        size, stride = self.kernel_size, self.stride
        kernel = f"{size} x {size}" if isinstance(size, int) else f"{size[0]} x {size[1]}"
        options = "" if stride in (1, (1, 1)) else f", stride {stride}"
        options += f", groups {self.groups}" if self.groups > 1 else ""
        options += "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels} -> {self.out_channels}, {kernel}{options}"


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
