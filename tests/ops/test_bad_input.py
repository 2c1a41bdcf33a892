"""Wrong shapes, ranks, dtypes, axes, indices: the error's class, the op's name and the shapes."""

import gc
import re

import numpy as np
import pytest

import needle as ndl
from needle import autograd, ops
from needle.errors import ArgumentError, DtypeError, IndexRangeError, NeedleError, ShapeError

M = np.arange(6.0).reshape(2, 3)  # every t below is a Tensor of this
B = np.ones((4, 3, 2))

BAD = {
    # broadcasting
    "add": (lambda t: t + np.ones(4), ShapeError, "add: .*float64(2, 3), float64(4,)"),
    "subtract": (lambda t: t - np.ones((3, 2)), ShapeError, "add: .*(2, 3), float64(3, 2)"),
    "multiply": (lambda t: ops.multiply(t, np.ones(2)), ShapeError, "multiply: .*(2, 3)"),
    "divide": (lambda t: t / np.ones(2), ShapeError, "divide: .*(2, 3)"),
    "power": (lambda t: t ** np.ones(2), ShapeError, "power: .*(2, 3)"),
    "maximum": (lambda t: ops.maximum(t, np.ones(2)), ShapeError, "maximum: .*(2, 3)"),
    "minimum": (lambda t: ops.minimum(t, np.ones(2)), ShapeError, "minimum: .*(2, 3)"),
    "less": (lambda t: t < np.ones(2), ShapeError, "less: .*(2, 3)"),
    "less_equal": (lambda t: t <= np.ones(2), ShapeError, "less_equal: .*(2, 3)"),
    "equal": (lambda t: ops.equal(t, np.ones(2)), ShapeError, "equal: .*(2, 3)"),
    "not_equal": (lambda t: ops.not_equal(t, np.ones(2)), ShapeError, "not_equal: .*(2, 3)"),
    "where": (lambda t: ops.where(t > 0, t, np.ones(2)), ShapeError, "where: .*(2, 3)"),
    # numbers
    "add_scalar_many": (lambda t: ops.add_scalar(t, np.ones(3)), ShapeError, "add_scalar: .*(3,)"),
    "add_scalar_none": (lambda t: ops.add_scalar(t, np.ones(0)), ShapeError, "add_scalar: .*(0,)"),
    "mul_scalar_tensor": (lambda t: ops.mul_scalar(t, t), DtypeError, "mul_scalar: .*Tensor"),
    "divide_scalar_text": (lambda t: ops.divide_scalar(t, "2"), DtypeError, "divide_scalar: .*str"),
    "power_scalar_complex": (
        lambda t: ops.power_scalar(t, np.complex128(1j)), DtypeError, "power_scalar: .*complex128"
    ),
    "clip_tensor": (lambda t: ops.clip(t, t, 1), DtypeError, "clip: .*Tensor"),
    "integer_power": (
        lambda t: ndl.Tensor([2, 3]) ** -1, ArgumentError, "power_scalar: Integers to negative"
    ),
    "uint8_overflow": (
        lambda t: ndl.Tensor(np.zeros(2, "uint8")) + 300, ArgumentError, "add_scalar: .*300.*uint8"
    ),
    "number_too_large": (lambda t: ops.add(2**70, 1), ArgumentError, "add_scalar: .*too large"),
    # kinds of values
    "list": (lambda t: t + [1, 2, 3], DtypeError, "add: .*list [1, 2, 3]; .*ndl.Tensor([...])"),  # noqa: RUF005
    "text": (lambda t: t * "3", DtypeError, "multiply: .*str '3'"),
    "none": (lambda t: ops.exp(None), DtypeError, "exp: .*NoneType"),
    "complex": (lambda t: t + np.ones(3, complex), DtypeError, "add: .*complex128"),
    "complex_number": (lambda t: t + 1j, DtypeError, "add: .*complex"),
    "objects": (lambda t: ops.log(np.array([None])), DtypeError, "log: .*object"),
    "dates": (lambda t: ops.relu(np.array(["2020"], "M8")), DtypeError, "relu: .*datetime64"),
    "gelu": (lambda t: ops.gelu(t, "sigmoid"), ArgumentError, "gelu: .*'sigmoid'"),
    "negative_bool": (lambda t: -(t > 0), DtypeError, "negate: .*bool(2, 3)"),
    # axes
    "sum_axis": (lambda t: t.sum(2), ShapeError, "summation: axis 2 .* 2 axes"),
    "sum_negative": (lambda t: t.sum((0, -3)), ShapeError, "summation: axis -3"),
    "sum_twice": (lambda t: t.sum((0, -2)), ShapeError, "summation: an axis is given twice"),
    "sum_float": (lambda t: t.sum(0.5), ArgumentError, "summation: .*0.5"),
    "sum_floats": (lambda t: t.sum((0.5,)), ArgumentError, "summation: .*0.5"),
    "sum_both": (lambda t: t.sum(0, axis=1), ArgumentError, "summation: got both axes=0"),
    "sum_dim": (lambda t: t.sum(dim=1), ArgumentError, "summation: `dim` is .*write axes=1"),
    "mean_dim": (lambda t: ops.mean(t, dim=-1), ArgumentError, "mean: .*axes=-1"),
    "var_dim": (lambda t: t.var(dim=(0, 1)), ArgumentError, "var: .*axes=(0, 1)"),
    "max_dim": (lambda t: t.max(dim=0), ArgumentError, "max: .*axes=0"),
    "min_axis": (lambda t: t.min(5), ShapeError, "min: axis 5"),
    "logsumexp_axis": (lambda t: ops.logsumexp(t, 2), ShapeError, "logsumexp: axis 2"),
    "logsumexp_dim": (lambda t: ops.logsumexp(t, dim=1), ArgumentError, "logsumexp: .*axes=1"),
    "max_of_nothing": (lambda t: t[:0].max(), ShapeError, "max: .*float64(0, 3)"),
    "softmax_axis": (lambda t: ops.softmax(t, 2), ShapeError, "softmax: axis 2"),
    "softmax_of_number": (lambda t: ops.softmax(1.0), ShapeError, "softmax: axis -1"),
    "logsoftmax_of_vector": (lambda t: ops.logsoftmax(t[0]), ShapeError, "logsoftmax: axis 1"),
    "normalize_axis": (lambda t: ops.normalize(t, 2), ShapeError, "normalize: axis 2"),
    # shapes
    "reshape": (lambda t: t.reshape(4, 2), ShapeError, "reshape: .*6 elements.*(2, 3).*(4, 2)"),
    "reshape_inferred": (lambda t: t.reshape(4, -1), ShapeError, "reshape: .*(4, -1)"),
    "reshape_twice": (lambda t: t.reshape(-1, -1), ShapeError, "reshape: .*(-1, -1)"),
    "reshape_negative": (lambda t: t.reshape(-2, -3), ShapeError, "reshape: .*(-2, -3)"),
    "reshape_float": (lambda t: t.reshape(2.0, 3), ShapeError, "reshape: .*ints.*2.0"),
    "reshape_empty": (lambda t: t[:0].reshape(0, -1), ShapeError, "reshape: .*(0, -1)"),
    "broadcast": (lambda t: t.broadcast_to((2, 4)), ShapeError, "broadcast_to: .*(2, 3).*(2, 4)"),
    "broadcast_fewer": (lambda t: t.broadcast_to((3,)), ShapeError, "broadcast_to: .*(2, 3).*(3,)"),
    "broadcast_text": (lambda t: t.broadcast_to("ab"), ShapeError, "broadcast_to: .*'ab'"),
    "transpose_one": (lambda t: t.transpose((0,)), ShapeError, "transpose: .*pair.*(0,)"),
    "transpose_int": (lambda t: t.transpose(1), ShapeError, "transpose: .*pair.*1"),
    "transpose_range": (lambda t: t.transpose((0, 2)), ShapeError, "transpose: axis 2"),
    "transpose_vector": (lambda t: t[0].transpose(), ShapeError, "transpose: .*(3,)"),
    "permute_count": (lambda t: ops.permute(t, (0, 1, 2)), ShapeError, "permute: .*2 axes.*(0, 1"),
    "permute_twice": (lambda t: ops.permute(t, (0, 0)), ShapeError, "permute: an axis .*twice"),
    "squeeze": (lambda t: ops.squeeze(t, 0), ShapeError, "squeeze: .*0.*(2, 3)"),
    "squeeze_axis": (lambda t: ops.squeeze(t, 7), ShapeError, "squeeze: axis 7"),
    "unsqueeze_axis": (lambda t: ops.unsqueeze(t, 4), ShapeError, "unsqueeze: axis 4"),
    "concat_shapes": (
        lambda t: ops.concat([t, B[0]], 0), ShapeError, "concat: .*float64(2, 3), float64(3, 2)"
    ),
    "concat_axis": (lambda t: ops.concat([t, t], 2), ShapeError, "concat: .*float64(2, 3)"),
    "concat_nothing": (lambda t: ops.concat([]), DtypeError, "concat: .*non-empty list"),
    "concat_tensor": (lambda t: ops.concat(t), DtypeError, "concat: .*list of Tensors"),
    "matmul": (lambda t: t @ t, ShapeError, "matmul: .*(2, 3) @ (2, 3)"),
    "matmul_vector": (lambda t: t @ np.ones(2), ShapeError, "matmul: .*(2, 3) @ (2, 1)"),
    "matmul_batches": (lambda t: ops.matmul(B, B[1:, :2]), ShapeError, "matmul: .*(4, 3, 2)"),
    "matmul_number": (lambda t: ops.matmul(t, 2.0), ShapeError, "matmul: .*(2, 3) @ ()"),
    # indices
    "index_range": (lambda t: t[2], IndexRangeError, "getitem: .*2.*float64(2, 3)"),
    "index_array": (lambda t: t[np.array([0, -3])], IndexRangeError, "getitem: .*-3.*(2, 3)"),
    "index_many": (lambda t: t[0, 0, 0], IndexRangeError, "getitem: too many.*float64(2, 3)"),
    "index_float": (lambda t: t[0.5], DtypeError, "getitem: .*0.5"),
    "index_floats": (lambda t: t[np.array([0.0])], DtypeError, "getitem: .*array([0.])"),
    "index_text": (lambda t: t["a"], DtypeError, "getitem: .*'a'"),
    "index_mask": (lambda t: t[np.array([True])], IndexRangeError, "getitem: .*boolean.*bool(1,)"),
    "index_shapes": (
        lambda t: t[[0, 0], [0, 0, 0]], IndexRangeError, "getitem: .*(2,), int64(3,)"
    ),
    "assignment": (lambda t: t.__setitem__(0, 1.0), DtypeError, "cannot be assigned"),
    "gather_rank": (lambda t: ops.gather(t, np.array([0])), ShapeError, "gather: .*2 axes.*(1,)"),
    "gather_range": (
        lambda t: ops.gather(t, np.array([[3], [0]]), 1), IndexRangeError, "getitem: .*3.*(2, 3)"
    ),
    "gather_axis": (lambda t: ops.gather(t, np.array([[0]]), 2), ShapeError, "gather: axis 2"),
    "scatter_range": (
        lambda t: ops.scatter_add((2,), [5], t[0, :1]), IndexRangeError, "scatter_add: .*5"
    ),
    "scatter_shapes": (
        lambda t: ops.scatter_add((4,), [0, 1], t[0]), ShapeError, "scatter_add: .*float64(3,)"
    ),
    "embedding_range": (
        lambda t: ops.embedding(t, np.array([0, 2])), IndexRangeError, "embedding: .*0 to 1, got 2"
    ),
    "embedding_negative": (
        lambda t: ops.embedding(t, np.array([-1])), IndexRangeError, "embedding: .*got -1"
    ),
    "embedding_fraction": (
        lambda t: ops.embedding(t, np.array([0.5])), ArgumentError, "embedding: .*integers.*0.5"
    ),
    "embedding_table": (lambda t: ops.embedding(t.sum(), 1), ShapeError, "embedding: .*, got ()"),
    "embedding_list": (
        lambda t: ops.embedding(t, [1]), DtypeError, "embedding: .*list [1]; .*ndl.Tensor([...])"
    ),
    "embedding_text": (
        lambda t: ops.embedding(t, np.array(["a"])), DtypeError, "embedding: expected integers"
    ),
    "mask_rank": (lambda t: ops.causal_mask(t[0]), ShapeError, "causal_mask: .*(3,)"),
    "mask_keys": (lambda t: ops.causal_mask(t.T), ShapeError, "causal_mask: .*(3, 2)"),
    # images
    "conv_channels": (
        lambda t: ops.conv(np.ones((8, 32, 32, 1)), np.ones((3, 3, 3, 16))), ShapeError,
        "conv: expected input (N, H, W, 3) for weight (3, 3, 3, 16), got (8, 32, 32, 1)$",
    ),
    "conv_order": (
        lambda t: ops.conv(np.ones((8, 3, 32, 32)), np.ones((3, 3, 3, 16))), ShapeError,
        'conv: .*got (8, 3, 32, 32); pass layout="NCHW"',
    ),
    "conv_rank": (lambda t: ops.conv(t, np.ones((1, 1, 3, 2))), ShapeError, "conv: .*got (2, 3)"),
    "conv_weight_rank": (
        lambda t: ops.conv(t, t), ShapeError, "conv: .*weight (K, K, C, C_out), got (2, 3)"
    ),
    "conv_large_kernel": (
        lambda t: ops.conv(np.ones((1, 4, 2, 1)), np.ones((5, 5, 1, 1))), ShapeError,
        "conv: weight (5, 5, 1, 1) .* input (1, 4, 2, 1) with padding (1, 1)",
    ),
    "conv_no_kernel": (
        lambda t: ops.conv(np.ones((1, 4, 4, 1)), np.ones((0, 3, 1, 1))), ShapeError, "conv: .*fit"
    ),
    "conv_layout": (
        lambda t: ops.conv(np.ones((1, 4, 4, 1)), np.ones((3, 3, 1, 1)), layout="CHWN"),
        ArgumentError, "conv: .*NHWC.*'CHWN'",
    ),
    "conv_layout_rank": (
        lambda t: ops.conv(t, t, layout="NCHW"), ShapeError, "conv: .*(N, C, H, W).*(2, 3)"
    ),
    "conv_stride": (lambda t: ops.conv(t, t, 0), ArgumentError, "conv: .*stride of at least 1.*0"),
    "conv_strides": (
        lambda t: ops.conv(t, t, (1, 1, 1)), ArgumentError, "conv: .*stride.*one or 2.*(1, 1, 1)"
    ),
    "conv_padding": (lambda t: ops.conv(t, t, 1, -1), ArgumentError, "conv: .*padding.*0.*-1"),
    "conv_padding_text": (lambda t: ops.conv(t, t, 1, "same"), ShapeError, "conv: .*'same'"),
    "conv_dilation": (lambda t: ops.Conv(dilation=0), ArgumentError, "conv: .*dilation.*1.*0"),
    "pad_widths": (lambda t: ops.pad(t, [(1, 1)]), ShapeError, "pad: .*2 pairs.*(2, 3).*((1, 1),)"),
    "pad_number": (lambda t: ops.pad(t, 1), ShapeError, "pad: .*pair.*1"),
    "pad_triple": (lambda t: ops.pad(t, [(1, 1, 1), 0]), ArgumentError, "pad: .*widths.*(1, 1, 1)"),
    "pad_cut": (lambda t: ops.pad(t, [(0, 0), (-2, -2)]), ShapeError, "pad: cannot cut.*(2, 3)"),
    "pad_cut_more_than_there_is": (
        lambda t: ops.pad(t, [(0, 0), (-4, 2)]), ShapeError, "pad: cannot cut.*(-4, 2).*(2, 3)"
    ),
    "dilate_negative": (lambda t: ops.dilate(t, 0, -1), ArgumentError, "dilate: .*dilation.*0.*-1"),
    "windows_large": (
        lambda t: ops.windows(t, (0, 1), (1, 2), 1, (1, 3)), ShapeError,
        "windows: .*at least (1, 4).*axes (0, 1).*(2, 3)",
    ),
    "windows_axis": (lambda t: ops.windows(t, 2, 1), ShapeError, "windows: axis 2"),
    "windows_twice": (lambda t: ops.windows(t, (1, -1), 1), ShapeError, "windows: .*twice"),
    "windows_size": (lambda t: ops.windows(t, 0, 0), ArgumentError, "windows: .*sizes.*1.*0"),
    "fold_shape": (
        lambda t: ops.fold(t, (5,), 0, 3), ShapeError, "fold: .*(3, 3) of (5,), got (2, 3)"
    ),
    "pool_rank": (lambda t: ops.max_pool(t, 2), ShapeError, "max_pool: .*(N, H, W, C), got (2, 3)"),
    "pool_layout": (lambda t: ops.avg_pool(B, 2, layout="HW"), ArgumentError, "avg_pool: .*'HW'"),
    "pool_large": (
        lambda t: ops.avg_pool(B[None], 5), ShapeError, "avg_pool: .*(5, 5) .*(1, 4, 3, 2)"
    ),
    "pool_padding": (
        lambda t: ops.max_pool(B[None], 2, padding=2), ArgumentError, "max_pool: .*half.*(2, 2)"
    ),
    "pool_size": (
        lambda t: ops.adaptive_avg_pool(B[None], 0), ArgumentError, "adaptive_avg_pool: .*size.*0"
    ),
    # tuples
    "stack_shapes": (lambda t: ops.stack([t, t[0]]), ShapeError, "stack: .*(2, 3).*(3,)"),
    "stack_axis": (lambda t: ops.stack([t, t], 3), ShapeError, "stack: axis 3 .* 3 axes"),
    "stack_axes": (lambda t: ops.stack([t, t], (0, 1)), ShapeError, "stack: .*one axis.*(0, 1)"),
    "stack_nothing": (lambda t: ops.stack([]), DtypeError, "stack: .*non-empty list"),
    "stack_tensor": (lambda t: ops.stack(t), DtypeError, "stack: .*list of Tensors"),
    "split_axis": (lambda t: ops.split(t, -3), ShapeError, "split: axis -3"),
    "flip_axis": (lambda t: ops.flip(t, 2), ShapeError, "flip: axis 2"),
    "flip_twice": (lambda t: ops.flip(t, (0, -2)), ShapeError, "flip: an axis .*twice"),
    "tuple_range": (lambda t: ops.make_tuple(t, t)[2], IndexRangeError, "tuple_get_item: index 2"),
    "tuple_of_tensor": (lambda t: ops.tuple_get_item(t, 0), DtypeError, "tuple_get_item: .*Tensor"),
    "tuple_sum": (
        lambda t: ops.make_tuple(t, t) + ops.make_tuple(t), ShapeError, "TensorTuple .*length 2"
    ),
}  # fmt: skip


@pytest.fixture
def no_collection():
    """Keep Python's collector from freeing what earlier tests left while Values are counted."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input(case, no_collection):
    call, error, text = BAD[case]
    t = ndl.Tensor(M.copy())
    random = np.random.get_state()[1].copy()
    counter = autograd.TENSOR_COUNTER
    with pytest.raises(error) as caught:
        call(t)
    pattern = re.sub(r"([()\[\]])", r"\\\1", text)  # parentheses of shapes are meant as they are
    assert re.search(pattern, str(caught.value)), str(caught.value)
    assert isinstance(caught.value, NeedleError)
    caught.value.__traceback__ = None
    del caught
    assert t.numpy().tolist() == M.tolist() and t.grad is None and t.op is None
    assert (np.random.get_state()[1] == random).all()
    assert counter == autograd.TENSOR_COUNTER, "the failed call left a Tensor alive"


def test_errors_are_the_built_in_ones_too():
    t = ndl.Tensor(M)
    for call, kind in [
        (lambda: t + np.ones(4), ValueError), (lambda: t[5], IndexError),
        (lambda: t + [1], TypeError), (lambda: t.sum(dim=1), ValueError),  # noqa: RUF005
    ]:  # fmt: skip
        with pytest.raises(kind):
            call()
