"""What `lower` produces and `run` consumes: kernels in LLVM IR and the table of steps.

A kernel is an LLVM function ``void name(ptr table, i64 begin, i64 end, ptr scratch)``. `table` is
the step's array of buffer pointers, in the order of `Step.buffers`; `begin..end` is a range of the
step's blocks; `scratch` is memory that belongs to the thread. A step runs on every thread, thread t
of n takes the blocks `blocks * t // n` to `blocks * (t + 1) // n`. All classes are plain and
immutable, so a program can be stored, printed and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

BufferKind = Literal["input", "result", "constant", "arena", "numbers", "status"]

NUMBER_FORMATS = {"float64": "d", "int64": "q", "uint64": "Q"}
"""Dtypes a number input may have, and how each is packed into its eight bytes."""


@dataclass(frozen=True)
class Buffer:
    """Where a pointer of a kernel comes from.

    ======== ======================================================= ====================
    kind     index                                                   offset in bytes from
    ======== ======================================================= ====================
    input    of an array input; in-place outputs are written here    the array's start
    result   of an output that has a buffer of its own               the buffer's start
    constant of `Program.constants`                                  the constant's start
    arena    0                                                       the arena's start
    numbers  0                                                       the block of numbers
    status   0: word 0 is site + 1, word 1 the index out of range    0
    ======== ======================================================= ====================
    """

    kind: BufferKind
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Input:
    """An input of the graph, in the graph's order.

    An array input is contiguous and of this shape and dtype. A number (``number=True``: shape (),
    dtype float64, int64 or uint64) lies in the block of numbers, eight bytes each.
    """

    shape: tuple[int, ...]
    dtype: str
    number: bool = False
    name: str = ""


@dataclass(frozen=True)
class Output:
    """An output of the graph, in the graph's order.

    With `in_place` = i it is written over array input i, which the kernels name as
    ``Buffer("input", i)``; `run` puts a fresh copy there when anybody else refers to the array.
    Otherwise it has a kept buffer, ``Buffer("result", j)`` with j the index among all outputs.
    """

    shape: tuple[int, ...]
    dtype: str
    in_place: int | None = None

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Kernel:
    """One native function: its LLVM IR, and what a call over all its blocks costs.

    `text` defines the external function `name` and its internal helpers, whose names start with
    `name` too; what kernels share (declarations, elementary functions) stands in `Program.header`.
    `bytes_moved` counts each byte that must be read or written once; `scratch` is per thread.
    """

    name: str
    text: str
    scratch: int = 0
    bytes_moved: int = 0
    flops: int = 0


@dataclass(frozen=True)
class Step:
    """One kernel on its buffers.

    `barrier_before`: wait until every thread has finished the steps before. `commit`: from here on
    state is written; the step has a barrier before it, and the program ends here when the status
    word is set. `ops` and `lines` say where it came from.
    """

    kernel: str
    buffers: tuple[Buffer, ...]
    blocks: int = 1
    barrier_before: bool = False
    commit: bool = False
    ops: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A whole compiled function: kernels, the steps in order, and the memory they need.

    `header` is IR text put before the kernels of each module: declarations, constants, and
    functions of internal linkage. `arena` is in bytes; offsets into it are multiples of 64.
    `sites` gives the error text of status word value i + 1; ``{index}`` in it is the bad index.
    """

    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    constants: tuple[np.ndarray, ...] = ()
    arena: int = 0
    header: str = ""
    sites: tuple[str, ...] = ()

    @property
    def llvm_ir(self) -> str:
        """The program's kernels as one LLVM module, before LLVM's passes."""
        return "\n".join([self.header, *(kernel.text for kernel in self.kernels)])

    @property
    def scratch(self) -> int:
        """Bytes of private memory that each thread needs."""
        return max((kernel.scratch for kernel in self.kernels), default=0)


def input_buffers(inputs: Sequence[Input]) -> tuple[Buffer, ...]:
    """The buffer of each input: arrays are counted apart from numbers.

    >>> from needle.compiler.program import Input, input_buffers
    >>> input_buffers([Input((2,), "float32"), Input((), "float64", number=True)])
    (Buffer(kind='input', index=0, offset=0), Buffer(kind='numbers', index=0, offset=0))
    """
    arrays = numbers = 0
    buffers = []
    for item in inputs:
        if item.number:
            buffers.append(Buffer("numbers", 0, 8 * numbers))
            numbers += 1
        else:
            buffers.append(Buffer("input", arrays))
            arrays += 1
    return tuple(buffers)
