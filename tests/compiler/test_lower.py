import re

import numpy as np
import pytest

from needle import settings
from needle.compiler.fuse import blocks as fuse_blocks
from needle.compiler.fuse import cross as fuse_cross
from needle.compiler.graph.interpret import interpret
from needle.compiler.lower import layout as lower_layout
from needle.compiler.plan.plan import compile_graph
from needle.compiler.run.native import assembly
from needle.compiler.run.run import load
from needle.compiler.simplify.simplify import simplify
from needle.compiler.target import named
from needle.errors import IndexRangeError
from tests.compiler import building as g
from tests.compiler.compiled import run_compiled, run_plain, run_unfused, state_inputs
from tests.compiler.graphs import GRAPHS, sample
from tests.compiler.random_programs import report

F4 = np.float32


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(200))
def test_random_programs_agree_with_the_interpreter(seed):
    run = (run_compiled, run_plain, run_compiled, run_unfused)[seed % 4]
    assert report(seed, 20, run) is None


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_textbook_graphs_agree_with_the_interpreter(name):
    graph = GRAPHS[name]()
    arrays = sample(graph)
    expected = interpret(graph, arrays, wide=True)
    results = run_compiled(graph, arrays, tied=state_inputs(graph))
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * np.abs(want).max(initial=1e-3))


@pytest.mark.parametrize("name", ["layer_norm", "mlp_resnet_step"])
def test_results_do_not_depend_on_the_number_of_threads(name):
    graph = GRAPHS[name](**({"n": 200, "d": 300} if name == "layer_norm" else {}))
    arrays = sample(graph)
    results = []
    for threads in (1, 2, 3):
        with settings.override(num_threads=threads):
            results.append(run_compiled(graph, arrays))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def reduced(fn, x, axes):
    node = g.input_node(0, "x", x.shape, x.dtype)
    return run_plain(g.Graph((node,), (g.reduce(fn, node, axes),)), [x])[0]


@pytest.mark.parametrize("shape", [(5, 100), (100, 5), (3, 1, 70), (1, 1), (257,)])
@pytest.mark.parametrize("fn", ["max", "min"])
def test_max_and_min_pass_nan_on(fn, shape, rng):
    x = rng.standard_normal(shape).astype(F4)
    x[..., x.shape[-1] // 2] = np.nan
    for axis in range(len(shape)):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(reduced(fn, x, (axis,)), getattr(np, fn)(x, axis))


def test_infinities_pass_through_sums():
    x = np.array([[np.inf, 1, 2], [-np.inf, np.inf, 0], [1, 2, 3]], F4)
    np.testing.assert_array_equal(reduced("sum", x, (1,)), np.array([np.inf, np.nan, 6], F4))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_integer_sums_wrap_around(dtype, rng):
    x = rng.integers(-100, 100, (40, 33)).astype(dtype)
    np.testing.assert_array_equal(reduced("sum", x, (0,)), x.sum(0, dtype=dtype))
    np.testing.assert_array_equal(reduced("prod", x, (1,)), x.prod(1, dtype=dtype))


@pytest.mark.parametrize("fn", ["argmax", "argmin"])
@pytest.mark.parametrize("shape", [(4, 70), (70, 4)])
def test_arg_reductions_find_the_first(fn, shape, rng):
    x = rng.integers(0, 5, shape).astype(F4)
    x[1, 2] = np.nan
    node = g.input_node(0, "x", x.shape, x.dtype)
    for axis in (0, 1):
        (got,) = run_plain(g.Graph((node,), (g.arg_reduce(fn, node, axis),)), [x])
        np.testing.assert_array_equal(got, getattr(np, fn)(x, axis))


def gather_graph(n=10, d=4, count=7):
    table, index = g.input_node(0, "t", (n, d), "float32"), g.input_node(1, "i", (count,), "int64")
    picked = g.gather(table, index, 0)
    new = g.add(table, table)
    return g.Graph((table, index), (g.reduce("sum", picked, (0, 1)), new))


@pytest.mark.parametrize("bad", [-1, 10, 2**40])
def test_an_index_out_of_range_raises_and_leaves_state_unchanged(bad, rng):
    bound = load(compile_graph(gather_graph(), tied={1: 0}))
    table = rng.standard_normal((10, 4)).astype(F4)
    index = np.array([0, 9, 3, 3, 2, 1, 8])
    before = table.copy()
    good = bound.call([table, index])
    np.testing.assert_array_equal(good[1], 2 * before)
    index[4] = bad
    state = good[1].copy()
    with pytest.raises(IndexRangeError, match=str(bad)):
        bound.call([good[1], index])
    np.testing.assert_array_equal(good[1], state)


@pytest.mark.parametrize("fn", ["sum", "prod", "min"])
def test_a_reduction_of_a_product_of_one_row_is_no_epilogue(fn, rng):
    x, w = g.input_node(0, "x", (1, 5), "float32"), g.input_node(1, "w", (5, 7), "float32")
    graph = g.Graph((x, w), (g.reduce(fn, g.matmul(x, w), (0, 1)),))
    arrays = [rng.standard_normal(n.shape).astype("float32") for n in graph.inputs]
    (found,), (expected,) = run_compiled(graph, arrays), interpret(graph, arrays)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scatter_add_adds_in_order_and_checks_its_index(rng):
    updates, index = g.input_node(0, "u", (9, 70), "float32"), g.input_node(1, "i", (9,), "int32")
    bound = load(compile_graph(g.Graph((updates, index), (g.scatter_add(updates, index, 0, 5),))))
    u = rng.standard_normal((9, 70)).astype(F4)
    i = rng.integers(0, 5, 9).astype("int32")
    want = np.zeros((5, 70), F4)
    np.add.at(want, i, u)
    np.testing.assert_array_equal(bound.call([u, i])[0], want)
    i[3] = 5
    with pytest.raises(IndexRangeError):
        bound.call([u, i])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_sums(axis, rng):
    x = rng.integers(-50, 50, (6, 70, 65)).astype(F4)
    node = g.input_node(0, "x", x.shape, x.dtype)
    (got,) = run_plain(g.Graph((node,), (g.cumulative("sum", node, axis),)), [x])
    np.testing.assert_array_equal(got, np.cumsum(x, axis, dtype=F4))


def test_empty_arrays():
    x = g.input_node(0, "x", (0, 3), "float32")
    outputs = (
        x,
        g.reduce("sum", x, (0,)),
        g.reduce("prod", x, (0,)),
        g.pad(x, (1, 0), (1, 0), value=2.0),
        g.concat([x, g.full(1.0, (2, 3), "float32")], 0),
        g.matmul(x, x, transpose_a=True),
        g.unary("exp", x),
    )
    graph = g.Graph((x,), outputs)
    arrays = [np.zeros((0, 3), F4)]
    for got, want in zip(run_plain(graph, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("shape", [(3, 1), (40, 1), (2, 3, 1), (5, 2)])
def test_many_pieces_along_the_last_axis(shape, dtype, rng):
    """Pieces of one column are written every n-th element, not one after the other."""
    arrays = [(rng.standard_normal(shape) > 0).astype(dtype) for _ in range(6)]
    nodes = [g.input_node(k, f"x{k}", shape, dtype) for k in range(6)]
    turned = [g.permute(g.reshape(x, (shape[-1], *shape[:-1])), (*range(1, len(shape)), 0))
              for x in nodes]  # fmt: skip
    last = len(shape) - 1
    graph = g.Graph(tuple(nodes), (g.concat(nodes, last), g.concat(turned, last)))
    for got, want in zip(run_plain(graph, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


def test_many_pieces_that_lie_across_what_they_are_made_of(rng):
    """No split of the loops follows both shapes; the one that is written decides."""
    x = g.input_node(0, "x", (6, 4), "float32")
    piece = g.reshape(g.flip(x, (1,)), (4, 6))
    graph = g.Graph((x,), (g.concat([piece] * 5, 1),))
    arrays = [rng.standard_normal((6, 4)).astype(F4)]
    for got, want in zip(run_plain(graph, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


def test_uniform_numbers_are_the_interpreters_bits():
    key = g.input_node(0, "key", (), "uint64")
    nodes = [g.random(key, "uniform", 3, (7, 33)), g.random(key, "bits", 5, (130,))]
    graph = g.Graph((key,), tuple(nodes))
    arrays = [np.array(0x123456789ABCDEF0, "uint64")]
    for got, want in zip(run_plain(graph, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


def test_matrix_product_of_a_matrix_with_itself(rng):
    x = rng.standard_normal((33, 33)).astype(F4)
    node = g.input_node(0, "x", x.shape, x.dtype)
    graph = g.Graph((node,), (g.unary("neg", g.matmul(node, node, True, False)),))
    np.testing.assert_allclose(run_plain(graph, [x])[0], -(x.T @ x), rtol=1e-4, atol=1e-4)


VECTORS = {
    "haswell": (r"\bymm", r"vmovss|vinsertps|vpinsr"),
    "skylake-avx512": (r"\bzmm", r"vmovss|vinsertps|vpinsr"),
    "neoverse-n1": (r"\.4s\b|\bq\d+", r"ld1\t\{ v\d+\.s \}\[|\bldr\ts\d+"),
    "apple-m1": (r"\.4s\b|\bq\d+", r"ld1\.s\t\{|\bldr\ts\d+"),
}


@pytest.mark.parametrize("width", [128, 100])
@pytest.mark.parametrize("name", sorted(VECTORS))
def test_loops_are_vectors_on_every_target(name, width):
    target = named(name)
    graph = simplify(GRAPHS["layer_norm"](n=64, d=width))
    text = assembly(compile_graph(graph, target=target).llvm_ir, target)
    vectors, scalars = (len(re.findall(pattern, text)) for pattern in VECTORS[name])
    assert vectors > 100
    assert scalars <= 8, "lanes are loaded one by one"


def test_a_chain_of_thousands_of_nodes_is_cut_into_equal_kernels():
    x = g.input_node(0, "x", (8,), "float32")
    y = x
    for k in range(3000):
        y = g.unary("neg", y) if k % 3 else g.add(y, x)
    program = compile_graph(g.Graph((x,), (y,)))
    assert len(program.kernels) <= 6
    (result,) = load(program).call([np.ones(8, F4)])
    np.testing.assert_array_equal(result, np.full(8, 1001, F4))


@pytest.mark.parametrize("seed", range(500, 525))
def test_random_programs_cut_into_many_blocks_on_three_threads(seed, monkeypatch):
    monkeypatch.setattr(lower_layout, "BLOCK_WORK", 16)
    monkeypatch.setattr(fuse_cross, "BLOCK_ELEMENTS", 32)
    monkeypatch.setattr(fuse_blocks, "LONG", 64)
    with settings.override(num_threads=3, exact_threads=True):
        assert report(seed, 25, run_compiled) is None


@pytest.mark.parametrize("shape", [(300, 40), (64, 100)])
def test_partial_results_are_added_by_whoever_finishes_last(shape, rng, monkeypatch):
    monkeypatch.setattr(fuse_cross, "BLOCK_ELEMENTS", 1000)
    x = g.input_node(0, "x", shape, "float32")
    top = g.broadcast(g.reshape(g.reduce("max", x, (1,)), (shape[0], 1)), shape)
    y = g.unary("exp", g.sub(x, top))
    graph = g.Graph((x,), (y, g.reduce("sum", y, (0,)), g.reduce("sum", y, (0, 1))))
    program = compile_graph(graph)
    assert len(program.steps) == 1 and program.steps[0].blocks > 4
    array = rng.standard_normal(shape).astype(F4)
    bound, results = load(program), []
    for threads in (1, 2, 3) * 10:
        with settings.override(num_threads=threads, exact_threads=True):
            results.append([a.copy() for a in bound.call([array])])
    for result in results:
        for got, first in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, first)
    np.testing.assert_allclose(results[0][1], interpret(graph, [array], wide=True)[1], rtol=1e-5)


@pytest.mark.parametrize("rows", [64, 67, 130])
@pytest.mark.parametrize("columns", [1, 3, 16, 40])
def test_columns_are_reduced_by_several_rows_at_once(rows, columns, rng):
    x = g.input_node(0, "x", (2, rows, columns), "float32")
    graph = g.Graph((x,), (g.reduce("max", x, (1,)), g.arg_reduce("argmin", x, 1),
                           g.reduce("sum", g.mul(x, x), (1,))))  # fmt: skip
    array = rng.integers(-9, 9, x.shape).astype(F4)
    array[1, rows - 1, 0] = np.nan
    for got, expected in zip(run_compiled(graph, [array]), interpret(graph, [array]), strict=True):
        np.testing.assert_array_equal(got, expected)
