"""Products that read images through windows: values, threads, memory, what is fused, assembly."""

import re

import numpy as np
import pytest

import needle as ndl
from needle import settings
from needle.compiler.fuse.window import windowed
from needle.compiler.graph.interpret import interpret
from needle.compiler.plan.plan import compile_graph
from needle.compiler.run.native import assembly
from needle.compiler.run.run import load
from needle.compiler.simplify.simplify import simplify
from needle.compiler.target import named
from tests.compiler import building as g
from tests.compiler.compiled import run_plain
from tests.compiler.native_helper import RUNNABLE, inner_loops

CASES = {
    # images, height, width, channels, kernel, columns, stride, padding, dilation
    "3x3": (4, 8, 8, 16, (3, 3), 16, (1, 1), (1, 1), (1, 1)),
    "colours": (2, 9, 7, 3, (3, 3), 10, (1, 1), (1, 1), (1, 1)),
    "stride": (3, 9, 8, 5, (3, 3), 33, (2, 2), (1, 1), (1, 1)),
    "7x7": (2, 20, 18, 3, (7, 7), 8, (2, 2), (3, 3), (1, 1)),
    "1x1": (2, 6, 6, 8, (1, 1), 24, (2, 2), (0, 0), (1, 1)),
    "uneven": (1, 11, 5, 2, (2, 3), 7, (1, 3), (0, 2), (1, 1)),
    "dilated": (2, 12, 12, 4, (3, 3), 5, (1, 2), (2, 2), (2, 2)),
    "grey": (3, 6, 5, 1, (3, 3), 4, (1, 1), (1, 1), (1, 1)),
    "small images": (32, 2, 2, 32, (3, 3), 48, (1, 1), (1, 1), (1, 1)),
    "rows skipped": (2, 7, 7, 3, (2, 2), 3, (4, 4), (0, 0), (1, 1)),
    "large": (2, 64, 64, 40, (3, 3), 4, (1, 1), (1, 1), (1, 1)),
    "wide": (4, 5, 5, 24, (3, 3), 128, (1, 1), (1, 1), (1, 1)),
}


def columns_of(x, size, stride, padding, dilation):
    low = (0, *padding, 0)
    view = g.windows(g.pad(x, low, low), (1, 2), size, stride, dilation)
    view = g.permute(view, (0, 1, 2, 4, 5, 3))
    n, h, w, *window = view.shape
    return g.reshape(view, (n * h * w, int(np.prod(window))))


def convolution(case, dtype):
    """The graph of a convolution of `case` and of its weights' gradient, and its inputs."""
    n, h, w, c, size, columns, *amounts = case
    x = g.input_node(0, "x", (n, h, w, c), dtype)
    windows = columns_of(x, size, *amounts)
    weight = g.input_node(1, "w", (*size, c, columns), dtype)
    y = g.matmul(windows, g.reshape(weight, (windows.shape[1], columns)))
    grad = g.input_node(2, "g", y.shape, dtype)
    graph = g.Graph((x, weight, grad), (y, g.matmul(windows, grad, transpose_a=True)))
    rng = np.random.default_rng(0)
    return graph, [rng.standard_normal(i.shape).astype(dtype) for i in graph.inputs]


def in_float64(graph, arrays):
    """What the interpreter makes of a graph in float64."""
    wide = [g.input_node(i, "", n.shape, "float64") for i, n in enumerate(graph.inputs)]
    new = dict(zip(graph.inputs, wide, strict=True))
    for node in graph.nodes()[len(wide) :]:
        primitive = node.primitive
        if hasattr(primitive, "dtype"):
            primitive = type(primitive)(primitive.value, np.dtype("float64"))
        new[node] = g.make(primitive, *(new[x] for x in node.inputs))
    wide_graph = g.Graph(tuple(wide), tuple(new[n] for n in graph.outputs))
    return interpret(wide_graph, [a.astype("float64") for a in arrays])


@pytest.mark.parametrize("target", RUNNABLE, ids=[t.name for t in RUNNABLE])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_values(name, dtype, target):
    graph, arrays = convolution(CASES[name], dtype)
    assert all(windowed(node) for node in simplify(graph).outputs)
    exact = in_float64(graph, arrays)
    sums = in_float64(graph, [abs(a) for a in arrays])
    eager = interpret(graph, arrays)
    found = run_plain(simplify(graph), arrays, target=target)
    for c, e, f, a in zip(found, eager, exact, sums, strict=True):
        bound = max(4 * abs(e - f).max(), 16 * np.finfo(dtype).eps * a.max())
        assert abs(c - f).max() <= bound


SPREAD = {
    # size of an image, distance of two pixels, zeros first and last, windows
    "even": ((4, 4), (2, 2), ((1, 2), (1, 2)), (3, 3)),
    "odd": ((5, 4), (2, 2), ((1, 1), (2, 1)), (3, 3)),
    "one way": ((6, 5), (1, 2), ((1, 1), (0, 3)), (3, 2)),
    "three": ((4, 3), (3, 3), ((2, 2), (0, 4)), (5, 3)),
    "more zeros": ((4, 4), (2, 2), ((5, 4), (4, 6)), (3, 3)),
    "few windows": ((1, 2), (2, 2), ((1, 1), (0, 0)), (3, 3)),
    "farther than windows": ((4, 4), (3, 3), ((1, 1), (1, 1)), (2, 2)),
    "large": ((33, 40), (2, 2), ((1, 1), (1, 1)), (3, 3)),
}


@pytest.mark.parametrize("target", RUNNABLE, ids=[t.name for t in RUNNABLE])
@pytest.mark.parametrize("columns", [24, 256])
@pytest.mark.parametrize("name", SPREAD)
def test_values_with_zeros_between_pixels(name, columns, target):
    (h, w), spread, ends, size = SPREAD[name]
    x = g.input_node(0, "x", (3, h, w, 20), "float32")
    low, high = ((0, *n, 0) for n in zip(*ends, strict=True))
    padded = g.pad(x, low, high, (0, *(n - 1 for n in spread), 0))
    windows = g.image_columns(padded, size)
    weight = g.input_node(1, "w", (windows.shape[1], columns), "float32")
    graph = g.Graph((x, weight), (g.matmul(windows, weight),))
    _, geometry = windowed(graph.outputs[0])
    assert geometry.spread == (spread if name != "farther than windows" else (1, 1))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(i.shape).astype("float32") for i in graph.inputs]
    (expected,), (found,) = interpret(graph, arrays), run_plain(graph, arrays, target=target)
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


def test_zeros_between_pixels_are_not_multiplied():
    x, w = g.input_node(0, "x", (2, 8, 8, 16), "float32"), g.input_node(1, "w", (144, 8), "float32")
    padded = g.pad(x, (0, 1, 1, 0), (0, 2, 2, 0), (0, 1, 1, 0))
    graph = g.Graph((x, w), (g.matmul(g.image_columns(padded, (3, 3)), w),))
    (kernel,) = compile_graph(graph).kernels
    assert kernel.flops == 2 * (2 * 8 * 8) * (16 * 8) * 9  # a pixel meets each weight once


def test_values_of_integers():
    graph, arrays = convolution(CASES["stride"], "float32")
    arrays = [np.rint(3 * a).astype("int32") for a in arrays]
    graph, _ = convolution(CASES["stride"], "int32")
    for c, e in zip(run_plain(graph, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(c, e)


def test_threads_share_the_gradient_of_a_batch_that_has_no_parts():
    case = (31, 8, 8, 16, (3, 3), 16, (1, 1), (1, 1), (1, 1))
    program = compile_graph(simplify(convolution(case, "float32")[0]))
    assert all(step.blocks >= 4 for step in program.steps)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", ["3x3", "small images", "large"])
def test_any_number_of_threads_gives_the_same_bits(name, threads):
    graph, arrays = convolution(CASES[name], "float32")
    bound = load(compile_graph(simplify(graph)))
    with settings.override(num_threads=1):
        alone = [a.copy() for a in bound.call(arrays)]
    with settings.override(num_threads=threads, exact_threads=True):
        together = [a.copy() for a in bound.call(arrays)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_matrix_of_windows_is_never_in_memory():
    graph, _ = convolution((16, 32, 32, 16, (3, 3), 16, (1, 1), (1, 1), (1, 1)), "float32")
    program = compile_graph(simplify(graph))
    windows = graph.outputs[0].inputs[0]
    scratch = max(kernel.scratch for kernel in program.kernels)
    assert (program.arena + scratch) * 10 < windows.size * windows.dtype.itemsize


FMA = {"haswell": "ymm", "skylake-avx512": "zmm", "neoverse-n1": r"v\d+\.4s", "apple-m1": r"\.4s"}


@pytest.mark.parametrize("name", FMA)
@pytest.mark.parametrize("output", [0, 1])
def test_inner_loops_are_full_vectors_without_spills(name, output):
    graph, _ = convolution((8, 8, 8, 64, (3, 3), 64, (1, 1), (1, 1), (1, 1)), "float32")
    graph = g.Graph(graph.inputs, graph.outputs[output : output + 1])
    target = named(name)
    program = compile_graph(simplify(graph), target)
    kernel = max(program.kernels, key=lambda k: k.flops)
    loops = inner_loops(assembly(program.header + kernel.text, target))
    products = [[line for line in loop if re.search(r"\b(vfmadd\w+|fmla)", line)] for loop in loops]
    summing = [(loop, lines) for loop, lines in zip(loops, products, strict=True) if lines]
    assert summing
    for loop, lines in summing:
        assert len(lines) >= 8 and all(re.search(FMA[name], line) for line in lines)
        assert not re.search(r"%rsp|\[sp", "\n".join(loop))


def conv_norm_relu(x, weight, scale, shift):
    y = ndl.ops.normalize(ndl.ops.conv(x, weight), (0, 1, 2), 1e-5)
    return ndl.ops.relu(y * scale + shift)


def step(x, weights):
    for weight, scale, shift in weights:
        x = conv_norm_relu(x, weight, scale, shift)
    loss = (x * x).mean()
    loss.backward()
    return loss.detach(), *(p.grad.detach() for layer in weights for p in layer)


def tensors(layers, images=8, size=8, channels=16):
    rng = np.random.default_rng(1)

    def tensor(*shape):
        array = rng.standard_normal(shape).astype("float32")
        return ndl.Tensor(array, requires_grad=True)

    weights = [(tensor(3, 3, channels, channels), tensor(channels), tensor(channels))
               for _ in range(layers)]  # fmt: skip
    return tensor(images, size, size, channels), weights


def test_blocks_of_convolution_norm_and_relu_agree_with_eager():
    x, weights = tensors(3)
    compiled = [t.numpy() for t in ndl.jit(step)(x, weights)]
    eager = [t.numpy() for t in step(x, weights)]
    for c, e in zip(compiled, eager, strict=True):
        assert abs(c - e).max() <= 1e-4 * abs(e).max()


def test_channels_second_cost_no_kernel():
    x, weights = tensors(2)

    def loss(x, layout):
        for weight, _, _ in weights:
            x = ndl.ops.relu(ndl.ops.conv(x, weight, layout=layout))
        return x

    kernels = {}
    for layout, order in (("NHWC", (0, 1, 2, 3)), ("NCHW", (0, 3, 1, 2))):
        step = ndl.jit(lambda x, layout=layout: loss(x, layout))
        y = step(ndl.Tensor(x.numpy().transpose(order)))
        expected = loss(x, "NHWC").numpy().transpose(order)
        assert abs(y.numpy() - expected).max() <= 1e-5 * abs(expected).max()
        kernels[layout] = len(compile_graph(simplify(step.graph)).steps)
    assert kernels == {"NHWC": 2, "NCHW": 3}  # the result is turned around


def kernels_of(function, *arguments):
    """The steps of a function compiled, by the work that they do."""
    step = ndl.jit(function)
    step(*arguments)
    records = []
    program = compile_graph(simplify(step.graph), records=records)
    return [[n.primitive.name for n in r.members] for r in records], program


def test_norm_and_relu_are_computed_where_the_next_convolution_reads():
    x, weights = tensors(3, images=64)

    def forward(x):
        for weight, scale, shift in weights:
            x = conv_norm_relu(x, weight, scale, shift)
        return x

    members, _ = kernels_of(forward, x.detach())
    products = [names for names in members if "matmul" in names]
    assert products == [["matmul"]] * 3
    assert len(members) <= 3 + 3 + 1  # statistics after each, and the last norm written out


def test_what_follows_a_convolution_is_its_epilogue():
    x, weights = tensors(1)
    bias, skip = weights[0][1], ndl.Tensor(x.numpy())

    def f(x, skip):
        return ndl.ops.relu(ndl.ops.conv(x, weights[0][0]) + bias + skip)

    (names,), _ = kernels_of(f, x.detach(), skip)
    assert names[0] == "matmul" and names.count("add") == 2
    found, expected = ndl.jit(f)(x, skip).numpy(), f(x, skip).numpy()
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


def test_gradients_of_a_block_take_few_kernels():
    x, weights = tensors(3, images=64)
    members, _ = kernels_of(step, x.detach(), weights)
    assert sum("matmul" in names for names in members) == 3 + 3 + 2
    assert len(members) <= 26


def test_equal_layers_share_their_kernels():
    programs = []
    for layers in (3, 8):
        x, weights = tensors(layers, images=64)
        programs.append(kernels_of(step, x.detach(), weights)[1])
    few, many = programs
    assert len(few.steps) < len(many.steps) and len(few.kernels) == len(many.kernels)
