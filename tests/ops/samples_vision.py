"""Samples of the ops that images need; tests/ops/samples.py registers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from needle import ops
from needle.ops.convolution import ConvInput, ConvWeight
from tests.ops.sample import SPECIAL, apart, fixed, large, normal

CONVOLUTIONS = [  # case, images, kernel, arguments of conv
    ("course_default", (2, 4, 3, 2), (3, 3, 2, 3), {}),
    ("valid", (1, 4, 4, 2), (3, 3, 2, 2), {"padding": 0}),
    ("stride", (2, 6, 5, 1), (3, 3, 1, 2), {"stride": 2}),
    ("stride_leaves_rest", (1, 6, 6, 1), (3, 3, 1, 1), {"stride": 2, "padding": 0}),
    ("stride_beyond_kernel", (1, 7, 6, 1), (2, 2, 1, 2), {"stride": 3, "padding": 0}),
    ("pointwise", (2, 3, 3, 3), (1, 1, 3, 2), {"padding": 0}),
    ("pointwise_stride", (2, 4, 5, 2), (1, 1, 2, 2), {"stride": 2, "padding": 0}),
    ("pointwise_padding", (1, 2, 3, 1), (1, 1, 1, 2), {"padding": 1}),
    ("even_kernel", (1, 5, 5, 1), (4, 4, 1, 1), {"stride": 2, "padding": 1}),
    ("oblong", (1, 5, 4, 2), (3, 2, 2, 2), {"stride": (2, 1), "padding": (0, 1)}),
    ("dilation", (1, 6, 7, 1), (3, 2, 1, 2), {"padding": 2, "dilation": (2, 3)}),
    ("much_padding", (1, 2, 2, 1), (2, 2, 1, 1), {"padding": 3}),
    ("whole_image", (2, 3, 3, 2), (3, 3, 2, 4), {"padding": 0}),
    ("nchw", (2, 2, 4, 3), (3, 3, 2, 3), {"layout": "NCHW", "stride": 2}),
    ("groups", (2, 4, 3, 4), (3, 3, 2, 6), {"groups": 2, "stride": 2}),
    ("depthwise", (1, 4, 5, 3), (3, 2, 1, 3), {"groups": 3, "padding": (0, 1)}),
    ("depthwise_twice", (2, 4, 4, 2), (2, 2, 1, 4), {"groups": 2, "dilation": 2}),
    ("groups_nchw", (1, 4, 3, 3), (3, 3, 2, 2), {"groups": 2, "layout": "NCHW"}),
    ("no_images", (0, 4, 4, 1), (3, 3, 1, 2), {}),
    ("size_one_axes", (1, 1, 1, 1), (1, 1, 1, 1), {"padding": 0}),
]  # fmt: skip


def _conv_weight(a: Any, out_grad: Any, shape: Any, **settings: Any) -> Any:
    return ConvWeight(shape, settings["stride"], settings["padding"])(a, out_grad)


def _conv_input(out_grad: Any, b: Any, shape: Any, **settings: Any) -> Any:
    return ConvInput(shape, settings["stride"], settings["padding"])(out_grad, b)


def convolutions(add: Callable[..., None]) -> None:
    """Register convolution and its gradients."""
    for case, images, kernel, kwargs in CONVOLUTIONS:
        add("conv", case, ops.conv, normal(*images), normal(*kernel), kwargs=kwargs)
    add("conv", "large", ops.conv, large(1, 3, 3, 2), large(3, 3, 2, 1), large=True)
    pointwise = fixed(SPECIAL.reshape(2, 5, 1, 1)), fixed([[[[1.0, 2.0]]]])
    add("conv", "special", ops.conv, *pointwise, kwargs={"padding": 0}, special=True)
    for case, images, grads, stride, padding in [
        ("stride_one", (2, 4, 3, 2), (2, 4, 4, 2), 1, 1), ("stride", (1, 5, 6, 2), (1, 2, 3, 1),
        2, 0),
    ]:  # fmt: skip
        kwargs: Any = {"stride": stride, "padding": (padding, 1) if padding else 0}
        kernel = 3, 2, images[3], grads[3]
        a, b, g = normal(*images), normal(*kernel), normal(*grads)
        add("conv_weight", case, _conv_weight, a, g, kwargs={"shape": kernel, **kwargs})
        add("conv_input", case, _conv_input, g, b, kwargs={"shape": images, **kwargs})


def spread(add: Callable[..., None]) -> None:
    """Register pad, dilate and undilate."""
    for case, shape, kwargs in [
        ("both", (2, 3), {"widths": [(1, 2), (0, 1)]}), ("value", (3,), {"widths": ((1, 1),),
        "value": -2.5}),
        ("cut", (4, 3), {"widths": [(-1, -2), (0, -1)]}),
        ("cut_and_grow", (3, 3), {"widths": [(2, -1), (-1, 2)], "value": 1}),
        ("all_cut", (2, 2), {"widths": [(-1, -1), (0, 0)]}), ("zero_d", (), {"widths": []}),
        ("nothing", (2, 1), {"widths": [(0, 0)] * 2}), ("empty", (0, 2), {"widths": [(1, 0), 0]}),
    ]:  # fmt: skip
        add("pad", case, ops.pad, normal(*shape), kwargs=kwargs)
    for case, shape, axes, dilation in [
        ("images", (2, 2, 3, 1), (1, 2), 1), ("vector", (3,), 0, 2), ("none", (2, 3), (0, 1), 0),
        ("beyond_the_rank", (2, 2), (0, 5, -4), 1), ("negative", (2, 3), (-1,), 1),
        ("zero_d", (), (0,), 1), ("empty", (0, 2), (0, 1), 2),
    ]:  # fmt: skip
        kwargs = {"axes": axes, "dilation": dilation}
        add("dilate", case, ops.dilate, normal(*shape), kwargs=kwargs)
        add("undilate", case, ops.undilate, normal(*shape), kwargs=kwargs)
    special = fixed(SPECIAL.reshape(2, 5))
    add("pad", "special", ops.pad, special, kwargs={"widths": [(1, 0), (-1, 2)]}, special=True)
    for op in (ops.dilate, ops.undilate):
        add(op.__name__, "special", op, special, kwargs={"axes": 1, "dilation": 1}, special=True)


def sliding(add: Callable[..., None]) -> None:
    """Register windows and fold."""
    for case, shape, folded, settings in [
        ("images", (1, 4, 5, 2), (1, 2, 2, 2, 3, 2), ((1, 2), (3, 2), (1, 2))),
        ("vector", (6,), (2, 2), (0, 2, 3)), ("dilated", (2, 7), (2, 3, 3), (-1, 3, 1, 2)),
        ("axes_turned", (4, 3), (2, 2, 2, 3), ((1, 0), (2, 3))),
        ("no_axes", (2, 3), (2, 3), ((), ())), ("empty", (0, 3), (0, 2, 2), (1, 2)),
        ("gaps", (7,), (3, 1), (0, 1, 3)),
    ]:  # fmt: skip
        kwargs = dict(zip(("axes", "sizes", "strides", "dilations"), settings, strict=False))
        add("windows", case, ops.windows, normal(*shape), kwargs=kwargs)
        add("fold", case, ops.fold, normal(*folded), kwargs={"shape": shape, **kwargs})
    kwargs = {"axes": 0, "sizes": 2}
    add("windows", "special", ops.windows, fixed(SPECIAL), kwargs=kwargs, special=True)


def pooling(add: Callable[..., None]) -> None:
    """Register max_pool, avg_pool and adaptive_avg_pool."""
    for case, shape, kwargs in [
        ("even", (2, 4, 4, 2), {"size": 2}), ("overlapping", (1, 5, 5, 2), {"size": 3,
        "stride": 2}),
        ("padded", (1, 4, 5, 1), {"size": 3, "stride": 2, "padding": 1}),
        ("oblong", (1, 5, 4, 1), {"size": (3, 2), "stride": (1, 2), "padding": (1, 0)}),
        ("rest", (1, 5, 5, 1), {"size": 2}), ("nchw", (2, 2, 4, 3), {"size": 2, "layout": "NCHW"}),
        ("no_images", (0, 2, 2, 1), {"size": 2}), ("size_one_axes", (1, 1, 1, 1), {"size": 1}),
    ]:  # fmt: skip
        add("max_pool", case, ops.max_pool, apart(*shape), kwargs=kwargs, smooth=False)
        add("avg_pool", case, ops.avg_pool, normal(*shape), kwargs=kwargs)
    for case, shape, kwargs in [
        ("one", (2, 3, 4, 2), {}), ("divides", (1, 4, 6, 2), {"size": 2}),
        ("uneven", (1, 7, 5, 1), {"size": (3, 4)}), ("grows", (1, 2, 3, 1), {"size": 4}),
        ("nchw", (2, 2, 5, 3), {"size": 2, "layout": "NCHW"}),
        ("no_images", (0, 2, 2, 1), {"size": 2}),
    ]:  # fmt: skip
        add("adaptive_avg_pool", case, ops.adaptive_avg_pool, normal(*shape), kwargs=kwargs)
    special = fixed(SPECIAL.reshape(1, 2, 5, 1))
    kwargs = {"size": (1, 2), "stride": 1}
    for op in (ops.max_pool, ops.avg_pool):
        add(op.__name__, "special", op, special, kwargs=kwargs, special=True)
