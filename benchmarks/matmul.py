"""Matrix products of the compiler against OpenBLAS, one thread, interleaved in one process.

    pip install scipy-openblas32
    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE PYTHONPATH=src python benchmarks/matmul.py

Prints GFLOP/s of both (the best of several rounds) and the median ratio over the rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from needle.compiler.emit.emit import Module
from needle.compiler.matmul.matmul import MatMulPlan, plan_matmul
from needle.compiler.matmul.nest import emit_matmul
from needle.compiler.matmul.tile import Results
from needle.compiler.run.native import Library, compile_module
from needle.compiler.target import host

#: (M, N, K, A transposed, B transposed): the products of an MLPResNet step and square ones.
SHAPES = [
    (50, 100, 784, False, False),
    (100, 100, 784, False, False),
    (100, 50, 100, False, False),
    (100, 10, 100, False, False),
    (784, 100, 100, True, False),
    (100, 100, 50, False, True),
    (128, 512, 784, False, False),
    (256, 512, 784, False, False),
    (256, 256, 512, False, False),
    (784, 512, 256, True, False),
    (256, 512, 256, False, True),
    (512, 1024, 784, False, False),
    (1024, 1024, 1024, False, False),
    (1024, 1024, 512, False, True),
]


def aligned(elements: int, dtype: str) -> np.ndarray:
    """Zeros whose first element lies on a cache line."""
    size = elements * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)


def needle_product(plan: MatMulPlan) -> Callable[..., None]:
    """The compiled product of a plan: ``f(times, a, b, c)``."""
    module = Module(host())
    names = [(name, "ptr") for name in ("a", "b", "c", "scratch")]
    bounds = [("begin", "int64"), ("end", "int64")]
    builder = module.function("product", [*names, *bounds], linkage="", attributes="noinline")
    a, right, c, scratch, begin, end = builder.arguments
    emit_matmul(builder, plan, (a, right), (begin, end), scratch, Results(c))
    builder.ret()
    call = f"call void @product(ptr %a, ptr %b, ptr %c, ptr %scratch, i64 0, i64 {plan.blocks})"
    function = repeated(module.text(), call)
    space = aligned(plan.scratch, "uint8")
    return lambda times, a, b, c: function(times, a, b, c, space.ctypes.data)


def openblas_product(plan: MatMulPlan) -> Callable[..., None]:
    """The same product by OpenBLAS's gemm, called from native code too: ``f(times, a, b, c)``."""
    import scipy_openblas32

    folder = Path(scipy_openblas32.get_lib_dir())
    library = ctypes.CDLL(str(next(folder.glob("libscipy_openblas.*"))))
    library.scipy_openblas_set_num_threads(1)
    letter, real = ("s", "float") if plan.dtype == "float32" else ("d", "double")
    gemm = getattr(library, f"scipy_cblas_{letter}gemm")
    address = ctypes.cast(gemm, ctypes.c_void_p).value
    turns = [112 if flag else 111 for flag in (plan.transpose_a, plan.transpose_b)]
    lead_a = plan.m if plan.transpose_a else plan.k
    lead_b = plan.k if plan.transpose_b else plan.n
    sizes = f"i32 101, i32 {turns[0]}, i32 {turns[1]}, i32 {plan.m}, i32 {plan.n}, i32 {plan.k}"
    call = (
        f"call void inttoptr (i64 {address} to ptr)({sizes}, {real} 1.0, ptr %a, i32 {lead_a}, "
        f"ptr %b, i32 {lead_b}, {real} 0.0, ptr %c, i32 {plan.n})"
    )
    function = repeated("", call)
    return lambda times, a, b, c: function(times, a, b, c, None)


def repeated(text: str, call: str) -> Callable[..., None]:
    """``f(times, a, b, c, scratch)`` that runs an instruction many times: no Python in between."""
    loop = f"""
define void @repeat(i64 %times, ptr %a, ptr %b, ptr %c, ptr %scratch) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  {call}
  %next = add i64 %i, 1
  %again = icmp slt i64 %next, %times
  br i1 %again, label %loop, label %done
done:
  ret void
}}
"""
    library = Library([compile_module(text + loop)], ["repeat"])
    signature = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * 4)
    function = signature(library.addresses["repeat"])
    function.library = library  # type: ignore[attr-defined]
    return function


def compare(plan: MatMulPlan, rounds: int) -> tuple[float, float, float]:
    """Best GFLOP/s of both, and the median ratio (above 1: needle is faster)."""
    a, right = aligned(plan.m * plan.k, plan.dtype), aligned(plan.k * plan.n, plan.dtype)
    a[:], right[:] = np.random.standard_normal(a.size), np.random.standard_normal(right.size)
    results = [aligned(plan.m * plan.n, plan.dtype) for _ in range(2)]
    products = [needle_product(plan), openblas_product(plan)]
    flops = 2 * plan.m * plan.n * plan.k
    repeats = max(1, int(2e8 / flops))
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for product, result, taken in zip(products, results, times, strict=True):
            pointers = (a.ctypes.data, right.ctypes.data, result.ctypes.data)
            product(1, *pointers)
            start = time.perf_counter()
            product(repeats, *pointers)
            taken.append((time.perf_counter() - start) / repeats)
    error = np.abs(results[0] - results[1]).max() / np.abs(results[1]).max()
    assert error < 1e-4, f"results differ by {error}"
    ratio = statistics.median(theirs / ours for ours, theirs in zip(*times, strict=True))
    return flops / min(times[0]) / 1e9, flops / min(times[1]) / 1e9, ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"{host().cpu}, {options.dtype}, one thread, GFLOP/s")
    for m, n, k, transpose_a, transpose_b in SHAPES:
        plan = plan_matmul(
            host(), m, n, k, options.dtype, transpose_a=transpose_a, transpose_b=transpose_b
        )
        ours, theirs, ratio = compare(plan, options.rounds)
        name = f"{m} x {n} x {k}{' A^T' if transpose_a else ''}{' B^T' if transpose_b else ''}"
        tile = f"{plan.height} x {plan.vectors * plan.lanes}{' packed' if plan.pack else ''}"
        print(f"{name:24} needle {ours:6.1f}  OpenBLAS {theirs:6.1f}  ratio {ratio:4.2f}  ({tile})")


if __name__ == "__main__":
    main()
