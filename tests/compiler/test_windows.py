"""Sliding windows as a view: the primitive, its trace, and what reads through it."""

import numpy as np
import pytest

import needle as ndl
from needle.backend import extensions
from needle.compiler.graph.interpret import interpret
from needle.compiler.plan.plan import compile_graph
from needle.compiler.simplify.simplify import simplify
from needle.errors import GraphError
from tests.compiler import building as g
from tests.compiler.compiled import run_compiled

CASES = [
    # shape, axes, sizes, strides, dilations
    ((2, 7, 6, 3), (1, 2), (3, 2), (1, 1), (1, 1)),
    ((2, 9, 8, 3), (1, 2), (3, 3), (2, 3), (1, 2)),
    ((5, 4), (0,), (4,), (2,), (1,)),
    ((1, 3), (1,), (5,), (1,), (1,)),  # no window fits
]


def windows_of(x, axes, sizes, strides, dilations):
    """The definition, index by index."""
    spans = [(k - 1) * d + 1 for k, d in zip(sizes, dilations, strict=True)]
    counts = [
        max(0, (x.shape[a] - n) // s + 1) for a, n, s in zip(axes, spans, strides, strict=True)
    ]
    shape = list(x.shape)
    for axis, count in zip(axes, counts, strict=True):
        shape[axis] = count
    result = np.zeros((*shape, *sizes), x.dtype)
    for at in np.ndindex(*result.shape):
        source = list(at[: x.ndim])
        for j, axis in enumerate(axes):
            source[axis] = at[axis] * strides[j] + at[x.ndim + j] * dilations[j]
        result[at] = x[tuple(source)]
    return result


@pytest.mark.parametrize("case", CASES)
def test_values_interpreted_and_compiled(case):
    shape, *amounts = case
    array = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    x = g.input_node(0, "x", shape, "float32")
    graph = g.Graph((x,), (g.windows(x, *amounts),))
    graph.verify()
    expected = windows_of(array, *amounts)
    np.testing.assert_array_equal(interpret(graph, [array])[0], expected)
    np.testing.assert_array_equal(run_compiled(graph, [array])[0], expected)
    for place in range(len(shape)):
        graph = g.Graph((x,), (g.windows(x, *amounts, place),))
        graph.verify()
        order = list(range(len(shape)))
        order[place:place] = range(len(shape), expected.ndim)
        for found in (interpret(graph, [array]), run_compiled(graph, [array])):
            np.testing.assert_array_equal(found[0], expected.transpose(order))


@pytest.mark.parametrize("case", CASES[:3])
def test_traced_windows_and_fold_are_what_numpy_makes_of_them(case, jit):
    shape, axes, *amounts = case
    array = np.random.default_rng(0).standard_normal(shape).astype("float32")
    if len(axes) == 2:  # in any order
        axes, *amounts = axes[::-1], *(a[::-1] for a in amounts)

    def step(x):
        view = extensions.windows(x.cached_data, axes, *amounts)
        return ndl.Tensor(view), ndl.Tensor(extensions.fold(view, shape, axes, *amounts))

    for traced, plain in zip(jit(step)(ndl.Tensor(array)), step(ndl.Tensor(array)), strict=True):
        np.testing.assert_allclose(traced.numpy(), plain.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "amounts",
    [
        ((1, 0), (1, 1), (1, 1), (1, 1)),
        ((0,), (0,), (1,), (1,)),
        ((0,), (1,), (0,), (1,)),
        ((0, 1), (2,), (1, 1), (1, 1)),
        ((2,), (1,), (1,), (1,)),
    ],
)
def test_bad_windows_are_refused(amounts):
    with pytest.raises(GraphError, match="windows: expected"):
        g.windows(g.input_node(0, "x", (4, 4), "float32"), *amounts)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_pooling_runs_along_the_channels(layout):
    rng = np.random.default_rng(0)
    array = rng.standard_normal((2, 9, 8, 32)).astype("float32")

    def pooled(x):
        y = x if layout == "NHWC" else ndl.ops.permute(x, (0, 3, 1, 2))
        y = ndl.ops.max_pool(y, 3, 2, 1, layout=layout)
        y = y if layout == "NHWC" else ndl.ops.permute(y, (0, 2, 3, 1))
        (y * y).sum().backward()
        return y.detach(), x.grad.detach()

    step = ndl.jit(pooled)
    results = [f(ndl.Tensor(array, requires_grad=True)) for f in (step, pooled)]
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    program = compile_graph(simplify(step.graph))
    assert len(program.steps) <= 4
    assert not any("gather" in kernel.text for kernel in program.kernels)
