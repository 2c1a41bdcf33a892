"""LLVM values and the arithmetic on them, one for scalars (width 1) and vectors.

A ``Value`` is a name with a dtype and a width. Python numbers are accepted wherever values are and
take the other operand's dtype, and a scalar is splat to the other operand's width.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from needle.compiler.target import Target

_LLVM_TYPES = {
    "bool": "i1", "int8": "i8", "uint8": "i8", "int16": "i16", "uint16": "i16", "int32": "i32",
    "uint32": "i32", "int64": "i64", "uint64": "i64", "float32": "float", "float64": "double",
    "ptr": "ptr",
}  # fmt: skip
_SHORT = {"float": "f32", "double": "f64", "ptr": "p0"}


def is_float(dtype: str) -> bool:
    """Whether a dtype is a floating-point one."""
    return dtype.startswith("float")


def is_signed(dtype: str) -> bool:
    """Whether a dtype is a signed integer."""
    return dtype.startswith("int")


def llvm_type(dtype: str, width: int = 1, *, memory: bool = False) -> str:
    """The LLVM type of ``width`` elements; with ``memory`` a bool is one byte."""
    scalar = "i8" if memory and dtype == "bool" else _LLVM_TYPES[dtype]
    return scalar if width == 1 else f"<{width} x {scalar}>"


def suffix(dtype: str, width: int) -> str:
    """How an intrinsic's name spells a type: ``v16f32``, ``i64``."""
    scalar = _LLVM_TYPES[dtype]
    return ("" if width == 1 else f"v{width}") + _SHORT.get(scalar, scalar)


def literal_text(value: float, dtype: str, width: int = 1) -> str:
    """A constant of the dtype as LLVM text; floats in hexadecimal, so that no digit is lost."""
    if is_float(dtype):
        scalar = "0x" + struct.pack(">d", value).hex().upper()
    elif dtype == "bool":
        scalar = "true" if value else "false"
    else:
        scalar = str(int(value))
    return scalar if width == 1 else f"splat ({_LLVM_TYPES[dtype]} {scalar})"


def _operator(method: str, op: str) -> Callable[[Value, Operand], Value]:
    """An operator that writes an instruction."""

    def write(self: Value, other: Operand) -> Value:
        written: Value = getattr(self.builder, method)(op, self, other)
        return written

    return write


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An SSA value, or a literal; operators write instructions.

    ``/`` of integers rounds towards zero, ``>>`` of signed ones brings in sign bits, shifts by the
    bit width and more are undefined, ``abs`` is that of floats. ``==`` compares Python objects; for
    elements there is ``compare``.
    """

    text: str
    dtype: str
    width: int
    builder: Arithmetic = field(repr=False)
    literal: float | int | None = None

    @property
    def type(self) -> str:
        """The LLVM type."""
        return llvm_type(self.dtype, self.width)

    @property
    def typed(self) -> str:
        """Type and name, as an argument is written."""
        return f"{self.type} {self.text}"

    __add__ = __radd__ = _operator("arithmetic", "add")
    __mul__ = __rmul__ = _operator("arithmetic", "mul")
    __sub__ = _operator("arithmetic", "sub")
    __and__, __or__ = _operator("binary", "and"), _operator("binary", "or")
    __xor__, __lshift__ = _operator("binary", "xor"), _operator("binary", "shl")
    __lt__, __le__ = _operator("compare", "lt"), _operator("compare", "le")
    __gt__, __ge__ = _operator("compare", "gt"), _operator("compare", "ge")

    def __rsub__(self, other: float) -> Value:
        return self.builder.arithmetic("sub", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return self.builder.div(self, other)

    def __rtruediv__(self, other: float) -> Value:
        return self.builder.div(other, self)

    def __rshift__(self, other: Operand) -> Value:
        return self.builder.binary("ashr" if is_signed(self.dtype) else "lshr", self, other)

    def __neg__(self) -> Value:
        return self.builder.neg(self)

    def __abs__(self) -> Value:
        return self.builder.intrinsic("fabs", self)

    def __invert__(self) -> Value:
        return self ^ (True if self.dtype == "bool" else -1)

    def __bool__(self) -> bool:
        raise TypeError("the value of an instruction is known only when the code runs")


Operand = Value | float


class Arithmetic:
    """The instructions without memory and control flow; ``Builder`` adds those."""

    def __init__(self, target: Target, declare: Callable[[str, str], None], contract: bool) -> None:
        self.target, self._declare = target, declare
        self._fresh = 0
        self._lines: list[str] = ["entry:"]
        self._contract = "contract " if contract else ""

    # -- values ---------------------------------------------------------------------------------

    def const(self, value: float, dtype: str, width: int = 1) -> Value:
        """A literal, rounded to the dtype."""
        if is_float(dtype):
            with np.errstate(over="ignore"):
                value = float(np.dtype(dtype).type(value))
        elif isinstance(value, np.generic):
            value = value.item()
        return Value(literal_text(value, dtype, width), dtype, width, self, value)

    def zeros(self, dtype: str, width: int = 1) -> Value:
        """Zero of a dtype."""
        return self.const(0, dtype, width)

    def emit(self, instruction: str, dtype: str, width: int = 1) -> Value:
        """Write an instruction with a result."""
        name = f"%_{self._fresh}"
        self._fresh += 1
        self._lines.append(f"  {name} = {instruction}")
        return Value(name, dtype, width, self)

    def splat(self, x: Value, width: int) -> Value:
        """A scalar in all lanes."""
        if x.width == width:
            return x
        if x.literal is not None:
            return self.const(x.literal, x.dtype, width)
        kind = llvm_type(x.dtype, width)
        first = self.emit(f"insertelement {kind} poison, {x.typed}, i32 0", x.dtype, width)
        zeros = f"<{width} x i32> zeroinitializer"
        return self.emit(f"shufflevector {first.typed}, {kind} poison, {zeros}", x.dtype, width)

    def match(self, *operands: Operand) -> tuple[Value, ...]:
        """Operands as values of one dtype and width: numbers and scalars follow the others."""
        values = [x for x in operands if isinstance(x, Value)]
        dtype, width = values[0].dtype, max(v.width for v in values)
        return tuple(
            self.splat(x, width) if isinstance(x, Value) else self.const(x, dtype, width)
            for x in operands
        )

    def binary(self, op: str, x: Operand, y: Operand) -> Value:
        """Any LLVM instruction of two operands of one type, with that type as result."""
        x, y = self.match(x, y)
        return self.emit(f"{op} {x.typed}, {y.text}", x.dtype, x.width)

    def arithmetic(self, op: str, x: Operand, y: Operand) -> Value:
        """``add``, ``sub`` or ``mul`` of integers or floats."""
        x, y = self.match(x, y)
        if is_float(x.dtype):
            return self.binary(f"f{op} {self._contract}".rstrip(), x, y)
        folded = _folded(op, x, y) if x.dtype == "int64" and x.width == 1 else None
        return self.binary(op, x, y) if folded is None else folded

    def div(self, x: Operand, y: Operand) -> Value:
        """``x / y`` of floats; of integers, rounded towards zero (undefined for y = 0)."""
        x, y = self.match(x, y)
        integer = "sdiv" if is_signed(x.dtype) else "udiv"
        return self.binary("fdiv" if is_float(x.dtype) else integer, x, y)

    def fma(self, x: Operand, y: Operand, z: Operand) -> Value:
        """``x * y + z`` in one rounding where the target can, else in two."""
        x, y, z = self.match(x, y, z)
        return self.intrinsic("fma" if self.target.fma else "fmuladd", x, y, z)

    def neg(self, x: Value) -> Value:
        """``-x``."""
        if is_float(x.dtype):
            return self.emit(f"fneg {x.typed}", x.dtype, x.width)
        return self.binary("sub", 0, x)

    def intrinsic(self, name: str, *operands: Operand) -> Value:
        """``llvm.<name>`` of operands of one type, with that type as result."""
        values = self.match(*operands)
        x = values[0]
        full = f"llvm.{name}.{suffix(x.dtype, x.width)}"
        return self.emit(self._called(full, x.type, *values), x.dtype, x.width)

    def _called(self, name: str, returns: str, *operands: Value) -> str:
        """The text of a call of an outside function, which is declared as it is called."""
        kinds = ", ".join(x.type for x in operands)
        self._declare(name, f"declare {returns} @{name}({kinds})")
        return f"call {returns} @{name}({', '.join(x.typed for x in operands)})"

    # -- comparisons -----------------------------------------------------------------------------

    def bitcast(self, x: Value, dtype: str) -> Value:
        """The same bits as another dtype of the same size (signed and unsigned are one)."""
        to = llvm_type(dtype, x.width)
        if to == x.type:
            return Value(x.text, dtype, x.width, self, x.literal)
        return self.emit(f"bitcast {x.typed} to {to}", dtype, x.width)

    def compare(self, fn: str, x: Operand, y: Operand) -> Value:
        """A bool: ``fn`` is lt, le, gt, ge, eq or ne; only ne holds for NaN."""
        x, y = self.match(x, y)
        if is_float(x.dtype):
            op = "fcmp une" if fn == "ne" else f"fcmp o{fn}"
        else:
            sign = "" if fn in ("eq", "ne") else ("s" if is_signed(x.dtype) else "u")
            op = f"icmp {sign}{fn}"
        return self.emit(f"{op} {x.typed}, {y.text}", "bool", x.width)

    def isnan(self, x: Value) -> Value:
        """Whether a float is NaN."""
        return self.emit(f"fcmp uno {x.typed}, {x.text}", "bool", x.width)

    def select(self, condition: Value, x: Operand, y: Operand) -> Value:
        """``x`` where the condition holds, else ``y``."""
        x, y = self.match(x, y)
        condition = self.splat(condition, max(condition.width, x.width))
        x, y = self.splat(x, condition.width), self.splat(y, condition.width)
        return self.emit(f"select {condition.typed}, {x.typed}, {y.typed}", x.dtype, x.width)

    def any(self, condition: Value) -> Value:
        """A scalar bool: whether any lane holds."""
        if condition.width == 1:
            return condition
        bits = self.emit(f"bitcast {condition.typed} to i{condition.width}", "ptr")
        return self.emit(f"icmp ne i{condition.width} {bits.text}, 0", "bool")

    def convert(self, op: str, x: Value, dtype: str) -> Value:
        """An LLVM conversion instruction (sext, fptrunc, sitofp, ...)."""
        return self.emit(f"{op} {x.typed} to {llvm_type(dtype, x.width)}", dtype, x.width)

    def maximum(self, x: Operand, y: Operand) -> Value:
        """The larger; NaN if either is."""
        return self._extreme("gt", "max", x, y)

    def minimum(self, x: Operand, y: Operand) -> Value:
        """The smaller; NaN if either is."""
        return self._extreme("lt", "min", x, y)

    def _extreme(self, fn: str, name: str, x: Operand, y: Operand) -> Value:
        x, y = self.match(x, y)
        if not is_float(x.dtype):
            if x.literal is not None and y.literal is not None:
                return x if (x.literal > y.literal) == (fn == "gt") else y
            return self.select(self.compare(fn, x, y), x, y)
        if self.target.triple.startswith(("aarch64", "arm64")):
            return self.intrinsic(name + "imum", x, y)
        # x86 has min and max that return the second operand for NaN: one blend more is needed.
        best = self.select(self.compare(fn, y, x), y, x)
        return self.select(self.isnan(y), y, best)

    # -- lanes -----------------------------------------------------------------------------------

    def lanes(self, width: int, dtype: str = "int64") -> Value:
        """``0, 1, ..., width - 1``."""
        if width == 1:
            return self.const(0, dtype)
        kind = llvm_type(dtype)
        items = ", ".join(f"{kind} {literal_text(i, dtype)}" for i in range(width))
        return Value(f"<{items}>", dtype, width, self)

    def shuffle(self, x: Value, y: Value, order: Sequence[int]) -> Value:
        """Lanes of x and y, counted through both, in the given order (-1: any)."""
        picks = ", ".join("i32 poison" if i < 0 else f"i32 {i}" for i in order)
        text = f"shufflevector {x.typed}, {y.typed}, <{len(order)} x i32> <{picks}>"
        return self.emit(text, x.dtype, len(order))

    def extract(self, x: Value, start: int, width: int = 1) -> Value:
        """``width`` lanes from ``start`` on."""
        if x.width == width:
            return x
        if width == 1:
            return self.emit(f"extractelement {x.typed}, i32 {start}", x.dtype)
        return self.shuffle(x, x, range(start, start + width))

    def _insert(self, x: Value, part: Value, start: int) -> Value:
        if part.width == 1:
            return self.emit(
                f"insertelement {x.typed}, {part.typed}, i32 {start}", x.dtype, x.width
            )
        width = x.width
        wide = self.shuffle(part, part, [i if i < part.width else -1 for i in range(width)])
        inside = range(start, start + part.width)
        return self.shuffle(
            x, wide, [width + i - start if i in inside else i for i in range(width)]
        )

    def reverse(self, x: Value) -> Value:
        """Lanes in opposite order."""
        return x if x.width == 1 else self.shuffle(x, x, range(x.width - 1, -1, -1))

    def reduce(self, combine: Callable[[Value, Value], Value], x: Value) -> Value:
        """One scalar from all lanes, upper half joined to the lower until one is left."""
        while x.width > 1:
            half = x.width // 2
            x = combine(self.extract(x, 0, half), self.extract(x, half, half))
        return x


def _folded(op: str, x: Value, y: Value) -> Value | None:
    """Index arithmetic on literals, and x + 0, x * 1."""
    if x.literal is not None and y.literal is not None:
        a, b = int(x.literal), int(y.literal)
        return x.builder.const({"add": a + b, "sub": a - b, "mul": a * b}[op], "int64")
    neutral = 1 if op == "mul" else 0
    if y.literal == neutral:
        return x
    return y if x.literal == neutral and op != "sub" else None
