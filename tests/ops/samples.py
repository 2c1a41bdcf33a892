"""Sample inputs for every op: SAMPLES[name] is a list of Sample, `name` as in the op's error texts.

The tests of ops run over all of them (values, gradients, dtypes), the compiler's tests compare
compiled with eager on them, and tools/references/ops.py makes PyTorch's values of them. A new op
needs an entry here, and one in tools/references/ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from needle import ops
from needle.ops.normalize import NormalizeGradient
from tests.ops import samples_sequence, samples_vision
from tests.ops.sample import (
    AXES,
    PAIRS,
    SHAPES,
    SPECIAL,
    Maker,
    Sample,
    apart,
    booleans,
    fixed,
    inputs,
    integers,
    large,
    normal,
    positive,
)  # fmt: skip

SAMPLES: dict[str, list[Sample]] = {}


def add(op: str, case: str, function: Callable[..., Any], *makers: Maker, **options: Any) -> None:
    """Register one sample."""
    sample = Sample(f"{op}/{case}", function, inputs(*makers), **options)
    SAMPLES.setdefault(op, []).append(sample)


def unary(
    op: str,
    function: Any,
    domain: Any = normal,
    *,
    at_large: Any = large,
    prefix: str = "",
    **options: Any,
) -> None:
    """Register an elementwise op of one input."""
    for case, shape in SHAPES.items():
        add(op, prefix + case, function, domain(*shape), **options)
    add(op, f"{prefix}large", function, at_large(2, 3), large=True, **options)
    add(op, f"{prefix}special", function, fixed(SPECIAL), special=True, **options)


def binary(
    op: str, function: Any, first: Any = normal, second: Any = normal, **options: Any
) -> None:
    """Register an elementwise op of two inputs."""
    for case, (a, b) in PAIRS.items():
        add(op, case, function, first(*a), second(*b), **options)
    add(op, "large", function, large(2, 3), large(2, 3), large=True, **options)
    pair = fixed(SPECIAL[:, None]), fixed(SPECIAL[None, :])
    add(op, "special", function, *pair, special=True, **options)


def reduction(
    op: str, function: Any, domain: Any = normal, empty: bool = True, **options: Any
) -> None:
    """Register a reduction: over each choice of axes, of degenerate shapes and special values."""
    for case, kwargs in AXES.items():
        add(op, case, function, domain(2, 3, 4), kwargs=kwargs, **options)
    add(op, "zero_d", function, domain(), **options)
    add(op, "size_one_axes", function, domain(1, 3, 1), kwargs={"axes": (0, 2)}, **options)
    add(op, "empty_kept", function, domain(0, 3), kwargs={"axes": 1}, **options)
    if empty:
        add(op, "empty_reduced", function, domain(0, 3), kwargs={"axes": 0}, **options)
    add(op, "large", function, large(2, 3), kwargs={"axes": 1}, large=True, **options)
    rows = fixed(np.stack([np.ones(SPECIAL.size), SPECIAL], axis=1))
    add(op, "special", function, rows, kwargs={"axes": 1}, special=True, **options)


def along_axis(op: str, function: Any) -> None:
    """Register softmax and logsoftmax."""
    for case, shape, axis in [
        ("last", (3, 4), -1), ("second", (2, 3, 4), 1), ("first", (3, 4), 0),
        ("size_one_axes", (3, 1), 1), ("empty", (0, 3), 1),
    ]:  # fmt: skip
        add(op, case, function, normal(*shape), kwargs={"axis": axis})
    add(op, "default", function, normal(3, 4))
    add(op, "large", function, large(2, 3), kwargs={"axis": 1}, large=True)
    rows = fixed(np.stack([np.ones(SPECIAL.size), SPECIAL], axis=1))
    add(op, "special", function, rows, kwargs={"axis": 1}, special=True)


def elementwise() -> None:
    unary("negate", ops.negate)
    unary("exp", ops.exp, at_large=lambda *shape: normal(*shape, scale=20.0))
    unary("log", ops.log, positive, at_large=lambda *shape: positive(*shape, scale=1e10))
    unary("sqrt", ops.sqrt, positive, at_large=lambda *shape: positive(*shape, scale=1e10))
    unary("abs", ops.abs, apart, smooth=False)
    unary("relu", ops.relu, apart, smooth=False)
    unary("sign", ops.sign, apart, differentiable=False)
    for name in ("tanh", "sigmoid", "erf", "gelu"):
        unary(name, getattr(ops, name))
    unary("gelu", ops.gelu, prefix="tanh_", kwargs={"approximate": "tanh"})
    for case, kwargs in {
        "both": {"min": -0.6, "max": 0.7},
        "low": {"min": 0},
        "high": {"max": 1},
    }.items():
        add("clip", case, ops.clip, apart(3, 4), kwargs=kwargs, smooth=False)
    unary("clip", ops.clip, apart, kwargs={"min": -1.0, "max": 1.0}, smooth=False)


def with_scalar() -> None:
    for name in ("add_scalar", "mul_scalar", "divide_scalar"):
        for case, scalar in {"float": 2.5, "int": 3, "one_element": np.array([-0.5])}.items():
            add(name, case, getattr(ops, name), normal(3, 4), kwargs={"scalar": scalar})
        unary(name, getattr(ops, name), kwargs={"scalar": -1.25})
    for case, scalar in {
        "square": 2,
        "cube": 3,
        "root": 0.5,
        "inverse": -1,
        "inverse_root": -0.5,
    }.items():
        add("power_scalar", case, ops.power_scalar, positive(3, 4), kwargs={"scalar": scalar})
    for scalar in (0, 1, 2, 3):
        add("power_scalar", f"of_zero_{scalar}", ops.power_scalar, fixed([0.0, -2.0, 1.0]),
            kwargs={"scalar": scalar})  # fmt: skip
    unary("power_scalar", ops.power_scalar, kwargs={"scalar": 3})


def arithmetic() -> None:
    for name in ("add", "subtract", "multiply"):
        binary(name, getattr(ops, name))
    binary("divide", ops.divide, second=positive)
    binary("power", ops.power, first=positive)
    SAMPLES["power"] = [s for s in SAMPLES["power"] if not s.large]  # (1e10) ** (1e10) is infinite
    large_base = lambda *shape: positive(*shape, scale=1e10)
    add("power", "large", ops.power, large_base(2, 3), normal(2, 3), large=True)
    add("power", "of_zero", ops.power, fixed([0.0, 2.0]), fixed([2.0, 0.0]), large=True)
    binary(
        "maximum",
        ops.maximum,
        apart,
        lambda *shape: lambda s: apart(*shape)(s) + 0.25,
        smooth=False,
    )
    binary(
        "minimum",
        ops.minimum,
        apart,
        lambda *shape: lambda s: apart(*shape)(s) + 0.25,
        smooth=False,
    )
    for name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"):
        coarse = lambda *shape: integers(2, *shape)
        binary(name, getattr(ops, name), coarse, coarse, differentiable=False)
    for case, (a, b) in PAIRS.items():
        add("where", case, ops.where, booleans(*a), normal(*a), normal(*b))
    add("where", "condition_grows", ops.where, booleans(2, 1, 4), normal(3, 1), normal())
    add("where", "large", ops.where, booleans(2, 3), large(2, 3), large(3), large=True)
    special = fixed(SPECIAL)
    add(
        "where",
        "special",
        ops.where,
        fixed(SPECIAL > 0),
        special,
        fixed(SPECIAL[::-1]),
        special=True,
    )


def reductions() -> None:
    reduction("summation", ops.summation)
    reduction("mean", ops.mean, empty=False)
    reduction("var", ops.var, empty=False)
    add("var", "correction", ops.var, normal(2, 3), kwargs={"axes": 1, "correction": 1})
    add("var", "half", ops.var, normal(2, 3), kwargs={"correction": 0.5})
    for name in ("max", "min"):
        reduction(name, getattr(ops, name), apart, empty=False, smooth=False)
        add(name, "ties", getattr(ops, name), fixed([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]),
            kwargs={"axes": 1}, large=True)  # fmt: skip
    reduction("logsumexp", ops.logsumexp, empty=False)
    along_axis("softmax", ops.softmax)
    along_axis("logsoftmax", ops.logsoftmax)
    for case, shape, axes in [
        ("rows", (3, 4), -1), ("columns", (4, 3), 0), ("images", (2, 3, 2), (0, 2)),
        ("all", (2, 3), None),
    ]:  # fmt: skip
        kwargs = {"axes": axes, "eps": 1e-3}
        add("normalize", case, ops.normalize, normal(*shape), kwargs=kwargs)
        add(
            "normalize_gradient",
            case,
            _normalize_gradient,
            normal(*shape),
            normal(*shape),
            kwargs=kwargs,
        )
    for case, shape in {"constant_row": (3, 1), "empty": (0, 3)}.items():
        add("normalize", case, ops.normalize, normal(*shape), kwargs={"axes": 1, "eps": 0.1})
    add("normalize", "large", ops.normalize, large(2, 3), kwargs={"axes": 1}, large=True)
    rows = fixed(np.stack([np.ones(SPECIAL.size), SPECIAL], axis=1))
    add("normalize", "special", ops.normalize, rows, kwargs={"axes": 1}, special=True)


def _normalize_gradient(a: Any, out_grad: Any, axes: Any, eps: float) -> Any:
    return NormalizeGradient(axes, eps)(a, out_grad)


def products() -> None:
    for case, a, b in [
        ("matrices", (2, 3), (3, 4)), ("row_by_column", (1, 3), (3, 1)), ("batched", (5, 2, 3),
        (5, 3, 2)),
        ("broadcast_right", (5, 2, 3), (3, 4)), ("broadcast_left", (2, 3), (5, 3, 4)),
        ("broadcast_both", (2, 1, 2, 3), (1, 4, 3, 2)), ("grown_axis", (1, 2, 3), (4, 3, 2)),
        ("vectors", (3,), (3,)), ("vector_left", (3,), (3, 2)), ("vector_right", (4, 2, 3), (3,)),
        ("vector_batched", (3,), (2, 3, 4)), ("no_rows", (0, 3), (3, 2)),
        ("inner_empty", (2, 0), (0, 3)),
        ("size_one_axes", (1, 1, 1), (1, 1)),
    ]:  # fmt: skip
        add("matmul", case, ops.matmul, normal(*a), normal(*b))
    add("matmul", "large", ops.matmul, large(2, 3), large(3, 2), large=True)
    add("matmul", "special", ops.matmul, fixed(SPECIAL[:, None]), fixed([[1.0, 0.0]]), special=True)


def movement() -> None:
    def shaped(
        op: str, function: Any, cases: list[tuple[str, tuple[int, ...], dict[str, Any]]]
    ) -> None:
        for case, shape, kwargs in cases:
            add(op, case, function, normal(*shape), kwargs=kwargs)
        add(
            op,
            "special",
            function,
            fixed(SPECIAL.reshape(2, 5, 1)),
            kwargs=_MOVES[op],
            special=True,
        )

    shaped("reshape", ops.reshape, [
        ("flat", (2, 3), {"shape": (6,)}), ("inferred", (2, 3, 2), {"shape": [3, -1]}),
        ("int", (2, 3), {"shape": -1}), ("to_zero_d", (1, 1), {"shape": ()}),
        ("from_zero_d", (), {"shape": (1, 1)}), ("empty", (0, 3), {"shape": (3, 0, 2)}),
        ("empty_inferred", (0, 3), {"shape": (-1, 3)}),
    ])  # fmt: skip
    shaped("broadcast_to", ops.broadcast_to, [
        ("rows", (3, 1), {"shape": (3, 4)}), ("leading", (3,), {"shape": [2, 3]}),
        ("zero_d", (), {"shape": (2, 2)}), ("same", (2, 3), {"shape": (2, 3)}),
        ("kept", (1, 3), {"shape": (2, -1)}), ("to_empty", (1, 3), {"shape": (0, 3)}),
    ])  # fmt: skip
    shaped("transpose", ops.transpose, [
        ("last_two", (2, 3, 4), {}), ("pair", (2, 3, 4), {"axes": (0, 2)}),
        ("same", (2, 3), {"axes": (1, 1)}),
        ("negative", (2, 3, 4), {"axes": (-1, 0)}), ("empty", (0, 3), {}),
        ("size_one_axes", (1, 1), {}),
    ])  # fmt: skip
    shaped("permute", ops.permute, [
        ("three", (2, 3, 4), {"axes": (2, 0, 1)}), ("negative", (2, 3, 4), {"axes": (-1, 0, -2)}),
        ("zero_d", (), {"axes": ()}), ("empty", (0, 2), {"axes": (1, 0)}),
    ])  # fmt: skip
    shaped("squeeze", ops.squeeze, [
        ("one", (1, 3), {"axes": 0}), ("several", (1, 3, 1), {"axes": (0, -1)}),
        ("to_zero_d", (1,), {"axes": 0}),
    ])  # fmt: skip
    shaped("unsqueeze", ops.unsqueeze, [
        ("last", (3,), {"axes": -1}), ("several", (3, 2), {"axes": (0, 2)}),
        ("zero_d", (), {"axes": 0}),
    ])  # fmt: skip
    shaped(
        "cast",
        ops.cast,
        [("same", (2, 3), {"dtype": "float64"}), ("zero_d", (), {"dtype": "float64"})],
    )
    for case, a, b, axis in [
        ("first", (2, 3), (1, 3), 0), ("last", (2, 3), (2, 1), -1), ("empty", (0, 3), (2, 3), 0),
        ("vectors", (2,), (3,), 0), ("size_one_axes", (1, 1), (1, 1), 1),
    ]:  # fmt: skip
        add("concat", case, _concat, normal(*a), normal(*b), kwargs={"axis": axis})
    add("concat", "three", _concat, normal(2, 1), normal(2, 2), normal(2, 3), kwargs={"axis": 1})
    add(
        "concat",
        "special",
        _concat,
        fixed(SPECIAL),
        fixed(SPECIAL),
        kwargs={"axis": 0},
        special=True,
    )


_MOVES: dict[str, dict[str, Any]] = {
    "reshape": {"shape": (-1,)}, "broadcast_to": {"shape": (2, 5, 3)}, "transpose": {},
    "permute": {"axes": (2, 0, 1)}, "squeeze": {"axes": 2}, "unsqueeze": {"axes": 1},
    "cast": {"dtype": "float32"},
}  # fmt: skip


def _concat(*tensors: Any, axis: int) -> Any:
    return ops.concat(list(tensors), axis)


INDICES = {
    "int": 1, "negative": -1, "slice": slice(1, None), "step": slice(None, None, 2),
    "backwards": slice(None, None, -1), "pair": (0, slice(0, 2)),
    "new_axis": (None, slice(None), 1),
    "dots": (..., 0), "empty_slice": slice(2, 2), "array": np.array([2, 0, 0]),
    "list": [0, -1], "two_arrays": (np.array([0, 1, 0]), np.array([1, 2, 1])),
    "outer_arrays": (np.array([[0], [2]]), np.array([1, 1])),
    "array_and_slice": (slice(None), np.array([0, 0])),
    "mask": np.array([True, False, True]), "full_mask": np.array([[True, False, True, False]] * 3),
    "no_rows": np.array([], dtype=int), "all": (),
}  # fmt: skip


def indexing() -> None:
    for case, index in INDICES.items():
        add("getitem", case, ops.getitem, normal(3, 4), kwargs={"index": index})
        values = lambda state, index=index: state.randn(*np.zeros((3, 4))[index].shape)
        add("scatter_add", case, _scatter_add, values, kwargs={"shape": (3, 4), "index": index})
    add("getitem", "index_tensor", ops.getitem, normal(3, 2), integers(3, 4))
    add("getitem", "special", ops.getitem, fixed(SPECIAL), kwargs={"index": np.arange(9, -1, -1)},
        special=True)  # fmt: skip
    add("scatter_add", "special", _scatter_add, fixed(SPECIAL), kwargs={"shape": (10,),
        "index": np.arange(10)},
        special=True)  # fmt: skip
    for case, shape, index, axis in [
        ("columns", (3, 4), (3, 2), 1), ("rows", (3, 4), (5, 4), 0), ("fewer_rows", (3, 4),
        (2, 4), 1),
        ("cube", (3, 3, 3), (3, 2, 3), 1), ("negative_axis", (3, 4), (3, 1), -1),
        ("empty", (3, 4), (3, 0), 1),
    ]:  # fmt: skip
        add(
            "gather",
            case,
            ops.gather,
            normal(*shape),
            integers(shape[axis], *index),
            kwargs={"axis": axis},
        )
    add(
        "gather",
        "special",
        ops.gather,
        fixed(SPECIAL),
        fixed(np.arange(10)),
        kwargs={"axis": 0},
        special=True,
    )


def _scatter_add(values: Any, shape: tuple[int, ...], index: Any) -> Any:
    return ops.scatter_add(shape, index, values)


def tuples() -> None:
    for case, (a, b) in {"two": ((2, 3), (4,)), "zero_d": ((), (0, 2))}.items():
        add("make_tuple", case, ops.make_tuple, normal(*a), normal(*b))
        for index in (0, -1):
            add(
                "tuple_get_item",
                f"{case}_{index}",
                _tuple_get_item,
                normal(*a),
                kwargs={"index": index},
            )
    for case, shape in SHAPES.items():
        kwargs = {"c0": 1.5, "c1": -2.0}
        add("fused_add_scalars", case, ops.fused_add_scalars, normal(*shape), kwargs=kwargs)
    add(
        "fused_add_scalars",
        "special",
        ops.fused_add_scalars,
        fixed(SPECIAL),
        kwargs=kwargs,
        special=True,
    )


def _tuple_get_item(a: Any, index: int) -> Any:
    return ops.tuple_get_item(ops.fused_add_scalars(a, 1.0, 2.0), index)


for fill in (
    elementwise, with_scalar, arithmetic, reductions, products, movement, indexing, tuples,
):  # fmt: skip
    fill()
for fill_with in (
    samples_sequence.joining, samples_sequence.sequences, samples_vision.convolutions,
    samples_vision.spread, samples_vision.sliding, samples_vision.pooling,
):  # fmt: skip
    fill_with(add)
ALL = [sample for samples in SAMPLES.values() for sample in samples]
