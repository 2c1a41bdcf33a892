"""Dropout: random zeros in training."""

from __future__ import annotations

from typing import Any

from needle import init, ops
from needle.errors import ArgumentError
from needle.nn.calls import check_array
from needle.nn.module import Module


class Dropout(Module):
    """x / (1 - p) * mask in training, x itself in evaluation; any shape.

    The mask is True with probability 1 - p: `init.randb(*x.shape, p=1 - p)`, one draw per call in
    training, also for p = 0; none in evaluation. p = 1 gives zeros.

    Errors: ArgumentError (a ValueError) for p outside [0, 1].

    Source: Srivastava et al., "Dropout", 2014.

    >>> np.random.seed(0)
    >>> nn.Dropout(0.5)(ndl.Tensor([1.0, 2.0, 3.0, 4.0]))
    needle.Tensor([0. 0. 0. 0.])
    >>> nn.Dropout(0.5).eval()(ndl.Tensor([1.0, 2.0]))
    needle.Tensor([1. 2.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"Dropout: expected p from 0 to 1, got {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        check_array(self, x)
        keep = 1 - self.p
        mask = init.randb(*x.shape, p=keep)
        if keep == 0:
            return ops.where(init.zeros(*x.shape, dtype="bool"), x, 0.0)
        return x / keep * mask

    def extra_repr(self) -> str:
        return f"p={self.p}"
