"""What was compiled, what it costs, and how near the machine's limit each kernel runs.

The times come from the program itself with a clock read before each step, on copies of the state. A
kernel's limit is the larger of its arithmetic at the machine's peak and its bytes, read once and
written once, at the bandwidth of the smallest level that holds them (`machine.Limits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from needle import settings
from needle.compiler.check import machine
from needle.compiler.check.machine import Limits
from needle.compiler.program import Kernel, Program, Step
from needle.compiler.run.cores import usable_cores
from needle.compiler.run.run import BoundProgram

REPEATS = 20


class Explanation(str):
    """The text of `explain()`: printed as it is, with bars for the times in a notebook."""

    __repr__ = str.__str__

    def _repr_html_(self) -> str:
        from needle.markup import explanation

        return explanation(self)


@dataclass(frozen=True)
class Cost:
    """One step of a program: `seconds` measured, `limit` in seconds and what sets it."""

    step: Step
    kernel: Kernel
    seconds: float
    limit: float
    limit_by: str

    @property
    def share(self) -> float:
        """The share of the machine's limit that the step reaches; above 1 a number is wrong."""
        return self.limit / self.seconds if self.seconds > 0 else float("inf")


def costs(
    bound: BoundProgram,
    arrays: Sequence[np.ndarray | None] = (),
    numbers: Sequence[float] = (),
    limits: Limits | None = None,
    repeats: int = REPEATS,
) -> list[Cost]:
    """Run the timed variant on copies and compare each step's median with its limit.

    It runs on as many threads as the program uses at present.

    Where `arrays` has None, or is shorter than the inputs, zeros stand in; nothing of the caller's
    is written.
    """
    program = bound.program
    limits = limits or machine.limits(min(bound.threads, usable_cores()))
    twin = BoundProgram(program, bound.library)
    wanted = [item for item in program.inputs if not item.number]
    given = [*arrays, *[None] * (len(wanted) - len(arrays))]
    copies = [
        np.zeros(item.shape, item.dtype) if array is None else np.array(array, order="C")
        for item, array in zip(wanted, given, strict=True)
    ]
    count = sum(item.number for item in program.inputs)
    values = [*numbers, *[1] * (count - len(numbers))]
    with settings.override(num_threads=bound.threads, exact_threads=True):
        times = np.median(twin.profile(copies, values, repeats), axis=0)
    kernels = {kernel.name: kernel for kernel in program.kernels}
    return [
        Cost(step, kernel, float(seconds), *limits.bound(kernel.flops, kernel.bytes_moved, dtype))
        for step, seconds in zip(program.steps, times, strict=True)
        for kernel in [kernels[step.kernel]]
        for dtype in [_arithmetic(kernel)]
    ]


def _arithmetic(kernel: Kernel) -> str:
    """The dtype whose peak counts: float64 where no float32 appears beside it."""
    return "float64" if "double" in kernel.text and "float" not in kernel.text else "float32"


def explain(
    programs: Iterable[tuple[str, BoundProgram]], notes: Mapping[str, Sequence[str]]
) -> Explanation:
    """The whole report of a compiled function: its programs, then what happened and why.

    `notes` maps a title (traced, retraced, copied, frozen, ...) to lines with cause and place.
    """
    lines: list[str] = []
    for title, bound in programs:
        limits = machine.limits(min(bound.threads, usable_cores()))
        lines += [title, *describe(bound, costs(bound, limits=limits))]
        lines += [f"  {machine.describe(limits)}", ""]
    for title, texts in notes.items():
        lines += [f"{title}: {len(texts)}", *(f"  {text}" for text in texts)]
    return Explanation("\n".join(lines).rstrip())


def describe(bound: BoundProgram, found: Sequence[Cost]) -> Iterator[str]:
    """The report of one program, line by line."""
    total = sum(cost.seconds for cost in found)
    limit = sum(cost.limit for cost in found)
    threads = bound.threads
    yield (
        f"  {len(found)} kernels, {len(bound.program.kernels)} distinct, {threads} "
        f"thread{'s' if threads > 1 else ''}, "
        f"{_micro(total)} us, {_percent(limit, total)} of the machine's limit"
    )
    yield f"  memory: {_memory(bound.program, threads)}"
    yield "    #       us  share of limit        bytes        flops  ops; lines"
    for i, cost in enumerate(found):
        where = "; ".join(filter(None, [" ".join(cost.step.ops), ", ".join(cost.step.lines)]))
        yield (
            f"  {i:3d} {_micro(cost.seconds):>8} {_percent(cost.limit, cost.seconds):>5} "
            f"{cost.limit_by:10s} {cost.kernel.bytes_moved:11,d} {cost.kernel.flops:12,d}  {where}"
        ).rstrip()


def peak_memory(program: Program, threads: int = 1) -> dict[str, int]:
    """Bytes a program uses at its peak, beside the arrays it is given."""
    results = sum(output.nbytes for output in program.outputs if output.in_place is None)
    return {
        "arena": program.arena,
        "results": results,
        "constants": sum(constant.nbytes for constant in program.constants),
        "scratch": program.scratch * threads,
    }


def _memory(program: Program, threads: int) -> str:
    parts = peak_memory(program, threads)
    named = ", ".join(f"{name} {size:,d}" for name, size in parts.items() if size)
    return f"{sum(parts.values()):,d} bytes at the peak" + (f" ({named})" if named else "")


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def _percent(limit: float, seconds: float) -> str:
    """A share with its question mark: more than the limit means that a number is wrong."""
    share = limit / seconds if seconds > 0 else float("inf")
    if share == float("inf"):
        return "?"
    return f"{100 * share:.0f}%" + ("?" if share > 1 else "")
