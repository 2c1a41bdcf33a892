"""What this machine reaches at most: multiply-adds a second, and bytes a second from each level.

Small native programs measure both with the threads of the pool, once for each number of threads;
the numbers are kept in the cache's folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from needle import settings
from needle.compiler import cache
from needle.compiler.cores import usable_cores
from needle.compiler.memory import aligned
from needle.compiler.program import Buffer, Input, Kernel, Program, Step
from needle.compiler.run import load
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

        >>> from needle.compiler.machine import Limits
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
        bandwidth[level] = max(_bytes_per_second(kind, used, threads, target) for kind in _MOVES)
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
    vector = f"<{lanes} x {'float' if dtype == 'float32' else 'double'}>"
    suffix = f"v{lanes}f{32 if dtype == 'float32' else 64}"
    names = [f"%a{i}" for i in range(accumulators)]
    phis = [f"  {a} = phi {vector} [%x, %entry], [{a}.n, %loop]" for a in names]
    work = [
        f"  {a}.n = call {vector} @llvm.fma.{suffix}({vector} {a}, {vector} %x, {vector} %y)"
        for a in names
    ]
    stores = [f"  store volatile {vector} {a}.n, ptr %scratch" for a in names]
    text = f"""
declare {vector} @llvm.fma.{suffix}({vector}, {vector}, {vector})
define void @fma(ptr %table, i64 %begin, i64 %end, ptr %scratch) {{
entry:
  %p = load ptr, ptr %table
  %x = load {vector}, ptr %p, align 8
  %y.at = getelementptr {vector}, ptr %p, i64 1
  %y = load {vector}, ptr %y.at, align 8
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i.n, %loop]
{chr(10).join(phis + work)}
  %i.n = add i64 %i, 1
  %over = icmp eq i64 %i.n, {FMA_LOOPS}
  br i1 %over, label %done, label %loop
done:
{chr(10).join(stores)}
  ret void
}}
"""
    data = np.full(2 * lanes, 0.5, dtype)
    seconds = _fastest("fma", text, [data], threads)
    return 2.0 * FMA_LOOPS * accumulators * lanes * threads / seconds


_MOVES = ("read", "copy")


def _bytes_per_second(kind: str, nbytes: int, threads: int, target: Target) -> float:
    """Read an array, or copy its first half to its second half, over and over, a part a thread."""
    lanes, unroll = target.lanes("int32"), 8
    step = 4 * lanes * unroll
    arrays = 1 if kind == "read" else 2
    part = max(step, nbytes // arrays // threads // step * step)
    passes = max(1, PASS_BYTES // (part * arrays))
    text = _move_text(kind, part, passes, lanes, unroll)
    data = aligned((part * threads * arrays,), "uint8")
    data[:] = 1
    blocks = [data[i * part * threads : (i + 1) * part * threads] for i in range(arrays)]
    seconds = _fastest("move", text, blocks, threads)
    return part * arrays * threads * passes / seconds


def _move_text(kind: str, part: int, passes: int, lanes: int, unroll: int) -> str:
    vector = f"<{lanes} x i32>"
    names, lines = range(unroll), []
    for i in names:
        lines += [
            f"  %o{i} = add nuw i64 %at, {4 * lanes * i}",
            f"  %p{i} = getelementptr i8, ptr %source, i64 %o{i}",
            f"  %v{i} = load {vector}, ptr %p{i}, align 4",
        ]
        if kind == "read":
            lines.append(f"  %a{i}.n = or {vector} %a{i}, %v{i}")
        else:
            lines += [
                f"  %q{i} = getelementptr i8, ptr %target, i64 %o{i}",
                f"  store {vector} %v{i}, ptr %q{i}, align 4",
            ]
    reads = kind == "read"
    phis = [f"  %a{i} = phi {vector} [zeroinitializer, %pass], [%a{i}.n, %loop]" for i in names]
    keep = [f"  store volatile {vector} %a{i}.n, ptr %scratch, align 4" for i in names]
    second = "" if reads else "  %t.at = getelementptr ptr, ptr %table, i64 1\n"
    second += "" if reads else "  %t = load ptr, ptr %t.at\n"
    second += "" if reads else "  %target = getelementptr i8, ptr %t, i64 %low\n"
    return f"""
define void @move(ptr %table, i64 %begin, i64 %end, ptr %scratch) {{
entry:
  %low = mul i64 %begin, {part}
  %s = load ptr, ptr %table
  %source = getelementptr i8, ptr %s, i64 %low
{second}  br label %pass
pass:
  %n = phi i64 [0, %entry], [%n.next, %after]
  br label %loop
loop:
  %at = phi i64 [0, %pass], [%at.next, %loop]
{chr(10).join((phis if reads else []) + lines)}
  %at.next = add nuw i64 %at, {4 * lanes * unroll}
  %over = icmp eq i64 %at.next, {part}
  br i1 %over, label %after, label %loop
after:
{chr(10).join(keep if reads else [])}
  %n.next = add i64 %n, 1
  %enough = icmp eq i64 %n.next, {passes}
  br i1 %enough, label %done, label %pass
done:
  ret void
}}
"""


def _fastest(name: str, text: str, arrays: list[np.ndarray], threads: int) -> float:
    """Seconds of the fastest of some runs with one block a thread."""
    program = Program(
        kernels=(Kernel(name, text, scratch=128),),
        steps=(Step(name, tuple(Buffer("input", i) for i in range(len(arrays))), threads),),
        inputs=tuple(Input(array.shape, str(array.dtype)) for array in arrays),
    )
    with settings.override(num_threads=threads, exact_threads=True):
        return float(load(program).profile(arrays, repeats=REPEATS).min())


def describe(found: Limits) -> Iterator[str]:
    """Lines of text: peaks and bandwidths."""
    for dtype, rate in found.flops.items():
        yield f"{dtype}: {rate / 1e9:.0f} GFLOP/s on {found.threads} threads"
    for level, rate in found.bandwidth.items():
        yield f"{level}: {rate / 1e9:.0f} GB/s"
