"""Programs of hand-written kernels, so that running is tested without the compiler before it."""

from __future__ import annotations

import numpy as np

from needle.compiler.program import Buffer, Input, Kernel, Output, Program, Step

BLOCK = 64


def pointers(count: int) -> str:
    """Load the first pointers of the table as %p0, %p1, ..."""
    return "\n".join(
        f"  %a{i} = getelementptr ptr, ptr %table, i64 {i}\n  %p{i} = load ptr, ptr %a{i}"
        for i in range(count)
    )


def loop(body: str, low: str = "%low", high: str = "%high") -> str:
    """A loop over %i; the body stands in a block of its own."""
    return f"""
  br label %head
head:
  %i = phi i64 [{low}, %entry], [%i.next, %head]
{body}
  %i.next = add i64 %i, 1
  %over = icmp eq i64 %i.next, {high}
  br i1 %over, label %done, label %head
done:
"""


def kernel(name: str, count: int, body: str, tail: str = "", flops: int = 0) -> Kernel:
    text = f"""
define void @{name}(ptr %table, i64 %begin, i64 %end, ptr %scratch) {{
entry:
{pointers(count)}
  %low = mul i64 %begin, {BLOCK}
  %high = mul i64 %end, {BLOCK}
{body}
{tail}
  ret void
}}
"""
    return Kernel(name, text, scratch=256, bytes_moved=1000, flops=flops)


SAXPY = kernel(
    "saxpy",
    3,
    "  %s = load double, ptr %p2\n  %f = fptrunc double %s to float\n"
    + loop("""
  %x.at = getelementptr float, ptr %p0, i64 %i
  %y.at = getelementptr float, ptr %p1, i64 %i
  %x = load float, ptr %x.at
  %y = load float, ptr %y.at
  %xs = fmul float %x, %f
  %r = fadd float %xs, %y
  store float %r, ptr %y.at"""),
)
"""y += a x: x, y, the number a."""

PARTIALS = kernel(
    "partials",
    2,
    loop("""
  %x.at = getelementptr float, ptr %p0, i64 %i
  %block = udiv i64 %i, 64
  %r.at = getelementptr float, ptr %p1, i64 %block
  %first = urem i64 %i, 64
  %starts = icmp eq i64 %first, 0
  %old = load float, ptr %r.at
  %base = select i1 %starts, float 0.0, float %old
  %x = load float, ptr %x.at
  %r = fadd float %base, %x
  store float %r, ptr %r.at"""),
)
"""One sum for each block of 64: x, sums."""


def combine(blocks: int) -> Kernel:
    """The sum of the blocks' sums: sums, total."""
    body = loop(
        """
  %x.at = getelementptr float, ptr %p0, i64 %i
  %starts = icmp eq i64 %i, 0
  %old = load float, ptr %p1
  %base = select i1 %starts, float 0.0, float %old
  %x = load float, ptr %x.at
  %r = fadd float %base, %x
  store float %r, ptr %p1""",
        "0",
        str(blocks),
    )
    return kernel("combine", 2, body)


def check(site: int, size: int) -> Kernel:
    """Set the status word where an index is not below `size`: indices (one block), status."""
    body = loop(f"""
  %x.at = getelementptr i64, ptr %p0, i64 %i
  %x = load i64, ptr %x.at
  %bad = icmp uge i64 %x, {size}
  br i1 %bad, label %report, label %fine
report:
  %value.at = getelementptr i64, ptr %p1, i64 1
  store i64 %x, ptr %value.at
  store atomic i64 {site + 1}, ptr %p1 monotonic, align 8
  br label %fine
fine:""").replace("[%i.next, %head]", "[%i.next, %fine]")
    return kernel("check", 2, body)


def saxpy_program(blocks: int, times: int = 1) -> Program:
    step = Step(
        "saxpy",
        (Buffer("input", 0), Buffer("input", 1), Buffer("numbers")),
        blocks,
        barrier_before=True,
        ops=("add", "mul"),
        lines=("model.py:3",),
    )
    shape = (blocks * BLOCK,)
    return Program(
        kernels=(SAXPY,),
        steps=(step,) * times,
        inputs=(
            Input(shape, "float32", name="x"),
            Input(shape, "float32", name="y"),
            Input((), "float64", number=True),
        ),
        outputs=(Output(shape, "float32", in_place=1),),
    )


def sum_program(blocks: int, repeats: int = 1) -> Program:
    """A sum in two phases with a barrier between them, into a kept buffer."""
    partials = Step("partials", (Buffer("input", 0), Buffer("arena", 0, 128)), blocks)
    total = Step(
        "combine",
        (Buffer("arena", 0, 128), Buffer("result", 0)),
        barrier_before=True,
    )
    again = Step(**{**partials.__dict__, "barrier_before": True})
    return Program(
        kernels=(PARTIALS, combine(blocks)),
        steps=(partials, total, *((again, total) * (repeats - 1))),
        inputs=(Input((blocks * BLOCK,), "float32"),),
        outputs=(Output((), "float32"),),
        arena=128 + 4 * blocks,
    )


def block_sums(x: np.ndarray) -> np.float32:
    """What `sum_program` computes, in its order of additions."""
    total = np.float32(0)
    for row in x.reshape(-1, BLOCK):
        part = np.float32(0)
        for value in row:
            part += value
        total += part
    return total
