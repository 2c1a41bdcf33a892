"""Compare an own layer, loss or function with a reference: the first difference is named."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from needle.autograd import Tensor, TensorTuple
from needle.errors import ArgumentError, DtypeError
from needle.nn import Module
from needle.testing.close import assert_close

STEPS = ("train, first call", "train, second call", "eval")


Step = Callable[[Sequence[Any]], Mapping[str, Any]]


def compare(mine: Any, reference: Any, *inputs: Any, seed: int = 0) -> None:
    """Check that two modules or functions do the same on `inputs`.

    Compared, in this order, are the parameters' number, shapes, dtypes; then, for two calls in
    training mode and one in evaluation mode: the outputs, the gradients by inputs and parameters of
    a fixed random weighting of the outputs, and the running state (buffers). Then `mine`, where it
    is a Module, is compared with its compiled self (unless jit is disabled). Each call starts from
    `numpy.random.seed(seed)`, and NumPy's random state is restored at the end.

    `mine` and `reference` are Modules (copied; the copy of `mine` gets the reference's parameters
    and buffers, in their order, so that names may differ), functions of Tensors, or Module classes,
    with arguments as `functools.partial(Layer, 3, 4)`: these are made under the same seed first,
    and the parameters they start with are compared too.

    Errors: AssertionError that names call, what differs and its worst element.

    >>> x = np.ones((2, 3), dtype="float32")
    >>> ndl.testing.compare(lambda t: t * ndl.ops.sigmoid(t), lambda t: t / (1 + ops.exp(-t)), x)
    >>> ndl.testing.compare(ops.relu, ops.tanh, x)
    Traceback (most recent call last):
        ...
    AssertionError: call: output: 6 of 6 elements differ, ...
    """
    state = np.random.get_state()
    try:
        made_mine, made = _made(mine, seed), _made(reference, seed)
        if isinstance(made_mine, Module) != isinstance(made, Module):
            raise ArgumentError("compare: expected two Modules or two functions, got one of each")
        if isinstance(made, Module):
            new = not isinstance(mine, Module) and not isinstance(reference, Module)
            _same_parameters(made_mine, made, values=new)
        sides = [(partial(_step, f), f) for f in (made_mine, made)]
        if not isinstance(made, Module):
            return _calls(sides, ("call",), inputs, seed)
        _calls(sides, STEPS, inputs, seed)
        from needle.compiler.jit.jit import jit  # importing needle must not load the compiler

        compiled, eager = _made(mine, seed), _made(mine, seed)
        program = jit(partial(_step, compiled), random="numpy")
        sides = [(program, compiled), (partial(_step, eager), eager)]
        return _calls(sides, [f"compiled, {call}" for call in STEPS], inputs, seed)
    finally:
        np.random.set_state(state)


def _calls(sides: Sequence[tuple[Step, Any]], calls: Iterable[str], inputs: Any, seed: int) -> None:
    """Take the same steps on both sides, and compare after each."""
    for call in calls:
        got, expected = (_record(step, f, inputs, call, seed) for step, f in sides)
        _same(got, expected, call)


def _made(thing: Any, seed: int) -> Any:
    """Return a module to work with: a copy, or a new one from a class or a partial of one."""
    if isinstance(thing, Module):
        return copy.deepcopy(thing)
    made = getattr(thing, "func", thing)
    if isinstance(made, type) and issubclass(made, Module):
        np.random.seed(seed)
        return thing()
    return thing


def _same_parameters(mine: Module, reference: Module, values: bool) -> None:
    own, theirs = mine.named_parameters(), reference.named_parameters()
    sides = [[(n, p.shape, str(p.dtype)) for n, p in side] for side in (own, theirs)]
    if len(own) != len(theirs):
        raise AssertionError(
            f"parameters: {len(own)} against {len(theirs)}: {sides[0]}, {sides[1]}"
        )
    for (name, p), (other, q) in zip(own, theirs, strict=True):
        if (p.shape, p.dtype) != (q.shape, q.dtype):
            raise AssertionError(
                f"parameter {name}: {p.dtype}{p.shape} against {q.dtype}{q.shape} of {other}"
            )
        if values:
            assert_close(p, q, name=f"parameter {name} at the start")
        p.cached_data = np.array(q.numpy())
    for (_, b), (_, c) in zip(mine.named_buffers(), reference.named_buffers(), strict=False):
        if b.shape == c.shape and b.dtype == c.dtype:
            b.cached_data = np.array(c.numpy())


def _step(f: Any, leaves: Sequence[Any]) -> dict[str, Any]:
    """Run forward and backward; return all that is compared, so that a compiled step gives it."""
    parameters = f.named_parameters() if isinstance(f, Module) else []
    for _, p in parameters:
        p.grad = None
    outputs = _results(f(*leaves))
    loss = _weighted(outputs)
    if loss is not None:
        loss.backward()
    found = {f"output {i}" if len(outputs) > 1 else "output": y for i, y in enumerate(outputs)}
    inputs = [(f"input {i}", x) for i, x in enumerate(leaves) if getattr(x, "requires_grad", False)]
    return found | {f"gradient by {name}": x.grad for name, x in (*inputs, *parameters)}


def _record(step: Step, f: Any, inputs: Sequence[Any], call: str, seed: int) -> dict[str, Any]:
    """Take one step from a fixed random state; return what it gave, and the running state."""
    if isinstance(f, Module):
        f.train(not call.endswith("eval"))
    np.random.seed(seed)
    found = dict(step([_leaf(x) for x in inputs]))
    buffers = f.named_buffers() if isinstance(f, Module) else []
    return found | {f"running state {name}": np.array(b.numpy()) for name, b in buffers}


def _same(got: dict[str, Any], expected: dict[str, Any], call: str) -> None:
    looser = f"reordered {_coarsest(expected)}"
    if len(got) != len(expected):
        raise AssertionError(f"{call}: {list(got)} against {list(expected)}")
    for (name, a), b in zip(got.items(), expected.values(), strict=True):
        sides = ["none" if x is None else np.asarray(x).dtype for x in (a, b)]
        if sides[0] != sides[1]:
            raise AssertionError(f"{call}: {name}: {sides[0]} against {sides[1]}")
        if a is not None:
            assert_close(a, b, looser=looser, name=f"{call}: {name}")


def _coarsest(found: dict[str, Any]) -> str:
    dtypes = {np.asarray(value).dtype.name for value in found.values() if value is not None}
    return "float32" if "float32" in dtypes else "float64"


def _leaf(x: Any) -> Any:
    """Return floating arrays and Tensors as fresh leaves; everything else as it is."""
    if isinstance(x, Tensor | np.ndarray) and x.dtype.kind == "f":
        return Tensor(np.array(x))
    return x


def _results(result: Any) -> list[Tensor]:
    """Return the Tensors of a result, nested tuples and lists flattened."""
    if isinstance(result, tuple | list | TensorTuple):
        return [y for part in result for y in _results(part)]
    if not isinstance(result, Tensor):
        raise DtypeError(f"compare: expected Tensors as results, got {type(result).__name__}")
    return [result]


def _weighted(outputs: Sequence[Tensor]) -> Tensor | None:
    """Return a fixed random weighting of all outputs that have a gradient; None where none has."""
    total, generator = None, np.random.default_rng(0)
    for y in outputs:
        weight = generator.uniform(0.5, 1.5, y.shape).astype(y.dtype)
        if y.requires_grad:
            part = (y * weight).sum()
            total = part if total is None else total + part
    return total
