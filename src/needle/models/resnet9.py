"""The course's ResNet of nine convolutions for CIFAR-10."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from needle import nn
from needle.backend.device import Device


def ConvBN(  # noqa: N802  the course's name: it reads as a layer
    in_channels: int, out_channels: int, kernel_size: int, stride: int, **kinds: Any
) -> nn.Sequential:
    """Make a convolution with bias, its BatchNorm2d and a ReLU."""
    return nn.Sequential(
        nn.Conv(in_channels, out_channels, kernel_size, stride, **kinds),
        nn.BatchNorm2d(out_channels, **kinds),
        nn.ReLU(),
    )


def ResNet9(  # noqa: N802
    device: Device | None = None, dtype: DTypeLike = "float32"
) -> nn.Sequential:
    """Make the ResNet9 of the course: (N, 3, 32, 32) -> (N, 10).

    >>> ndl.models.ResNet9()(ndl.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """
    kinds: dict[str, Any] = {"device": device, "dtype": dtype}

    def pair(channels: int) -> nn.Residual:
        layers = [ConvBN(channels, channels, 3, 1, **kinds) for _ in range(2)]
        return nn.Residual(nn.Sequential(*layers))

    return nn.Sequential(  # in this order: it is also the order of the random draws
        ConvBN(3, 16, 7, 4, **kinds),
        ConvBN(16, 32, 3, 2, **kinds),
        pair(32),
        ConvBN(32, 64, 3, 2, **kinds),
        ConvBN(64, 128, 3, 2, **kinds),
        pair(128),
        nn.Flatten(),
        nn.Linear(128, 128, **kinds),
        nn.ReLU(),
        nn.Linear(128, 10, **kinds),
    )
