"""Plain NumPy inside a traced function: recorded and interpreted, it equals NumPy itself."""

import numpy as np
import pytest

from needle.compiler.graph.graph import Graph
from needle.compiler.graph.interpret import interpret
from needle.compiler.trace.functions import FUNCTIONS
from needle.compiler.trace.operand import as_traced
from needle.compiler.trace.record import Recorder, recording
from needle.compiler.trace.trace import TracedArray
from needle.errors import TraceError

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 4)).astype("float32")
B = RNG.standard_normal((3, 4)).astype("float32")
V = RNG.standard_normal(4).astype("float32")
CUBE = RNG.standard_normal((2, 3, 4)).astype("float32")
PLACES = np.array([[2, 0], [1, -1]])
INTS = np.array([[5, -3, 2, 7], [1, 0, -8, 4], [9, 2, 2, -1]])
POSITIVE = np.abs(A) + np.float32(0.1)


def record(function, *arrays):
    """Run `function` on traced arrays; return what the interpreter makes of the graph."""
    with recording(Recorder(FUNCTIONS)) as recorder:
        traced = [
            TracedArray(recorder, recorder.input(f"x{i}", a.shape, a.dtype, None))
            for i, a in enumerate(arrays)
        ]
        results = function(*traced)
        single = not isinstance(results, tuple | list)
        nodes = [as_traced(r).node for r in ([results] if single else results)]
        others = [array for array, _ in recorder.arrays.values()]
        graph = Graph(tuple(recorder.inputs), tuple(nodes))
        graph.verify()
    found = interpret(graph, [*arrays, *others])
    return found[0] if single else found


def check(function, *arrays, rtol=2e-6):
    found = record(function, *arrays)
    expected = function(*[a.copy() for a in arrays])
    if not isinstance(expected, tuple | list):
        found, expected = [found], [expected]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


UFUNCS = {
    "anywhere": "exp expm1 tanh sin cos tan sinh cosh arctan negative absolute fabs positive "
    "square cbrt sign floor ceil trunc rint logical_not isnan isinf isfinite signbit exp2 degrees "
    "radians deg2rad rad2deg conjugate",
    "positive": "log log1p log2 log10 sqrt reciprocal",
    "pairs": "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 hypot "
    "logaddexp copysign less less_equal greater greater_equal equal not_equal logical_and "
    "logical_or logical_xor floor_divide remainder mod heaviside",
    "integers": "add subtract multiply divide floor_divide remainder maximum minimum bitwise_and "
    "bitwise_or bitwise_xor less equal power",
}


@pytest.mark.parametrize("name", UFUNCS["anywhere"].split())
def test_unary_ufuncs(name):
    x = np.concatenate([A, np.float32([[0.0, -0.0, 2.5, -1.5]])])
    check(getattr(np, name), x, rtol=1e-5)
    check(getattr(np, name), x.astype("float64"))


@pytest.mark.parametrize("name", UFUNCS["positive"].split())
def test_unary_ufuncs_of_positive_numbers(name):
    check(getattr(np, name), POSITIVE)


def test_inverse_trigonometry():
    x = np.linspace(-1, 1, 9)
    check(lambda x: (np.arcsin(x), np.arccos(x)), x, rtol=1e-12)


@pytest.mark.parametrize("name", UFUNCS["pairs"].split())
def test_binary_ufuncs(name):
    check(getattr(np, name), A, B, rtol=1e-5)
    check(getattr(np, name), A, V, rtol=1e-5)
    check(lambda a: getattr(np, name)(a, 2.0), A)
    check(lambda a: getattr(np, name)(1.5, a), A)


@pytest.mark.parametrize("name", UFUNCS["integers"].split())
def test_binary_ufuncs_of_integers(name):
    check(getattr(np, name), INTS, np.array([3, 1, 2, 4]))


def test_infinities_and_nan_in_composed_functions():
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 710.0])
    y = np.array([np.inf, -np.inf, 1.0, np.nan, 0.0, 3.0])
    with np.errstate(all="ignore"):
        for name in [
            "logaddexp",
            "hypot",
            "fmax",
            "fmin",
            "copysign",
            "arctan2",
            "maximum",
            "minimum",
        ]:
            check(getattr(np, name), x, y)
            check(getattr(np, name), x, x)
        for name in ["sinh", "cosh", "cbrt", "signbit", "sign", "isnan"]:
            check(getattr(np, name), x)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("other", [True, 3, 2.5, np.float32(2), np.float64(2), np.int8(3)])
def test_promotion_is_numpys(dtype, other):
    x = np.array([0, 1, 1, 0], dtype)
    for operation in (np.add, np.multiply, np.true_divide, np.maximum, np.less):
        check(lambda x, f=operation: f(x, other), x)
        check(lambda x, f=operation: f(other, x), x + np.array(1, dtype))


IDIOMS = {
    "sum": lambda a: a.sum(),
    "sum axis keepdims": lambda a: np.sum(a, axis=-1, keepdims=True),
    "mean": lambda a: (a.mean(), np.mean(a, axis=(0, 1)), a.mean(axis=1, keepdims=True)),
    "var std": lambda a: (a.var(axis=0), np.std(a), np.var(a, axis=1, ddof=1)),
    "max min": lambda a: (a.max(), a.min(axis=0), np.amax(a, 1), np.ptp(a, axis=1)),
    "prod": lambda a: np.prod(a, axis=1),
    "argmax": lambda a: (a.argmax(), np.argmin(a, axis=1), np.argmax(a, axis=0, keepdims=True)),
    "any all": lambda a: ((a > 0).any(axis=0), np.all(a > -9), np.count_nonzero(a > 0, axis=1)),
    "cumsum": lambda a: (np.cumsum(a, axis=1), a.cumsum(), np.add.accumulate(a)),
    "ufunc reduce": lambda a: (
        np.add.reduce(a),
        np.maximum.reduce(a, axis=1),
        np.minimum.reduce(a),
    ),
    "reduce initial": lambda a: (np.sum(a, initial=3.0), np.max(a, axis=0, initial=0.5)),
    "reduce where": lambda a: np.sum(a, axis=0, where=a > 0),
    "outer": lambda a: np.multiply.outer(a[0], a[1]),
    "softmax": lambda a: (
        np.exp(a - a.max(1, keepdims=True))
        / np.exp(a - a.max(1, keepdims=True)).sum(1, keepdims=True)
    ),
    "reshape": lambda a: (
        a.reshape(2, -1),
        a.reshape((4, 3)),
        np.reshape(a, -1),
        a.ravel(),
        a.flatten(),
    ),
    "transpose": lambda a: (a.T, a.transpose(1, 0), np.transpose(a), np.swapaxes(a, 0, 1), a.mT),
    "moveaxis": lambda a: np.moveaxis(a[None], 0, -1),
    "expand squeeze": lambda a: (np.expand_dims(a, 1), np.squeeze(a[:, :1]), a[:1].squeeze(0)),
    "broadcast": lambda a: (np.broadcast_to(a[0], (2, 4)), *np.broadcast_arrays(a[0], a)),
    "flip roll": lambda a: (
        np.flip(a),
        np.flip(a, 1),
        np.fliplr(a),
        np.roll(a, 2),
        np.roll(a, -1, axis=1),
    ),
    "concatenate": lambda a: (np.concatenate([a, a], axis=1), np.vstack([a, a]), np.hstack([a, a])),
    "stack": lambda a: (np.stack([a, -a], axis=1), np.column_stack([a[:, 0], a[:, 1]])),
    "split": lambda a: np.split(a, 2, axis=1) + np.split(a, [1], axis=0),
    "repeat tile": lambda a: (
        np.repeat(a, 2, axis=1),
        np.tile(a, (2, 1, 3)),
        np.repeat(a, [1, 0, 2], axis=0),
    ),
    "pad": lambda a: np.pad(a, ((1, 0), (2, 3)), constant_values=7),
    "where": lambda a: (np.where(a > 0, a, 0), np.where(a > 0, 1, -1), np.where(a > 0, a, -a)),
    "clip": lambda a: (np.clip(a, -0.5, 0.5), a.clip(0), np.clip(a, None, 0.1)),
    "round": lambda a: (np.round(a), np.round(a * 100, 1), a.round()),
    "nan_to_num": lambda a: np.nan_to_num(np.where(a > 1, np.nan, a)),
    "nansum": lambda a: np.nansum(np.where(a > 1, np.nan, a), axis=0),
    "diff": lambda a: (np.diff(a), np.diff(a, axis=0)),
    "isclose": lambda a: np.isclose(a, a + 1e-9),
    "like": lambda a: (
        np.zeros_like(a),
        np.ones_like(a, dtype=int),
        np.full_like(a, 2.5),
        np.empty_like(a) * 0,
    ),
    "creation": lambda a: a + np.arange(4) + np.eye(3, 4) + np.linspace(0, 1, 4, dtype="float32"),
    "astype": lambda a: (a.astype("float64"), (a * 9).astype(int), (a > 0).astype("float32")),
    "matmul": lambda a: (a @ a.T, np.dot(a, a.T), np.matmul(a, a[0]), a[0] @ a.T, np.inner(a, a)),
    "vectors": lambda a: (
        np.vdot(a, a),
        np.outer(a[0], a[1]),
        np.dot(a[0], a[1]),
        np.tensordot(a, a, ([1], [1])),
    ),
    "einsum": lambda a: (
        np.einsum("ij,kj->ik", a, a),
        np.einsum("ij->j", a),
        np.einsum("ij,ij,ij->i", a, a, a),
        np.einsum("ii", a[:, :3]),
    ),
    "norm": lambda a: (np.linalg.norm(a), np.linalg.norm(a, axis=1), np.linalg.norm(a[0], 1)),
    "triangles": lambda a: (
        np.tril(a),
        np.triu(a, 1),
        np.diag(a[:, :3]),
        np.diag(a[0]),
        np.trace(a),
        a.diagonal(),
    ),
    "take": lambda a: (
        np.take(a, [2, 0], axis=1),
        a.take(1, axis=0),
        np.take_along_axis(a, np.array([[0], [2], [1]]), 1),
    ),
    "iterate": lambda a: sum(row * i for i, row in enumerate(a)),
    "unpack": lambda a: [x + 1 for x in a],
    "sizes": lambda a: a / len(a) / a.size / a.ndim / np.shape(a)[1] / np.size(a, 0),
    "weak numbers": lambda a: (a * 2, 3 - a, a / 7, a**2, 2**a, -a, abs(a), +a, a // 0.3, a % 0.7),
    "comparisons": lambda a: (
        a > 0,
        a == a,
        a != 0,
        (a > 0) & (a < 1),
        (a > 0) | (a < -1),
        ~(a > 0),
    ),
    "divmod": lambda a: divmod(a, 0.5),
    "basic index": lambda a: (
        a[1],
        a[-1, 2],
        a[:, 1:3],
        a[::2, ::-1],
        a[..., 0],
        a[None, :, None, 1],
        a[2:1],
        a[5:],
    ),
    "index arrays": lambda a: (
        a[[2, 0]],
        a[:, [1, 1, 3]],
        a[[0, 1], [2, -1]],
        a[PLACES],
        a[PLACES, 1],
        a[1, PLACES],
        a[None, PLACES],
        a[PLACES, :2],
        a[PLACES[:, :1], PLACES[0]],
    ),
    "mask": lambda a: (a[np.array([True, False, True])], a[:, np.array([True, False, True, True])]),
}


@pytest.mark.parametrize("name", IDIOMS)
def test_idioms(name):
    check(IDIOMS[name], A)


def test_index_arrays_apart_go_first():
    check(
        lambda c: (
            c[:, [0, 2]],
            c[[0, 1], :, [3, 1]],
            c[0, :, [3, 1]],
            c[:, [0], [1, 2]],
            c[..., PLACES, 0],
        ),
        CUBE,
    )


def test_an_ellipsis_between_index_arrays_sets_them_apart():
    check(lambda c: (c[:, [0], ..., [1]], c[[0, 1], ..., :, 2], c[..., [0], [1]]), CUBE)


def test_a_mask_of_another_shape_is_no_index():
    for mask in (np.ones(2, bool), np.ones(4, bool), np.ones((3, 3), bool)):
        with pytest.raises(IndexError, match="boolean index did not match"):
            record(lambda a, m=mask: a[m], A)


def test_options_of_functions_are_numpys():
    check(
        lambda a: (
            *np.array_split(a, 2),
            *np.split(a, [2, 1], axis=1),
            np.hstack([a, a], dtype="float64"),
            np.vstack([a, a], dtype="float64"),
            np.stack([a, a], dtype="float64"),
            np.isclose(a, np.where(a > 0, a, np.nan), equal_nan=True),
            np.isclose(np.where(a > 0, a, np.nan), np.where(a > 0, a, np.nan), equal_nan=True),
            np.max(a, 1, keepdims=True),
            np.copy(a, order="F"),
            np.sum(a, axis=None, where=True),
            np.tensordot(a, a[..., None], axes=([0, -1], [0, 1])),
            np.roll(a, (1, 2), axis=(0, 1)),
            np.roll(a, 1, axis=(0, -1)),
            np.dstack([a, a]),
            np.column_stack([a[:, 0], a]),
            np.hstack([a[0], a[1]]),
            np.vstack([a, a[0]]),
            np.moveaxis(a[None], (0, 2), (1, 0)),
        ),
        A,
    )


def written(a):
    b, c, d = np.empty_like(a), np.empty_like(a[0]), np.empty_like(np.stack([a, a]))
    np.clip(a, -0.5, 0.5, out=b)
    np.mean(a, axis=0, out=c)
    kept = np.stack([a, a], out=d)
    kept += 1
    return b, c, d, a.round(out=np.empty_like(a)), np.cumsum(a, 0, out=np.empty_like(a))


def test_out_is_written():
    check(written, A)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a: np.take(a, [9], mode="clip"), r"np\.take with mode="),
        (lambda a: np.clip(a, 0, 1, where=a > 0), r"np\.clip with where="),
        (lambda a: np.matmul(a, a.T, dtype="float64"), r"np\.matmul with dtype="),
        (lambda a: np.max(a, 0, np.empty_like(a[0])), r"np\.max with out= by its position"),
        (lambda a: np.diff(a, prepend=0), r"np\.diff with prepend="),
        (lambda a: a.reshape(12, copy=True), r"np\.reshape with copy="),
        (lambda a: np.reshape(a, 12, order="F"), r"np\.reshape with order='F'; transpose"),
        (lambda a: np.nan_to_num(a, copy=False), r"np\.nan_to_num with copy=False"),
        (lambda a: np.linalg.norm(a, ord="nuc"), r"np\.linalg\.norm with ord='nuc'"),
    ],
)
def test_an_option_that_would_be_ignored_is_an_error(function, text):
    with pytest.raises(TraceError, match=text.replace("; ", ".*; ")):
        record(function, A)


def test_traced_index_arrays_wrap_and_are_checked():
    def pick(a, i):
        return a[i], a[:, i], a[i, i + 1], a[np.arange(2)[:, None], i]

    check(pick, A, np.array([[0, -2], [1, 1]]))
    check(lambda a, i: a[i], A, np.array([2, 0], dtype="uint8"))
    for wrong in (np.array([3]), np.array([-4])):
        with pytest.raises(IndexError):
            record(lambda a, i: a[i], A, wrong)
    with pytest.raises(IndexError):  # in range once joined, but not by itself
        record(lambda a, i, j: a[i, j], A, np.array([0]), np.array([5]))


def writes(a):
    a = a.copy()
    a[0] = 1.5
    a[1, 2] += 3
    a[:, ::2] *= 2
    a[::-1, 0] = np.arange(3)
    a[[0, 2], [1, 3]] = a[1, :2]
    a[a > 1] = 1
    a[..., 3] -= a[..., 0]
    return a


def views(a):
    a = a.copy()
    row, column, flat = a[1], a.T[2], a.reshape(-1)
    row += 5
    flat[3] = 9
    a[0, 2] = 7
    column *= 2
    row[...] = row + a.reshape(4, 3)[0, 0]
    return a, row, column, flat


def copies(a):
    a = a.copy()
    turned, cut = a.T.reshape(-1), a[:, 1:].ravel()
    still, row = a[:, :2].reshape(3, 2, 1), np.expand_dims(a.T, 0)[:, 1]
    turned += 1  # a copy in NumPy, too: a stays
    cut *= 2
    still[1] = 7
    row += 5
    return a, turned, cut, still, row


def numbers(a):
    row, total, zero = a[0].copy(), a.sum(), np.zeros((), a.dtype, like=a)
    first, kept, same, last = row[0], total, zero, row[3, ...]
    first += 1  # another number: what it was taken from, and its other names, stay
    total *= 2
    zero += 3  # an array: it has two names
    last -= 1  # a view
    return row, first, kept, total, same, zero, last


def outs(a):
    b = np.empty_like(a)
    np.multiply(a, 2, out=b)
    np.add(b[0], 1, out=b[0])
    c = np.zeros(a.shape, like=a)
    np.copyto(c, b)
    c.fill(2)
    d = b
    d -= c
    return b, c, d, np.full((2,), 3.0, like=a), np.asarray([1.0, 2.0], like=a)


@pytest.mark.parametrize("function", [writes, views, copies, numbers, outs])
def test_writing_is_functional(function):
    check(function, A)


def test_integers_widen_as_in_numpy():
    for dtype in ("int8", "uint8", "int32", "bool", "int64"):
        x = np.array([[1, 0, 1], [1, 1, 0]], dtype)
        check(lambda x: (x.sum(), x.prod(axis=1), x.cumsum(axis=0), x.mean(), x.max(), x.var()), x)


def test_integers_and_bools_are_what_numpy_makes_of_them():
    check(
        lambda x: (np.round(x), np.round(x * 30, -1), x.round(1), np.reciprocal(x)),
        INTS - 3 * (INTS == 0),
    )
    check(
        lambda x: (np.sum(x, initial=0.5), np.max(x, initial=7.5), np.max(x > 0, initial=1)), INTS
    )
    check(
        lambda x: (np.sum(x, where=x > 1, initial=0.5), np.take_along_axis(x, INTS[0] % 5, None)),
        INTS,
    )
    mask = INTS > 1
    check(lambda x: (np.diff(x), np.isclose(x, x[0]), np.einsum("ij->i", x)), mask)


def test_empty_and_scalar_arrays():
    check(
        lambda a: (a.sum(axis=0), a.T, a * 2, np.concatenate([a, a]), a.all(axis=0)),
        np.zeros((0, 3)),
    )
    check(lambda a: (a + 1, a.sum(), a.reshape(1, 1), a[None], a[()]), np.float64(3.0).reshape(()))
    with pytest.raises(ValueError, match="identity"):
        record(lambda a: a.max(axis=0), np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a: np.sort(a), r"np\.sort is not traced .*test_trace_numpy\.py:\d+"),
        (lambda a: np.nonzero(a), r"np\.nonzero.*np\.where"),
        (lambda a: np.gcd(a.astype(int), 2), r"np\.gcd is not traced"),
        (lambda a: np.add.at(a, [0], 1), r"np\.add\.at.*ops\.scatter_add"),
        (lambda a: a[a > 0], "mask .*depends on values.*ops.where"),
        (lambda a: np.argsort(a), r"np\.argsort is not traced"),
        (lambda a: np.where(a > 0), "np.where with one argument"),
        (lambda a: np.add(a, 1, out=np.zeros((3, 4))), "out= is an ndarray made outside"),
        (lambda a: np.zeros((3, 4)).__setitem__(0, a[0]), "writing into an ndarray made outside"),
        (lambda a: np.asarray(a), r"np\.asarray.*traced float32\[3, 4\]"),
        (lambda a: bool(a.sum()), "condition"),
        (lambda a: a.astype("float16"), "float16 is not compiled"),
        (lambda a: a.astype("int8") * np.float16(1), "float16"),
        (lambda a: np.signbit(a.astype("int8")), r"np\.signbit of int8 computes in float16"),
        (lambda a: a.__setitem__(a[0].astype(int), a), "name an element twice.*scatter_add"),
        (lambda a: np.einsum("...i->...", a), "ellipsis"),
        (lambda a: np.pad(a, 1, mode="edge"), "mode='edge'"),
        (lambda a: a.tolist(), "tolist"),
    ],
)
def test_what_is_not_traced_is_an_error_that_says_so(function, text):
    with pytest.raises(TraceError, match=f"(?s){text}"):
        record(function, A)


@pytest.mark.parametrize(
    "function",
    [
        lambda a: a + np.zeros(3),
        lambda a: a + None,
        lambda a: "text" * a,
        lambda a: a @ a,
        lambda a: a[5],
        lambda a: a.reshape(5, 5),
        lambda a: np.concatenate([a, a.T]),
        lambda a: a.sum(axis=2),
        lambda a: a.nothing,
        lambda a: np.broadcast_to(a, (2, 2)),
        lambda a: a[0, 0, 0],
    ],
)
def test_bad_shapes_raise_what_numpy_raises(function):
    with pytest.raises(Exception) as expected:
        function(A)
    kind = next(k for k in type(expected.value).__mro__ if k.__module__ == "builtins")
    with pytest.raises(kind):
        record(function, A)


def test_sources_name_the_users_line():
    with recording(Recorder(FUNCTIONS)) as recorder:
        x = TracedArray(recorder, recorder.input("x", (2,), "float32", None))
        source = np.exp(x).node.source
    assert source.file == __file__ and source.op == "exp"
    line = test_sources_name_the_users_line.__code__.co_firstlineno
    assert source.line == line + 3


def test_a_traced_array_dies_with_its_trace():
    with recording(Recorder(FUNCTIONS)) as recorder:
        x = TracedArray(recorder, recorder.input("x", (2,), "float32", None))
    with pytest.raises(TraceError, match="kept where"):
        x + 1
