"""Loads and stores of whole vectors and of their remainders, on any target.

A bool is one bit in a register and one byte in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from needle.compiler.emit.values import Arithmetic, Value, llvm_type, suffix
from needle.compiler.target import ITEM_BYTES

#: Lanes that take part: a number of leading ones known now, a vector of bools, or None for all.
Mask = Value | int | None


class Memory(Arithmetic):
    """The instructions that read and write memory."""

    def address(self, pointer: Value, index: Value | int, dtype: str) -> Value:
        """The pointer to element ``index``, or one for each index of a vector."""
        index = self.index(index)
        if index.literal == 0 and index.width == 1:
            return pointer
        text = f"getelementptr {llvm_type(dtype, memory=True)}, {pointer.typed}, {index.typed}"
        return self.emit(text, "ptr", index.width)

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
        at, x = self.address(pointer, index, x.dtype), self._storable(x)
        if mask is None or (isinstance(mask, int) and mask >= x.width):
            self._lines.append(f"  store {x.typed}, {at.typed}, align {ITEM_BYTES[x.dtype]}")
        elif isinstance(mask, Value) or self.target.has_mask(x.dtype):
            self._masked_store("store.{}.p0", x, at, self._lanes(mask, x.width))
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
        at, lanes = self.address(pointer, indices, dtype), self._lanes(mask, width)
        return self._masked(f"gather.{{}}.v{width}p0", at, dtype, lanes)

    def scatter(self, x: Value, pointer: Value, indices: Value, mask: Mask = None) -> None:
        """Write the lanes on the mask to elements at a vector of int64 indices."""
        at, lanes = self.address(pointer, indices, x.dtype), self._lanes(mask, x.width)
        self._masked_store(f"scatter.{{}}.v{x.width}p0", self._storable(x), at, lanes)

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

    def _masked_store(self, name: str, x: Value, at: Value, lanes: Value) -> None:
        size = self.const(ITEM_BYTES[x.dtype], "int32")
        full = f"llvm.masked.{name.format(suffix(x.dtype, x.width))}"
        self._lines.append(f"  {self._called(full, 'void', x, at, size, lanes)}")

    def _storable(self, x: Value) -> Value:
        return self.convert("zext", x, "uint8") if x.dtype == "bool" else x

    def _loaded(self, x: Value, dtype: str) -> Value:
        return self.compare("ne", x, 0) if dtype == "bool" else x

    def _lanes(self, mask: Mask, width: int) -> Value:
        if isinstance(mask, Value):
            return mask
        mask = width if mask is None else mask
        bits = ", ".join("i1 true" if i < mask else "i1 false" for i in range(width))
        return Value(f"<{bits}>", "bool", width, self)


def _stored(dtype: str) -> str:
    """The dtype of an element in memory."""
    return "uint8" if dtype == "bool" else dtype


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """``count`` lanes as powers of two: 7 gives (0, 4), (4, 2), (6, 1)."""
    start = 0
    while start < count:
        piece = 1 << ((count - start).bit_length() - 1)
        yield start, piece
        start += piece
