"""Write LLVM IR as text: modules, functions, memory, loops.

A ``Module`` collects functions and constants; a ``Builder`` writes one function: it keeps
blocks and phis in order, loads and stores whole vectors and their remainders on any target.
A bool is one bit in a register and one byte in memory.

A function that doubles n floats, in vectors of the target's width:

>>> from needle.compiler.emit import Module
>>> from needle.compiler.target import named
>>> module = Module(named("haswell"))
>>> b = module.function("double", [("x", "ptr"), ("y", "ptr")], linkage="")
>>> x, y = b.arguments
>>> _ = b.sweep(100, 8, lambda i, mask: b.store(b.load(x, i, "float32", 8, mask) * 2, y, i, mask))
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

from needle.compiler.emit_values import Arithmetic, Value, literal_text, llvm_type, suffix
from needle.compiler.target import ITEM_BYTES, Target

#: The name and dtype of a function's parameter, and its width if it is a vector.
Parameter = tuple[str, str] | tuple[str, str, int]

#: Lanes that take part: a number of leading ones known now, a vector of bools, or None for all.
Mask = Value | int | None


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
    """A loop being written: ``index``, ``carried`` values, ``next(...)``, then ``results``."""

    index: Value
    carried: tuple[Value, ...]
    results: tuple[Value, ...]

    def next(self, *values: Value) -> None:
        """Say what the carried values become; called once, at the end of the body."""
        self.results = values


class Builder(Arithmetic):
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

    # -- memory ----------------------------------------------------------------------------------

    def address(self, pointer: Value, index: Value | int, dtype: str) -> Value:
        """The pointer to element ``index``."""
        index = self.index(index)
        if index.literal == 0:
            return pointer
        kind = llvm_type(dtype, memory=True)
        return self.emit(f"getelementptr {kind}, {pointer.typed}, {index.typed}", "ptr")

    def load(
        self,
        pointer: Value,
        index: Value | int,
        dtype: str,
        width: int = 1,
        mask: Mask = None,
        fill: float = 0,
    ) -> Value:
        """``width`` consecutive elements from ``index`` on; lanes off the mask hold ``fill``."""
        at = self.address(pointer, index, dtype)
        mask = None if isinstance(mask, int) and mask >= width else mask
        if mask is None:
            return self._loaded(self._plain_load(at, dtype, width), dtype)
        if isinstance(mask, Value) or self.target.has_mask(dtype):
            return self._masked("load.{}.p0", at, dtype, self._lanes(mask, width), fill)
        stored = _stored(dtype)
        result = self.const(fill, stored, width)
        for start, piece in _pieces(mask):
            part = self._plain_load(self.address(at, start, dtype), dtype, piece)
            result = self._insert(result, part, start)
        return self._loaded(result, dtype)

    def store(self, x: Value, pointer: Value, index: Value | int, mask: Mask = None) -> None:
        """Write the lanes on the mask to consecutive elements from ``index`` on."""
        at = self.address(pointer, index, x.dtype)
        size, width = ITEM_BYTES[x.dtype], x.width
        if x.dtype == "bool":
            x = self.convert("zext", x, "uint8")
        if mask is None or (isinstance(mask, int) and mask >= width):
            self._lines.append(f"  store {x.typed}, {at.typed}, align {size}")
        elif isinstance(mask, Value) or self.target.has_mask(x.dtype):
            name = f"llvm.masked.store.{suffix(x.dtype, width)}.p0"
            operands = x, at, self.const(size, "int32"), self._lanes(mask, width)
            self._lines.append(f"  {self._called(name, 'void', *operands)}")
        else:
            for start, piece in _pieces(mask):
                part = self.extract(x, start, piece)
                self.store(part, self.address(at, start, x.dtype), 0)

    def prefetch(self, pointer: Value, index: Value | int, dtype: str, nearness: int = 3) -> None:
        """Ask for the cache line of an element, which need not exist; nearness 3: into L1."""
        read, near, data = (self.const(n, "int32") for n in (0, nearness, 1))
        operands = self.address(pointer, index, dtype), read, near, data
        self._lines.append(f"  {self._called('llvm.prefetch.p0', 'void', *operands)}")

    def gather(self, pointer: Value, indices: Value, dtype: str, mask: Mask = None) -> Value:
        """Elements at a vector of int64 indices (a scalar index: one load)."""
        width = indices.width
        if width == 1:
            return self.load(pointer, indices, dtype)
        step = llvm_type(dtype, memory=True)
        at = self.emit(f"getelementptr {step}, {pointer.typed}, {indices.typed}", "ptr", width)
        lanes = self._lanes(width if mask is None else mask, width)
        return self._masked(f"gather.{{}}.v{width}p0", at, dtype, lanes)

    def scatter(self, x: Value, pointer: Value, indices: Value, mask: Mask = None) -> None:
        """Write the lanes on the mask to elements at a vector of int64 indices."""
        size, width = self.const(ITEM_BYTES[x.dtype], "int32"), x.width
        kind = llvm_type(x.dtype, memory=True)
        at = self.emit(f"getelementptr {kind}, {pointer.typed}, {indices.typed}", "ptr", width)
        x = self.convert("zext", x, "uint8") if x.dtype == "bool" else x
        name = f"llvm.masked.scatter.{suffix(x.dtype, width)}.v{width}p0"
        lanes = self._lanes(width if mask is None else mask, width)
        self._lines.append(f"  {self._called(name, 'void', x, at, size, lanes)}")

    def mask(self, count: Value | int, width: int) -> Mask:
        """The first ``count`` lanes, for a count known only at run time (or a plain int)."""
        if not isinstance(count, Value):
            return min(count, width)
        return self.compare("lt", self.lanes(width), self.splat(count, width))

    def index(self, index: Value | int) -> Value:
        """An index as a value."""
        return index if isinstance(index, Value) else self.const(index, "int64")

    def _plain_load(self, at: Value, dtype: str, width: int) -> Value:
        stored = _stored(dtype)
        text = f"load {llvm_type(stored, width)}, {at.typed}, align {ITEM_BYTES[dtype]}"
        return self.emit(text, stored, width)

    def _masked(self, name: str, at: Value, dtype: str, lanes: Value, fill: float = 0) -> Value:
        """A masked load or gather."""
        stored, size = _stored(dtype), self.const(ITEM_BYTES[dtype], "int32")
        other = self.const(fill, stored, lanes.width)
        full = f"llvm.masked.{name.format(suffix(stored, lanes.width))}"
        text = self._called(full, other.type, at, size, lanes, other)
        return self._loaded(self.emit(text, stored, lanes.width), dtype)

    def _loaded(self, x: Value, dtype: str) -> Value:
        return self.compare("ne", x, 0) if dtype == "bool" else x

    def _lanes(self, mask: Value | int, width: int) -> Value:
        if isinstance(mask, Value):
            return mask
        bits = ", ".join("i1 true" if i < mask else "i1 false" for i in range(width))
        return Value(f"<{bits}>", "bool", width, self)

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
        self, stem: str, operands: Sequence[Value], dtype: str, width: int,
        write: Callable[..., Value], **options: Any,
    ) -> Value:  # fmt: skip
        """Call a function of the module; ``write(builder, *arguments)`` writes it at its first use.

        The options are those of `Builder`.
        """
        name = f"needle.{stem}.{dtype}x{width}"
        if name not in self.module:
            parameters = [(f"x{i}", x.dtype, x.width) for i, x in enumerate(operands)]
            returns = llvm_type(dtype, width)
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
        at, phis = self._open_with_phis(body, (start, *carry))
        yield (loop := Loop(phis[0], phis[1:], phis[1:]))
        following = (self._binary("add nsw", loop.index, step), *loop.results)
        again, latch = self.compare("lt", following[0], stop), self._block
        self._lines.append(f"  br {again.typed}, label %{body}, label %{done}")
        self._set_phis(at, phis, (start, *carry), before, following)
        self._open(done)
        if not turns:
            pairs = zip(carry, loop.results, strict=True)
            loop.results = tuple(self._phi((x, before), (y, latch)) for x, y in pairs)

    def repeat(
        self, carry: Sequence[Value], body: Callable[..., tuple[Sequence[Value], Value]]
    ) -> tuple[Value, ...]:
        """Run ``body(*carried) -> (following, again)`` once and as long as ``again`` holds."""
        label, done, before = self._label("repeat"), self._label("done"), self._block
        self._lines.append(f"  br label %{label}")
        at, carried = self._open_with_phis(label, carry)
        following, again = body(*carried)
        self._lines.append(f"  br {again.typed}, label %{label}, label %{done}")
        self._set_phis(at, carried, carry, before, following)
        self._open(done)
        return tuple(following)

    def branch(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value] | None],
        otherwise: Callable[[], Sequence[Value] | None] | None = None,
        default: Sequence[Value] = (),
    ) -> tuple[Value, ...]:
        """Run one of two pieces of code; their results, joined.

        Without ``otherwise`` the results are ``default`` where the condition does not hold.
        """
        first, second, done = (self._label(stem) for stem in ("then", "else", "join"))
        before = self._block
        target = done if otherwise is None else second
        self._lines.append(f"  br {condition.typed}, label %{first}, label %{target}")
        self._open(first)
        values, latch = tuple(then() or ()), self._block
        self._lines.append(f"  br label %{done}")
        others, origin = tuple(default), before
        if otherwise is not None:
            self._open(second)
            others, origin = tuple(otherwise() or ()), self._block
            self._lines.append(f"  br label %{done}")
        self._open(done)
        pairs = zip(values, others, strict=True)
        return tuple(self._phi((x, latch), (y, origin)) for x, y in pairs)

    def sweep(
        self,
        count: int,
        width: int,
        body: Callable[..., Sequence[Value] | None],
        carry: Sequence[Value] = (),
    ) -> tuple[Value, ...]:
        """``body(index, mask, *carried)`` over ``count`` elements, ``width`` at a time.

        The mask is None in whole vectors and the number of lanes left in the last one. The body
        returns the carried values of the next turn.
        """
        whole = count - count % width
        carried = tuple(carry)
        if whole:
            with self.loop(0, whole, width, carried) as loop:
                loop.next(*(body(loop.index, None, *loop.carried) or ()))
            carried = loop.results
        if count > whole:
            carried = tuple(body(self.const(whole, "int64"), count - whole, *carried) or ())
        return carried

    def piece(
        self, number: Value, count: int, width: int, body: Callable[[Value, int | None], None]
    ) -> None:
        """``body(start, mask)`` for one of the pieces, ``width`` long, of ``count`` elements.

        The mask is None in whole pieces and the number of elements left in the last one.
        """
        whole, left = divmod(count, width)
        start = number * width
        if not left or not whole:
            body(start, left or None)
            return
        inside = self.compare("lt", number, whole)
        self.branch(inside, lambda: body(start, None), lambda: body(start, left))

    def _open_with_phis(
        self, label: str, initial: Sequence[Value]
    ) -> tuple[int, tuple[Value, ...]]:
        """Open a block that starts with phis; they are written by ``_set_phis``, from a line on."""
        self._open(label)
        at = len(self._lines)
        return at, tuple(self.emit("", x.dtype, x.width) for x in initial)

    def _set_phis(
        self,
        at: int,
        phis: Sequence[Value],
        initial: Sequence[Value],
        before: str,
        following: Sequence[Value],
    ) -> None:
        """Fill in the phis of a loop whose last block has just been closed."""
        rows = zip(phis, initial, following, strict=True)
        for line, (phi, first, last) in enumerate(rows, start=at):
            ways = f"[{first.text}, %{before}], [{last.text}, %{self._block}]"
            self._lines[line] = f"  {phi.text} = phi {phi.type} {ways}"

    def _phi(self, *sources: tuple[Value, str]) -> Value:
        x = sources[0][0]
        joined = ", ".join(f"[{value.text}, %{block}]" for value, block in sources)
        return self.emit(f"phi {x.type} {joined}", x.dtype, x.width)

    def _label(self, stem: str) -> str:
        self._blocks += 1
        return f"{stem}{self._blocks}"

    def _open(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label


def _stored(dtype: str) -> str:
    """The dtype of an element in memory."""
    return "uint8" if dtype == "bool" else dtype


def _known_turns(start: Value, stop: Value, step: int) -> int | None:
    if start.literal is None or stop.literal is None:
        return None
    return len(range(int(start.literal), int(stop.literal), step))


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """``count`` lanes as powers of two: 7 gives (0, 4), (4, 2), (6, 1)."""
    start = 0
    while start < count:
        piece = 1 << ((count - start).bit_length() - 1)
        yield start, piece
        start += piece
