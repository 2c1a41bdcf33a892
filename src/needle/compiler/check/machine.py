"""What this machine reaches at most: multiply-adds a second, and bytes a second from each level.

Small native programs measure both with the threads of the pool, once for each number of threads;
the numbers are kept in the cache's folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import operator
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from needle import settings
from needle.compiler.emit.emit import Builder, Module
from needle.compiler.emit.values import Value
from needle.compiler.lower.work import INTERFACE
from needle.compiler.memory import aligned
from needle.compiler.program import Buffer, Input, Kernel, Program, Step
from needle.compiler.run import cache
from needle.compiler.run.cores import usable_cores
from needle.compiler.run.run import load
from needle.compiler.target import Target, host
from needle.files import write_text

REPEATS = 7
"""Runs of each measurement; the fastest counts."""
FMA_LOOPS = 100_000
PASS_BYTES = 16 << 20
"""Bytes that a thread moves in one run, by passing over its part as often as that takes."""


@dataclass(frozen=True)
class Limits:
    """What `threads` threads reach together.

    `flops`: float32 and float64 operations a second (a multiply-add is two). `bandwidth`: bytes a
    second read and written, by level; `sizes`: bytes that the levels hold; `memory` holds all.
    """

    threads: int
    flops: dict[str, float]
    bandwidth: dict[str, float]
    sizes: dict[str, int]

    def level(self, nbytes: int) -> str:
        """The smallest level that holds so many bytes."""
        fits = [level for level, size in self.sizes.items() if nbytes <= size]
        return fits[0] if fits else "memory"

    def bound(self, flops: float, nbytes: int, dtype: str = "float32") -> tuple[float, str]:
        """Seconds that the work takes at least, and what sets them: ``arithmetic`` or a level.

        limit = max(flops / peak, bytes / bandwidth of the smallest level that holds them)

        >>> from needle.compiler.check.machine import Limits
        >>> limits = Limits(1, {"float32": 1e9}, {"L1": 1e10, "memory": 1e9}, {"L1": 1000})
        >>> limits.bound(2e6, 500), limits.bound(0, 10**6)
        ((0.002, 'arithmetic'), (0.001, 'memory'))
        """
        level = self.level(nbytes)
        arithmetic = flops / self.flops[dtype]
        transfer = nbytes / self.bandwidth[level]
        return (arithmetic, "arithmetic") if arithmetic >= transfer else (transfer, level)


def limits(threads: int) -> Limits:
    """Measure this machine with so many threads (0.3 s), or read what was measured before."""
    return _limits(threads, settings.current().cache)


@functools.cache
def _limits(threads: int, _folder: str) -> Limits:
    file = _file(threads)
    try:
        if file is not None:
            return Limits(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    found = measure(threads, host())
    if file is not None:
        with contextlib.suppress(OSError):
            write_text(file, json.dumps(asdict(found)))
    return found


def _file(threads: int) -> Path | None:
    folder = cache.folder()
    name = hashlib.sha256(repr((host(), usable_cores(), threads)).encode()).hexdigest()[:16]
    return folder / f"machine-{name}.json" if folder else None


def measure(threads: int, target: Target) -> Limits:
    """Measure all levels and both dtypes with exactly so many threads."""
    sizes = {"L1": target.l1 * threads, "L2": target.l2 * threads, "L3": target.l3}
    bandwidth = {}
    for level, size in [*sizes.items(), ("memory", 4 * max(sizes.values()))]:
        used = size if level == "memory" else size // 2
        bandwidth[level] = max(_bytes_per_second(n, used, threads, target) for n in (1, 2))
    flops = {dtype: _flops_per_second(dtype, threads, target) for dtype in ("float32", "float64")}
    return Limits(threads, flops, ordered(bandwidth), sizes)


def ordered(bandwidth: dict[str, float]) -> dict[str, float]:
    """Lift a level that was disturbed while measured to the next one, which cannot be faster."""
    fastest, result = 0.0, {}
    for level, rate in reversed(bandwidth.items()):
        result[level] = fastest = max(fastest, rate)
    return dict(reversed(result.items()))


def _flops_per_second(dtype: str, threads: int, target: Target) -> float:
    lanes, accumulators = target.lanes(dtype), min(24, target.registers - 4)
    b = _kernel(target)
    table, _, _, scratch = b.arguments
    data = b.load(table, 0, "ptr")
    x, y = (b.load(data, i * lanes, dtype, lanes) for i in range(2))
    with b.loop(0, FMA_LOOPS, carry=[x] * accumulators) as loop:
        loop.next(*(b.fma(a, x, y) for a in loop.carried))
    _keep(b, loop.results, scratch)
    seconds = _fastest(b, [np.full(2 * lanes, 0.5, dtype)], threads)
    return 2.0 * FMA_LOOPS * accumulators * lanes * threads / seconds


def _bytes_per_second(arrays: int, nbytes: int, threads: int, target: Target) -> float:
    """Read one array, or copy one of two to the other, over and over, a part a thread."""
    lanes, unroll = target.lanes("int32"), 8
    step = lanes * unroll
    part = max(step, nbytes // 4 // arrays // threads // step * step)
    passes = max(1, PASS_BYTES // (4 * part * arrays))
    b = _kernel(target)
    table, begin, _, scratch = b.arguments
    parts = [b.address(b.load(table, i, "ptr"), begin * part, "int32") for i in range(arrays)]
    sums = [b.zeros("int32", lanes)] * (unroll if arrays == 1 else 0)
    with b.loop(0, passes):
        with b.loop(0, part, step, sums) as loop:
            places = [loop.index + i * lanes for i in range(unroll)]
            vectors = [b.load(parts[0], at, "int32", lanes) for at in places]
            if arrays == 1:
                loop.next(*map(operator.or_, loop.carried, vectors))
            else:
                for vector, at in zip(vectors, places, strict=True):
                    b.store(vector, parts[1], at)
        _keep(b, loop.results, scratch)
    data = [aligned((part * threads,), "int32") for _ in range(arrays)]
    for block in data:
        block[:] = 1
    return 4 * part * arrays * threads * passes / _fastest(b, data, threads)


def _kernel(target: Target) -> Builder:
    return Module(target).function("measured", INTERFACE, linkage="")


def _keep(b: Builder, values: Iterable[Value], scratch: Value) -> None:
    """Store what was computed, so that it has to be."""
    for i, x in enumerate(values):
        b.store(x, scratch, i * x.width)


def _fastest(b: Builder, arrays: list[np.ndarray], threads: int) -> float:
    """Seconds of the fastest of some runs with one block a thread."""
    b.ret()
    program = Program(
        kernels=(Kernel(b.name, b.module.text(), scratch=4096),),
        steps=(Step(b.name, tuple(Buffer("input", i) for i in range(len(arrays))), threads),),
        inputs=tuple(Input(array.shape, str(array.dtype)) for array in arrays),
    )
    with settings.override(num_threads=threads, exact_threads=True):
        return float(load(program).profile(arrays, repeats=REPEATS).min())


def describe(found: Limits) -> str:
    """One line of text: peaks and bandwidths."""
    peaks = [f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in found.flops.items()]
    rates = [f"{level} {rate / 1e9:.0f} GB/s" for level, rate in found.bandwidth.items()]
    plural = "s" if found.threads > 1 else ""
    return f"the machine on {found.threads} thread{plural}: {', '.join(peaks + rates)}"
