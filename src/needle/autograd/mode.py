"""What decides how values are made, per Python thread: is a graph kept, is a tracer at work."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from typing import Any, Protocol


class Tracer(Protocol):
    """What a tracer is asked and told while it is active: the seam to the compiler."""

    def born(self, value: Any) -> None:
        """Take note of a Value made during the trace."""

    def made(self, value: Any) -> bool:
        """Say whether a Value was made during the trace; the others are leaves of its graph."""

    def read_data(self, value: Any) -> Any:
        """Return the array that stands for the value's data."""

    def write_data(self, value: Any, data: Any) -> None:
        """Record that the value's data is replaced."""

    def read_grad(self, value: Any) -> Any:
        """Return what `value.grad` is."""

    def write_grad(self, value: Any, grad: Any) -> None:
        """Record that `value.grad` is replaced."""


class Mode(threading.local):
    """The settings of one thread; class attributes are the defaults.

    `graphs` holds the gradients of leaves that the thread's last `backward()` made, by the leaf's
    id, with their graphs. The leaf itself holds the array only: from the gradient to its graph to
    the leaf to the gradient would be a cycle, which only Python's collector frees.
    """

    tracer: Tracer | None = None
    grad_enabled: bool = True

    def __init__(self) -> None:
        self.graphs: dict[int, Any] = {}


mode = Mode()


class no_grad(ContextDecorator):  # noqa: N801  the field's name
    """Make results constants: no graph is kept. A context manager and a decorator.

    `model.eval()` does not imply it. Nested use is allowed.

    >>> w = ndl.Tensor([1.0, 2.0])
    >>> with ndl.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # a decorated function may run in several threads at once

    def __enter__(self) -> no_grad:
        self._before.append(mode.grad_enabled)
        mode.grad_enabled = False
        return self

    def __exit__(self, *exc: object) -> None:
        mode.grad_enabled = self._before.pop()
