"""After a trace: what was returned, written to Tensors, and rebound in slots becomes outputs."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, ValuesView
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from needle import autograd
from needle.autograd import gradient as reverse
from needle.autograd.tensor import Tensor
from needle.autograd.value import TensorTuple, Value
from needle.compiler.graph.graph import Node, topological
from needle.compiler.graph.interpret import evaluate
from needle.compiler.graph.primitives import Input, Random
from needle.compiler.jit import signature
from needle.compiler.jit.gradient import EndedOp
from needle.compiler.jit.origins import OutGrad
from needle.compiler.jit.state_holders import Holder, Members, attributes
from needle.compiler.jit.tracer import StepTracer
from needle.compiler.trace.number import TracedNumber
from needle.compiler.trace.operand import lift
from needle.compiler.trace.record import ArrayOrigin
from needle.compiler.trace.trace import TracedArray
from needle.errors import TraceError


def collect(tracer: StepTracer, held: list[dict[Any, Any]], result: Any) -> None:
    """Turn what was written and returned into outputs."""
    trace = tracer.trace
    trace.result = signature.structure(result, lambda x, path: _leaf(tracer, x, path))
    _collect_slots(tracer, held)
    _collect_tensors(tracer)
    _collect_arrays(tracer)


def _leaf(tracer: StepTracer, x: Any, path: str) -> Callable[[Any], Any]:
    """Return what makes one part of a result, or of a slot's new value, at each call."""
    trace = tracer.trace
    if isinstance(x, TensorTuple):
        return signature.structure(x.tuple(), lambda y, p: _leaf(tracer, y, p), path)
    if isinstance(x, Tensor):
        if id(x) not in tracer.inside:
            owner = tracer.owner(x)
            return lambda call: call.tensors([owner])[0]
        position, grad = trace.add(lift(x.realize_cached_data())), None
        if path.startswith("result"):
            if x.requires_grad:
                _differentiate(tracer, x, position)
            grad = _grad_of(tracer, x)
        if x.requires_grad and position not in trace.gradients:
            ended = None if x.op is None else EndedOp()
            return lambda call: call.ended(ended, position, grad)
        return lambda call: call.result(position, grad)
    if isinstance(x, TracedArray | np.ndarray):
        position = trace.add(lift(x))
        return lambda call: call.out[position]
    if isinstance(x, TracedNumber):
        place = x.position
        return lambda call: call.values[place]
    if hasattr(type(x), "__next__") or any(_is_traced(tracer, part) for part in _parts(x)):
        raise TraceError(
            f"{path}: a compiled function returns Tensors, arrays, numbers, None, and tuples, "
            f"lists and dicts of them; an object of type {type(x).__name__} would hold the values "
            "of tracing at each call: return a dict or a namedtuple"
        )
    return lambda call: x


def _parts(x: Any) -> list[Any]:
    """Return what an object of the user's holds."""
    if isinstance(x, set | frozenset | deque | ValuesView | ItemsView):
        return [*x]
    if isinstance(x, functools.partial):
        return [*x.args, *x.keywords.values()]
    if isinstance(x, FunctionType):
        return [*(cell.cell_contents for cell in x.__closure__ or ()), *(x.__defaults__ or ())]
    known = isinstance(x, type | np.dtype | np.generic | int | float | str | ModuleType)
    return [] if known else [value for space in attributes(x) for _, value in space.items()]


def _is_traced(tracer: StepTracer, x: Any) -> bool:
    if isinstance(x, tuple | list | dict):
        return any(_is_traced(tracer, y) for y in (x.values() if isinstance(x, dict) else x))
    owner = tracer.owners.get(id(x))
    given = owner is not None and owner.kind == "argument"
    return given or isinstance(x, TracedArray | TracedNumber) or id(x) in tracer.inside


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
    if tracer.differentiated or any(_written(tracer)):
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


def _written(tracer: StepTracer) -> Iterator[tuple[Value, Node, Node]]:
    """Yield the Tensors from before whose data was replaced, with the nodes before and after."""
    for i, (value, node) in list(tracer.before.items()):
        data = tracer.data.get(i)
        if node is not None and data is not None and lift(data) is not node:
            yield value, node, lift(data)


def _collect_tensors(tracer: StepTracer) -> None:
    """Data and gradients written to Tensors that existed before."""
    trace = tracer.trace
    for value, node, new in _written(tracer):
        position = trace.add(new)
        trace.data.append((tracer.owner(value), position))
        trace.tied[position] = node
    for i, grad in tracer.grads.items():
        if grad is tracer.only_read.get(i, tracer):
            continue
        value = tracer.before[i][0]
        if value.op is not None and grad is not None:
            owner = tracer.owner(value)
            name = f"argument {owner.index}" if owner.kind == "argument" else "a Tensor"
            raise TraceError(
                f"backward() inside a compiled function reaches {name}, which was computed from "
                "other Tensors before the call: these would get no gradient; compute it inside, "
                "pass x.detach(), or return the loss and call backward() outside"
            )
        data = grad.realize_cached_data() if isinstance(grad, Value) else grad
        place = None if grad is None else trace.add(lift(data))
        trace.grads.append((tracer.owner(value), place))


def _collect_arrays(tracer: StepTracer) -> None:
    """ndarrays from before that the function wrote into."""
    trace = tracer.trace
    for array, traced in list(tracer.recorder.arrays.values()):
        if traced.node is not traced.first:
            position = trace.add(traced.node)
            origin = tracer.recorder.origins[traced.first.primitive.index]
            origin = array if isinstance(origin, ArrayOrigin) else origin
            trace.arrays.append((origin, position))
            trace.tied[position] = traced.first


def _collect_slots(tracer: StepTracer, held: list[dict[Any, Any]]) -> None:
    """Compare each slot with what it held."""
    state, lifted = tracer.state, tracer.lifted
    for number, (holder, before) in enumerate(zip(state.holders, held, strict=True)):
        now = dict(holder.items())
        _refuse_other_length(holder, before, now)
        for key, old in before.items():
            if key not in now:
                _refuse(holder, key, old, NOTHING)
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
        alike = type(old) is Tensor and old.requires_grad == new.requires_grad
        alike = alike and (old.op is None) == (new.op is None)
        _write_slot(tracer, number, key, new, tied if alike else None, alike)
    elif isinstance(old, np.ndarray) and isinstance(new, TracedArray | np.ndarray):
        _write_slot(tracer, number, key, new, tracer.holders[number, key].first)
    elif (number, key) in tracer.lifted and isinstance(new, TracedNumber | int | float | np.number):
        _write_slot(tracer, number, key, new, None)
    elif old is None and _is_array_like(new):
        tracer.trace.made_inside.append(holder.slot(key))
        _write_slot(tracer, number, key, new, None)
    elif isinstance(old, tuple) and _is_array_like(old) and _is_array_like(new):
        _write_slot(tracer, number, key, new, None)  # such as an LSTM's (h, c)
    elif not _equal(old, new):
        _refuse(holder, key, old, new)


def _is_array_like(new: Any) -> bool:
    if isinstance(new, tuple | list):
        return bool(new) and all(_is_array_like(part) for part in new)
    return isinstance(new, Tensor | TracedArray)


def _write_slot(
    tracer: StepTracer, number: int, key: Any, new: Any, tied: Any, alike: bool = False
) -> None:
    """Note a slot's new value. `alike`: it may take the place of the old Tensor's data."""
    trace, count = tracer.trace, len(tracer.trace.outputs)
    label = tracer.state.holders[number].slot(key)
    build = signature.structure(new, lambda x, path: _leaf(tracer, x, path), label)
    single = len(trace.outputs) == count + 1 and isinstance(new, Tensor | TracedArray)
    if tied is not None and single and trace.outputs[count].shape == tied.shape:
        trace.tied[count] = tied
    trace.slots.append((number, key, build, count if single and alike else None))


def refuse_changes(holders: list[Holder], held: list[dict[Any, Any]], hint: str) -> None:
    """Raise TraceError where slots that are no state changed: their objects are not reachable, or
    are lists and dicts of the arguments.
    """
    for holder, before in zip(holders, held, strict=True):
        now = dict(holder.items())
        _refuse_other_length(holder, before, now, hint)
        for key in (*before, *now):
            old, new = before.get(key, NOTHING), now.get(key, NOTHING)
            if old is not new and not _equal(old, new):
                _refuse(holder, key, old, new, hint)


def _refuse_other_length(
    holder: Holder, before: dict[Any, Any], now: dict[Any, Any], hint: str = ""
) -> None:
    target = holder.target
    if isinstance(target, list | deque | Members) and len(now) != len(before):
        kind = "set" if isinstance(target, Members) else type(target).__name__
        old, new = (f"a {kind} of {len(x)}" for x in (before, now))
        _refuse(holder, "", _Words(old), _Words(new), hint)


def _equal(old: Any, new: Any) -> bool:
    """Whether two values are plain and the same."""
    return type(old) is type(new) and isinstance(old, int | float | str | bytes) and old == new


def _refuse(holder: Holder, key: Any, old: Any, new: Any, hint: str = "") -> None:
    name = holder.label if key == "" else holder.slot(key)
    raise TraceError(
        f"a compiled function changes {name} from {_text(old)} to {_text(new)}: Python state other "
        "than Tensors, and numbers of optimizers and schedules, would change only while tracing; "
        f"return the value and change it outside{hint}"
    )


class _Words(str):
    __slots__ = ()
    __repr__ = str.__str__


NOTHING = _Words("nothing")


def _text(x: Any) -> str:
    return repr(x) if len(repr(x)) < 60 else f"{type(x).__name__} {repr(x)[:40]}..."
