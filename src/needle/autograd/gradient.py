"""Reverse mode: walk the graph backwards once and hand each node's gradient to its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import needle.autograd as autograd
from needle.autograd.mode import mode
from needle.autograd.value import TensorTuple, Value, describe
from needle.errors import GradientError, ShapeError

if TYPE_CHECKING:
    from needle.autograd.tensor import Tensor


def find_topo_sort(node_list: Iterable[Value]) -> list[Value]:
    """Return the nodes that `node_list` depends on, and itself, inputs before their users.

    Depth-first post-order: inputs left to right, each node once. No recursion, so that a chain of
    any length is fine.

    >>> a = ndl.Tensor([1.0])
    >>> b = a * 2
    >>> [node is value for node, value in zip(ndl.autograd.find_topo_sort([b]), [a, b])]
    [True, True]
    """
    visited: set[int] = set()
    order: list[Value] = []
    for node in node_list:
        topo_sort_dfs(node, visited, order)
    return order


def topo_sort_dfs(node: Value, visited: set[int], topo_order: list[Value]) -> None:
    """Append what `node` depends on, then `node`, to `topo_order`; `visited` holds the ids seen."""
    if id(node) in visited:
        return
    visited.add(id(node))
    stack = [(node, iter(node.inputs))]
    while stack:
        current, inputs = stack[-1]
        for x in inputs:
            if id(x) not in visited:
                visited.add(id(x))
                stack.append((x, iter(x.inputs)))
                break
        else:
            topo_order.append(current)
            stack.pop()


def sum_node_list(node_list: Sequence[Any]) -> Any:
    """Return the sum of the values, left to right; one value is returned as it is."""
    return reduce(add, node_list)


def compute_gradient_of_variables(
    output_tensor: Tensor, out_grad: Tensor, *, accumulate: bool = False
) -> None:
    """Store the gradient of `output_tensor`, weighted by `out_grad`, in `.grad` of its sources.

    Leaves get a gradient that carries its own graph and can be differentiated again, until the next
    backward pass or until a gradient is reset; a gradient in a variable keeps its graph. Values in
    between get its data only. With `accumulate`, a leaf's gradient is added to the one it has.
    """
    graphs: dict[int, Any] = {}
    gradients: dict[int, list[Any]] = {id(output_tensor): [out_grad]}
    for node in reversed(find_topo_sort([output_tensor])):
        parts = gradients.pop(id(node), None)
        if parts is None or not node.requires_grad:
            continue
        if isinstance(node, TensorTuple):
            total = _of_tuple(node, parts)
        else:
            total = _in_dtype_of(node, parts[0] if len(parts) == 1 else sum_node_list(parts))
        if node.op is None or (mode.tracer is not None and not mode.tracer.made(node)):
            _store(node, total, accumulate, graphs)
            continue
        if not isinstance(node, TensorTuple):
            node.grad = total if autograd.LAZY_MODE else total.cached_data  # type: ignore[attr-defined]
        _hand_on(node, total, gradients)
    mode.graphs = graphs


def _of_tuple(node: TensorTuple, gradients: Sequence[Any]) -> TensorTuple:
    """Sum what came for a tuple: whole gradients, and pairs (index, gradient) of one part."""
    from needle.ops import make_tuple

    arrays = node.realize_cached_data()
    found: list[list[Any]] = [[] for _ in arrays]
    for gradient in gradients:
        for i, part in [gradient] if isinstance(gradient, tuple) else enumerate(gradient):
            found[i].append(part)
    for parts, a in zip(found, arrays, strict=True):
        if not parts:
            parts.append(a.__array_namespace__().zeros_like(a))
    return make_tuple(*map(sum_node_list, found))


def _hand_on(node: Value, total: Any, gradients: dict[int, list[Any]]) -> None:
    assert node.op is not None
    if node.op.tuple_part is not None:  # a whole tuple for each of n parts would be n^2 zeros
        gradients.setdefault(id(node.inputs[0]), []).append((node.op.tuple_part, total))
        return
    input_gradients = node.op.gradient_as_tuple(total, node)
    if len(input_gradients) != len(node.inputs):
        raise GradientError(
            f"{node.op.name}: gradient gave {len(input_gradients)} values "
            f"for {len(node.inputs)} inputs; return one per input, as a tuple"
        )
    for x, gradient in zip(node.inputs, input_gradients, strict=True):
        if not x.requires_grad:
            continue
        if isinstance(gradient, Value):
            gradients.setdefault(id(x), []).append(gradient)
        elif gradient is not None or isinstance(x, TensorTuple) or x.dtype.kind == "f":
            raise GradientError(f"{node.op.name}: gradient gave {gradient!r}, expected a Tensor")


def _in_dtype_of(node: Any, total: Any) -> Any:
    """Return the gradient in the node's dtype: one float64 factor must not widen all upstream."""
    if autograd.LAZY_MODE:
        return total
    given, dtype = total.dtype, node.dtype
    return total if given is dtype or given == dtype or dtype.kind != "f" else total.astype(dtype)


def _store(leaf: Any, total: Any, accumulate: bool, graphs: dict[int, Any]) -> None:
    if isinstance(leaf, TensorTuple):
        return
    if not autograd.LAZY_MODE and total.shape != leaf.shape:
        raise ShapeError(
            f"backward: expected a gradient of shape {leaf.shape}, got {describe([total])}; "
            "check the gradient of the op that uses this Tensor"
        )
    if accumulate and leaf.grad is not None:
        total = leaf.grad + total
    if mode.tracer is None and not autograd.LAZY_MODE:
        graphs[id(leaf)] = total
        total = total.cached_data
    leaf.grad = total
