"""A trace made ready to be called: its graph, an executable, and generated Python around them.

Each call fetches arrays and numbers, checks the guards, runs the executable once, and puts results
where the trace says. The three steps are generated as straight Python lines: a call costs about 30
ns for each array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from needle.autograd.tensor import Tensor
from needle.backend import random
from needle.compiler.graph import Graph, Node, input_node, make, topological
from needle.compiler.interpret import interpret
from needle.compiler.jit_origins import DataOf, Draw, GradOf, Key, Leaf, OutGrad, Owner, Slot, Trace
from needle.compiler.primitives import Broadcast, Constant, Input, Iota
from needle.compiler.state import State
from needle.compiler.trace_record import (
    ArrayOrigin,
    Calculation,
    Literal,
    NumberOrigin,
    Recorder,
)


class Executable(Protocol):
    """What runs a graph."""

    def call(self, arrays: Sequence[np.ndarray], numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Return the outputs for the array inputs and the number inputs, each in order."""

    @property
    def runs(self) -> int:
        """A number that changes with each call that ran to its end."""

    @property
    def moved(self) -> int:
        """A number that changes when state stands in another array than before the call."""

    def outputs(self) -> list[np.ndarray]:
        """Return the outputs of the last call."""


Compile = Callable[[Graph, "dict[int, int]", "frozenset[int]"], Executable]


class Interpreted:
    """A graph run by the interpreter: the definition of what compiled code gives."""

    def __init__(
        self,
        graph: Graph,
        tied: dict[int, int] | None = None,
        numbers: frozenset[int] = frozenset(),
    ) -> None:
        self.graph, self.numbers = graph, numbers
        self.runs = self.moved = 0
        self._results: list[np.ndarray] = []

    def outputs(self) -> list[np.ndarray]:
        """Return the outputs of the last call."""
        return self._results

    def call(self, arrays: Sequence[np.ndarray], numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Run the interpreter; results never share memory with inputs."""
        values, figures = iter(arrays), iter(numbers)
        given = [
            np.asarray(next(figures), node.dtype) if i in self.numbers else next(values)
            for i, node in enumerate(self.graph.inputs)
        ]
        self._results = [np.array(x) for x in interpret(self.graph, given)]
        self.runs += 1
        self.moved += 1
        return self._results


@dataclass(eq=False)
class Wiring:
    """A graph whose inputs are in final order, and where each comes from."""

    graph: Graph
    origins: list[Any]
    numbers: frozenset[int]
    tied: dict[int, int]


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
    return Wiring(graph, origins, numbers, ties)


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


TYPE_GUARD, GRAD_GUARD, ARRAY_GUARD = -1, -2, -3
_PARAMETERS = "leaves, tensors, targets, foreign"


class Fetch:
    """Generated functions around one executable; all take leaves, tensors, targets, foreign.

    `inputs(..., key)` returns all values, the number inputs, arrays to hold on to (so that the
    program does not write them) and the array inputs; or a number that says which guard does not
    hold. `apply(..., call, out, moved)` puts results where the trace says; `moved` is whether state
    that is written in place stands in another array than before.
    """

    def __init__(self, trace: Trace, wiring: Wiring, state: State, executable: Executable) -> None:
        self.names: dict[str, Any] = {
            "grad": grad_array, "draw": _draw, "Tensor": Tensor, "ndarray": np.ndarray,
            "copyto": np.copyto, "refs": sys.getrefcount, "array_equal": np.array_equal,
        }  # fmt: skip
        recorder = trace.recorder
        self.draws_key = any(isinstance(origin, Key) for origin in recorder.values)
        positions = [o.position for o in wiring.origins if isinstance(o, NumberOrigin)]
        items = [self._array(o) for o in wiring.origins if not isinstance(o, NumberOrigin)]
        values = "".join(f"v{i}, " for i in range(len(recorder.values)))
        numbers = "".join(f"v{i}, " for i in positions)
        lines = [
            *self._presence_lines(trace),
            *self._number_lines(trace),
            *self._release_lines(trace, state),
            f"return ({values}), ({numbers}), held, [{', '.join(items)}]",
        ]
        self.inputs = self._compile("inputs", _PARAMETERS + ", key", lines)
        program = getattr(executable, "program", None)
        outputs = program.outputs if program is not None else ()
        self.in_place = {j for j, output in enumerate(outputs) if output.in_place is not None}
        self.apply = self._compile(
            "apply", _PARAMETERS + ", call, out, moved", self._apply_lines(trace, state)
        )

    def _presence_lines(self, trace: Trace) -> list[str]:
        """Guards on gradients from before the call, and on arrays whose values were fixed."""
        lines = []
        for owner, present in trace.had_grad.items():
            test = "is" if present else "is not"
            lines.append(f"if {self.owner(owner)}._grad {test} None: return {GRAD_GUARD}")
        for i, tensor in enumerate(trace.foreign):
            test = f"foreign[{i}].requires_grad is {tensor.requires_grad}"
            lines.append(f"if not {test}: return {GRAD_GUARD}")
        for origin, values in trace.recorder.fixed:
            same = f"array_equal({self._array(origin)}, {self._name(values)})"
            lines.append(f"if not {same}: return {ARRAY_GUARD}")
        return lines

    def _release_lines(self, trace: Trace, state: State) -> list[str]:
        lines = ["held = []"]
        for owner, _ in trace.grads:
            x = self.owner(owner)
            lines.append(f"if type({x}._grad) is Tensor: {x}._grad = {x}._grad._data")
        for number, key, _, output in trace.slots:
            slot = self._slot(number, key)
            if output in trace.tied and isinstance(state.holders[number].target[key], Tensor):
                held = self._held(state, state.holders[number].target[key])
                lines.append(f"if refs({slot}) > {held}: held.append({slot}._data)")
        return lines

    @staticmethod
    def _held(state: State, tensor: Tensor) -> int:
        """References to a Tensor in a slot that nobody else holds: slot, snapshot, lists, call."""
        return 4 + (state.index[id(tensor)] in state.switched)

    def _apply_lines(self, trace: Trace, state: State) -> list[str]:
        stays = [f"{self.owner(o)}._data = out[{j}]" for o, j in trace.data if j in self.in_place]
        lines = ["if moved:", *(f"    {line}" for line in stays or ["pass"])]
        lines += [
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
            slot = self._slot(number, key)
            old = dict(state.holders[number].items()).get(key)
            make = f"call.put({number}, {self._name(key)}, {self._name(build)}(call))"
            if position is not None and isinstance(old, Tensor):
                test = "type(x) is Tensor and refs(x) <="
                rebind = [
                    f"x = {slot}",
                    f"if {test} {self._held(state, old) + 1}: x._data = out[{position}]",
                    f"else: {make}",
                ]
                if position in self.in_place:
                    rebind = ["if moved:", *(f"    {line}" for line in rebind)]
                lines += rebind
            elif key in state.holders[number].apart:
                lines.append(f"{slot} = {self._name(build)}(call)")
            else:
                lines.append(make)
        return lines

    def _slot(self, number: int, key: Any) -> str:
        return f"targets[{number}][{self._name(key)}]"

    def _compile(self, name: str, parameters: str, lines: list[str]) -> Callable[..., Any]:
        text = f"def {name}({parameters}):\n" + "".join(f"    {line}\n" for line in lines)
        exec(compile(text, f"<needle {name}>", "exec"), self.names)
        return self.names[name]

    def _name(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def _number_lines(self, trace: Trace) -> list[str]:
        recorder = trace.recorder
        guards: dict[int, list[int]] = {}
        for k, guard in enumerate(recorder.guards):
            guards.setdefault(guard.position, []).append(k)
        lines = []
        for i, origin in enumerate(recorder.values):
            lines.append(f"v{i} = {self._value(origin)}")
            if isinstance(origin, Slot | Leaf):
                kind = self._name(type(recorder.samples[i]))
                lines.append(f"if type(v{i}) is not {kind}: return {TYPE_GUARD}")
            for k in guards.get(i, ()):
                expected = self._name(recorder.guards[k].expected)
                lines.append(f"if v{i} != {expected}: return {k}")
        return lines

    def _value(self, origin: Any) -> str:
        if isinstance(origin, Calculation):
            operands = ", ".join(
                self._name(x.value) if isinstance(x, Literal) else f"v{x}" for x in origin.operands
            )
            return f"{self._name(origin.function)}({operands})"
        if isinstance(origin, Slot):
            return self._slot(origin.holder, origin.key)
        return f"leaves[{origin.index}]" if isinstance(origin, Leaf) else "key"

    def owner(self, owner: Owner) -> str:
        """Return the expression of a Tensor."""
        lists = {"state": "tensors", "argument": "leaves", "foreign": "foreign"}
        return f"{lists[owner.kind]}[{owner.index}]"

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


def grad_array(tensor: Any) -> np.ndarray:
    """Return the array of a Tensor's gradient."""
    grad = tensor._grad
    return grad._data if isinstance(grad, Tensor) else grad


def _draw(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    return getattr(random.NumpyStream(), kind)(shape)
