"""Compare an own layer, loss or function with a reference: the first difference is named."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from needle.autograd import Tensor, TensorTuple
from needle.errors import ArgumentError, DtypeError
from needle.nn import Module
from needle.testing.close import assert_close

STEPS = ("train, first call", "train, second call", "eval")


@dataclass
class Record:
    """What one call gave, name by name, in the order in which differences are looked for."""

    values: dict[str, Any] = field(default_factory=dict)


def compare(mine: Any, reference: Any, *inputs: Any, seed: int = 0) -> None:
    """Check that two modules or functions do the same on `inputs`.

    Compared, in this order, are the parameters' number, shapes, dtypes; then, for two calls in
    training mode and one in evaluation mode: the outputs, the gradients by inputs and parameters of
    a fixed random weighting of the outputs, and the running state (buffers). Then `mine`, where it
    is a Module, is compared with its compiled self, if `needle.jit` is there. Each call starts from
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
        for call in STEPS if isinstance(made, Module) else ("call",):
            got, expected = (_run(f, inputs, call, seed) for f in (made_mine, made))
            _same(got, expected, call)
        _compiled(_made(mine, seed), inputs, seed)
    finally:
        np.random.set_state(state)


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


def _run(f: Any, inputs: Sequence[Any], call: str, seed: int) -> Record:
    """Call once from a fixed random state; record outputs, gradients and running state."""
    record, leaves = Record(), [_leaf(x) for x in inputs]
    parameters = f.named_parameters() if isinstance(f, Module) else []
    if isinstance(f, Module):
        f.train(call != "eval")
        f.zero_grad()
    np.random.seed(seed)
    outputs = _results(f(*leaves))
    several = len(outputs) > 1
    for i, y in enumerate(outputs):
        record.values[f"output {i}" if several else "output"] = y
    loss = _weighted(outputs)
    if loss is not None:
        loss.backward()
    for i, x in enumerate(leaves):
        if isinstance(x, Tensor) and x.requires_grad:
            record.values[f"gradient by input {i}"] = x.grad
    for name, p in parameters:
        record.values[f"gradient by {name}"] = p.grad
    for name, b in f.named_buffers() if isinstance(f, Module) else []:
        record.values[f"running state {name}"] = np.array(b.numpy())
    return record


def _same(got: Record, expected: Record, call: str) -> None:
    looser = f"reordered {_coarsest(expected)}"
    if len(got.values) != len(expected.values):
        raise AssertionError(f"{call}: {list(got.values)} against {list(expected.values)}")
    for (name, a), b in zip(got.values.items(), expected.values.values(), strict=True):
        if a is None or b is None:
            if a is not b:
                raise AssertionError(f"{call}: {name}: {_presence(a)} against {_presence(b)}")
            continue
        if np.asarray(a).dtype != np.asarray(b).dtype:
            raise AssertionError(
                f"{call}: {name}: {np.asarray(a).dtype} against {np.asarray(b).dtype}"
            )
        assert_close(a, b, looser=looser, name=f"{call}: {name}")


def _presence(value: Any) -> str:
    return "none" if value is None else "a value"


def _compiled(module: Any, inputs: Sequence[Any], seed: int) -> None:
    """Compare a module with its compiled self, in training and in evaluation."""
    import needle

    jit: Callable[..., Any] | None = vars(needle).get("jit")
    if jit is None or not isinstance(module, Module):
        return
    other = copy.deepcopy(module)
    program = jit(lambda *xs: _step(other, xs), random="numpy")
    leaves = [_leaf(x) for x in inputs]
    for call in STEPS:
        module.train(call != "eval")
        other.train(call != "eval")
        results = []
        for step in (program, lambda *xs: _step(module, xs)):
            np.random.seed(seed)
            results.append(Record(dict(step(*leaves))))
        for record, owner in zip(results, (other, module), strict=True):
            for name, b in owner.named_buffers():
                record.values[f"running state {name}"] = np.array(b.numpy())
        _same(results[0], results[1], f"compiled, {call}")


def _step(module: Module, inputs: Sequence[Any]) -> dict[str, Any]:
    """Run forward and backward in a form that compiles: everything compared is returned."""
    module.zero_grad()
    outputs = _results(module(*inputs))
    loss = _weighted(outputs)
    if loss is not None:
        loss.backward()
    found = {f"output {i}": y for i, y in enumerate(outputs)}
    return found | {f"gradient by {name}": p.grad for name, p in module.named_parameters()}


def _coarsest(record: Record) -> str:
    dtypes = {np.asarray(v).dtype.name for v in record.values.values() if v is not None}
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
