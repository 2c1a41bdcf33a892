"""A trace made ready to be called: its graph, an executable, and generated Python around them.

Each call fetches arrays and numbers, checks the guards, runs the executable once, and puts results
where the trace says. The three steps are generated as straight Python lines: a call costs about 30
ns for each array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.backend import random
from needle.compiler.graph.graph import Graph, Node, input_node, make, topological
from needle.compiler.graph.primitives import Broadcast, Constant, Input, Iota
from needle.compiler.graph.primitives_base import type_text
from needle.compiler.jit.origins import DataOf, Draw, GradOf, Key, Leaf, OutGrad, Owner, Slot, Trace
from needle.compiler.jit.state import State
from needle.compiler.trace.record import (
    ArrayOrigin,
    Calculation,
    Literal,
    NumberOrigin,
    Recorder,
)
from needle.errors import TraceError


@dataclass(eq=False)
class Wiring:
    """A graph whose inputs are in final order, and where each comes from."""

    graph: Graph
    origins: list[Any]
    numbers: frozenset[int]
    tied: dict[int, int]
    saved: set[int]  # inputs that gradients of the results need


def wire(trace: Trace, outputs: Sequence[Node], tied: dict[int, Node]) -> Wiring:
    """Keep the inputs that the outputs, and the gradients of the results, need.

    Arrays that hold one value, or a count, become nodes. The gradient of a result is the last
    input.
    """
    recorder = trace.recorder
    private = _own_arrays(recorder) if not trace.patterns else set()
    recorder.fixed = [pair for pair in recorder.fixed if id(pair[0]) not in private]
    arrays = {traced.first: array for array, traced in recorder.arrays.values()}
    later = [n for found in trace.gradients.values() if isinstance(found, tuple) for n in found[1]]
    used = {n for n in topological([*trace.outputs, *later]) if isinstance(n.primitive, Input)}
    used.update(tied.values())
    draws = zip(recorder.inputs, recorder.origins, strict=True)
    used.update(node for node, origin in draws if isinstance(origin, Draw))  # all, in order
    own = set(topological(outputs))
    new: dict[Node, Node] = {}
    origins: list[Any] = []
    pairs = list(zip(recorder.inputs, recorder.origins, strict=True))
    for node, origin in sorted(pairs, key=lambda pair: isinstance(pair[1], OutGrad)):
        if node not in used or (isinstance(origin, OutGrad) and node not in own):
            continue
        if isinstance(origin, ArrayOrigin) and node not in trace.patterns:
            mine = id(arrays[node]) in private
            trace.patterns[node] = _pattern(arrays[node]) if mine else None
            if mine and trace.patterns[node] is None:
                trace.frozen.append(f"{type_text(node)} at {origin.source.place}")
        plain = trace.patterns.get(node)
        if plain is None:
            assert isinstance(node.primitive, Input)
            new[node] = input_node(len(origins), node.primitive.label, node.shape, node.dtype)
            origins.append(origin if not isinstance(origin, ArrayOrigin) else arrays[node])
        else:
            new[node] = plain
    for node in topological(outputs):
        if node not in new:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.primitive, inputs, node.shape, node.dtype, node.source)
    inputs = tuple(n for n in new.values() if isinstance(n.primitive, Input))
    graph = Graph(inputs, tuple(new[node] for node in outputs))
    numbers = frozenset(i for i, origin in enumerate(origins) if isinstance(origin, NumberOrigin))
    places = {node: i for i, node in enumerate(inputs)}
    ties = {j: places[new[node]] for j, node in tied.items() if new[node] in places}
    saved = {places[new[node]] for node in topological(later) if new.get(node) in places}
    return Wiring(graph, origins, numbers, ties, saved)


def _pattern(array: np.ndarray) -> Node | None:
    """Return a node for an array that holds one value, or counts along one axis; else None."""
    if array.size and (array == array.flat[0]).all():
        number = make(Constant(array.flat[0].item(), array.dtype))
        return make(Broadcast(array.shape), number) if array.ndim else number
    if array.dtype.kind in "iu" and array.ndim:
        axis = int(np.argmax(array.shape))
        column = [-1 if i == axis else 1 for i in range(array.ndim)]
        counts = np.arange(array.shape[axis], dtype=array.dtype).reshape(column)
        if (array == counts).all():
            return make(Iota(array.shape, axis, array.dtype))
    return None


def _own_arrays(recorder: Recorder) -> set[int]:
    """Return the ids of the arrays that nobody but the trace could change.

    References are counted by C loops over lists: a call of a function may add one.
    """
    sample = [(np.empty(1),)]
    alone = max(map(sys.getrefcount, [pair[0] for pair in sample]))  # by a tuple and the list
    arrays = [pair[0] for pair in recorder.arrays.values()]
    arrays += [pair[0] for pair in recorder.fixed if isinstance(pair[0], np.ndarray)]
    counts = [*map(sys.getrefcount, arrays)]
    views = [a for a in arrays if isinstance(a.base, np.ndarray)]
    bases = [a.base for a in views]
    base_counts = [*map(sys.getrefcount, bases)]
    own = {id(a) for a, n in zip(arrays, counts, strict=True) if n <= alone}
    own -= {id(a) for a, n in zip(views, base_counts, strict=True) if n > alone}
    return own - {id(a) for a in arrays if not isinstance(a.base, np.ndarray | None)}


TYPE_GUARD, GRAD_GUARD, ARRAY_GUARD, SHAPE_GUARD, FLAG_GUARD = -1, -2, -3, -4, -5


class Fetch:
    """Generated functions around one executable, for one state: straight lines, a few ns each.

    `run` checks the guards, binds the arrays that are not those of the last call, runs the
    executable, and puts results where the trace says. It returns the outputs, or a number that says
    which guard does not hold. `apply` is its last part alone, for a call that was interrupted
    there; `moved` is whether state that is written in place stands in another array than before.
    """

    def __init__(
        self, trace: Trace, wiring: Wiring, state: State, in_place: set[int], vouched: set[int]
    ) -> None:
        self.names: dict[str, Any] = {
            "grad": grad_array, "release": _release, "draw": _draw, "Tensor": Tensor,
            "copyto": np.copyto, "refs": sys.getrefcount, "array_equal": np.array_equal,
            "apart": _apart,
        }  # fmt: skip
        self.state, self.trace, self.in_place, self.vouched = state, trace, in_place, vouched
        self.draws_key = any(isinstance(origin, Key) for origin in trace.recorder.values)
        unpack = "".join(f"t{i}, " for i in range(len(state.tensors)))
        unpack = f"{unpack}= tensors" if unpack else "pass"
        parameters = "leaves, tensors, targets, foreign, call"
        apply = self._apply_lines()
        lines = [unpack, *self._run_lines(wiring), *apply, "return out"]
        self.run = self._compile(f"run({parameters}, key, executable)", lines)
        self.apply = self._compile(f"apply({parameters}, out, moved)", [unpack, *apply])
        # of results that are nodes of the graph: what they were made of
        self.inputs = {position: self._inputs(found) for position, found in trace.gradients.items()}

    def _inputs(self, found: Any) -> Callable[..., tuple[Tensor, ...]]:
        owners = found[0] if isinstance(found, tuple) else ()  # its gradient could not be traced
        lists = {"state": "tensors", "argument": "leaves", "foreign": "foreign"}
        inputs = "".join(f"{lists[owner.kind]}[{owner.index}], " for owner in owners)
        return self._compile("inputs(leaves, tensors, foreign)", [f"return ({inputs})"])

    def _run_lines(self, wiring: Wiring) -> list[str]:
        origins = wiring.origins
        given = [o.position for o in origins if isinstance(o, NumberOrigin)]
        samples = self.trace.recorder.samples  # NumPy's bools are no integers
        numbers = "".join(
            f"int(v{i}), " if isinstance(samples[i], np.bool_) else f"v{i}, " for i in given
        )
        arrays = [o for i, o in enumerate(origins) if i not in wiring.numbers]
        kept = [i in wiring.saved for i in range(len(origins)) if i not in wiring.numbers]
        # as they were given: the program may write into a copy of its own
        saved = [
            "None" if not k else f"a{i}" if isinstance(o, Draw) else self._array(o)
            for i, (o, k) in enumerate(zip(arrays, kept, strict=True))
        ]
        before = "".join(f"a{i}, " for i in range(len(arrays)))
        values = "".join(f"v{i}, " for i in range(len(self.trace.recorder.values)))
        return [
            *self._guard_lines(),
            *self._overlap_lines(arrays),
            *self._number_lines(),
            *self._release_lines(),
            f"{before}= executable.arrays" if before else "pass",
            "before = executable.moved",
            # each array has one reference from here, in a variable, while the program runs
            *[self._bind_line(i, origin) for i, origin in enumerate(arrays)],
            f"call.values, call.numbers = ({values}), ({numbers})",
            f"call.arrays = [{', '.join(saved)}]" if self.trace.gradients else "pass",
            "out = call.out = executable.run(call.numbers)",
            "moved = executable.moved != before",
        ]

    def _bind_line(self, i: int, origin: Any) -> str:
        x = self._array(origin)
        test = "" if isinstance(origin, Draw) else f"if {x} is not a{i}: "
        return f"{test}a{i} = call.variant.take({i}, {x})"

    def _guard_lines(self) -> list[str]:
        """Guards on flags, on gradients from before, and on arrays whose values were fixed."""
        flags = [
            f"{'' if self.state.tensors[i].requires_grad else 'not '}t{i}.requires_grad"
            for i in sorted(self.state.switched)
        ]
        lines = [f"if not ({' and '.join(flags)}): return {FLAG_GUARD}"] if flags else []
        for owner, present in self.trace.had_grad.items():
            test = "is" if present else "is not"
            lines.append(f"if {self.owner(owner)}._grad {test} None: return {GRAD_GUARD}")
        for i, tensor in enumerate(self.trace.foreign):
            test = f"foreign[{i}].requires_grad is {tensor.requires_grad}"
            lines.append(f"if not {test}: return {GRAD_GUARD}")
        for origin, values in self.trace.recorder.fixed:
            same = f"array_equal({self._array(origin)}, {self._name(values)}, equal_nan=True)"
            lines.append(f"if not {same}: return {ARRAY_GUARD}")
        return lines

    def _overlap_lines(self, origins: list[Any]) -> list[str]:
        """See that no array which the function writes into shares memory with another input."""
        written = [(origin, self._array(origin)) for origin, _ in self.trace.arrays]
        inputs = [o for o in origins if written and not isinstance(o, Draw | OutGrad)]
        return [f"apart({x}, {self._array(o)})" for w, x in written for o in inputs if o is not w]

    def _release_lines(self) -> list[str]:
        """Let the reference count of an array tell who sees it, also through a Tensor."""
        lines = ["held = []", "outs = executable._outputs"] if self.vouched else ["held = []"]
        for owner, place in self.trace.grads:
            x = self.owner(owner)
            if place in self.vouched:  # most often the slot holds the one of the last call
                line = (
                    f"if {x}._grad is not outs[{place}]: held.append(release({x}, outs[{place}]))"
                )
            else:
                line = f"if type({x}._grad) is Tensor: {x}._grad = {x}._grad._data"
            lines.append(line)
        for number, key, _, output in self.trace.slots:
            x = self._tensor_in(number, key)
            if output in self.trace.tied and x:
                lines.append(f"if refs({x}) > {_alone()}: held.append({x}._data)")
        return lines

    def _tensor_in(self, number: int, key: Any) -> str:
        """Return the variable for the Tensor in a slot, or an empty string."""
        old = dict(self.state.holders[number].items()).get(key)
        return f"t{self.state.index[id(old)]}" if isinstance(old, Tensor) else ""

    def _apply_lines(self) -> list[str]:
        trace = self.trace
        stays = [f"{self.owner(o)}._data = out[{j}]" for o, j in trace.data if j in self.in_place]
        lines = [
            f"{self.owner(o)}._data = out[{j}]" for o, j in trace.data if j not in self.in_place
        ]
        for owner, place in trace.grads:
            lines.append(
                f"{self.owner(owner)}._grad = {'None' if place is None else f'out[{place}]'}"
            )
        for origin, j in trace.arrays:
            array = self._array(origin)
            lines.append(f"if out[{j}] is not {array}: copyto({array}, out[{j}])")
        for number, key, build, position in trace.slots:
            slot, x = self._slot(number, key), self._tensor_in(number, key)
            make = f"call.put({number}, {self._name(key)}, {self._name(build)}(call))"
            if position is not None and x:
                alone = f"type({x}) is Tensor and refs({x}) <= {_alone()}"
                rebind = [f"if {alone}: {x}._data = out[{position}]", f"else: {make}"]
                (stays if position in self.in_place else lines).extend(rebind)
            elif key in self.state.holders[number].apart:
                lines.append(f"{slot} = {self._name(build)}(call)")
            else:
                lines.append(make)
        return [*lines, *(["if moved:"] if stays else []), *(f"    {line}" for line in stays)]

    def _slot(self, number: int, key: Any) -> str:
        return f"targets[{number}][{self._name(key)}]"

    def _compile(self, head: str, lines: list[str]) -> Callable[..., Any]:
        name = head.partition("(")[0]
        text = f"def {head}:\n" + "".join(f"    {line}\n" for line in lines)
        exec(compile(text, f"<needle {name}>", "exec"), self.names)
        return self.names[name]

    def _name(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def _number_lines(self) -> list[str]:
        recorder = self.trace.recorder
        lines = []
        for i, origin in enumerate(recorder.values):
            lines.append(f"v{i} = {self._value(origin)}")
            if isinstance(origin, Slot | Leaf):
                kind = self._name(type(recorder.samples[i]))
                lines.append(f"if type(v{i}) is not {kind}: return {TYPE_GUARD}")
            if i in recorder.guards:
                expected = recorder.guards[i].expected
                lines.append(f"if v{i} {self._unlike(i, expected)}: return {i}")
        return lines

    def _unlike(self, i: int, expected: Any) -> str:
        if type(expected) is bool:
            return f"is not {expected}"
        return f"!= {self._name(expected)}" if expected == expected else f"== v{i}"  # a NaN

    def _value(self, origin: Any) -> str:
        if isinstance(origin, Calculation):
            operands = ", ".join(
                self._name(x.value) if isinstance(x, Literal) else f"v{x}" for x in origin.operands
            )
            if origin.function is bool:
                return f"not not {operands}"
            return f"{self._name(origin.function)}({operands})"
        if isinstance(origin, Slot):
            return self._slot(origin.holder, origin.key)
        return f"leaves[{origin.index}]" if isinstance(origin, Leaf) else "key"

    def owner(self, owner: Owner) -> str:
        """Return the expression of a Tensor."""
        if owner.kind == "state":
            return f"t{owner.index}"
        return f"{'leaves' if owner.kind == 'argument' else 'foreign'}[{owner.index}]"

    def _array(self, origin: Any) -> str:
        if isinstance(origin, DataOf):
            return f"{self.owner(origin.owner)}._data"
        if isinstance(origin, GradOf):
            return f"grad({self.owner(origin.owner)})"
        if isinstance(origin, Leaf):
            return f"leaves[{origin.index}]"
        if isinstance(origin, Slot):
            return self._slot(origin.holder, origin.key)
        if isinstance(origin, Draw):
            return f"draw({origin.kind!r}, {origin.shape!r})"
        assert not isinstance(origin, OutGrad)
        return self._name(origin)


def _release(tensor: Any, output: np.ndarray) -> np.ndarray | None:
    """Let a gradient be the array itself; return that of the last call if the slot lost it."""
    if type(tensor._grad) is Tensor:
        tensor._grad = tensor._grad._data
    return None if tensor._grad is output else output


def grad_array(tensor: Any) -> np.ndarray:
    """Return the array of a Tensor's gradient."""
    grad = tensor._grad
    return grad._data if isinstance(grad, Tensor) else grad


def _apart(written: np.ndarray, other: np.ndarray) -> None:
    if np.may_share_memory(written, other) and np.shares_memory(written, other):
        raise TraceError(
            f"a compiled function writes into an array {written.shape} that shares memory with "
            f"another of its inputs, {other.shape}: the program would not see it change; copy one"
        )


def _draw(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    return getattr(random.NumpyStream(), kind)(shape)


def _alone() -> int:
    """References to a Tensor that only its slot holds: beside it the state's snapshot, the state's
    list, and a variable, which counts differently from one Python to the next.
    """
    x = object()
    return 3 + sys.getrefcount(x)
