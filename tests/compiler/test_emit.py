import math
import operator
import re

import numpy as np
import pytest

from needle.compiler.emit.emit import Module
from needle.compiler.emit.like_numpy import apply, cast
from needle.compiler.run.native import assembly
from needle.compiler.target import host, named
from tests.compiler.native_helper import RUNNABLE, compiled, elementwise, guarded, inner_loops

FLOATS, SIGNED = ("float32", "float64"), ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
TARGET_IDS = [t.name for t in RUNNABLE]
COUNT = 77  # whole vectors and a tail for every width

UNARY = {
    "neg": (np.negative, INTEGERS + FLOATS), "abs": (np.abs, INTEGERS + FLOATS),
    "sign": (np.sign, INTEGERS + FLOATS), "not": (np.invert, ("bool", *INTEGERS)),
    "floor": (np.floor, FLOATS), "ceil": (np.ceil, FLOATS), "trunc": (np.trunc, FLOATS),
    "rint": (np.rint, FLOATS), "reciprocal": (np.reciprocal, FLOATS), "isnan": (np.isnan, FLOATS),
    "isinf": (np.isinf, FLOATS), "isfinite": (np.isfinite, FLOATS),
}  # fmt: skip
BINARY = {
    "add": (np.add, INTEGERS + FLOATS), "sub": (np.subtract, INTEGERS + FLOATS),
    "mul": (np.multiply, INTEGERS + FLOATS), "div": (np.divide, FLOATS),
    "mod": (np.remainder, INTEGERS + FLOATS), "floordiv": (np.floor_divide, INTEGERS + FLOATS),
    "max": (np.maximum, ("bool", *INTEGERS, *FLOATS)),
    "min": (np.minimum, ("bool", *INTEGERS, *FLOATS)),
    "and": (np.bitwise_and, ("bool", *INTEGERS)), "or": (np.bitwise_or, ("bool", *INTEGERS)),
    "xor": (np.bitwise_xor, ("bool", *INTEGERS)), "shl": (np.left_shift, INTEGERS),
    "shr": (np.right_shift, INTEGERS),
    "lt": (np.less, ("bool", *INTEGERS, *FLOATS)), "le": (np.less_equal, INTEGERS + FLOATS),
    "gt": (np.greater, ("bool", *INTEGERS, *FLOATS)), "ge": (np.greater_equal, INTEGERS + FLOATS),
    "eq": (np.equal, ("bool", *INTEGERS, *FLOATS)), "ne": (np.not_equal, INTEGERS + FLOATS),
}  # fmt: skip
CASES = [(fn, 1, dtype) for fn, (_, dtypes) in UNARY.items() for dtype in dtypes]
CASES += [(fn, 2, dtype) for fn, (_, dtypes) in BINARY.items() for dtype in dtypes]


def sample(dtype: str, seed: int) -> np.ndarray:
    """Small values, extremes, zeros; for floats also NaN, infinities and halves."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, COUNT).astype(bool)
    if dtype in FLOATS:
        special = [0.0, -0.0, math.inf, -math.inf, math.nan, 0.5, 1.5, -2.5, 3.0, -3.0, 1e30]
        return rng.permutation(np.resize(special + list(rng.normal(0, 5, 20)), COUNT)).astype(dtype)
    info = np.iinfo(dtype)
    values = [0, 1, 2, 3, 7, info.max, info.min, info.max - 1, *([-1, -2, -7] if info.min else [9])]
    return rng.permutation(np.resize(np.array(values, dtype), COUNT))


def identical(got: np.ndarray, expected: np.ndarray) -> bool:
    """Equal, NaN and the sign of zero included."""
    if got.dtype.kind != "f":
        return bool(np.array_equal(got, expected))
    same = (got == expected) & (np.signbit(got) == np.signbit(expected))
    return bool(np.all(same | (np.isnan(got) & np.isnan(expected))))


@pytest.mark.parametrize("fn,arity,dtype", CASES)
def test_elementwise_functions_are_numpys(fn, arity, dtype):
    arrays = [sample(dtype, seed) for seed in range(arity)]
    with np.errstate(all="ignore"):
        expected = (UNARY if arity == 1 else BINARY)[fn][0](*arrays)
    got = elementwise(fn, dtype, arity, 8)(*arrays)
    if fn in ("max", "min"):  # which of two zeros, and the sign of NaN, is left open
        assert np.array_equal(got, expected, equal_nan=dtype in FLOATS)
        return
    assert identical(got, expected), (arrays, got, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_powers_wrap(dtype):
    x, y = sample(dtype, 0), np.abs(sample(dtype, 1)) % 11
    y = y.astype(dtype)
    assert np.array_equal(elementwise("pow", dtype, 2, 8)(x, y), np.power(x, y))


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_floor_division_and_modulo_are_numpys_over_many_scales(dtype):
    rng = np.random.default_rng(4)
    x, y = (rng.normal(size=5000) * 10.0 ** rng.integers(-9, 9, 5000) for _ in range(2))
    x, y = x.astype(dtype), y.astype(dtype)
    assert identical(elementwise("mod", dtype, 2, 8)(x, y), np.remainder(x, y))
    assert identical(elementwise("floordiv", dtype, 2, 8)(x, y), np.floor_divide(x, y))


@pytest.mark.parametrize("target", RUNNABLE, ids=TARGET_IDS)
@pytest.mark.parametrize("source", ["bool", *INTEGERS, *FLOATS])
def test_casts_are_numpys(source, target):
    for to in ("bool", *INTEGERS, *FLOATS):
        x = sample(source, 5)
        if source in FLOATS and to in INTEGERS:
            limits = np.iinfo(to)  # what is out of range is not defined in C
            low, high = limits.min * 0.7, limits.max * 0.7
            x = np.resize(np.array([low, high, 0.0, -0.0, 2.9, 1e-3, high / 3]), COUNT)
            x = x.astype(source)

        def write(b, p, q, count=x.size, to=to):
            for loop in b.sweep(count, 8):
                value = b.load(p, loop.index, source, 8, loop.mask)
                b.store(cast(b, value, to), q, loop.index, loop.mask)

        out = np.zeros(x.size, to)
        compiled(2, write, target)(x, out)
        with np.errstate(all="ignore"):
            expected = x.astype(to)
        assert identical(out, expected), (source, to, x, out)


@pytest.mark.parametrize("target", RUNNABLE, ids=TARGET_IDS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float32", "float64"])
def test_loads_and_stores_of_every_tail_touch_only_their_elements(dtype, target):
    width = 8
    for count in range(1, 2 * width + 1):

        def write(b, p, q, count=count):
            for loop in b.sweep(count, width):
                value = b.load(p, loop.index, dtype, width, loop.mask)
                b.store(value, q, loop.index, loop.mask)

        x, out = guarded(np.ones(count, dtype)), np.zeros(count + width, dtype)
        compiled(2, write, target)(x, out)
        assert out[:count].all() and not out[count:].any()


def test_lanes_off_the_mask_hold_the_fill():
    for target in RUNNABLE:

        def write(b, p, q):
            b.store(b.load(p, 0, "float32", 8, 5, fill=-2.5), q, 0)

        out = np.zeros(8, np.float32)
        compiled(2, write, target)(np.arange(8, dtype=np.float32), out)
        assert out.tolist() == [0, 1, 2, 3, 4, -2.5, -2.5, -2.5]


def test_a_mask_known_only_at_run_time():
    def write(b, p, n, q):
        mask = b.mask(b.load(n, 0, "int64"), 8)
        b.store(b.load(p, 0, "float32", 8, mask), q, 0, mask)

    for count in (0, 3, 8, 20):
        out = np.full(8, -1, np.float32)
        for target in RUNNABLE:
            compiled(3, write, target)(np.arange(8, dtype=np.float32), np.array([count]), out)
            expected = [i if i < count else -1 for i in range(8)]
            assert out.tolist() == expected


def test_sums_have_one_order_whatever_the_target():
    """Lane j sums elements j, j + 8, ...; then the upper half of the lanes joins the lower."""
    x = np.random.default_rng(6).normal(size=COUNT).astype(np.float32)

    def write(b, p, q):
        for loop in b.sweep(COUNT, 8, [b.zeros("float32", 8)]):
            loop.next(loop.carried[0] + b.load(p, loop.index, "float32", 8, loop.mask))
        b.store(b.reduce(operator.add, loop.results[0]), q, 0)

    lanes = np.zeros(8, np.float32)
    for start in range(0, COUNT, 8):
        part = x[start : start + 8]
        lanes[: part.size] += part
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    for target in RUNNABLE:
        out = np.zeros(1, np.float32)
        compiled(2, write, target)(x, out)
        assert out[0] == lanes[0]


@pytest.mark.parametrize("target", RUNNABLE, ids=TARGET_IDS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "float32", "float64"])
def test_gather_and_reverse(dtype, target):
    x = sample(dtype, 7)

    def write(b, p, q):
        picked = b.gather(p, b.lanes(8) * 9 + 2, dtype)
        b.store(b.reverse(picked), q, 0)

    out = np.zeros(8, dtype)
    compiled(2, write, target)(x, out)
    assert identical(out, x[2:74:9][::-1])


def test_loops_carry_values_and_run_as_often_as_python_says():
    for start, stop, step in [(0, 5, 1), (0, 0, 1), (3, 4, 7), (2, 11, 4), (5, 2, 1)]:

        def known(b, bounds, q, start=start, stop=stop, step=step):
            with b.loop(start, stop, step, [b.const(0, "int64")]) as loop:
                loop.next(loop.carried[0] * 10 + loop.index + 1)
            b.store(loop.results[0], q, 0)

        def unknown(b, bounds, q, step=step):
            first, last = b.load(bounds, 0, "int64"), b.load(bounds, 1, "int64")
            with b.loop(first, last, step, [b.const(0, "int64")]) as loop:
                loop.next(loop.carried[0] * 10 + loop.index + 1)
            b.store(loop.results[0], q, 0)

        expected = 0
        for i in range(start, stop, step):
            expected = expected * 10 + i + 1
        for write in (known, unknown):
            out = np.array([-1])
            compiled(2, write)(np.array([start, stop]), out)
            assert out[0] == expected, (start, stop, step)


def test_a_value_is_not_true_or_false_while_code_is_written():
    b = Module(host()).function("f", [("x", "int64")])
    with pytest.raises(TypeError, match="known only when the code runs"):
        assert b.arguments[0] < 3


def test_code_that_runs_under_a_condition():
    def write(b, x, q):
        value = b.load(x, 0, "int64")
        negative = b.compare("lt", value, 0)
        for holds in b.either(negative):
            b.store(-value if holds else value * 2, q, 0)
        with b.when(negative, [value]) as case:
            case.next(value + 1)
        b.store(case.results[0], q, 1)

    for value in (-4, 6):
        out = np.zeros(2, np.int64)
        compiled(2, write)(np.array([value]), out)
        expected = [-value if value < 0 else 2 * value, value + 1 if value < 0 else value]
        assert out.tolist() == expected


def test_constants_keep_every_bit():
    values = [0.1, 1e-45, 3.4e38, -0.0, math.inf]
    for dtype in FLOATS:

        def write(b, q, dtype=dtype):
            for i, value in enumerate(values):
                b.store(b.const(value, dtype), q, i)

        out = np.zeros(len(values), dtype)
        compiled(1, write)(out)
        assert out.tobytes() == np.array(values, dtype).tobytes()


@pytest.mark.parametrize(
    ("value", "source", "to"),
    [
        (0.1, "float32", "float64"), (300, "int32", "int8"), (-1, "int64", "uint16"),
        (0.5, "float64", "bool"), (2.9, "float32", "int64"), (-7.5, "float64", "int8"),
    ],
)  # fmt: skip
def test_casts_of_constants_are_numpys(value, source, to):
    """They are made while the code is written: of the rounded constant, not of what was asked."""
    out = np.zeros(1, to)
    compiled(1, lambda b, q: b.store(cast(b, b.const(value, source), to), q, 0))(out)
    assert out[0] == np.array(value, source).astype(to)


VECTOR_REGISTER = {
    "haswell": r"%ymm", "skylake-avx512": r"%zmm", "neoverse-n1": r"v\d+\.4s",
    "apple-m1": r"\.4s",
}  # fmt: skip
PER_LANE = r"vmovss|vinsertps|vpinsr|vpextr|vmovd\t|(ins|mov|ld1|st1)\t.*\.[bhsd]\W*\[\d"


@pytest.mark.parametrize("name", VECTOR_REGISTER)
@pytest.mark.parametrize("fn", ["add", "max", "exp", "log1p", "tanh", "erf", "pow"])
def test_inner_loops_use_whole_vectors_on_every_target(fn, name):
    target = named(name)
    width = target.lanes("float32")
    module = Module(target)
    b = module.function("kernel", [("x", "ptr"), ("y", "ptr"), ("z", "ptr")], linkage="")
    x, y, z = b.arguments
    arity = 2 if fn in ("add", "max", "pow") else 1

    for loop in b.sweep(1003, width):
        operands = [b.load(p, loop.index, "float32", width, loop.mask) for p in (x, y)[:arity]]
        b.store(apply(b, fn, *operands), z, loop.index, loop.mask)
    b.ret()
    text = assembly(module.text(), target)
    loops = inner_loops(text)
    assert len(loops) == 1
    lines = "\n".join(loops[0])
    assert re.search(VECTOR_REGISTER[name], lines)
    assert not re.search(PER_LANE, lines), lines
    assert "call" not in lines and "bl\t" not in lines


def test_the_host_is_described():
    target = host()
    assert target.vector_bits in (128, 256, 512) and target.l1 < target.l2
    assert str(target.machine().triple).split("-")[0] == target.triple.split("-")[0]
