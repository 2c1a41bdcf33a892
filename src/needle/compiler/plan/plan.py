"""The program: kernels in order on buffers in one arena, with barriers where data crosses threads.

`compile_graph` is the compiler's back end, from a simplified graph to a `Program`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from needle.compiler.fuse.fuse import fuse, separate
from needle.compiler.fuse.group import Group, Memory
from needle.compiler.fuse.window import in_parts
from needle.compiler.graph.graph import Build, Graph, Node, rebuild
from needle.compiler.graph.primitives import Input, Random
from needle.compiler.index import Copy, storage
from needle.compiler.lower.lower import Kernels, Lowered, overwriting
from needle.compiler.lower.nest import NestWork
from needle.compiler.lower.panels import with_panels
from needle.compiler.lower.schedule import STREAMS, UnfusableError
from needle.compiler.plan import memory as plan_memory
from needle.compiler.plan import order as plan_order
from needle.compiler.program import Buffer, Output, Program, Step, input_buffers
from needle.compiler.program import Input as ProgramInput
from needle.compiler.simplify.movement import empty_is_constant
from needle.compiler.target import Target, host

COUNTER_BYTES = 128
"""Distance of the words in which kernels count their blocks: two cache lines."""


class StepNodes(NamedTuple):
    """The nodes that a step computes, those whose buffers it gets, and those it writes."""

    members: tuple[Node, ...]
    parameters: tuple[Node, ...]
    writes: tuple[Node, ...]
    places: Mapping[Node, Buffer]


def compile_graph(
    graph: Graph,
    target: Target | None = None,
    *,
    tied: Mapping[int, int] | None = None,
    numbers: Collection[int] = (),
    fusing: bool = True,
    records: list[StepNodes] | None = None,
) -> Program:
    """Return the program that computes a graph's outputs from its inputs.

    `tied` maps an output to the input (both by position) whose array it should be written over; it
    is, unless the output is not one of the last steps or other kernels still read the input then:
    `Program.outputs` says. Inputs in `numbers` lie in the block of numbers. Without `fusing` each
    node is a kernel. `records` gets the nodes behind each step, for `check`.
    """
    target = target or host()
    graph = with_panels(in_parts(distinct_outputs(without_empty(graph))), target)
    graph, groups, memory = fuse(graph, tied or (), fusing=fusing)
    ties = {graph.outputs[o]: graph.inputs[i] for o, i in (tied or {}).items()}
    kernels = Kernels(target)
    lowered = plan_order.ordered(plan_order.tailed(_lower(kernels, groups, memory)))
    inputs = tuple(
        ProgramInput(n.shape, n.dtype.name, i in numbers, getattr(n.primitive, "label", ""))
        for i, n in enumerate(graph.inputs)
    )
    places = dict(zip(graph.inputs, input_buffers(inputs), strict=True))
    places[STREAMS] = Buffer("constant", 1)
    in_place = _in_place(lowered, ties, places)
    outputs = _place_outputs(graph, in_place, places)
    writer = {node: k for k, one in enumerate(lowered) for node in one.writes}
    for output, replaced in in_place.items():
        k = writer[storage(output)]
        lowered[k] = overwriting(lowered[k], storage(output), replaced)
    lowered = plan_order.bundled_state(plan_order.bundled_small(lowered))
    barriers = plan_memory.barriers(lowered, places)
    arena = plan_memory.allocate(lowered, barriers, places)
    steps = _steps(kernels, lowered, barriers, places, set(in_place))
    if records is not None:
        records += [_record(one, places) for one in lowered]
    header, functions = kernels.finish()
    constants, sites = _constants(graph, lowered), tuple(kernels.sites)
    return Program(functions, steps, inputs, outputs, constants, arena, header, sites)


def _record(one: Lowered, places: Mapping[Node, Buffer]) -> StepNodes:
    parameters = tuple(n for n in one.parameters if n is not STREAMS)
    return StepNodes(one.members, parameters, one.writes, places)


def _place_outputs(
    graph: Graph, in_place: Mapping[Node, Node], places: dict[Node, Buffer]
) -> tuple[Output, ...]:
    """Give each output its array: that of the input it replaces, or one of its own."""
    outputs = []
    for position, node in enumerate(graph.outputs):
        buffer = places[in_place[node]] if node in in_place else Buffer("result", position)
        index = buffer.index if node in in_place else None
        outputs.append(Output(node.shape, node.dtype.name, index))
        if node.size:
            places[storage(node)] = buffer
    return tuple(outputs)


def _constants(graph: Graph, lowered: Sequence[Lowered]) -> tuple[np.ndarray, ...]:
    """The words that kernels count their blocks in, and the numbers of the random streams."""
    counters = np.zeros(COUNTER_BYTES // 8 * sum(one.work.counted for one in lowered), "int64")
    drawn = (n.primitive for n in graph.nodes())
    streams = max((p.index + 1 for p in drawn if isinstance(p, Random)), default=0)
    return counters, np.arange(streams, dtype="int64")


def _lower(kernels: Kernels, groups: list[Group], memory: Memory) -> list[Lowered]:
    """Lower each group; one that is not aligned is taken apart."""
    lowered: list[Lowered] = []
    for group in groups:
        try:
            lowered.append(kernels.lower(group, memory))
        except UnfusableError:
            memory.kept.update(group.members)
            lowered += [kernels.lower(part, memory) for part in separate(group)]
    return lowered


def _in_place(
    lowered: list[Lowered], ties: Mapping[Node, Node], places: Mapping[Node, Buffer]
) -> dict[Node, Node]:
    """The tied outputs that are written over their inputs."""
    last_fallible = max((k for k, one in enumerate(lowered) if one.work.cost.fallible), default=-1)
    readers: dict[Node, list[int]] = {}
    writer: dict[Node, int] = {}
    for k, one in enumerate(lowered):
        writer.update(dict.fromkeys(one.writes, k))
        for node in one.parameters:
            readers.setdefault(node, []).append(k)
    result: dict[Node, Node] = {}
    taken: set[Node] = set()
    for output, target in ties.items():
        at = writer.get(storage(output), -1)
        fits = output.shape == target.shape and output.dtype == target.dtype
        if not fits or places[target].kind != "input" or target in taken:
            continue
        # Kernels that write state run side by side: none may read what another overwrites.
        alone = all(j == at or not lowered[j].state for j in readers.get(target, ()))
        late = at > last_fallible and lowered[at].state
        if late and alone and _same_elements(lowered[at], storage(output), target):
            result[output] = target
            taken.add(target)
    return result


def _same_elements(lowered: Lowered, output: Node, target: Node) -> bool:
    """Whether a kernel reads an input only at the element that it then overwrites."""
    if not isinstance(lowered.work, NestWork):
        return False
    nest = lowered.work.nest
    parameters: Sequence[Any] = lowered.parameters
    (store,) = (s for s in nest.stores if parameters[s.parameter] is output)
    reads = [i for i in nest.loads if parameters[i.attribute] is target]
    return all(i.affine == store.affine and not i.guards for i in reads)


def _steps(
    kernels: Kernels,
    lowered: list[Lowered],
    barriers: list[bool],
    places: Mapping[Node, Buffer],
    in_place: set[Node],
) -> tuple[Step, ...]:
    over = {storage(node) for node in in_place}
    committed = False
    counters = 0
    steps = []
    for one, barrier in zip(lowered, barriers, strict=True):
        buffers = [_at(places[storage(n)], offset) for n, offset in one.slots]
        if one.work.counted:
            buffers.append(Buffer("constant", 0, COUNTER_BYTES * counters))
            counters += 1
        if one.work.cost.fallible:
            buffers.append(Buffer("status"))
        commit = not committed and any(n in over for n in one.writes)
        committed = committed or commit
        sources = [n.source for n in one.members if n.source]
        ops = tuple(dict.fromkeys(s.op for s in sources)) or tuple(
            dict.fromkeys(n.primitive.name for n in one.members)
        )
        lines = tuple(dict.fromkeys(f"{s.file}:{s.line}" for s in sources))
        name, blocks = kernels.kernel(one), one.work.cost.blocks
        steps.append(Step(name, tuple(buffers), blocks, barrier, commit, ops, lines))
    return tuple(steps)


def _at(buffer: Buffer, offset: int) -> Buffer:
    return replace(buffer, offset=buffer.offset + offset) if offset else buffer


def distinct_outputs(graph: Graph) -> Graph:
    """The graph with a copy wherever two outputs, or an output and an input, are one array."""
    seen: set[Node] = set()
    outputs = []
    for node in graph.outputs:
        owner = storage(node)
        if owner in seen or isinstance(owner.primitive, Input):
            node = Node(Copy(node.shape), (node,), node.shape, node.dtype, node.source)
        seen.add(storage(node))
        outputs.append(node)
    return Graph(graph.inputs, tuple(outputs))


def without_empty(graph: Graph) -> Graph:
    """The graph with every node that is made of nothing a constant, as in simplified ones."""

    def rewrite(node: Node) -> Node:
        return empty_is_constant(node.primitive, None, node, Build(node.source)) or node

    return rebuild(graph, rewrite)
