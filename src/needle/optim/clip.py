"""Limits on gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from needle.autograd import Tensor
from needle.errors import ArgumentError


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Any:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)); return the norm before.

    The norm is that of all gradients joined to one vector. `.grad` gets new Tensors: arrays that
    others hold keep their values. Parameters without gradient are skipped. The norm is a float;
    inside a compiled step, where its value is not known yet, a Tensor.

    >>> p = nn.Parameter(ndl.zeros(2))
    >>> (p * np.array([3.0, 4.0], "float32")).sum().backward()
    >>> ndl.optim.clip_grad_norm([p], max_norm=1.0)
    5.0
    >>> p.grad.numpy().round(3)
    array([0.6, 0.8], dtype=float32)
    """
    _check("clip_grad_norm: expected max_norm", max_norm)
    clipped = [(p, p.grad.realize_cached_data()) for p in params if p.grad is not None]
    if not clipped:
        return 0.0
    squares = [(g * g).sum() for _, g in clipped]
    norm = np.sqrt(sum(squares[1:], start=squares[0]))
    factor = np.minimum(max_norm / (norm + 1e-6), 1.0)
    for p, g in clipped:
        p.grad = Tensor.make_const((g * factor).astype(g.dtype))
    return float(norm) if isinstance(norm, np.generic | np.ndarray) else Tensor.make_const(norm)


def clip_grad_value(params: Iterable[Tensor], clip_value: float) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value].

    `.grad` gets new Tensors. Parameters without gradient are skipped.

    >>> p = nn.Parameter(ndl.zeros(2))
    >>> (p * np.array([3.0, -4.0], "float32")).sum().backward()
    >>> ndl.optim.clip_grad_value([p], 3.5)
    >>> p.grad
    needle.Tensor([ 3.  -3.5])
    """
    _check("clip_grad_value: expected clip_value", clip_value)
    for p in params:
        if p.grad is not None:
            g: Any = p.grad.realize_cached_data()
            p.grad = Tensor.make_const(np.minimum(np.maximum(g, -clip_value), clip_value))


def _check(text: str, value: float) -> None:
    if not value >= 0:
        raise ArgumentError(f"{text} of at least 0, got {value}")
