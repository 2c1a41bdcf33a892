"""Random valid graphs over all primitives; as a command, checks many and shrinks what fails.

    python tests/compiler/random_programs.py --count 2000 --seed 1
    python tests/compiler/random_programs.py --run needle.compiler.jit.jit:run_graph

Each program is one seed. Discontinuous functions (floor, comparisons, argmax, casts to integers)
only see values that are exact, so that rounding cannot flip them.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # as a command: find tests.compiler

from needle.compiler.graph import primitives as p
from needle.compiler.graph.graph import Graph, Node
from needle.compiler.graph.interpret import evaluate, interpret
from needle.compiler.simplify.simplify import simplify
from tests.compiler import building as g
from tests.compiler.check_programs import STEEP, Program, Run, check, disturbed, is_exact, shrink

SIZES = (1, 1, 2, 3, 5, 7, 17, 33)
LARGEST = 20_000
INTEGERS = ("int32", "int64", "uint8", "int8")


class Generator:
    """Grows one program; `nodes` is the pool that operands are drawn from."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Node] = []
        self.values: dict[Node, np.ndarray] = {}
        self.noisy: dict[Node, np.ndarray] = {}
        self.exact: dict[Node, bool] = {}
        self.arrays: list[np.ndarray] = []
        self.nodes: list[Node] = []
        self.float = self.pick(("float32", "float64"))
        self.key = self.input((), "uint64")
        self.special = self.rng.random() < 0.1
        for _ in range(2):
            self.input(self.shape(), self.float)
        self.input(self.shape(), self.pick(INTEGERS))
        steps = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]
        for _ in range(size):
            self.pick(steps)()

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        rank = int(self.rng.integers(0, 5)) if rank is None else rank
        sizes = tuple(0 if self.chance(0.01) else self.pick(SIZES) for _ in range(rank))
        return sizes if math.prod(sizes) <= LARGEST else self.shape(rank)

    def input(self, shape, dtype) -> Node:
        node = g.input_node(len(self.inputs), f"x{len(self.inputs)}", shape, dtype)
        if node.dtype.kind == "f":
            array = self.rng.standard_normal(shape)
            if self.nodes and self.special and array.size:
                values = [np.nan, np.inf, -np.inf, 0.0, -0.0]
                array.flat[self.rng.integers(array.size)] = self.pick(values)
        elif node.dtype.kind == "b":
            array = self.rng.random(shape) < 0.5
        else:
            array = self.rng.integers(0 if node.dtype.kind == "u" else -5, 9, shape)
        self.inputs.append(node)
        self.arrays.append(np.asarray(array).astype(node.dtype))
        self.values[node] = self.noisy[node] = self.arrays[-1]
        self.exact[node] = True
        self.nodes.append(node)
        return node

    def keep(self, node: Node) -> Node | None:
        """Add the node, and those it is made of, unless a value is huge or ill-conditioned."""
        fresh = g.topological([node], stop=self.values)
        if any(n.size > LARGEST for n in fresh):
            return None
        for n in fresh:
            self.exact[n] = is_exact(n, self.exact)
            given = {x: self.values[x] for x in n.inputs}
            value = noisy = evaluate([n], given, wide=True)[n]
            if not self.exact[n]:
                noisy = disturbed(n, self.noisy, self.rng)
            if n.dtype.kind == "f" and not self.special and value.size:
                with np.errstate(all="ignore"):
                    top, gap = np.abs(value).max(), np.abs(noisy - value).max()
                if not (top < 1e6 and gap <= 1e-4 * (top + 1e-3)):
                    return None
            self.values[n], self.noisy[n] = value, noisy
        self.nodes.append(node)
        return node

    def any(self, kinds: str = "fiub", rank: int = 0, exact: bool = False) -> Node:
        """Return a node of one of the kinds with at least `rank` axes, most often a recent one."""
        fits = [
            n
            for n in self.nodes
            if n.dtype.kind in kinds and len(n.shape) >= rank and (self.exact[n] or not exact)
        ]
        if not fits or self.chance(0.05):
            dtype = {"f": self.float, "i": "int32", "u": "uint8", "b": "bool"}[self.pick(kinds)]
            return self.input(self.shape(max(rank, int(self.rng.integers(0, 4)))), dtype)
        return fits[-1 - min(int(self.rng.exponential(3)), len(fits) - 1)]

    def like(self, node: Node, exact: bool = False) -> Node:
        """Return another node of the same shape and dtype: found, broadcast, constant or new."""
        fits = [x for x in self.nodes if x.dtype == node.dtype and (self.exact[x] or not exact)]
        for _ in range(4 if fits else 0):
            x = self.pick(fits)
            lead = len(node.shape) - len(x.shape)
            if lead >= 0 and all(
                a in (1, b) for a, b in zip(x.shape, node.shape[lead:], strict=True)
            ):
                return g.broadcast(x, node.shape)
        if self.chance(0.4):
            options = (0.5, 1.0, 2.0, -1.0, 3.0, 0.0) if node.dtype.kind == "f" else (0, 1, 2, 3)
            return g.full(self.pick(options), node.shape, node.dtype)
        partial = tuple(1 if self.chance(0.3) else n for n in node.shape)
        return g.broadcast(self.input(partial, node.dtype), node.shape)

    def axes(self, node: Node) -> tuple[int, ...]:
        return tuple(i for i in range(len(node.shape)) if self.chance(0.5))

    def positive(self, x: Node) -> Node:
        return g.add(g.unary("abs", x), g.full(0.5, x.shape, x.dtype))

    def do_unary(self) -> None:
        fn = self.pick(list(p.UNARY))
        kinds = {"float": "f", "bool int": "iub"}.get(p.UNARY[fn][1], "fi")
        x = self.any(kinds, exact=fn in STEEP)
        if fn in ("log", "sqrt", "rsqrt", "reciprocal", "log1p"):
            x = self.positive(x)
        self.keep(g.unary(fn, x))

    def do_binary(self) -> None:
        fn = self.pick(list(p.BINARY))
        steep = fn in ("mod", "floordiv")
        kinds = {"float": "f", "bool int": "iub", "int": "iu"}.get(p.BINARY[fn][1], "fiu")
        a = self.any(kinds, exact=steep)
        b = self.like(a, exact=steep)
        if fn == "pow":
            b = g.full(self.pick((0, 1, 2, 3)), a.shape, a.dtype)
            if a.dtype.kind == "f":
                a = self.positive(a)
                b = g.full(self.pick((2.0, 1.0, 0.5, 0.0, -0.5, -1.0, 1.7)), a.shape, a.dtype)
        elif fn in ("div", "atan2") or (steep and a.dtype.kind == "f"):
            b = (
                g.add(g.unary("abs", b), g.full(0.5, b.shape, b.dtype))
                if not steep
                else g.full(self.pick((0.5, 2.0, -3.0)), a.shape, a.dtype)
            )
        elif fn in ("shl", "shr"):
            b = g.full(self.pick((0, 1, 3)), a.shape, a.dtype)
        self.keep(g.binary(fn, a, b))

    do_binary_again = do_more_binary = do_binary

    def do_compare(self) -> None:
        a = self.any(exact=True)
        self.keep(g.compare(self.pick(list(p.COMPARE)), a, self.like(a, exact=True)))

    def do_where(self) -> None:
        a = self.any()
        condition = self.like(g.full(False, a.shape, "bool"))
        self.keep(g.where(condition, a, self.like(a)))

    def do_cast(self) -> None:
        x = self.any()
        target = self.pick((*INTEGERS, "bool", "float32", "float64", self.float))
        if x.dtype.kind == "f" and np.dtype(target).kind != "f":
            x, target = self.any("f", exact=True), self.pick(("int32", "int64", "bool"))
            if not np.all(np.abs(self.values[x]) < 100):
                return
        self.keep(g.cast(x, target))

    def do_broadcast(self) -> None:
        x = self.any()
        shape = tuple(self.pick(SIZES) if n == 1 else n for n in x.shape)
        lead = self.shape(int(self.rng.integers(0, 2)))
        self.keep(g.broadcast(x, lead + shape))

    def do_reshape(self) -> None:
        x = self.any()
        shape = list(x.shape)
        if len(shape) >= 2 and self.chance(0.5):
            i = int(self.rng.integers(len(shape) - 1))
            shape[i : i + 2] = [shape[i] * shape[i + 1]]
        elif shape and self.chance(0.5):
            i = int(self.rng.integers(len(shape)))
            n = shape[i]
            factor = next((f for f in (3, 2, 5, 7, 17) if n and n % f == 0), 1)
            shape[i : i + 1] = [factor, n // factor] if n else [n, 4]
        else:
            shape.insert(int(self.rng.integers(len(shape) + 1)), 1)
        self.keep(g.reshape(x, tuple(shape)))

    def do_permute(self) -> None:
        x = self.any(rank=2)
        self.keep(g.permute(x, tuple(int(i) for i in self.rng.permutation(len(x.shape)))))

    def do_slice(self) -> None:
        x = self.any(rank=1)
        starts, stops, steps = [], [], []
        for n in x.shape:
            start, stop = sorted(int(i) for i in self.rng.integers(0, n + 1, 2))
            cut = (start, stop) if self.chance(0.5) and start < stop else (0, n)
            starts.append(cut[0])
            stops.append(cut[1])
            steps.append(self.pick((1, 1, 2, 3)))
        self.keep(g.slice_(x, starts, stops, steps))

    def do_flip(self) -> None:
        x = self.any(rank=1)
        self.keep(g.flip(x, self.axes(x) or (0,)))

    def do_pad(self) -> None:
        x = self.any(rank=1)
        low, high, gaps = (tuple(map(int, self.rng.integers(0, 3, len(x.shape)))) for _ in "lhi")
        value = self.pick((0, 1)) if x.dtype.kind != "f" else self.pick((0.0, 1.0, -0.5))
        self.keep(g.pad(x, low, high, gaps if self.chance(0.3) else None, value))

    def do_windows(self) -> None:
        x = self.any(rank=1)
        axes = [a for a, n in enumerate(x.shape) if n and self.chance(0.5)][:2]
        sizes = [self.pick((1, 2, 3)) for _ in axes]
        dilations = [self.pick((1, 1, 2)) for _ in axes]
        strides = [self.pick((1, 1, 2, 3)) for _ in axes]
        place = int(self.rng.integers(len(x.shape) + 1))
        self.keep(g.windows(x, axes, sizes, strides, dilations, place))

    def do_convolution(self) -> None:
        """A product of windows, and the gradient of its weights."""
        x = self.any("f", rank=2)
        x = g.reshape(x, (1,) * max(0, 4 - len(x.shape)) + x.shape)
        x = g.reshape(x, (math.prod(x.shape[:-3]), *x.shape[-3:]))
        p, k = self.pick((0, 1, 1)), self.pick((1, 2, 3))
        if min(x.shape[1:3]) + 2 * p < k or not x.size:
            return
        padded = g.pad(x, (0, p, p, 0), (0, p, p, 0))
        columns = g.image_columns(padded, (k, k), self.pick(((1, 1), (2, 2), (1, 2))))
        y = g.matmul(columns, self.input((columns.shape[1], self.pick(SIZES)), x.dtype))
        if self.keep(y) and self.chance(0.5):
            self.keep(g.matmul(columns, g.unary("tanh", y), transpose_a=True))

    def do_concat(self) -> None:
        x = self.any(rank=1)
        axis = int(self.rng.integers(len(x.shape)))
        self.keep(g.concat([x, *(self.like(x) for _ in range(self.pick((1, 2, 5))))], axis))

    def do_reduce(self) -> None:
        fn = self.pick(("sum", "sum", "sum", "prod", "max", "min"))
        x = self.any("fiu", rank=1)
        axes = self.axes(x) or (len(x.shape) - 1,)
        if fn in ("sum", "prod") or all(x.shape[axis] for axis in axes):
            self.keep(g.reduce(fn, x, axes))

    do_reduce_again = do_reduce

    def do_arg_reduce(self) -> None:
        x = self.any("fiu", rank=1, exact=True)
        axis = int(self.rng.integers(len(x.shape)))
        if x.shape[axis]:
            self.keep(g.arg_reduce(self.pick(("argmax", "argmin")), x, axis))

    def do_cumulative(self) -> None:
        x = self.any("fi", rank=1)
        self.keep(g.cumulative("sum", x, int(self.rng.integers(len(x.shape)))))

    def do_matmul(self) -> None:
        a = self.any("f", rank=2)
        ta, tb = self.chance(0.4), self.chance(0.4)
        k, n = a.shape[-2 if ta else -1], self.pick(SIZES)
        b = self.input((n, k) if tb else (k, n), a.dtype)
        if self.chance(0.3):
            ta, a = (
                not ta,
                g.permute(a, (*range(len(a.shape) - 2), len(a.shape) - 1, len(a.shape) - 2)),
            )
        product = g.matmul(a, g.broadcast(b, (*a.shape[:-2], *b.shape)), ta, tb)
        if self.keep(product) and len(a.shape) > 2 and self.chance(0.5):
            self.keep(g.reduce("sum", product, tuple(range(len(a.shape) - 2))))

    def index(self, shape, size: int) -> Node:
        index = self.input(shape, "int64")
        self.arrays[-1][...] = self.rng.integers(0, size, shape)
        return index

    def do_gather(self) -> None:
        x = self.any(rank=1)
        axis = int(self.rng.integers(len(x.shape)))
        if x.shape[axis]:
            index = self.index(self.shape(int(self.rng.integers(0, 3))), x.shape[axis])
            self.keep(g.gather(x, index, axis))

    def do_scatter_add(self) -> None:
        x = self.any("fi", rank=1)
        axis = int(self.rng.integers(len(x.shape)))
        count = int(self.rng.integers(0, len(x.shape) - axis + 1))
        size = self.pick((3, 7, 17))
        index = self.index(x.shape[axis : axis + count], size)
        self.keep(g.scatter_add(x, index, axis, size))

    def do_one_hot(self) -> None:
        w = self.any("f", rank=2)
        w = g.reshape(w, (math.prod(w.shape[:-1]), w.shape[-1]))
        if not w.size or self.special:  # the rewrite to a gather reads no NaN of other rows
            return
        rows = self.pick(SIZES)
        shape = (rows, w.shape[0])
        labels = g.reshape(self.index((rows,), w.shape[0]), (rows, 1))
        hot = g.compare("eq", g.broadcast(labels, shape), g.iota(shape, 1, "int64"))
        self.keep(g.matmul(g.cast(hot, w.dtype), w))

    def do_time_loop(self) -> None:
        """Products of slices, and sums of products, column sums and pads over a few steps."""
        x = self.any("f", rank=3)
        x = g.reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:]))
        steps, n, width = x.shape
        if not 2 <= steps <= 8:
            return
        w, parts, terms = self.input((width, 3), x.dtype), [], []
        for t in range(steps):
            now = g.reshape(g.slice_(x, (t, 0, 0), (t + 1, n, width)), (n, width))
            h = g.unary("tanh", g.matmul(now, w))
            wide = g.reshape(h, (1, n, 3))
            parts.append(g.pad(wide, (t, 0, 0), (steps - 1 - t, 0, 0)))
            terms.append((g.matmul(now, h, transpose_a=True), g.reduce("sum", h, (0,))))
        for group in (parts, *zip(*terms, strict=True)):
            self.keep(functools.reduce(g.add, self.rng.permutation(np.array(group, object))))

    def do_iota(self) -> None:
        shape = self.shape(self.pick((1, 2, 3)))
        axis = int(self.rng.integers(len(shape)))
        self.keep(g.iota(shape, axis, self.pick(("int64", self.float))))

    def do_random(self) -> None:
        kind = self.pick(("uniform", "normal", "bits"))
        self.keep(g.random(self.key, kind, int(self.rng.integers(0, 5)), self.shape()))

    def do_normalize(self) -> None:
        x = self.any("f", rank=1)
        axis = int(self.rng.integers(len(x.shape)))
        n, kept = x.shape[axis], tuple(1 if i == axis else m for i, m in enumerate(x.shape))
        if n < 2 or self.special:  # sum(v a) -> v sum(a) mixes no infinities of both signs
            return

        def mean(y: Node) -> Node:
            total = g.reshape(g.reduce("sum", y, (axis,)), kept)
            return g.div(total, g.full(float(n), kept, x.dtype))

        centred = g.add(x, g.unary("neg", g.broadcast(mean(x), x.shape)))
        squares = g.binary("pow", centred, g.full(2.0, x.shape, x.dtype))
        root = g.binary(
            "pow", g.add(mean(squares), g.full(0.1, kept, x.dtype)), g.full(0.5, kept, x.dtype)
        )
        unit = self.keep(g.div(centred, g.broadcast(root, x.shape)))
        if unit:
            self.keep(g.reduce("sum", g.mul(unit, self.like(unit)), (axis,)))

    def outputs(self) -> tuple[Node, ...]:
        used = {x for n in g.topological(self.nodes) for x in n.inputs}
        made = [n for n in self.nodes if n.inputs] or self.nodes
        ends = [n for n in made if n not in used]
        return tuple(dict.fromkeys([*ends, self.pick(made)]))


def generate(seed: int, size: int = 20) -> Program:
    """Return the program of a seed: a graph and arrays for its inputs."""
    made = Generator(seed, size)
    graph = Graph(tuple(made.inputs), made.outputs())
    graph.verify()
    return graph, made.arrays


def run_simplified(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return interpret(simplify(graph, verify=True), arrays)


def report(seed: int, size: int, run: Run) -> str | None:
    """Return the text of a shrunk failure of one seed, None if it passes."""
    program = generate(seed, size)
    failure = check(*program, run)
    if failure is None:
        return None
    graph, arrays = shrink(*program, run)
    small = check(graph, arrays, run) or failure
    values = "\n".join(f"x{i} = {a!r}" for i, a in enumerate(arrays) if a.size <= 50)
    return f"seed {seed}: {failure}\nshrunk: {small}\n{graph}\n{values}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="programs to run (200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first program (0)")
    parser.add_argument("--size", type=int, default=20, help="steps a program (20)")
    parser.add_argument("--run", default="", help="module:function(graph, arrays) to test")
    options = parser.parse_args()
    module, _, name = options.run.partition(":")
    run = getattr(importlib.import_module(module), name) if name else run_simplified
    failures, last = 0, options.seed + options.count - 1
    for seed in range(options.seed, last + 1):
        if text := report(seed, options.size, run):
            failures += 1
            print(text, end="\n\n", flush=True)
    print(f"seeds {options.seed}..{last}: {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
