"""The traced array: it stands where an ndarray would, and records nodes instead of computing.

It follows the Array API standard (`__array_namespace__`), NumPy's two protocols, so that plain
`np.` calls record too, and NumPy's promotion of dtypes (NEP 50: Python numbers adapt to arrays).
Writing into it (`+=`, `a[i] = v`, `out=`) puts another node under the same object; views follow.

>>> from needle.compiler.trace.functions import FUNCTIONS
>>> from needle.compiler.trace.record import Recorder, recording
>>> with recording(Recorder(FUNCTIONS)) as recorder:
...     x = TracedArray(recorder, recorder.input("x", (2, 3), "float32", None))
...     y = np.exp(x * 2).sum(axis=0)
...     print(y)
traced float32[3]
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Constant, Input
from needle.compiler.graph.primitives_base import type_text
from needle.compiler.trace import record as t
from needle.compiler.trace.record import ArrayOrigin, Recorder, check_dtype, not_traced


class Traced:
    """What an array or number has that stands for one while tracing: NumPy's protocols."""

    __slots__ = ()
    _recorder: Recorder

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return Namespace(self._recorder)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
        function = self._recorder.functions.get(name)
        return function(*args, **kwargs) if function else not_traced(f"np.{name}")


class TracedArray(Traced, NDArrayOperatorsMixin):
    """An array whose values are known only when the program runs; its shape and dtype are known."""

    __slots__ = (
        "__weakref__", "_base", "_derive", "_look", "_node", "_recorder", "_seen", "_store",
        "first",
    )  # fmt: skip
    __array_priority__ = 900
    __hash__ = None  # type: ignore[assignment]

    first: Node  # of an array that was there before the trace
    _seen: Node
    _derive: Callable[[Node], Node]
    _store: Callable[[Node, Node], Node]
    _look: Callable[[np.ndarray], np.ndarray]

    def __init__(self, recorder: Recorder, node: Node) -> None:
        self._recorder, self._node = recorder, node
        self._base: TracedArray | None = None

    @classmethod
    def view(
        cls, base: TracedArray, derive: Callable[[Node], Node],
        store: Callable[[Node, Node], Node], look: Callable[[np.ndarray], np.ndarray],
    ) -> TracedArray:  # fmt: skip
        """Return a view: `derive(base)` reads it, `store(base, new)` is the base after a write.

        `look` makes the same view of an ndarray.
        """
        result = cls(base._recorder, derive(base.node))
        result._base, result._seen = base, base.node
        result._derive, result._store, result._look = derive, store, look
        return result

    @classmethod
    def of(
        cls, recorder: Recorder, array: np.ndarray, label: str = "array", origin: Any = None
    ) -> TracedArray:
        """Return the one that stands for an ndarray: an input, the same for each use."""
        found = recorder.arrays.get(id(array))
        if found is None:
            check_dtype(array.dtype, label)
            origin = origin or ArrayOrigin(recorder.source())
            traced = cls(recorder, recorder.input(label, array.shape, array.dtype, origin))
            traced.first = traced.node
            found = recorder.arrays[id(array)] = (array, traced)
        return found[1]

    @property
    def node(self) -> Node:
        """The graph node; TraceError once the trace is over."""
        if not self._recorder.active:
            source = self._node.source
            where = f" at {source.place}" if source else ""
            raise t.refuse(
                f"a value that a compiled function computed{where} was kept where the compiler "
                "does not see it, and is used after the call; return it from the function instead"
            )
        if self._base is not None and self._base.node is not self._seen:
            self._seen = self._base.node
            self._node = self._derive(self._seen)
        return self._node

    def layout(self) -> np.ndarray:
        """Return an ndarray that lies in memory as this one would; its values mean nothing."""
        return np.empty(self.shape, bool) if self._base is None else self._look(self._base.layout())

    @property
    def is_number(self) -> bool:
        """Whether it stands for what NumPy computes as a number, which `+=` leaves as it is."""
        made = isinstance(self._node.primitive, Constant | Input) or hasattr(self, "first")
        return not (self.shape or made) and self._base is None

    def assign(self, node: Node) -> None:
        """Write new values into this array, and into the one it is a view of."""
        if self._base is not None:
            self._base.assign(self._store(self._base.node, node))
        else:
            _ = self.node
            self._node = node

    # ---- what is known while tracing

    shape = property(lambda self: self._node.shape)
    dtype = property(lambda self: self._node.dtype)
    ndim = property(lambda self: len(self._node.shape))
    size = property(lambda self: self._node.size)
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    device = property(lambda self: "cpu")
    real = property(lambda self: self)
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))  # noqa: N815  the standard's name

    @property
    def __needle_extensions__(self) -> Any:
        return self._recorder.functions["needle extensions"]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._recorder.functions["ufunc"](ufunc, method, inputs, kwargs)

    def __getattr__(self, name: str) -> Any:
        function = self._recorder.functions.get(name)
        if function is None or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute `{name}`")
        return functools.partial(function, self)

    def __getitem__(self, index: Any) -> TracedArray:
        return self._recorder.functions["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._recorder.functions["setitem"](self, index, value)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[TracedArray]:
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> TracedArray:
        return TracedArray(self._recorder, self.node)

    def __deepcopy__(self, memo: Any) -> TracedArray:
        return self.__copy__()

    # ---- what only values could answer

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        known = self._recorder.fix(self) if self._recorder.active else None
        if known is not None:  # an array from before the call: fixed, and guarded
            values = np.array(known, dtype=dtype)
            values.flags.writeable = copy is True  # else what is written into it would be lost
            return values
        self._needs_value("np.asarray, .numpy() or writing into an ndarray made outside")

    def _needs_value(self, what: str, instead: str = "") -> NoReturn:
        _ = self.node
        raise t.refuse(
            f"{what} needs the value of a traced {type_text(self._node)}, which is known only when "
            f"the compiled program runs{t.at_line()}; {instead + ', ' if instead else ''}return it "
            "and look at it outside, print it with ndl.debug_print, or call the function under "
            "ndl.disable_jit()"
        )

    def __repr__(self) -> str:
        return f"traced {type_text(self._node)}"

    def __format__(self, spec: str) -> str:
        if spec:
            self._needs_value("formatting")
        return str(self)


def _needing_value(what: str, instead: str = "") -> Callable[..., Any]:
    return lambda self, *args: self._needs_value(what, instead)


for _name, *_texts in (
    ("__bool__", "a condition (`if`, `and`, `while`)", "select with ops.where"),
    ("__index__", "a size or a list index", "index an array with it"),
    ("__float__", "float()"),
    ("__int__", "int()"),
    ("__complex__", "complex()"),
    ("__reduce__", "pickling"),
    ("item", ".item()"),
    ("tolist", ".tolist()"),
):
    setattr(TracedArray, _name, _needing_value(*_texts))


def _in_place(name: str) -> Callable[..., Any]:
    method = getattr(NDArrayOperatorsMixin, name)

    def operate(self: TracedArray, other: Any) -> Any:
        return NotImplemented if self.is_number else method(self, other)

    return operate


for _name in vars(NDArrayOperatorsMixin):
    if _name.startswith("__i") and _name != "__invert__":
        setattr(TracedArray, _name, _in_place(_name))


class WeakArray(TracedArray):
    """A traced number as an array without axes, whose dtype adapts to others as a number's does."""

    __slots__ = ("weak",)

    def __init__(self, recorder: Recorder, node: Node, weak: Any) -> None:
        super().__init__(recorder, node)
        self.weak = weak


def is_foreign(x: Any) -> bool:
    """Whether the other operand of an operator has its own rules: a Tensor."""
    return hasattr(x, "realize_cached_data")


class Namespace:
    """The Array API namespace of traced arrays: NumPy's names."""

    def __init__(self, recorder: Recorder) -> None:
        self._functions = recorder.functions

    def __getattr__(self, name: str) -> Any:
        function = self._functions.get(name)
        if function is not None:
            return function
        known = getattr(np, name, None)
        if known is None:
            raise AttributeError(f"the namespace of traced arrays has no `{name}`")
        if callable(known) and not isinstance(known, type | np.ufunc):
            return lambda *args, **kwargs: not_traced(f"np.{name}")
        return known  # a dtype, a number; a ufunc finds its traced operands by itself
