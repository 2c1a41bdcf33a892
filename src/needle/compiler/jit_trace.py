"""One trace: run the user's function with traced values, and note what it reads, writes and
returns.

`StepTracer` is what the framework asks while it is active (`autograd.mode`): the data and
gradients of Tensors that existed before live beside them, so that nothing needs to be undone;
slots that the function rebinds are compared with a snapshot afterwards, and put back. The result
is a `Trace`: a graph, where its inputs come from, and what to write where when it has run.
"""

from __future__ import annotations

import contextlib
import random as python_random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor
from needle.autograd.value import TensorTuple, Value
from needle.backend import random
from needle.compiler import signature
from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives import Random
from needle.compiler.state import State
from needle.compiler.state_holders import restore
from needle.compiler.trace import TracedArray, WeakArray
from needle.compiler.trace_operand import wrap
from needle.compiler.trace_number import TracedNumber
from needle.compiler.trace_record import Recorder, check_dtype
from needle.errors import TraceError
from needle.compiler.jit_collect import collect
from needle.compiler.jit_origins import DataOf, Draw, GradOf, Key, Leaf, Owner, Slot, Trace


class StepTracer:
    """The tracer of one run; see `needle.autograd.mode.Tracer`."""

    def __init__(self, state: State, leaves: list[Any], draws: str) -> None:
        self.recorder = Recorder()
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
        self.holders: dict[tuple[int, Any], TracedArray] = {}  # what stands in slots with arrays

    # ---- what autograd asks and tells

    def born(self, value: Any) -> None:
        """Remember what was made inside: its data is its own."""
        if isinstance(value._data, TracedNumber):
            number = value._data
            value._data = WeakArray(self.recorder, number.node(), number.weak)
        self.inside[id(value)] = value

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
            return tuple(self.recorder.array(part, "tuple") for part in value._data)
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
            number = self.recorder.leaf(Key(), np.uint64(0))
            self.key = number.node()
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


class HostDraw(Exception):  # noqa: N818
    """The function drew from a generator of the host."""


def trace(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    static: frozenset[str], state: State, leaves: list[Any], draws: str,
) -> Trace:  # fmt: skip
    """Trace one call. Whatever happens, slots and random states are as before afterwards."""
    job = (function, args, kwargs, static, state, leaves, draws)
    try:
        return _trace(*job)
    except HostDraw:  # look again, at every node: looking costs more than tracing
        return _trace(*job, watch=True)


def _trace(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    static: frozenset[str], state: State, leaves: list[Any], draws: str, watch: bool = False,
) -> Trace:  # fmt: skip
    held = [dict(h.items()) for h in state.holders]
    generators = Generators()
    tracer = StepTracer(state, leaves, draws)
    if watch:
        tracer.recorder.on_node = lambda: generators.check(tracer.recorder)
    try:
        with t.recording(tracer.recorder):
            mode.tracer = tracer
            try:
                result = _run(tracer, function, args, kwargs, static, leaves)
                if generators.used():
                    if watch:
                        generators.check(tracer.recorder)
                    raise HostDraw
                collect(tracer, held, result)
            finally:
                mode.tracer = None
    finally:
        restore(state, held)
        generators.restore()
        tracer.clear()
    return tracer.trace


class Generators:
    """The host's random generators, as they are when this is made."""

    def __init__(self) -> None:
        self.numpy: Any = np.random.get_state()
        self.python = python_random.getstate()

    def used(self) -> str:
        """Return the name of the one that was drawn from since, or an empty string."""
        now: Any = np.random.get_state()
        if now[2:] != self.numpy[2:] or not np.array_equal(now[1], self.numpy[1]):
            return "numpy.random"
        return "" if python_random.getstate() == self.python else "random"

    def check(self, recorder: Recorder) -> None:
        """Raise where one was used: its numbers would be frozen."""
        name = self.used()
        if name:
            source = recorder.source()
            raise TraceError(
                f"{name} was used inside a compiled function, before `{source.op}` at "
                f"{source.file}:{source.line}: its numbers would be the same at each call; use "
                "ndl.init.rand, ndl.init.randn or ndl.init.randb"
            )

    def restore(self) -> None:
        """Put the states back."""
        np.random.set_state(self.numpy)
        python_random.setstate(self.python)


def _run(
    tracer: StepTracer, function: Callable[..., Any], args: tuple[Any, ...],
    kwargs: dict[str, Any], static: frozenset[str], leaves: list[Any],
) -> Any:  # fmt: skip
    recorder, state = tracer.recorder, tracer.state
    count = iter(range(len(leaves)))

    def swap(x: Any) -> Any:
        i = next(count)
        if isinstance(x, Tensor):
            return x
        if isinstance(x, np.ndarray):
            return recorder.array(x.view(), f"argument {i}", Leaf(i))
        return recorder.leaf(Leaf(i), x)

    swapped = [signature.replace(x, swap) for x in args]
    named = {
        name: value if name in static else signature.replace(value, swap)
        for name, value in sorted(kwargs.items())
    }
    for i, key in state.arrays:
        target = state.holders[i].target
        array = target[key].view()  # two slots are two inputs, whatever they share now
        traced = recorder.array(array, state.holders[i].slot(key), Slot(i, key))
        tracer.holders[i, key] = target[key] = traced
    for i, key in state.numbers:
        target = state.holders[i].target
        number = recorder.leaf(Slot(i, key), target[key])
        tracer.lifted[i, key] = target[key] = number
    with random.use_source(tracer):
        return function(*swapped, **named)
