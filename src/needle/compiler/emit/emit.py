"""Write LLVM IR as text: modules, functions, memory, loops.

A ``Module`` collects functions and constants; a ``Builder`` writes one function: it keeps
blocks and phis in order, loads and stores whole vectors and their remainders on any target.
A bool is one bit in a register and one byte in memory.

A function that doubles n floats, in vectors of the target's width:

>>> from needle.compiler.emit.emit import Module
>>> from needle.compiler.target import named
>>> module = Module(named("haswell"))
>>> b = module.function("double", [("x", "ptr"), ("y", "ptr")], linkage="")
>>> x, y = b.arguments
>>> for loop in b.sweep(100, 8):
...     doubled = b.load(x, loop.index, "float32", 8, loop.mask) * 2
...     b.store(doubled, y, loop.index, loop.mask)
>>> b.ret()
>>> print(module.text().count("masked.load.v8f32"))
2
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from needle.compiler.emit.memory import Memory
from needle.compiler.emit.values import Value, literal_text, llvm_type
from needle.compiler.target import Target

#: The name and dtype of a function's parameter, and its width if it is a vector.
Parameter = tuple[str, str] | tuple[str, str, int]


class Module:
    """Functions, declarations and constant tables of one LLVM module."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._functions: dict[str, Builder] = {}
        self._declarations: dict[str, str] = {}

    def function(self, name: str, parameters: Sequence[Parameter], **options: Any) -> Builder:
        """Start a function; the options are those of `Builder`."""
        builder = self._functions[name] = Builder(self, name, parameters, **options)
        return builder

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def declare(self, name: str, text: str) -> None:
        """Add a declaration or a global once; the second one of a name is ignored."""
        self._declarations.setdefault(name, text)

    def table(self, name: str, values: np.ndarray) -> str:
        """Add a constant array, aligned to a cache line; returns its global name."""
        dtype = values.dtype.name
        kind = llvm_type(dtype, memory=True)
        items = ", ".join(f"{kind} {literal_text(v, dtype)}" for v in values.ravel().tolist())
        text = f"@{name} = internal constant [{values.size} x {kind}] [{items}], align 64"
        self.declare(name, text)
        return f"@{name}"

    def text_of(self, names: Iterable[str]) -> str:
        """The functions of these names as LLVM IR."""
        return "\n".join(self._functions[name].text() for name in names) + "\n"

    def text(self, without: Collection[str] = ()) -> str:
        """The module as LLVM IR, the functions `without` left out."""
        kept = [f.text() for name, f in self._functions.items() if name not in without]
        parts = [*self._declarations.values(), *kept]
        return f'target triple = "{self.target.triple}"\n' + "\n".join(parts) + "\n"


@dataclass
class Loop:
    """A loop being written: ``index``, ``carried`` values, ``next(...)``, then ``results``.

    It ends early where a ``condition`` does not hold at the end of a turn. A ``mask`` says how many
    elements there are from the index on, where that is not a whole vector.
    """

    index: Value
    carried: tuple[Value, ...]
    results: tuple[Value, ...]
    condition: Value | None = None
    mask: int | None = None

    def next(self, *values: Value) -> None:
        """Say what the carried values become; called once, at the end of the body."""
        self.results = values


class Builder(Memory):
    """Writes one function, instruction by instruction.

    Pointers are ``noalias``. ``linkage`` is "internal" or "" (visible outside). ``contract`` lets
    LLVM join a product and a sum into a multiply-add.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[Parameter],
        *,
        returns: str = "void",
        attributes: str = "",
        linkage: str = "internal",
        contract: bool = True,
    ) -> None:
        super().__init__(module.target, module.declare, contract)
        self.module, self.name = module, name
        self._block = "entry"
        self._blocks = 0
        self.arguments = tuple(
            Value(f"%{p[0]}", p[1], p[2] if len(p) == 3 else 1, self) for p in parameters
        )
        spelled = ", ".join(
            f"ptr noalias {a.text}" if a.dtype == "ptr" else a.typed for a in self.arguments
        )
        self._head = f"define {linkage} {returns} @{name}({spelled}) {attributes} nounwind {{"

    def text(self) -> str:
        """The function as LLVM IR."""
        return "\n".join([self._head, *self._lines, "}"])

    # -- control flow ----------------------------------------------------------------------------

    def ret(self, x: Value | None = None) -> None:
        """Return from the function."""
        self._lines.append("  ret void" if x is None else f"  ret {x.typed}")

    def call(
        self, name: str, arguments: Sequence[Value], dtype: str | None = None, width: int = 1
    ) -> Value:
        """Call a function of the module; without ``dtype`` it returns nothing."""
        spelled = ", ".join(a.typed for a in arguments)
        if dtype is None:
            self._lines.append(f"  call void @{name}({spelled})")
            return self.const(0, "int64")
        return self.emit(f"call {llvm_type(dtype, width)} @{name}({spelled})", dtype, width)

    def shared(
        self, stem: str, operands: Sequence[Value], dtype: str | None, width: int,
        write: Callable[..., Value | None], **options: Any,
    ) -> Value:  # fmt: skip
        """Call a function of the module; ``write(builder, *arguments)`` writes it at its first use.

        Without ``dtype`` it returns nothing. The options are those of `Builder`.
        """
        name = f"needle.{stem}.{dtype}x{width}" if dtype else f"needle.{stem}"
        if name not in self.module:
            parameters = [(f"x{i}", x.dtype, x.width) for i, x in enumerate(operands)]
            returns = llvm_type(dtype, width) if dtype else "void"
            body = self.module.function(name, parameters, returns=returns, **options)
            body.ret(write(body, *body.arguments))
        return self.call(name, operands, dtype, width)

    @contextmanager
    def loop(
        self,
        start: Value | int,
        stop: Value | int,
        step: int = 1,
        carry: Sequence[Value] = (),
    ) -> Iterator[Loop]:
        """``for index in range(start, stop, step)``, with values carried from turn to turn.

        One known turn becomes straight code. Without a known count of at least one the loop is
        guarded, and ``results`` are the initial values if it never runs.
        """
        start, stop, carry = self.index(start), self.index(stop), tuple(carry)
        turns = _known_turns(start, stop, step)
        if turns == 1:
            yield (loop := Loop(start, carry, carry))
            return
        body, done, before = self._label("loop"), self._label("done"), self._block
        way = f"label %{body}"
        if not turns:
            way = f"{self.compare('lt', start, stop).typed}, label %{body}, label %{done}"
        self._lines.append(f"  br {way}")
        self._open(body)
        at, initial = len(self._lines), (start, *carry)
        phis = tuple(self.emit("", x.dtype, x.width) for x in initial)  # written below
        yield (loop := Loop(phis[0], phis[1:], phis[1:]))
        following = (self.binary("add nsw", loop.index, step), *loop.results)
        again, latch = self.compare("lt", following[0], stop), self._block
        if loop.condition is not None:
            again = again & loop.condition
        self._lines.append(f"  br {again.typed}, label %{body}, label %{done}")
        for k, (phi, first, last) in enumerate(zip(phis, initial, following, strict=True)):
            self._lines[at + k] = f"  {phi.text} = {_joined((first, before), (last, latch))}"
        self._open(done)
        if not turns:
            pairs = zip(carry, loop.results, strict=True)
            loop.results = tuple(self._phi((x, before), (y, latch)) for x, y in pairs)

    @contextmanager
    def when(self, condition: Value, default: Sequence[Value] = ()) -> Iterator[Loop]:
        """Code that runs once or never; the results are ``default`` where the condition fails."""
        then, done, before = self._label("then"), self._label("join"), self._block
        self._lines.append(f"  br {condition.typed}, label %{then}, label %{done}")
        self._open(then)
        yield (case := Loop(self.index(0), tuple(default), tuple(default)))
        latch = self._block
        self._lines.append(f"  br label %{done}")
        self._open(done)
        pairs = zip(case.results, default, strict=True)
        case.results = tuple(self._phi((x, latch), (y, before)) for x, y in pairs)

    def either(self, condition: Value) -> Iterator[bool]:
        """True and False, each yielded where the code of that case is to be written."""
        then, otherwise, done = (self._label(stem) for stem in ("then", "else", "join"))
        self._lines.append(f"  br {condition.typed}, label %{then}, label %{otherwise}")
        for label in (then, otherwise):
            self._open(label)
            yield label == then
            self._lines.append(f"  br label %{done}")
        self._open(done)

    def sweep(self, count: int, width: int, carry: Sequence[Value] = ()) -> Iterator[Loop]:
        """``count`` elements, ``width`` at a time: a loop over whole vectors, then the last one.

        ``mask`` is None in whole vectors and the number of lanes left in the last one. The results
        of the loop yielded last are those of all.
        """
        whole, carried = count - count % width, tuple(carry)
        if whole:
            with self.loop(0, whole, width, carried) as loop:
                yield loop
            carried = loop.results
        if count > whole:
            yield Loop(self.index(whole), carried, carried, mask=count - whole)

    def fill(self, value: Value, pointer: Value, start: Value | int, count: int) -> None:
        """Store a vector over ``count`` elements from ``start`` on."""
        for loop in self.sweep(count, value.width):
            self.store(value, pointer, self.index(start) + loop.index, loop.mask)

    def piece(self, number: Value, count: int, width: int) -> Iterator[tuple[Value, int | None]]:
        """Start and mask of one of the pieces, ``width`` long, of ``count`` elements.

        The mask is None in whole pieces and the number of elements left in the last one: both are
        yielded where there are both.
        """
        whole, left = divmod(count, width)
        start = number * width
        if not left or not whole:
            yield start, left or None
            return
        for inside in self.either(number < whole):
            yield start, None if inside else left

    def _phi(self, *sources: tuple[Value, str]) -> Value:
        x = sources[0][0]
        return self.emit(_joined(*sources), x.dtype, x.width)

    def _label(self, stem: str) -> str:
        self._blocks += 1
        return f"{stem}{self._blocks}"

    def _open(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label


def _joined(*sources: tuple[Value, str]) -> str:
    """The phi of values that come from different blocks."""
    ways = ", ".join(f"[{value.text}, %{block}]" for value, block in sources)
    return f"phi {sources[0][0].type} {ways}"


def _known_turns(start: Value, stop: Value, step: int) -> int | None:
    if start.literal is None or stop.literal is None:
        return None
    return len(range(int(start.literal), int(stop.literal), step))
