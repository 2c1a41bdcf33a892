"""Rules for nodes that move elements: they are composed, and elementwise work goes below them.

All exact. Afterwards a Broadcast always repeats elements (else it is a Reshape), a Reshape never
stands on a Reshape, and a constant array is a Broadcast of a 0-d Constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from needle.compiler.graph import Build, Node
from needle.compiler.primitives import (
    Broadcast, Concat, Constant, Flip, Pad, Permute, Primitive, Reduce, Reshape, Slice,
)  # fmt: skip
from needle.compiler.simplify_rewriter import (
    Rewriter, matching_groups, scalar, stretched_axes, under,
)  # fmt: skip

Shape = tuple[int, ...]


def empty_is_constant(p: Primitive, node: Node, make: Build) -> Node | None:
    """A node without elements, or made of none: zeros (ones for a product, a pad's value)."""
    if node.size == 0:
        done = isinstance(p, Broadcast) and scalar(node) is not None
        return None if done else make.full(0, node)
    if not node.inputs or any(x.size for x in node.inputs):
        return None
    if isinstance(p, Pad):
        return make.full(p.value, node)
    return make.full(int(isinstance(p, Reduce) and p.fn == "prod"), node)


def broadcast_after_elementwise(p: Primitive, node: Node, make: Rewriter) -> Node | None:
    """f(broadcast v, broadcast w) -> broadcast f(v, w): f runs on fewer elements."""
    sources = []
    for x in node.inputs:
        if not isinstance(x.primitive, Broadcast):
            return None
        sources.append(x.inputs[0])
    common = _common_shape([x.shape for x in sources])
    if common == node.shape:
        return None
    return make.broadcast(make(p, *[make.broadcast(x, common) for x in sources]), node.shape)


def _common_shape(shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes))
    full = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(max(sizes) for sizes in zip(*full, strict=True))


def move_after_elementwise(p: Primitive, node: Node, make: Rewriter) -> Node | None:
    """f(reshape a, reshape b) -> reshape f(a, b), for equal reshapes or permutes.

    Literals follow any of them, and what is repeated follows a permute.
    """
    moved = [x for x in node.inputs if isinstance(x.primitive, Reshape | Permute)]
    if not moved:
        return None
    first, source = moved[0].primitive, moved[0].inputs[0]
    if any(x.primitive != first or x.inputs[0].shape != source.shape for x in moved):
        return None
    inputs = []
    for x in node.inputs:
        if x in moved:
            inputs.append(x.inputs[0])
        elif isinstance(x.primitive, Broadcast) and x.inputs[0].shape == ():
            inputs.append(make.broadcast(x.inputs[0], source.shape))
        elif isinstance(x.primitive, Broadcast) and isinstance(first, Permute):
            inputs.append(
                make.permute(x, sorted(range(len(first.axes)), key=first.axes.__getitem__))
            )
        else:
            return None
    return make(first, make(p, *inputs))


def compose_broadcasts(p: Broadcast, node: Node, make: Rewriter) -> Node | None:
    """broadcast(broadcast v) -> broadcast v; leading unit axes go; without repeats: a reshape."""
    (x,) = node.inputs
    if x.size == node.size:
        return make.reshape(x, node.shape)
    if isinstance(x.primitive, Broadcast):
        return make.broadcast(x.inputs[0], node.shape)
    if isinstance(x.primitive, Reshape):
        source = x.inputs[0].shape
        lead = len(x.shape) - len(source)
        if lead > 0 and x.shape == (1,) * lead + source:
            return make.broadcast(x.inputs[0], node.shape)
    return None


def compose_reshapes(p: Reshape, node: Node, make: Rewriter) -> Node | None:
    """reshape(reshape x) -> reshape x; reshape to its own shape -> x."""
    (x,) = node.inputs
    if x.shape == node.shape:
        return x
    return make.reshape(x.inputs[0], node.shape) if isinstance(x.primitive, Reshape) else None


def reshape_of_broadcast(p: Reshape, node: Node, make: Rewriter) -> Node | None:
    """reshape(broadcast v) -> broadcast(reshape v) where whole groups of axes are repeated."""
    (x,) = node.inputs
    if not isinstance(x.primitive, Broadcast):
        return None
    v, repeated = x.inputs[0], set(stretched_axes(x))
    shape = list(node.shape)
    for left, right in matching_groups(x.shape, node.shape):
        inside = [axis for axis in left if axis in repeated]
        kept = [axis for axis in left if axis not in repeated and x.shape[axis] != 1]
        if inside and kept:
            return None
        for axis in right if inside else ():
            shape[axis] = 1
    if not matching_groups(x.shape, node.shape):
        shape = [1] * len(node.shape)
    return make.broadcast(make.reshape(v, tuple(shape)), node.shape)


def compose_permutes(p: Permute, node: Node, make: Rewriter) -> Node | None:
    """permute(permute x) -> permute x; a permute that moves only unit axes is a reshape."""
    (x,), axes = node.inputs, p.axes
    real = [axis for axis in axes if x.shape[axis] != 1]
    if real == sorted(real):
        return make.reshape(x, node.shape)
    if isinstance(x.primitive, Permute):
        return make.permute(x.inputs[0], [x.primitive.axes[axis] for axis in axes])
    return None


def permute_of_broadcast(p: Permute, node: Node, make: Rewriter) -> Node | None:
    """permute(broadcast v) -> broadcast(permute v)."""
    (x,) = node.inputs
    if not isinstance(x.primitive, Broadcast):
        return None
    v = x.inputs[0]
    ranked = make.reshape(v, (1,) * (len(x.shape) - len(v.shape)) + v.shape)
    return make.broadcast(make.permute(ranked, p.axes), node.shape)


def compose_slices(p: Slice, node: Node, make: Rewriter) -> Node | None:
    """x[:] -> x; x[a:b][c:d] -> x[a+c:a+d]."""
    (x,), cut = node.inputs, p
    if x.shape == node.shape:
        return x
    if not isinstance(x.primitive, Slice):
        return None
    inner = x.primitive
    steps = tuple(s * t for s, t in zip(inner.steps, cut.steps, strict=True))
    starts = tuple(a + s * b for a, s, b in zip(inner.starts, inner.steps, cut.starts, strict=True))
    stops = tuple(a + (n - 1) * s + 1 for a, n, s in zip(starts, node.shape, steps, strict=True))
    return make(Slice(starts, stops, steps), x.inputs[0])


def slice_of_broadcast(p: Slice, node: Node, make: Rewriter) -> Node | None:
    """broadcast(v)[a:b] -> broadcast(v[a:b]), cut only along the axes that v has."""
    (x,), cut = node.inputs, p
    if not isinstance(x.primitive, Broadcast):
        return None
    v, repeated = x.inputs[0], stretched_axes(x)
    lead = len(x.shape) - len(v.shape)
    whole = [(0, 1, 1) if axis in repeated else None for axis in range(len(x.shape))]
    ranges = zip(cut.starts, cut.stops, cut.steps, strict=True)
    kept = [w or r for w, r in zip(whole, ranges, strict=True)][lead:]
    if kept:
        v = make(Slice(*(tuple(column) for column in zip(*kept, strict=True))), v)
    return make.broadcast(v, node.shape)


def slice_of_reshape(p: Slice, node: Node, make: Rewriter) -> Node | None:
    """reshape(x)[a:b] -> reshape(x[c:d]) where both are the same whole rows."""
    (x,), start, stop = node.inputs, p.starts[:1], p.stops[:1]
    below = x.inputs[0] if isinstance(x.primitive, Reshape) else None
    rows = node.shape[1:] == x.shape[1:] and p.steps[:1] == (1,)
    if below is None or not below.shape or not rows:
        return None
    (first, n), (last, m) = (
        divmod(cut[0] * math.prod(x.shape[1:]), math.prod(below.shape[1:])) for cut in (start, stop)
    )
    if n or m:
        return None
    rest = below.shape[1:]
    cut = Slice((first, *[0] * len(rest)), (last, *rest), (1,) * len(below.shape))
    return make.reshape(make(cut, below), node.shape)


def slice_of_concat(p: Slice, node: Node, make: Rewriter) -> Node | None:
    """concat(a, b)[i:j] -> a[i:j] where one part holds the whole range."""
    (x,), cut = node.inputs, p
    if not isinstance(x.primitive, Concat):
        return None
    axis, offset = x.primitive.axis, 0
    for part in x.inputs:
        start, stop = cut.starts[axis] - offset, cut.stops[axis] - offset
        if start >= 0 and stop <= part.shape[axis]:
            starts, stops = list(cut.starts), list(cut.stops)
            starts[axis], stops[axis] = start, stop
            return make(Slice(tuple(starts), tuple(stops), cut.steps), part)
        offset += part.shape[axis]
    return None


def flatten_concat(p: Concat, node: Node, make: Rewriter) -> Node | None:
    """concat(a) -> a; empty parts go; concat(concat(a, b), c) -> concat(a, b, c)."""
    axis = p.axis
    parts: list[Node] = []
    for x in node.inputs:
        nested = isinstance(x.primitive, Concat) and x.primitive == p
        parts += [p for p in (x.inputs if nested else (x,)) if p.shape[axis]]
    if len(parts) == 1:
        return parts[0]
    same = len(parts) == len(node.inputs) and parts == list(node.inputs)
    return None if same else make(p, *parts)


def concat_of_reshapes(p: Concat, node: Node, make: Rewriter) -> Node | None:
    """concat(reshape a, reshape b) -> reshape(concat(a, b)), where the rows stay what they are."""
    parts = [x.inputs[0] for x in node.inputs if isinstance(x.primitive, Reshape)]
    rows = {x.shape[1:] for x in parts}
    if p.axis or len(parts) < len(node.inputs) or len(rows) > 1 or () in {x.shape for x in parts}:
        return None
    return make.reshape(make(p, *parts), node.shape)


def concat_of_slices(p: Concat, node: Node, make: Rewriter) -> Node | None:
    """concat(x[0:1], x[1:2], ...) -> x[0:n] where the parts follow one another in x."""
    cuts: list[Slice] = []
    base = None
    for x in node.inputs if p.axis == 0 else ():
        part = under(x, Reshape)
        cut = part.primitive
        if not isinstance(cut, Slice) or cut.steps[0] != 1:
            return None
        base = base or part.inputs[0]
        if part.inputs[0] is not base or part.shape[1:] != base.shape[1:]:
            return None
        if cuts and cut.starts[0] != cuts[-1].stops[0]:
            return None
        cuts.append(cut)
    if base is None:
        return None
    stops = (cuts[-1].stops[0], *base.shape[1:])
    rows = make(Slice(cuts[0].starts, stops, (1,) * len(stops)), base)
    return make.reshape(rows, node.shape)


def compose_flips(p: Flip, node: Node, make: Rewriter) -> Node | None:
    """flip(flip x) -> x; axes of one element, or along which x is repeated, need no flip."""
    (x,), axes = node.inputs, set(p.axes)
    still = stretched_axes(x) if isinstance(x.primitive, Broadcast) else ()
    needed = {axis for axis in axes if x.shape[axis] > 1 and axis not in still}
    if isinstance(x.primitive, Flip):
        needed, x = needed ^ set(x.primitive.axes), x.inputs[0]
    elif needed == axes:
        return None
    return make(Flip(tuple(sorted(needed))), x) if needed else x


def pad_nothing(p: Pad, node: Node, make: Rewriter) -> Node | None:
    """pad by nothing -> x; pad(constant) with that constant -> constant."""
    (x,) = node.inputs
    if x.shape == node.shape:
        return x
    value = scalar(x)
    same = value is not None and Constant(value, x.dtype) == Constant(p.value, x.dtype)
    return make.full(p.value, node) if same else None
