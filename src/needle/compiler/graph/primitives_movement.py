"""Primitives that move elements and compute nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from needle.backend import extensions
from needle.compiler.graph.primitives_base import (
    Primitive,
    Shape,
    Signature,
    Typed,
    check_axes,
    check_shape,
    scalar_key,
    type_text,
)  # fmt: skip


@dataclass(frozen=True)
class Broadcast(Primitive):
    """NumPy broadcasting to `shape`; it may add leading axes."""

    shape: Shape

    def rule(self, x: Typed) -> Signature:
        check_shape(self, self.shape)
        tail = self.shape[len(self.shape) - len(x.shape) :]
        fits = len(x.shape) <= len(self.shape) and all(
            a in (1, b) for a, b in zip(x.shape, tail, strict=True)
        )
        if not fits:
            self.fail(f"a shape that broadcasts to {self.shape}", x.shape)
        return self.shape, x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, self.shape)


@dataclass(frozen=True)
class Reshape(Primitive):
    """The same elements in row-major order under another shape."""

    shape: Shape

    def rule(self, x: Typed) -> Signature:
        check_shape(self, self.shape)
        if math.prod(x.shape) != math.prod(self.shape):
            self.fail(f"{math.prod(self.shape)} elements for {self.shape}", x.shape)
        return self.shape, x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.shape)


@dataclass(frozen=True)
class Permute(Primitive):
    """Axis i of the result is axis `axes[i]` of the input."""

    axes: tuple[int, ...]

    def rule(self, x: Typed) -> Signature:
        if sorted(self.axes) != list(range(len(x.shape))):
            self.fail(f"a permutation of {len(x.shape)} axes", self.axes)
        return tuple(x.shape[axis] for axis in self.axes), x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.transpose(x, self.axes)


@dataclass(frozen=True)
class Slice(Primitive):
    """`x[starts[i] : stops[i] : steps[i]]` in each axis; 0 <= start <= stop <= n, step >= 1."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def rule(self, x: Typed) -> Signature:
        if not len(self.starts) == len(self.stops) == len(self.steps) == len(x.shape):
            self.fail(f"{len(x.shape)} starts, stops and steps", self)
        ranges = list(zip(self.starts, self.stops, self.steps, strict=True))
        for (start, stop, step), n in zip(ranges, x.shape, strict=True):
            if not (0 <= start <= stop <= n and step >= 1):
                self.fail(f"0 <= start <= stop <= {n} and step >= 1", (start, stop, step))
        return tuple(len(range(*r)) for r in ranges), x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        ranges = zip(self.starts, self.stops, self.steps, strict=True)
        return np.asarray(x[tuple(slice(*r) for r in ranges)])


@dataclass(frozen=True)
class Flip(Primitive):
    """The order along each of `axes` reversed."""

    axes: tuple[int, ...]

    def rule(self, x: Typed) -> Signature:
        check_axes(self, self.axes, len(x.shape))
        return x.shape, x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.flip(x, self.axes)


@dataclass(frozen=True)
class Pad(Primitive):
    """`value` before (`low`), after (`high`) and between (`interior`) the elements of each axis.

    n -> low + n + max(n - 1, 0) * interior + high.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]
    value: bool | int | float = field(default=0, compare=False)
    key: tuple[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", scalar_key(self.value))

    def rule(self, x: Typed) -> Signature:
        amounts = (self.low, self.high, self.interior)
        if any(len(a) != len(x.shape) or any(n < 0 for n in a) for a in amounts):
            self.fail(f"{len(x.shape)} non-negative amounts for each of three", amounts)
        sizes = zip(*amounts, x.shape, strict=True)
        return tuple(low + n + max(n - 1, 0) * gap + high for low, high, gap, n in sizes), x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        shape, dtype = self.infer(x)
        result = np.full(shape, self.value, dtype=dtype)
        sizes = zip(self.low, self.interior, x.shape, strict=True)
        inside = [slice(low, low + n + max(n - 1, 0) * gap, gap + 1) for low, gap, n in sizes]
        result[tuple(inside)] = x
        return result

    def __str__(self) -> str:
        return f"pad[low={self.low}, high={self.high}, interior={self.interior}, {self.value!r}]"


@dataclass(frozen=True)
class Concat(Primitive):
    """The inputs one after the other along `axis`."""

    axis: int
    arity = None

    def rule(self, *inputs: Typed) -> Signature:
        if not inputs or not 0 <= self.axis < len(inputs[0].shape):
            self.fail("inputs that have the axis", [x.shape for x in inputs])
        first, before, after = inputs[0], slice(self.axis), slice(self.axis + 1, None)
        for x in inputs:
            same = x.shape[before] == first.shape[before] and x.shape[after] == first.shape[after]
            if not same or len(x.shape) != len(first.shape) or x.dtype != first.dtype:
                self.fail(f"{type_text(first)} beside axis {self.axis}", type_text(x))
        length = sum(x.shape[self.axis] for x in inputs)
        return (*first.shape[before], length, *first.shape[after]), first.dtype

    def evaluate(self, *arrays: np.ndarray) -> np.ndarray:
        return np.concatenate(arrays, axis=self.axis)


@dataclass(frozen=True)
class Windows(Primitive):
    """Each axis of `axes` counts the windows along it; the axes within a window come at `place`.

    (N, H, W, C), axes (1, 2), sizes (K, L), place 3 -> (N, H', W', K, L, C), where element (i, k)
    along an axis of windows is element `i * stride + k * dilation` of the input; no window sticks
    out.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    place: int

    def rule(self, x: Typed) -> Signature:
        check_axes(self, self.axes, len(x.shape))
        amounts = (self.sizes, self.strides, self.dilations)
        if any(len(a) != len(self.axes) or any(n < 1 for n in a) for a in amounts):
            self.fail(f"{len(self.axes)} positive sizes, strides and dilations", amounts)
        if not 0 <= self.place <= len(x.shape):
            self.fail(f"a place up to {len(x.shape)}", self.place)
        shape = list(x.shape)
        for axis, *window in zip(self.axes, *amounts, strict=True):
            shape[axis] = extensions.window_count(x.shape[axis], *window)
        return (*shape[: self.place], *self.sizes, *shape[self.place :]), x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        amounts = (self.axes, self.sizes, self.strides, self.dilations)
        view = np.asarray(extensions.windows(x, *amounts))
        within = range(len(self.sizes))
        return np.moveaxis(view, [x.ndim + i for i in within], [self.place + i for i in within])
