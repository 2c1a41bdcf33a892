"""What the framework asks while a function is traced: where data, gradients and draws come from.

The data and gradients of Tensors that existed before live beside them, so that nothing needs to be
undone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor
from needle.autograd.value import TensorTuple, Value
from needle.backend import random
from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Random
from needle.compiler.jit.origins import DataOf, Draw, GradOf, Key, Owner, Trace
from needle.compiler.jit.state import State
from needle.compiler.trace import record as t
from needle.compiler.trace.functions import FUNCTIONS
from needle.compiler.trace.number import TracedNumber
from needle.compiler.trace.operand import wrap
from needle.compiler.trace.record import Recorder, check_dtype
from needle.compiler.trace.trace import TracedArray, WeakArray


class StepTracer:
    """The tracer of one run; see `needle.autograd.mode.Tracer`."""

    def __init__(self, state: State, leaves: list[Any], draws: str) -> None:
        self.recorder = Recorder(FUNCTIONS)
        self.state, self.draws = state, draws
        self.trace = Trace(self.recorder)
        self.inside: dict[int, Value] = {}
        self.data: dict[int, Any] = {}
        self.grads: dict[int, Any] = {}
        self.before: dict[int, tuple[Value, Any]] = {}  # Tensors met, and the data they came with
        self.only_read: dict[int, Any] = {}  # gradients from before the call, as they were read
        self.lifted: dict[tuple[int, Any], TracedNumber] = {}
        self.keys = 0
        self.key: Node | None = None
        self.differentiated = False
        self.owners: dict[int, Owner] = {}
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                self.owners.setdefault(id(leaf), Owner("argument", i))
        self.holders: dict[tuple[int, Any], Any] = {}  # what stands in slots with arrays, iterators

    # ---- what autograd asks and tells

    def born(self, value: Any) -> None:
        """Remember what was made inside: its data is its own."""
        if isinstance(value._data, TracedNumber):
            number = value._data
            weak = number.value.item() if isinstance(number.value, np.generic) else number.value
            value._data = WeakArray(self.recorder, number.node(), type(weak))
        self.inside[id(value)] = value

    def made(self, value: Any) -> bool:
        """Say whether a Value was made during the trace."""
        return id(value) in self.inside

    def owner(self, value: Any) -> Owner:
        """Say where a Tensor that existed before is found at each call."""
        known = self.owners.get(id(value))
        if known is None:
            index = self.state.index.get(id(value))
            if index is not None:
                known = Owner("state", index)
            else:
                self.trace.foreign.append(value)
                known = Owner("foreign", len(self.trace.foreign) - 1)
            self.owners[id(value)] = known
        return known

    def read_data(self, value: Any) -> Any:
        """Return what stands for a Tensor's data."""
        if id(value) in self.inside:
            return value._data
        known = self.data.get(id(value))
        if known is None:
            known = self.data[id(value)] = self._input(value)
        return known

    def _input(self, value: Any) -> Any:
        if value._data is None:  # lazy, and not computed yet: it belongs to the time before
            with untraced():
                value.realize_cached_data()
        if isinstance(value, TensorTuple):
            return tuple(TracedArray.of(self.recorder, part, "tuple") for part in value._data)
        owner = self.owner(value)
        check_dtype(value._data.dtype, self._label(owner))
        node = self.recorder.input(
            self._label(owner), value._data.shape, value._data.dtype, DataOf(owner)
        )
        traced = TracedArray(self.recorder, node)
        self.before[id(value)] = value, node
        return traced

    def _label(self, owner: Owner) -> str:
        return f"{owner.kind} {owner.index}"

    def write_data(self, value: Any, data: Any) -> None:
        """Note that a Tensor has other data."""
        if id(value) in self.inside:
            value._data = data
            return
        self.read_data(value)
        self.data[id(value)] = data

    def read_grad(self, value: Any) -> Any:
        """Return what `.grad` is now; a gradient from before the call becomes an input."""
        if id(value) in self.inside:
            grad = value._grad
            if grad is not None and not isinstance(grad, Tensor):
                grad = value._grad = Tensor.make_const(grad)
            return grad
        if id(value) not in self.grads:
            owner = self.owner(value)
            before = value._grad
            self.trace.had_grad[owner] = before is not None
            if before is not None:
                array = before._data if isinstance(before, Tensor) else before
                label = f"gradient of {self._label(owner)}"
                node = self.recorder.input(label, array.shape, array.dtype, GradOf(owner))
                before = Tensor.make_const(TracedArray(self.recorder, node))
            self.grads[id(value)] = before
            self.before.setdefault(id(value), (value, None))
            self.only_read[id(value)] = before
        return self.grads[id(value)]

    def write_grad(self, value: Any, grad: Any) -> None:
        """Note that `.grad` is replaced."""
        if grad is not None:
            self.differentiated = True
        if id(value) in self.inside:
            value._grad = grad
            return
        self.before.setdefault(id(value), (value, None))
        self.owner(value)
        self.grads[id(value)] = grad

    def clear(self) -> None:
        """Let go of everything; a gradient with its graph is a cycle, which is cut."""
        for value in self.inside.values():
            value.op, value.inputs, value._grad = None, (), None
        for table in (self.inside, self.data, self.grads, self.before, self.only_read):
            table.clear()

    # ---- random numbers

    def uniform(self, shape: Any) -> Any:
        """Draw from the uniform distribution: a node, or a draw on the host."""
        return self._draw("uniform", tuple(shape))

    def normal(self, shape: Any) -> Any:
        """Draw from the normal distribution: a node, or a draw on the host."""
        return self._draw("normal", tuple(shape))

    def _draw(self, kind: str, shape: tuple[int, ...]) -> Any:
        if mode.tracer is not self:  # another Python thread
            return getattr(random.NumpyStream(), kind)(shape)
        if self.draws == "numpy":
            return wrap(self.recorder.input(kind, shape, np.float64, Draw(kind, shape)))
        if self.key is None:
            self.key = TracedNumber(self.recorder, Key(), np.uint64(0)).node()
        node = self.recorder.make(Random(kind, self.keys, shape), self.key)
        self.keys += 1
        return wrap(t.cast(node, np.float64))


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Let no tracer be active inside the block."""
    tracer, mode.tracer = mode.tracer, None
    try:
        yield
    finally:
        mode.tracer = tracer
