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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from needle import autograd
from needle.autograd import gradient as reverse
from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor
from needle.autograd.value import TensorTuple, Value
from needle.backend import random
from needle.compiler import signature
from needle.compiler import trace_record as t
from needle.compiler.graph import Node, topological
from needle.compiler.interpret import evaluate
from needle.compiler.primitives import Input, Random
from needle.compiler.state import Holder, State
from needle.compiler.trace import TracedArray, lift, wrap
from needle.compiler.trace_number import TracedNumber
from needle.compiler.trace_record import Recorder
from needle.errors import TraceError


@dataclass(frozen=True)
class Owner:
    """A Tensor that existed before: number `index` among the state's, or the arguments' leaf."""

    kind: str  # "state", "argument", "foreign"
    index: int


@dataclass(frozen=True)
class DataOf:
    """An input: the data of a Tensor."""

    owner: Owner


@dataclass(frozen=True)
class GradOf:
    """An input: the gradient that a Tensor had before the call."""

    owner: Owner


@dataclass(frozen=True)
class Leaf:
    """An input: the array, or the number, that is the arguments' leaf."""

    index: int


@dataclass(frozen=True)
class Slot:
    """An input: the array or number in a slot of holder `holder`."""

    holder: int
    key: Any


@dataclass(frozen=True)
class Key:
    """The number that random nodes are drawn with."""


@dataclass(frozen=True)
class Draw:
    """An input drawn on the host, in the order of the eager run."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OutGrad:
    """An input of a gradient program: the gradient of the result."""


@dataclass(eq=False)
class Trace:
    """What one run of the function was: outputs, and for each what becomes of it."""

    recorder: Recorder
    outputs: list[Node] = field(default_factory=list)
    tied: dict[int, Any] = field(default_factory=dict)  # output: the input it may be written over
    data: list[tuple[Owner, int]] = field(default_factory=list)
    grads: list[tuple[Owner, int | None]] = field(default_factory=list)
    had_grad: dict[Owner, bool] = field(default_factory=dict)
    slots: list[tuple[int, Any, Callable[[Any], Any], int | None]] = field(default_factory=list)
    arrays: list[tuple[Any, int]] = field(default_factory=list)  # written in place: origin, output
    prints: list[tuple[str, int]] = field(default_factory=list)
    result: Callable[[Any], Any] = lambda call: None
    foreign: list[Tensor] = field(default_factory=list)
    # of results, by output: the Tensors that they have gradients for and the nodes, or an error
    gradients: dict[int, Any] = field(default_factory=dict)
    patterns: dict[Node, Node | None] = field(default_factory=dict)  # of constant arrays
    made_inside: list[str] = field(default_factory=list)

    def add(self, node: Node) -> int:
        """Add an output; return its position."""
        self.outputs.append(node)
        return len(self.outputs) - 1


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
            if isinstance(leaf, Tensor) and id(leaf) not in state.index:
                self.owners.setdefault(id(leaf), Owner("argument", i))
        self.holders: dict[tuple[int, Any], TracedArray] = {}  # what stands in slots with arrays

    # ---- what autograd asks and tells

    def born(self, value: Any) -> None:
        """Remember what was made inside: its data is its own."""
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
                _collect(tracer, held, result)
            finally:
                mode.tracer = None
    finally:
        _restore(state, held)
        generators.restore()
        done, tracer.inside, tracer.grads = tracer.trace, {}, {}
        tracer.data.clear()
    return done


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


def _restore(state: State, held: list[dict[Any, Any]]) -> None:
    for holder, before in zip(state.holders, held, strict=True):
        if isinstance(holder.target, list):
            if len(holder.target) != len(before) or any(
                a is not b for a, b in zip(holder.target, before.values(), strict=True)
            ):
                holder.target[:] = before.values()
            continue
        now = dict(holder.items())
        for key, value in before.items():
            if key not in now or now[key] is not value:
                holder.target[key] = value
        for key in now.keys() - before.keys():
            del holder.target[key]


def _collect(tracer: StepTracer, held: list[dict[Any, Any]], result: Any) -> None:
    """Turn what was written and returned into outputs."""
    trace = tracer.trace
    trace.result = signature.structure(result, lambda x, path: _leaf(tracer, x, path))
    _collect_slots(tracer, held)
    _collect_tensors(tracer)
    _collect_arrays(tracer)


def _node(tracer: StepTracer, value: Any) -> Any:
    data = value.realize_cached_data()
    return data.node if isinstance(data, TracedArray) else data


def _leaf(tracer: StepTracer, x: Any, path: str) -> Callable[[Any], Any]:
    """Return what makes one part of a result, or of a slot's new value, at each call."""
    trace = tracer.trace
    if isinstance(x, TensorTuple):
        return signature.structure(x.tuple(), lambda y, p: _leaf(tracer, y, p), path)
    if isinstance(x, Tensor):
        if id(x) not in tracer.inside:
            owner = tracer.owner(x)
            return lambda call: call.tensor(owner)
        node = _node(tracer, x)
        node = lift(node) if isinstance(node, np.ndarray) else node
        position = trace.add(node)
        if x.requires_grad and path.startswith("result"):
            _differentiate(tracer, x, position)
        grad = _grad_of(tracer, x) if path.startswith("result") else None
        return lambda call: call.result(position, grad)
    if isinstance(x, TracedArray):
        position = trace.add(x.node)
        return lambda call: call.out[position]
    if isinstance(x, TracedNumber):
        place = x.position
        return lambda call: call.values[place]
    if isinstance(x, np.ndarray):
        position = trace.add(lift(x))
        return lambda call: call.out[position]
    return lambda call: x


def _grad_of(tracer: StepTracer, x: Tensor) -> Any:
    """Return the gradient that a result has: an output's position, a constant array, or None."""
    if x._grad is None or autograd.LAZY_MODE:
        return None
    data = x.grad.realize_cached_data()
    node = lift(data)
    if any(isinstance(n.primitive, Input | Random) for n in topological([node])):
        return tracer.trace.add(node)
    return evaluate([node], {})[node]  # the ones that backward() starts from


def _differentiate(tracer: StepTracer, result: Tensor, position: int) -> None:
    """Record the gradient of a result that was not differentiated inside: a program of its own."""
    if tracer.differentiated or any(d is not None for d in _written(tracer)):
        return
    grads, tracer.grads = tracer.grads, {}
    inside = [(value, value._grad) for value in tracer.inside.values()]
    data = result.realize_cached_data()
    try:
        node = tracer.recorder.input("out_grad", data.shape, data.dtype, OutGrad())
        out_grad = Tensor.make_const(TracedArray(tracer.recorder, node))
        reverse.compute_gradient_of_variables(result, out_grad)
        found = [
            (tracer.owner(tracer.before[i][0]), lift(grad.realize_cached_data()))
            for i, grad in tracer.grads.items()
            if grad is not None and i in tracer.before
        ]
        tracer.trace.gradients[position] = [o for o, _ in found], [n for _, n in found]
    except Exception as error:  # shown when a gradient is asked for
        tracer.trace.gradients[position] = error
    finally:
        tracer.grads, tracer.differentiated = grads, False
        for value, grad in inside:
            value._grad = grad


def _written(tracer: StepTracer) -> Iterator[Any]:
    for i, (_, node) in tracer.before.items():
        data = tracer.data.get(i)
        if (isinstance(data, TracedArray) and data.node is not node) or isinstance(
            data, np.ndarray
        ):
            yield data


def _collect_tensors(tracer: StepTracer) -> None:
    """Data and gradients written to Tensors that existed before."""
    trace = tracer.trace
    for i, (value, node) in list(tracer.before.items()):
        data = tracer.data.get(i)
        if node is None or data is None:
            continue
        new = data.node if isinstance(data, TracedArray) else lift(data)
        if new is not node:
            position = trace.add(new)
            trace.data.append((tracer.owner(value), position))
            trace.tied[position] = node
    for i, grad in tracer.grads.items():
        value = tracer.before[i][0]
        if grad is tracer.only_read.get(i, tracer):
            continue  # only read
        place = None
        if grad is not None:
            data = grad.realize_cached_data() if isinstance(grad, Value) else grad
            place = trace.add(lift(data))
        trace.grads.append((tracer.owner(value), place))


def _collect_arrays(tracer: StepTracer) -> None:
    """ndarrays from before that the function wrote into."""
    recorder = tracer.recorder
    for _, traced in list(recorder.arrays.values()):
        origin = recorder.origins[recorder.inputs.index(traced.first)]
        if traced.node is not traced.first:
            position = tracer.trace.add(traced.node)
            tracer.trace.arrays.append((origin, position))
            tracer.trace.tied[position] = traced.first


def _collect_slots(tracer: StepTracer, held: list[dict[Any, Any]]) -> None:
    """Compare each slot with what it held."""
    state, lifted = tracer.state, tracer.lifted
    for number, (holder, before) in enumerate(zip(state.holders, held, strict=True)):
        now = dict(holder.items())
        if isinstance(holder.target, list) and len(now) != len(before):
            _refuse(holder, "", _Size(len(before)), _Size(len(now)))
        for key, old in before.items():
            if key not in now:
                _refuse(holder, key, old, "nothing")
            placed = lifted.get((number, key), tracer.holders.get((number, key), old))
            if now[key] is not placed:
                _slot(tracer, number, key, old, now[key])
        for key in now.keys() - before.keys():
            tracer.trace.made_inside.append(holder.slot(key))
            _write_slot(tracer, number, key, now[key], None)


def _slot(tracer: StepTracer, number: int, key: Any, old: Any, new: Any) -> None:
    holder = tracer.state.holders[number]
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        tied = tracer.before.get(id(old), (None, None))[1]
        _write_slot(tracer, number, key, new, tied)
    elif isinstance(old, np.ndarray) and isinstance(new, TracedArray | np.ndarray):
        _write_slot(tracer, number, key, new, tracer.holders[number, key].first)
    elif (number, key) in tracer.lifted and isinstance(new, TracedNumber | int | float | np.number):
        _write_slot(tracer, number, key, new, None)
    elif old is None and _is_array_like(new):
        tracer.trace.made_inside.append(holder.slot(key))
        _write_slot(tracer, number, key, new, None)
    elif type(old) is type(new) and isinstance(old, int | float | str | bytes) and old == new:
        return
    else:
        _refuse(holder, key, old, new)


def _is_array_like(new: Any) -> bool:
    if isinstance(new, tuple | list):
        return bool(new) and all(_is_array_like(part) for part in new)
    return isinstance(new, Tensor | TracedArray)


def _write_slot(tracer: StepTracer, number: int, key: Any, new: Any, tied: Any) -> None:
    trace, count = tracer.trace, len(tracer.trace.outputs)
    label = tracer.state.holders[number].slot(key)
    build = signature.structure(new, lambda x, path: _leaf(tracer, x, path), label)
    single = len(trace.outputs) == count + 1 and isinstance(new, Tensor | TracedArray)
    if tied is not None and single and trace.outputs[count].shape == tied.shape:
        trace.tied[count] = tied
    trace.slots.append((number, key, build, count if single else None))


def _refuse(holder: Holder, key: Any, old: Any, new: Any) -> None:
    name = holder.label if key == "" else holder.slot(key)
    raise TraceError(
        f"a compiled function changes {name} from {_text(old)} to {_text(new)}: Python state other "
        "than Tensors, and numbers of optimizers and schedules, would change only while tracing; "
        "return the value and change it outside"
    )


class _Size(int):
    def __repr__(self) -> str:
        return f"a list of {int(self)}"


def _text(x: Any) -> str:
    return repr(x) if len(repr(x)) < 60 else f"{type(x).__name__} {repr(x)[:40]}..."
