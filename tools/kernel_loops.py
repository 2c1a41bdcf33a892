"""A loop nest as text: what each sweep loads, computes and stores, and at which depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from needle.compiler.index import Affine
from needle.compiler.lower.bundle import Bundle, Tailed
from needle.compiler.lower.instruction import Instruction, Store
from needle.compiler.lower.nest import NestWork
from needle.compiler.lower.phases import Phases

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
AXES = "ijklmn"
POSITIONED = ("arg", "divide", "iota", "product", "random")


def describe(work: Any, names: Sequence[str]) -> str:
    """The loops of a kernel's work; `names` are those of its pointers, in order.

    ``v3 = x[512*i + j]`` is a load, ``v7 += v3`` a reduction, b the number of the block.
    """
    if isinstance(work, Tailed):
        parts = [describe(work.main, names)]
        before: Any = None
        for tail, slots in work.tails:
            own = [names[k] for k in slots]
            text = "the same" if tail == before else f"\n{describe(tail, own)}"
            parts.append(
                f"then, by the last thread, on {', '.join(own)}: {text}".replace(" \n", "\n")
            )
            before = tail
        return "\n".join(parts)
    if isinstance(work, Bundle):
        return "\n".join(type(piece).__name__ for piece in work.pieces)
    return "\n".join(_Text(work, names).lines()) if isinstance(work, NestWork) else str(work)


class _Text:
    """Follows `NestWriter`, and writes lines where it writes instructions."""

    def __init__(self, work: NestWork, names: Sequence[str]) -> None:
        self.nest, self.plan, self.names = work.nest, work.plan, names
        self.writer = Phases(work.nest, work.plan)
        self.written: set[int] = set()

    def lines(self) -> Iterator[str]:
        """The whole nest."""
        axes = [a for a in range(len(self.nest.space)) if not self.plan.swept[a]]
        one = "block b" if self.plan.blocks == 1 else "blocks b"
        yield f"{self.plan.blocks} {one} of {self.plan.chunk} positions"
        yield from self._computed(range(len(self.nest.instructions)), 0, 0)
        for level, axis in enumerate(axes):
            yield self._loop(axis, level)
        for reductions, stores in self.writer.phases:
            yield from self._sweep(reductions, stores, len(axes))
        for store in self.nest.stores:
            if not self.writer.inside(store):
                yield from self._computed(self.writer.closure([store.value]), 1, len(axes))
                yield self._store(store, len(axes))

    def _sweep(self, reductions: list[int], stores: list[Store], level: int) -> Iterator[str]:
        operands = [self.nest.instructions[r].args[0] for r in reductions]
        needed = self.writer.closure([*operands, *(store.value for store in stores)])
        yield from self._computed(needed, 1, level)
        before = set(self.written)
        for depth, axis in enumerate(self.writer.sweeps):
            yield self._loop(axis, level + depth)
            yield from self._computed(needed, 2 + depth, level + depth + 1)
        level += len(self.writer.sweeps)
        for store in stores:
            yield self._store(store, level)
        for r, operand in zip(reductions, operands, strict=True):
            sign = _join(str(self.nest.instructions[r].attribute))
            yield f"{'  ' * level}v{r} {sign} {self._value(operand)}"
        self.written = before | set(reductions)

    def _loop(self, axis: int, level: int) -> str:
        by = f" by {self.plan.width}" if axis == self.plan.vector and self.plan.width > 1 else ""
        return f"{'  ' * level}for {AXES[axis]} in {self.nest.space[axis]}{by}:"

    def _computed(self, numbers: Sequence[int], depth: int, level: int) -> Iterator[str]:
        for number in numbers:
            i = self.nest.instructions[number]
            known = number in self.written or i.op in ("reduce", "arg", "const")
            if self.writer.depths[number] == depth and not known:
                self.written.add(number)
                yield f"{'  ' * level}v{number} = {self._instruction(i)}"

    def _instruction(self, i: Instruction) -> str:
        args = [self._value(a) for a in i.args]
        if i.op == "load":
            return f"{self.names[i.attribute]}[{self._affine(i.affine)}]"
        if i.op == "apply" and i.attribute in SIGNS:
            return f"{args[0]} {SIGNS[i.attribute]} {args[1]}"
        name = i.attribute if i.op == "apply" else f"{i.op} {i.attribute}"
        place = [self._affine(i.affine)] if i.op in POSITIONED else []
        return f"{name}({', '.join([*args, *place])})"

    def _store(self, store: Store, level: int) -> str:
        block = [f"{store.size}*b"] if store.combine else []
        at = " + ".join([*block, self._affine(store.affine)])
        sign = _join(store.combine) if store.combine else "="
        return (
            f"{'  ' * level}{self.names[store.parameter]}[{at}] {sign} {self._value(store.value)}"
        )

    def _value(self, number: int) -> str:
        i = self.nest.instructions[number]
        return f"{i.attribute.value:.7g}" if i.op == "const" else f"v{number}"

    def _affine(self, affine: Affine) -> str:
        terms = [(c, AXES[axis]) for axis, c in enumerate(affine.coefs) if c]
        terms += [(c, f"v{number}") for number, c in affine.dynamic]
        shown = [name if c == 1 else f"{c}*{name}" for c, name in terms]
        return " + ".join([*shown, *([str(affine.const)] if affine.const or not shown else [])])


def _join(fn: str) -> str:
    return {"sum": "+=", "prod": "*="}.get(fn, f"{fn}=")
