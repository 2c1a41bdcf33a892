"""Random weights scaled by the number of inputs and outputs of a layer (fan in, fan out)."""

from __future__ import annotations

import math
from typing import Any

from needle.autograd import Tensor
from needle.errors import ArgumentError, whole_number
from needle.init.basic import rand, randn


def xavier_uniform(fan_in: int, fan_out: int, gain: float = 1.0, **kwargs: Any) -> Tensor:
    """Draw uniformly from [-a, a), a = gain sqrt(6 / (fan_in + fan_out)), shape (fan_in, fan_out).

    Further arguments (`device`, `dtype`, `requires_grad`) as in `init.rand`.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.

    >>> ndl.init.xavier_uniform(2, 1).shape
    (2, 1)
    """
    fans = whole_number("init: expected fan_in + fan_out", fan_in + fan_out, 1)
    a = gain * math.sqrt(6.0 / fans)
    return rand(fan_in, fan_out, low=-a, high=a, **kwargs)


def xavier_normal(fan_in: int, fan_out: int, gain: float = 1.0, **kwargs: Any) -> Tensor:
    """Draw normally with mean 0, std = gain sqrt(2 / (fan_in + fan_out)), shape (fan_in, fan_out).

    Source: Glorot and Bengio, 2010.

    >>> ndl.init.xavier_normal(3, 4).shape
    (3, 4)
    """
    fans = whole_number("init: expected fan_in + fan_out", fan_in + fan_out, 1)
    std = gain * math.sqrt(2.0 / fans)
    return randn(fan_in, fan_out, std=std, **kwargs)


def kaiming_uniform(
    fan_in: int,
    fan_out: int,
    shape: tuple[int, ...] | None = None,
    nonlinearity: str = "relu",
    **kwargs: Any,
) -> Tensor:
    """Draw uniformly from [-a, a), a = sqrt(2) sqrt(3 / fan_in).

    Shape (fan_in, fan_out), or `shape` where it is given; the bound comes from fan_in either way.

    Source: He et al., "Delving deep into rectifiers", 2015.

    Errors: ArgumentError for a nonlinearity other than "relu" or a fan_in below 1.

    >>> ndl.init.kaiming_uniform(9, 4, shape=(3, 3, 1, 4)).shape
    (3, 3, 1, 4)
    """
    _check_relu(nonlinearity)
    a = math.sqrt(2.0) * math.sqrt(3.0 / whole_number("init: expected fan_in", fan_in, 1))
    return rand(*((fan_in, fan_out) if shape is None else shape), low=-a, high=a, **kwargs)


def kaiming_normal(
    fan_in: int,
    fan_out: int,
    shape: tuple[int, ...] | None = None,
    nonlinearity: str = "relu",
    **kwargs: Any,
) -> Tensor:
    """Draw normally with mean 0 and std = sqrt(2 / fan_in).

    Shape (fan_in, fan_out), or `shape` where it is given.

    Source: He et al., 2015.

    >>> ndl.init.kaiming_normal(3, 4, dtype="float64").dtype
    dtype('float64')
    """
    _check_relu(nonlinearity)
    std = math.sqrt(2.0 / whole_number("init: expected fan_in", fan_in, 1))
    return randn(*((fan_in, fan_out) if shape is None else shape), std=std, **kwargs)


def _check_relu(nonlinearity: str) -> None:
    if nonlinearity != "relu":
        raise ArgumentError(f'kaiming: expected nonlinearity "relu", got {nonlinearity!r}')
