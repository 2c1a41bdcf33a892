"""Build a function with the emitter, compile it for this machine, call it on NumPy arrays."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from needle.compiler.emit import mathfn
from needle.compiler.emit.emit import Builder, Module
from needle.compiler.emit.like_numpy import apply
from needle.compiler.run.native import Library, compile_module
from needle.compiler.target import Target, host

#: What this machine can run: itself; narrower, with masks for 4-byte elements and more; no masks.
RUNNABLE = [
    host(),
    replace(host(), name="half", vector_bits=256, registers=16, masked=4),
    replace(host(), name="plain", vector_bits=128, registers=16, masked=0),
]
if host().vector_bits < 512:
    RUNNABLE = [host(), replace(host(), name="plain", vector_bits=128, registers=16, masked=0)]


def compiled(
    pointers: int, write: Callable[..., None], target: Target | None = None
) -> Callable[..., None]:
    """``write(b, *pointers)`` writes the body; the result is called with that many arrays."""
    target = target or host()
    module = Module(target)
    b = module.function("kernel", [(f"p{i}", "ptr") for i in range(pointers)], linkage="")
    write(b, *b.arguments)
    b.ret()
    library = Library([compile_module(module.text(), target)], ["kernel"])
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers)(library.addresses["kernel"])

    def call(*arrays: np.ndarray) -> None:
        assert all(a.flags.c_contiguous for a in arrays)
        function(*[a.ctypes.data for a in arrays])

    call.library = library  # type: ignore[attr-defined]
    return call


def elementwise(
    fn: str, dtype: str, arity: int, width: int, target: Target | None = None
) -> Callable[..., np.ndarray]:
    """A function of arrays of one dtype and size that computes ``fn`` by vectors of ``width``."""
    kernels: dict[int, Callable[..., None]] = {}

    def write(b: Builder, count: int, *pointers: object) -> None:
        for loop in b.sweep(count, width):
            i, mask = loop.index, loop.mask
            xs = [b.load(p, i, dtype, width, mask, fill=1) for p in pointers[:-1]]
            known = fn in mathfn.FUNCTIONS and dtype.startswith("float")
            b.store(mathfn.call(b, fn, *xs) if known else apply(b, fn, *xs), pointers[-1], i, mask)

    def call(*arrays: np.ndarray) -> np.ndarray:
        count = arrays[0].size
        if count not in kernels:
            kernels[count] = compiled(arity + 1, lambda b, *p: write(b, count, *p), target)
        boolean = fn in ("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite")
        out = np.zeros(arrays[0].shape, bool if boolean else dtype)
        kernels[count](*arrays, out)
        return out

    return call


def guarded(x: np.ndarray) -> np.ndarray:
    """A copy that ends where memory ends (on Linux): reading past it kills the test run."""
    if sys.platform != "linux":
        return x.copy()
    size = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    region = mmap.mmap(-1, size + mmap.PAGESIZE)
    whole = np.frombuffer(region, np.uint8)
    end = ctypes.c_void_p(whole.ctypes.data + size)
    assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = whole[size - x.nbytes : size].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def inner_loops(assembly: str) -> list[list[str]]:
    """The instructions of each innermost loop: from a label to a jump back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"[.\w]+:", line)}
    spans = []
    for i, line in enumerate(lines):
        jump = re.match(
            r"(?:j[a-z]+|b\.[a-z]+|b|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+([.\w]+)", line
        )
        if jump and labels.get(jump[1], i) < i:
            spans.append((labels[jump[1]], i))
    innermost = [
        s for s in spans if not any(s != t and s[0] <= t[0] and t[1] <= s[1] for t in spans)
    ]
    return [
        [line for line in lines[first:last] if line and not line.endswith(":")]
        for first, last in innermost
    ]
