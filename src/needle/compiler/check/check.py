"""Compare a program with the interpreter, kernel by kernel, on the compiled run's own inputs.

So rounding does not add up from kernel to kernel, and a ReLU that flips is blamed where it flips.
Where a kernel differs, its nodes are compiled one by one and compared, to name the first wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np

from needle import settings
from needle.compiler.graph.graph import Graph, Node, input_node, topological
from needle.compiler.graph.interpret import evaluate
from needle.compiler.graph.primitives import MatMul, Reduce, ScatterAdd
from needle.compiler.index import storage
from needle.compiler.memory import aligned_copy
from needle.compiler.plan.plan import StepNodes, compile_graph
from needle.compiler.program import Buffer
from needle.compiler.run import run
from needle.compiler.run.run import BoundProgram, load
from needle.errors import CheckError

FACTOR = 64
"""Rounding errors of the largest value that a kernel's results may be off."""


def check(
    bound: BoundProgram,
    steps: Sequence[StepNodes],
    arrays: Sequence[np.ndarray],
    numbers: Sequence[float] = (),
) -> list[np.ndarray]:
    """Run a program step by step on copies of its inputs and compare what each step writes.

    Returns the outputs.

    Raises: CheckError that names kernel, lines, node, place and values.
    """
    twin = BoundProgram(bound.program, bound.library)
    copies = [aligned_copy(array) for array in arrays]
    if numbers:  # the first step's are read before its call sets them
        twin._pack(twin._number_bytes, 0, *numbers)
    with settings.override(num_threads=1, exact_threads=True):
        for k, nodes in enumerate(steps):
            given = {n: _read(twin, nodes.places[n], n, copies) for n in _reads(nodes)}
            twin.select(k)
            twin.call(copies, numbers)
            for n in nodes.writes:
                found = _read(twin, nodes.places[n], n, copies)
                message = compare(found, n, given)
                if message:
                    step = bound.program.steps[k]
                    where = "; ".join(filter(None, [" ".join(step.ops), ", ".join(step.lines)]))
                    blame = blamed(nodes, given)
                    raise CheckError(f"check: kernel {k} ({where}): {message}{blame}")
    return [array.copy() for array in twin._outputs if array is not None]


def _reads(nodes: StepNodes) -> list[Node]:
    written = set(nodes.writes)
    found = dict.fromkeys(storage(n) for n in nodes.parameters)
    return [n for n in found if n not in written]


def _read(
    twin: BoundProgram, buffer: Buffer, node: Node, arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """A copy of what stands in a node's buffer."""
    if buffer.kind == "input":
        return arrays[buffer.index].reshape(node.shape).copy()
    block = {
        "arena": lambda: run._arena.array, "numbers": lambda: twin._numbers,
        "result": lambda: twin._outputs[buffer.index],
        "constant": lambda: twin._constants[buffer.index],
    }[buffer.kind]()  # fmt: skip
    assert block is not None
    data = np.ascontiguousarray(block).reshape(-1).view("uint8")
    size = prod(node.shape) * node.dtype.itemsize
    part = data[buffer.offset : buffer.offset + size]
    return part.view(node.dtype).reshape(node.shape).copy()


def compare(found: np.ndarray, node: Node, given: Mapping[Node, np.ndarray]) -> str:
    """An empty string, or how a node's compiled value differs from the interpreter's."""
    values = evaluate([node], given, wide=True, keep_all=True)
    wide = values[node]
    if node.dtype.kind != "f":
        wrong = found != wide
        # what comes from comparing floats may flip where they are equal up to rounding
        if wrong.sum() <= (found.size // 1000 + 1 if _compares_floats(values) else 0):
            return ""
    else:
        narrow = evaluate([node], given)[node]
        with np.errstate(all="ignore"):
            scale = max(_largest(n, x, values) for n, x in values.items())
            spread = _finite_max(np.abs(narrow - wide))
            allowed = max(8 * spread, FACTOR * np.finfo(node.dtype).eps * scale)
            same = (found == wide) | (np.isnan(found) & np.isnan(wide))
            wrong = ~(same | (np.abs(found - wide) <= allowed))
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{node.primitive.name} {node.dtype}{list(node.shape)} at {at}: compiled {found[at]!r}, "
        f"interpreter {wide[at]!r} ({int(wrong.sum())} of {wrong.size} elements differ)"
    )


def _compares_floats(values: Mapping[Node, np.ndarray]) -> bool:
    return any(x.dtype.kind == "f" for x in values.values())


def _largest(node: Node, value: np.ndarray, values: Mapping[Node, np.ndarray]) -> float:
    """The largest absolute value, or what a sum of absolute values gives."""
    if value.dtype.kind != "f":
        return 0.0
    if isinstance(node.primitive, MatMul | Reduce | ScatterAdd) and all(
        x in values for x in node.inputs
    ):
        value = node.primitive.evaluate(*(_absolute(values[x]) for x in node.inputs))
    return _finite_max(np.abs(value))


def _absolute(value: np.ndarray) -> np.ndarray:
    return np.abs(value) if value.dtype.kind == "f" else value


def _finite_max(value: np.ndarray) -> float:
    finite = value[np.isfinite(value)]
    return float(finite.max()) if finite.size else 0.0


def blamed(nodes: StepNodes, given: Mapping[Node, np.ndarray]) -> str:
    """The first node of a kernel that differs when each is compiled alone, as text."""
    known = dict(given)
    for node in _in_order(nodes, given):
        inputs = [input_node(i, f"x{i}", x.shape, x.dtype) for i, x in enumerate(node.inputs)]
        copy = Node(node.primitive, tuple(inputs), node.shape, node.dtype, node.source)
        arrays = [np.array(known[x], order="C") for x in node.inputs]
        graph = Graph(tuple(inputs), (copy,))
        (found,) = load(compile_graph(graph, fusing=False)).call(arrays)
        message = compare(found, copy, dict(zip(inputs, arrays, strict=True)))
        if message:
            where = f" ({node.source.file}:{node.source.line})" if node.source else ""
            return f"; its node {message}{where} differs alone, too"
        known[node] = evaluate([node], known)[node]
    return "; each of its nodes alone is right: they are fused wrongly"


def _in_order(nodes: StepNodes, given: Mapping[Node, np.ndarray]) -> Iterator[Node]:
    """The nodes between what a kernel is given and what it writes."""
    return (n for n in topological(list(nodes.writes), stop=given) if n not in given)
