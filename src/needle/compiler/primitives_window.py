"""The sliding windows of an array, the view under convolution and pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from needle.backend import extensions
from needle.compiler.primitives_base import Primitive, Signature, Typed, check_axes


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
