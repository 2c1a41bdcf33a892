"""A compiled call: what its results are made of, and their gradient, which is a second program.

The gradient program is traced with the call, and compiled at the first `backward()`; it recomputes
the forward from the inputs that the call has read. Its own derivatives run eagerly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import random
from needle.compiler.jit import signature
from needle.compiler.jit.again import HostStream, PhiloxStream, Snapshot
from needle.compiler.jit.origins import Draw, Key, Owner
from needle.compiler.jit.state import State
from needle.errors import GradientError


class Call:
    """What the parts of a result are made of."""

    __slots__ = ("args", "arrays", "leaves", "numbers", "out", "state", "values", "variant")

    arrays: list[Any]  # those that the gradient needs, as they were before the call; or None
    numbers: Sequence[Any]
    out: list[np.ndarray]
    values: Sequence[Any]

    def __init__(self, variant: Any, state: State, leaves: Sequence[Any], args: Any) -> None:
        self.variant, self.state, self.leaves, self.args = variant, state, leaves, args

    def tensors(self, owners: Sequence[Owner]) -> tuple[Tensor, ...]:
        """Return Tensors that existed before the call."""
        lists = {
            "state": self.state.tensors, "argument": self.leaves,
            "foreign": self.variant.trace.foreign,
        }  # fmt: skip
        return tuple([lists[owner.kind][owner.index] for owner in owners])

    def result(self, position: int, grad: Any = None) -> Tensor:
        """Return output `position` as a Tensor: a node of the graph where gradients count."""
        value, variant = Tensor.__new__(Tensor), self.variant
        inputs = variant.fetch.inputs.get(position)
        if inputs is None or not mode.grad_enabled:
            value._fill(None, (), self.out[position], False)
            if grad is not None:
                value._grad = self.out[grad] if type(grad) is int else grad
            return value
        known = inputs(self.leaves, self.state.tensors, variant.trace.foreign)
        value._fill(CompiledOp(self, position), known, self.out[position], True)
        return value

    def ended(self, op: EndedOp | None, position: int, grad: Any) -> Tensor:
        """Return an output as a Tensor whose history is not kept."""
        value = Tensor.__new__(Tensor)
        value._fill(op, (), self.out[position], True)
        if grad is not None:
            value._grad = self.out[grad] if type(grad) is int else grad
        return value

    def put(self, number: int, key: Any, value: Any) -> None:
        """Put a new object into a slot; the state is discovered anew at the next call."""
        self.state.holders[number].target[key] = value
        self.state.forget()


class EndedOp(TensorOp):
    """What was computed in a compiled call that keeps no history."""

    name = "jit"

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        """Raise: what came before is not known."""
        raise GradientError(
            "backward: reaches a Tensor of a compiled function that changes parameters, calls "
            "backward() itself, or has put the Tensor into a slot: its history ended there; store "
            "or pass on x.detach(), or do all in one compiled function"
        )


class CompiledOp(TensorOp):
    """One result of a compiled call, as a function of the arguments and the captured parameters."""

    name = "jit"

    def __init__(self, call: Call, position: int) -> None:
        self.call, self.position = call, position

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        """Run the gradient program on what the call has read."""
        call, variant = self.call, self.call.variant
        found = variant.trace.gradients[self.position]
        if isinstance(found, Exception):
            raise GradientError(f"jit: the gradient could not be traced: {found}") from found
        program = variant.gradient_program(self.position)
        weights = np.broadcast_to(out_grad.realize_cached_data(), node.shape)
        now = variant.executable.arrays  # stand in for those that do not matter
        arrays = [b if a is None else a for a, b in zip(call.arrays, now, strict=True)]
        parts = program.call([*arrays, np.asarray(weights, order="C")], call.numbers)
        inputs = (out_grad, *node.inputs)
        return tuple(_part(GradientPart(self, i), inputs, data) for i, data in enumerate(parts))


def _part(op: GradientPart, inputs: tuple[Any, ...], data: np.ndarray) -> Tensor:
    value = Tensor.__new__(Tensor)
    value._init(op, inputs, cached_data=data, requires_grad=True)
    return value


class GradientPart(TensorOp):
    """The gradient of a compiled call for one of its inputs."""

    name = "jit gradient"

    def __init__(self, forward: CompiledOp, index: int) -> None:
        self.forward, self.index = forward, index

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Any, ...]:
        """Run the function eagerly, with the call's random numbers, and differentiate its gradient.

        Raises: GradientError where the call has changed state that its gradient needs.
        """
        call = self.forward.call
        wiring = call.variant.wiring
        if not wiring.saved.isdisjoint(wiring.tied.values()):
            raise GradientError(
                "jit: a second derivative of a call that changed state it has read: compute it "
                "under ndl.disable_jit()"
            )
        function, args, kwargs = call.args
        copies = {id(x): Tensor(x.data) for x in call.leaves if isinstance(x, Tensor) and x.op}
        leaves = [copies.get(id(x), x) for x in call.leaves]
        fresh = iter(leaves)
        args = [signature.replace(x, lambda _: next(fresh)) for x in args]
        kwargs = {k: signature.replace(v, lambda _: next(fresh)) for k, v in sorted(kwargs.items())}
        owners = call.variant.trace.gradients[self.forward.position][0]
        known = zip(owners, call.tensors(owners), strict=True)
        inputs = [leaves[o.index] if o.kind == "argument" else x for o, x in known]
        weight = Tensor(node.inputs[0].data)
        before = Snapshot(call.state, leaves, call.variant.trace.foreign)
        try:
            with random.use_source(_draws(call)):
                result = _pick(function(*args, **kwargs), self.forward.position)
            result.backward(weight)
            first = inputs[self.index].grad
            for x in (weight, *inputs):
                x.grad = None
            (first * out_grad.data).sum().backward()
            found = [x.grad for x in (weight, *inputs)]
        finally:
            before.restore()
        return tuple(
            Tensor.make_const(np.zeros(x.shape, x.dtype)) if grad is None else grad
            for x, grad in zip(node.inputs, found, strict=True)
        )


def _draws(call: Call) -> Any:
    """Return what draws the random numbers of a call again, those that its gradient needs."""
    variant = call.variant
    for origin, value in zip(variant.trace.recorder.values, call.values, strict=True):
        if isinstance(origin, Key):
            return PhiloxStream(int(value))
    arrays = [o for i, o in enumerate(variant.wiring.origins) if i not in variant.wiring.numbers]
    kept = zip(arrays, call.arrays, strict=True)
    return HostStream([array for origin, array in kept if isinstance(origin, Draw)])


def _pick(result: Any, position: int) -> Tensor:
    """Return the Tensor that is output `position`: results are outputs in their order."""
    found: list[Tensor] = []
    signature.structure(result, lambda x, path: found.append(x) if isinstance(x, Tensor) else None)
    return found[position]
