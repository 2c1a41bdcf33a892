import ctypes
import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from needle.compiler.emit.emit import Module
from needle.compiler.matmul.matmul import MatMulPlan, plan_matmul
from needle.compiler.matmul.nest import emit_matmul
from needle.compiler.matmul.tile import Epilogue, Results
from needle.compiler.run.native import Library, assembly, compile_module
from needle.compiler.target import Target, host, named
from tests.compiler.native_helper import RUNNABLE, guarded, inner_loops

IDS = [t.name for t in RUNNABLE]
UNTOUCHED = 77


def module_of(plan: MatMulPlan, target: Target, epilogue: Callable[..., Epilogue] | None) -> str:
    module = Module(target)
    names = [(name, "ptr") for name in ("a", "b", "c", "bias", "scratch")]
    b = module.function("kernel", [*names, ("begin", "int64"), ("end", "int64")], linkage="")
    a, right, c, bias, scratch, begin, end = b.arguments
    results = Results(c) if epilogue is None else Results(finish=epilogue(plan, b, c, bias))
    emit_matmul(b, plan, (a, right), (begin, end), scratch, results)
    b.ret()
    return module.text()


def product(plan, target, a, right, cuts=(), bias=None, epilogue=None) -> np.ndarray:
    """The compiled product, computed in ranges of blocks cut at ``cuts``; all memory is guarded."""
    a, right = guarded(a), guarded(right)
    library = Library([compile_module(module_of(plan, target, epilogue), target)], ["kernel"])
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 2)
    kernel = signature(library.addresses["kernel"])
    c = np.full((plan.batch, plan.m, plan.n), UNTOUCHED, plan.dtype)
    scratch = np.full(plan.scratch + 64, UNTOUCHED, np.uint8)
    bounds = sorted({0, plan.blocks, *cuts})
    bias = np.zeros(plan.n, plan.dtype) if bias is None else bias
    for begin, end in itertools.pairwise(bounds):
        pointers = [x.ctypes.data for x in (a, right, c, bias, scratch)]
        kernel(*pointers, begin, end)
    assert (scratch[plan.scratch :] == UNTOUCHED).all()
    return c


def operands(plan: MatMulPlan, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [
        (plan.batch, plan.k, plan.m) if plan.transpose_a else (plan.batch, plan.m, plan.k),
        (plan.batch, plan.n, plan.k) if plan.transpose_b else (plan.batch, plan.k, plan.n),
    ]
    if plan.dtype.startswith("float"):
        return tuple(rng.standard_normal(s).astype(plan.dtype) for s in shapes)
    return tuple(rng.integers(-100, 100, s).astype(plan.dtype) for s in shapes)


def expected(plan: MatMulPlan, a: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product in float64 (integers: as they wrap), and that of the absolute values."""
    a = a.swapaxes(1, 2) if plan.transpose_a else a
    right = right.swapaxes(1, 2) if plan.transpose_b else right
    if not plan.dtype.startswith("float"):
        return a @ right, np.zeros(())
    a, right = a.astype(np.float64), right.astype(np.float64)
    return a @ right, np.abs(a) @ np.abs(right)


def assert_right(plan: MatMulPlan, got: np.ndarray, a: np.ndarray, right: np.ndarray) -> None:
    exact, absolute = expected(plan, a, right)
    if plan.dtype.startswith("float"):
        eps = np.finfo(plan.dtype).eps
        assert (np.abs(got - exact) <= (plan.k + 1) * eps / 2 * absolute * 1.01).all(), plan
    else:
        assert np.array_equal(got, exact), plan


def random_plan(rng: np.random.Generator, target: Target) -> MatMulPlan:
    m, n, k = (int(x) for x in rng.integers(1, [60, 110, 90]))
    if rng.random() < 0.15:
        m, n, k = [(1, n, k), (m, 1, k), (m, n, 1)][rng.integers(3)]
    dtype = ["float32", "float64", "int32", "int64", "uint8"][
        rng.choice(5, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    ]
    return plan_matmul(
        target, m, n, k, dtype, transpose_a=bool(rng.integers(2)),
        transpose_b=bool(rng.integers(2)), batch=int(rng.choice([1, 1, 2, 37])),
        split=[None, "rows", "columns"][rng.integers(3)],
    )  # fmt: skip


@pytest.mark.parametrize("target", RUNNABLE, ids=IDS)
def test_random_products_are_right_in_every_transposition(target):
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(30):
        plan = random_plan(rng, target)
        seen.add((plan.transpose_a, plan.transpose_b))
        a, right = operands(plan, seed)
        cuts = rng.integers(0, plan.blocks + 1, 3).tolist()
        assert_right(plan, product(plan, target, a, right, cuts), a, right)
    assert len(seen) == 4


@pytest.mark.parametrize("split", ["rows", "columns"])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_long_k_is_summed_in_blocks(split, transpose_b):
    small = replace(host(), l2=32 << 10)
    plan = plan_matmul(small, 150, 70, 777, "float32", transpose_b=transpose_b, split=split)
    assert plan.k_blocks > 2 and plan.blocks > 1
    a, right = operands(plan, 1)
    got = product(plan, small, a, right, cuts=[1])
    assert_right(plan, got, a, right)
    whole = product(
        plan_matmul(host(), 150, 70, 777, "float32", transpose_b=transpose_b), host(), a, right
    )
    assert got.tobytes() == whole.tobytes()


@pytest.mark.parametrize("shape", [(50, 100, 33), (7, 1, 20), (1, 130, 12), (300, 40, 5)])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_bits_depend_on_neither_split_nor_ranges_nor_tiles(shape, transpose_b):
    outcomes = set()
    for split in ("rows", "columns"):
        plan = plan_matmul(host(), *shape, "float32", transpose_b=transpose_b, split=split)
        a, right = operands(plan, 2)
        for cuts in ([], range(plan.blocks), [plan.blocks // 2]):
            outcomes.add(product(plan, host(), a, right, cuts).tobytes())
    other = replace(plan, height=3 if shape[0] > 2 else 1, vectors=1)
    other = replace(other, height=-(-shape[0] // -(-shape[0] // other.height)))
    outcomes.add(product(other, host(), a, right).tobytes())
    assert len(outcomes) == 1


def part_of(plan: MatMulPlan, block: int) -> tuple[int, slice, slice]:
    """The matrix, rows and columns that a block computes."""
    matrix, place = divmod(block, plan.blocks_per_matrix)
    if plan.split == "columns":
        width = plan.panels_per_block * plan.panel_columns
        return matrix, slice(None), slice(place * width, (place + 1) * width)
    tiles = place * plan.tiles_per_block, (place + 1) * plan.tiles_per_block
    first, last = (tile * plan.height - max(0, tile - plan.tall_tiles) for tile in tiles)
    return matrix, slice(first, last), slice(None)


@pytest.mark.parametrize("split", ["rows", "columns"])
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_a_block_writes_its_rows_and_columns_and_nothing_else(split, batch):
    plan = plan_matmul(host(), 46, 90, 12, "float32", batch=batch, split=split)
    assert 0 < plan.tall_tiles < plan.tiles - 1
    a, right = operands(plan, 3)
    written = np.zeros((batch, 46, 90), int)
    for block in range(plan.blocks):
        written[part_of(plan, block)] += 1
    assert (written == 1).all()
    for block in {0, plan.blocks // 2, plan.blocks - 1}:
        got = product(plan, host(), a, right)
        part = partial(plan, a, right, block)
        changed = part != UNTOUCHED
        inside = np.zeros_like(changed)
        inside[part_of(plan, block)] = True
        assert np.array_equal(changed, inside) and np.array_equal(part[inside], got[inside])


def partial(plan: MatMulPlan, a: np.ndarray, right: np.ndarray, block: int) -> np.ndarray:
    library = Library([compile_module(module_of(plan, host(), None))], ["kernel"])
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 2)
    c = np.full((plan.batch, plan.m, plan.n), UNTOUCHED, plan.dtype)
    scratch = np.zeros(plan.scratch, np.uint8)
    pointers = [x.ctypes.data for x in (a, right, c, c, scratch)]
    signature(library.addresses["kernel"])(*pointers, block, block + 1)
    return c


def relu_of_biased(plan: MatMulPlan, b, c, bias) -> Epilogue:
    def epilogue(row, column, value, mask):
        shifted = value + b.load(bias, column, plan.dtype, plan.lanes, mask)
        positive = b.select(b.compare("lt", shifted, 0), 0, shifted)
        b.store(positive, c, row * plan.n + column, mask)

    return epilogue


@pytest.mark.parametrize("target", RUNNABLE, ids=IDS)
@pytest.mark.parametrize("batch,split", [(1, "rows"), (3, "columns")])
def test_an_epilogue_gets_every_element_once_with_its_place(target, batch, split):
    small = replace(target, l2=16 << 10)
    for k, k_blocks in ((30, 1), (900, 2)):
        plan = plan_matmul(small, 37, 53, k, "float64", batch=batch, split=split)
        assert (plan.k_blocks >= k_blocks) if k_blocks > 1 else plan.k_blocks == 1
        a, right = operands(plan, 4)
        bias = np.random.default_rng(5).standard_normal(plan.n)
        got = product(plan, small, a, right, [1], bias, relu_of_biased)
        plain = product(plan, small, a, right)
        assert np.array_equal(got, np.maximum(plain + bias, 0))


def test_kernels_stay_small_enough_to_compile_in_50_ms():
    for m, n, k in [(50, 100, 784), (97, 103, 5000), (1024, 1000, 1024)]:
        for transpose_b in (False, True):
            plan = plan_matmul(host(), m, n, k, "float32", transpose_b=transpose_b)
            assert module_of(plan, host(), relu_of_biased).count("\n") < 2500


VECTOR_FMA = {
    "haswell": r"vfmadd\d+ps.*%ymm", "skylake-avx512": r"vfmadd\d+ps.*%zmm",
    "neoverse-n1": r"fmla\tv\d+\.4s", "apple-m1": r"fmla\.4s",
}  # fmt: skip
PER_LANE = r"vmovss|vinsertps|vpinsr|vpextr|vmovd\t|(ins|mov|ld1|st1)\t.*\.[bhsd]\W*\[\d"


@pytest.mark.parametrize("name", VECTOR_FMA)
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_inner_loops_are_whole_vectors_without_spills_on_every_target(
    name, transpose_a, transpose_b
):
    target = named(name)
    plan = plan_matmul(
        target, 101, 203, 307, "float32", transpose_a=transpose_a, transpose_b=transpose_b
    )
    loops = inner_loops(assembly(module_of(plan, target, None), target))
    summing = [loop for loop in loops if any("fm" in line.split("\t")[0] for line in loop)]
    assert len(summing) >= 2
    for loop in summing:
        text = "\n".join(loop)
        products = len(re.findall(VECTOR_FMA[name], text))
        assert products >= 4 and not re.search(PER_LANE, text), text
        assert not re.search(r"%rsp|\[sp", text), text
    widest = max(len(re.findall(VECTOR_FMA[name], "\n".join(loop))) for loop in summing)
    assert widest == plan.height * plan.vectors


def test_tall_matrices_are_multiplied_in_parts():
    """A^T B over many rows: a gradient of weights, summed over all steps of a sequence."""
    plan = plan_matmul(host(), 40, 256, 1100, "float32", transpose_a=True)
    a, right = operands(plan, seed=0)
    assert_right(plan, product(plan, host(), a, right), a, right)
    wide = plan_matmul(named("skylake-avx512"), 40, 256, 1100, "float32", transpose_a=True)
    assert wide.k_blocks == 3
    assert plan_matmul(named("skylake-avx512"), 40, 256, 1100, "float32").k_blocks == 1


def test_the_next_tile_is_on_its_way_where_it_fits_the_nearest_cache():
    for k, batch, expected in ((128, 64, True), (1000, 64, False), (128, 1, False)):
        plan = plan_matmul(named("skylake-avx512"), 128, 32, k, "float32", batch=batch)
        assert ("@llvm.prefetch" in module_of(plan, named("skylake-avx512"), None)) == expected
