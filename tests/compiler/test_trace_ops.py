"""Every op of needle.ops under `jit`, forward and backward, against the eager run."""

import inspect

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops
from needle.autograd import Op, TensorTuple
from needle.compiler.jit import native as jit_native

RNG = np.random.default_rng(1)


def array(*shape, low=-2.0, high=2.0, dtype="float32"):
    return RNG.uniform(low, high, shape).astype(dtype)


M, N3, P = array(3, 4), array(2, 3, 4), array(3, 4, low=0.2)
IDS = np.array([[2, 0, 1, 1], [0, 0, 2, 1]])
SAMPLES = {
    "EWiseAdd": [(ops.add, M, array(4))],
    "AddScalar": [(lambda a: ops.add_scalar(a, 2.5), M)],
    "EWiseMul": [(ops.multiply, M, array(3, 1))],
    "MulScalar": [(lambda a: 3 * a, M)],
    "EWiseDiv": [(ops.divide, M, P)],
    "DivScalar": [(lambda a: a / 4, M)],
    "EWisePow": [(ops.power, P, M)],
    "PowerScalar": [
        (lambda a: a**3, M),
        (lambda a: a**0.5, P),
        (lambda a: a**-1, P),
        (lambda a: a**0, M),
    ],
    "Negate": [(ops.negate, M)],
    "Log": [(ops.log, P)],
    "Exp": [(ops.exp, M)],
    "Sqrt": [(ops.sqrt, P)],
    "Abs": [(ops.abs, M)],
    "Tanh": [(ops.tanh, M)],
    "Sigmoid": [(ops.sigmoid, M)],
    "ReLU": [(ops.relu, M)],
    "Erf": [(ops.erf, M)],
    "GELU": [(ops.gelu, M), (lambda a: ops.gelu(a, "tanh"), M)],
    "Maximum": [(ops.maximum, M, P)],
    "Minimum": [(ops.minimum, M, 0.5 * P)],
    "Clip": [(lambda a: ops.clip(a, -1, 1), M), (lambda a: ops.clip(a, max=0.5), M)],
    "Less": [(lambda a, b: (a < b) * a, M, P)],
    "LessEqual": [(lambda a, b: (a <= b) * a, M, P)],
    "Equal": [(lambda a: ops.equal(a, a.data) * a, M)],
    "NotEqual": [(lambda a, b: ops.not_equal(a, b) * a, M, P)],
    "Sign": [(lambda a: ops.sign(a) * a, M)],
    "Where": [(lambda a, b: ops.where(a > 0, a, b), M, P), (lambda a: ops.where(a > 0, a, 0), M)],
    "Summation": [
        (lambda a: a.sum(1), N3),
        (lambda a: a.sum((0, 2), keepdims=True), N3),
        (lambda a: a.sum(), M),
    ],
    "Mean": [(lambda a: a.mean(-1), N3), (lambda a: a.mean(), M)],
    "Var": [(lambda a: a.var(1), N3), (lambda a: a.var(0, correction=1, keepdims=True), M)],
    "Max": [(lambda a: a.max(1), N3), (lambda a: a.max(), np.float32([1, 3, 3]))],
    "Min": [(lambda a: a.min((0, 1)), N3)],
    "Reshape": [(lambda a: ops.reshape(a, (4, -1)), N3)],
    "BroadcastTo": [(lambda a: ops.broadcast_to(a, (5, 3, 4)), array(3, 1))],
    "Transpose": [(ops.transpose, N3), (lambda a: ops.transpose(a, (0, 2)), N3)],
    "Permute": [(lambda a: ops.permute(a, (2, 0, 1)), N3), (lambda a: a.T, M)],
    "Flip": [(lambda a: ops.flip(a, 1), M)],
    "Split": [(lambda a: ops.split(a, 1), N3)],
    "Stack": [(lambda a, b: ops.stack([a, b], 1), M, P)],
    "Concat": [(lambda a, b: ops.concat([a, b, a], 1), M, array(3, 2))],
    "Cast": [(lambda a: a.astype("float64") * 2, M), (lambda a: a.copy(), M)],
    "MatMul": [
        (ops.matmul, M, array(4, 2)),
        (ops.matmul, N3, array(4, 2)),
        (ops.matmul, N3, array(2, 4, 5)),
        (ops.matmul, array(4), array(4, 2)),
        (ops.matmul, M, array(4)),
        (ops.matmul, M, array(5, 4, 2)),
    ],
    "LogSumExp": [
        (ops.logsumexp, M),
        (lambda a: ops.logsumexp(a, 1), M * 100),
        (lambda a: ops.logsumexp(a, (0, 2)), N3),
    ],
    "LogSoftmax": [(ops.logsoftmax, M)],
    "Softmax": [(ops.softmax, M), (lambda a: ops.softmax(a, 1), N3)],
    "Normalize": [(lambda a: ops.normalize(a, 0), M), (lambda a: ops.normalize(a, (0, 2)), N3)],
    "GetItem": [
        (lambda a: a[1:, ::2], M),
        (lambda a: a[None, 1, ..., -1], N3),
        (lambda a: a[[0, 2, 0]], M),
        (lambda a, i: a[i], M, IDS),
        (lambda a, i: a[:, i], N3, IDS),
        (lambda a, i: a[i, i], M, IDS),
        (lambda a, i: ops.gather(a, i, 0), M, IDS),
        (lambda a: a[np.array([True, False, True])], M),
    ],
    "SetItem": [
        (lambda v, i: ops.scatter_add((5, 4), i, v), array(2, 4), np.array([1, 1])),
        (lambda v: ops.scatter_add((5, 6), (slice(1, 4), slice(0, 4)), v), M),
    ],
    "MakeTensorTuple": [(lambda a, b: ops.make_tuple(a * 2, b), M, P)],
    "TupleGetItem": [(lambda a: ops.fused_add_scalars(a, 1.0, 2.0)[1] * a, M)],
    "FusedAddScalars": [(lambda a: ops.fused_add_scalars(a, 1.0, 2.0), M)],
}
CASES = [(name, k) for name, samples in SAMPLES.items() for k in range(len(samples))]


def tensors(arrays):
    return [ndl.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]


def parts(result):
    return list(result.tuple()) if isinstance(result, TensorTuple) else [result]


def step(function):
    """Forward and backward with fixed weights, as one function of Tensors."""

    def run(*inputs):
        results = parts(function(*inputs))
        loss = 0
        for k, y in enumerate(results):
            weights = np.cos(np.arange(y.size) + k).reshape(y.shape).astype("float32")
            loss = loss + (y * weights).sum()
        loss.backward()
        return results, [x.grad for x in inputs if x.requires_grad and x.grad is not None]

    return run


@pytest.mark.parametrize(("name", "k"), CASES)
def test_traced_equals_eager_with_gradients(name, k):
    function, *arrays = SAMPLES[name][k]
    run = step(function)
    expected, gradients = run(*tensors(arrays))
    compiled = ndl.jit(run)
    compiled.compile = jit_native.interpret
    found, traced = compiled(*tensors(arrays))
    assert len(found) == len(expected) and len(traced) == len(gradients)
    for a, b in zip([*found, *traced], [*expected, *gradients], strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=2e-6)


def test_every_op_has_a_sample():
    kinds = {
        name
        for module in (
            ops.elementwise,
            ops.reduce,
            ops.movement,
            ops.linalg,
            ops.logarithmic,
            ops.indexing,
            ops.tuples,
            ops.normalize,
        )
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, Op) and kind.__module__ == module.__name__
    }
    missing = kinds - SAMPLES.keys() - {"Reduction", "Elementwise"}
    assert {name for name in missing if not name.startswith("_")} == set()


def test_second_derivatives_trace():
    def run(x):
        y = (ops.tanh(x) * x**3).sum()
        y.backward()
        grad = x.grad
        (grad * grad).sum().backward()
        return x.grad

    x = array(5)
    compiled = ndl.jit(run)
    compiled.compile = jit_native.interpret
    np.testing.assert_allclose(
        compiled(ndl.Tensor(x)).numpy(), run(ndl.Tensor(x)).numpy(), rtol=1e-4
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(4, 3),
        lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        lambda: nn.LayerNorm1d(4),
        lambda: nn.BatchNorm1d(4),
        lambda: nn.Residual(nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Tanh(), nn.Identity()),
    ],
)
def test_every_module_traces(make):
    np.random.seed(0)
    module = make()
    results = []
    for wrap in (lambda f: f, ndl.jit):
        np.random.seed(0)
        module = make()

        def run(x, module=module):
            y = module(x)
            (y * y).sum().backward()
            return y

        x = ndl.Tensor(M)
        y = wrap(run)(x)
        state = list(module.state_dict().values())
        results.append(
            [y.numpy(), x.grad.numpy(), *state, *(p.grad.numpy() for p in module.parameters())]
        )
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_labels_of_any_dtype():
    def run(y):
        return init.one_hot(4, y)

    for dtype in ("int64", "uint8", "float32"):
        y = ndl.Tensor(np.array([3, 0, 1], dtype), requires_grad=False)
        np.testing.assert_array_equal(ndl.jit(run)(y).numpy(), np.eye(4)[[3, 0, 1]])
    with pytest.raises(ValueError, match=r"one_hot: expected integers as labels, got 1\.5"):
        ndl.jit(run)(ndl.Tensor([1.0, 1.5]))
