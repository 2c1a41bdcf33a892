"""The IR: each primitive against NumPy, its shape rule, verification and printing."""

import numpy as np
import pytest

from needle.compiler.graph import philox
from needle.compiler.graph.primitives import BINARY, UNARY, Constant, Pad, Random, Unary
from needle.errors import GraphError
from tests.compiler import building as g


def x23():
    return g.input_node(0, "x", (2, 3), "float32")


def test_printing():
    x = x23()
    y = g.reduce("sum", g.mul(x, g.full(2.0, (2, 3), "float32"), g.Source("m.py", 3, "mul")), (1,))
    assert str(g.Graph((x,), (y, x))).splitlines() == [
        '%0: float32[2, 3] = input 0 "x"',
        "%1: float32[] = constant[2.0]",
        "%2: float32[2, 3] = broadcast[shape=(2, 3)] %1",
        "%3: float32[2, 3] = mul %0 %2    # mul m.py:3",
        "%4: float32[2] = sum[axes=(1,)] %3",
        "return %4 %0",
    ]


def test_deep_chain():
    x = y = x23()
    for _ in range(100_000):
        y = g.unary("neg", y)
    graph = g.Graph((x,), (y,))
    graph.verify()
    assert len(graph.nodes()) == 100_001
    assert len(g.rebuild(graph, lambda node: node).nodes()) == 100_001


def test_order_is_left_to_right_and_users_count_uses():
    x = x23()
    a, b = g.unary("exp", x), g.unary("log", x)
    c = g.add(a, b)
    graph = g.Graph((x,), (g.mul(c, c), a))
    assert graph.nodes() == [x, a, b, c, graph.outputs[0]]
    assert graph.users()[c] == [graph.outputs[0]] * 2
    assert graph.users()[x] == [a, b]


def test_constants_compare_by_bits():
    f32 = np.dtype("float32")
    assert Constant(0.0, f32) != Constant(-0.0, f32)
    assert Constant(float("nan"), f32) == Constant(float("nan"), f32)
    assert Constant(1, f32) == Constant(True, f32) == Constant(1.0, f32)
    assert Constant(1, f32) != Constant(1, np.dtype("float64"))
    assert hash(Constant(2, f32)) == hash(Constant(2.0, f32))
    assert Pad((0,), (0,), (0,), 0.0) != Pad((0,), (0,), (0,), -0.0)


BAD = {
    "arity": lambda x: g.make(Unary("exp"), x, x),
    "unknown": lambda x: g.unary("gamma", x),
    "dtype": lambda x: g.add(x, g.cast(x, "float64")),
    "shape": lambda x: g.add(x, g.reduce("sum", x, (0,))),
    "kind": lambda x: g.unary("exp", g.cast(x, "int32")),
    "bits": lambda x: g.binary("xor", x, x),
    "where": lambda x: g.where(x, x, x),
    "broadcast": lambda x: g.broadcast(x, (2, 4)),
    "rank": lambda x: g.broadcast(x, (3,)),
    "reshape": lambda x: g.reshape(x, (7,)),
    "permute": lambda x: g.permute(x, (0, 0)),
    "slice": lambda x: g.slice_(x, (0, 0), (2, 4)),
    "flip": lambda x: g.flip(x, (2,)),
    "pad": lambda x: g.pad(x, (0, -1), (0, 0)),
    "concat": lambda x: g.concat([x, g.reshape(x, (3, 2))], 0),
    "concat of a scalar": lambda x: g.concat([g.reshape(x, (6,)), g.reduce("sum", x, (0, 1))], 0),
    "reduce": lambda x: g.reduce("sum", x, (0, 0)),
    "empty max": lambda x: g.reduce("max", g.slice_(x, (0, 0), (0, 3)), (0,)),
    "argmax": lambda x: g.arg_reduce("argmax", x, 2),
    "cumsum": lambda x: g.cumulative("max", x, 0),
    "matmul": lambda x: g.matmul(x, x),
    "gather": lambda x: g.gather(x, x, 0),
    "scatter": lambda x: g.scatter_add(x, g.iota((3,), 0, "int64"), 0, 4),
    "random": lambda x: g.random(x, "uniform", 0, (2,)),
    "float16": lambda x: g.cast(x, "float16"),
    "complex": lambda x: g.constant(1, "complex64"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_refused(case):
    with pytest.raises(GraphError, match=r"expected .*, got"):
        BAD[case](x23())


def test_verify_finds_wrong_nodes():
    x = x23()
    wrong = g.Node(Unary("exp"), (x,), (2, 4), x.dtype)
    with pytest.raises(GraphError, match="does not follow"):
        g.Graph((x,), (wrong,)).verify()
    with pytest.raises(GraphError, match="not among"):
        g.Graph((), (g.unary("exp", x),)).verify()
    with pytest.raises(GraphError, match="expected input 1"):
        g.Graph((x, x), (x,)).verify()


def evaluate(node, *arrays):
    return node.primitive.evaluate(*arrays)


@pytest.mark.parametrize("fn", UNARY)
def test_unary_dtype(fn):
    kinds = {"bool": "bool", "int": "int16", "float": "float32"}
    for kind in UNARY[fn][1].split():
        x = g.input_node(0, "x", (5,), kinds[kind])
        array = np.array([0, 1, 2, 3, 4]).astype(kinds[kind])
        with np.errstate(all="ignore"):
            result = evaluate(g.unary(fn, x), array)
        assert (result.shape, result.dtype) == (g.unary(fn, x).shape, g.unary(fn, x).dtype)


@pytest.mark.parametrize("fn", BINARY)
def test_binary_dtype(fn):
    kinds = {"bool": "bool", "int": "int16", "float": "float32"}
    for kind in BINARY[fn][1].split():
        x = g.input_node(0, "x", (5,), kinds[kind])
        array = np.array([1, 1, 2, 3, 4]).astype(kinds[kind])
        result = evaluate(g.binary(fn, x, x), array, array)
        assert (result.shape, result.dtype) == ((5,), x.dtype)


def test_values_of_the_functions_numpy_lacks():
    x = np.array([-1000.0, -1, 0, 1, 1000, np.nan])
    np.testing.assert_allclose(
        Unary("sigmoid").evaluate(x), [0, 0.2689414213699951, 0.5, 0.7310585786300049, 1, np.nan]
    )
    np.testing.assert_allclose(
        Unary("erf").evaluate(x), [-1, -0.8427007929497149, 0, 0.8427007929497149, 1, np.nan]
    )


def test_movement_against_numpy():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = x23()
    np.testing.assert_array_equal(evaluate(g.slice_(x, (0, 1), (2, 3), (2, 1)), a), a[0:2:2, 1:3])
    np.testing.assert_array_equal(evaluate(g.flip(x, (1,)), a), a[:, ::-1])
    padded = g.pad(x, (1, 0), (0, 2), (0, 1), 9)
    expected = [[9] * 7, [0, 9, 1, 9, 2, 9, 9], [3, 9, 4, 9, 5, 9, 9]]
    assert padded.shape == (3, 7)
    np.testing.assert_array_equal(evaluate(padded, a), expected)


def test_gather_and_scatter():
    x, index = x23(), g.input_node(1, "i", (2, 2), "uint8")
    a, i = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[2, 0], [2, 2]], np.uint8)
    taken = g.gather(x, index, 1)
    assert taken.shape == (2, 2, 2)
    np.testing.assert_array_equal(evaluate(taken, a, i), np.take(a, i, axis=1))
    back = g.scatter_add(taken, index, 1, 3)
    assert back.shape == (2, 3)
    ones = np.ones((2, 2, 2), np.float32)
    np.testing.assert_array_equal(evaluate(back, ones, i), [[1, 0, 3]] * 2)
    with pytest.raises(IndexError, match="index 3 is out of range for size 3"):
        evaluate(taken, a, i + np.uint8(1))


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_matmul_flags(ta, tb):
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(2, 4, 5)
    left, right = (a.swapaxes(1, 2) if ta else a), (b.swapaxes(1, 2) if tb else b)
    nodes = (
        g.input_node(0, "a", left.shape, "float64"),
        g.input_node(1, "b", right.shape, "float64"),
    )
    product = g.matmul(*nodes, transpose_a=ta, transpose_b=tb)
    assert product.shape == (2, 3, 5)
    np.testing.assert_array_equal(evaluate(product, left, right), a @ b)


KNOWN = [  # the vectors for philox4x32, 10 rounds, of Random123: counter, key, result
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([2**32 - 1] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        0x299F31D0A4093822,
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers(counter, key, words):
    assert philox.philox4x32(np.array([counter], np.uint64), key).tolist() == [words]


def test_streams_are_blocks_of_the_counter():
    index = 3
    expected = philox.philox4x32(np.array([[index, 0, 9, 0]], np.uint64), 5)[0]
    np.testing.assert_array_equal(philox.blocks(5, 9, 4)[index], expected)
    np.testing.assert_array_equal(philox.bits(5, 9, (2, 7)).ravel()[12:14], expected[:2])


def test_random_streams():
    uniform = Random("uniform", 3, (1000, 7)).evaluate(np.uint64(2**40 + 5))
    assert uniform.dtype == np.float32
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 / np.sqrt(12 * 7000)
    np.testing.assert_array_equal(uniform.ravel()[:5], philox.uniform(2**40 + 5, 3, (5,)))
    assert (uniform != Random("uniform", 4, (1000, 7)).evaluate(np.uint64(2**40 + 5))).mean() > 0.99
    normal = Random("normal", 3, (7000,)).evaluate(np.uint64(1))
    assert abs(normal.mean()) < 4 / np.sqrt(7000)
    assert abs(normal.var() - 1) < 4 * np.sqrt(2 / 7000)
    np.testing.assert_array_equal(normal[:3], philox.normal(1, 3, (3,)))
