"""Where random numbers come from: `source`, which is NumPy's global stream unless it is swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """What a source of random numbers offers: float64 arrays of a given shape."""

    def uniform(self, shape: Sequence[int]) -> Any:
        """Draw from the uniform distribution on [0, 1)."""

    def normal(self, shape: Sequence[int]) -> Any:
        """Draw from the standard normal distribution."""


class NumpyStream:
    """NumPy's global legacy stream, the contract for eager runs."""

    def uniform(self, shape: Sequence[int]) -> Any:
        """Draw from the uniform distribution on [0, 1)."""
        return np.asarray(np.random.rand(*shape))

    def normal(self, shape: Sequence[int]) -> Any:
        """Draw from the standard normal distribution."""
        return np.asarray(np.random.randn(*shape))


source: Source = NumpyStream()


@contextmanager
def use_source(other: Source) -> Iterator[None]:
    """Draw from `other` inside the block (a tracer records a node instead of drawing)."""
    global source
    before, source = source, other
    try:
        yield
    finally:
        source = before
