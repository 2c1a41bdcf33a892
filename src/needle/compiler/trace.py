"""The traced array: it stands where an ndarray would, and records nodes instead of computing.

It follows the Array API standard (`__array_namespace__`), NumPy's two protocols, so that plain
`np.` calls record too, and NumPy's promotion of dtypes (NEP 50: Python numbers adapt to arrays).
Writing into it (`+=`, `a[i] = v`, `out=`) puts another node under the same object; views follow.

>>> from needle.compiler.trace_record import Recorder, recording
>>> with recording(Recorder()) as recorder:
...     x = TracedArray(recorder, recorder.input("x", (2, 3), "float32", None))
...     y = np.exp(x * 2).sum(axis=0)
...     print(y)
traced float32[3]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives_base import type_text
from needle.compiler.trace_record import Recorder
from needle.errors import TraceError


class TracedArray:
    """An array whose values are known only when the program runs; its shape and dtype are known."""

    __slots__ = (
        "__weakref__", "_base", "_derive", "_node", "_recorder", "_seen", "_store", "first",
    )  # fmt: skip
    __array_priority__ = 900
    __hash__ = None  # type: ignore[assignment]

    first: Node  # of an array that was there before the trace
    _seen: Node
    _derive: Callable[[Node], Node]
    _store: Callable[[Node, Node], Node]

    def __init__(self, recorder: Recorder, node: Node) -> None:
        self._recorder, self._node = recorder, node
        self._base: TracedArray | None = None

    @classmethod
    def view(
        cls, base: TracedArray, derive: Callable[[Node], Node], store: Callable[[Node, Node], Node]
    ) -> TracedArray:
        """Return a view: `derive(base)` reads it, `store(base, new)` is the base after a write."""
        result = cls(base._recorder, derive(base.node))
        result._base, result._seen = base, base.node
        result._derive, result._store = derive, store
        return result

    @property
    def node(self) -> Node:
        """The graph node; TraceError once the trace is over."""
        if not self._recorder.active:
            source = self._node.source
            where = f" at {source.file}:{source.line}" if source else ""
            raise TraceError(
                f"a value that a compiled function computed{where} was kept where the compiler "
                "does not see it, and is used after the call; return it from the function instead"
            )
        if self._base is not None and self._base.node is not self._seen:
            self._seen = self._base.node
            self._node = self._derive(self._seen)
        return self._node

    def assign(self, node: Node) -> None:
        """Write new values into this array, and into the one it is a view of."""
        if self._base is not None:
            self._base.assign(self._store(self._base.node, node))
        else:
            _ = self.node
            self._node = node

    # ---- what is known while tracing

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self._node.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype."""
        return self._node.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._node.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._node.size

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Size of an element in bytes."""
        return self.dtype.itemsize

    @property
    def device(self) -> str:
        """Where the array lives, as NumPy says it."""
        return "cpu"

    @property
    def T(self) -> TracedArray:  # noqa: N802  NumPy's name
        """All axes reversed."""
        return functions()["transpose"](self)

    @property
    def mT(self) -> TracedArray:  # noqa: N802  the standard's name
        """The last two axes swapped."""
        return functions()["matrix_transpose"](self)

    @property
    def real(self) -> TracedArray:
        """The array itself."""
        return self

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    @property
    def __needle_extensions__(self) -> Any:
        from needle.compiler import trace_extensions

        return trace_extensions

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
        function = functions().get(name)
        if function is None:
            not_traced(f"np.{name}")
        kwargs.pop("like", None)
        return function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            function = functions()[name]
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        raise AttributeError(f"a traced array has no attribute `{name}`")

    def __getitem__(self, index: Any) -> TracedArray:
        return functions()["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        functions()["setitem"](self, index, value)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[TracedArray]:
        return (self[i] for i in range(len(self)))

    # ---- what only values could answer

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        known = self._recorder.fix(self) if self._recorder.active else None
        if known is not None:  # an array from before the call: fixed, and guarded
            return np.array(known, dtype=dtype)
        self._needs_value("np.asarray, .numpy() or writing into an ndarray made outside")

    def __bool__(self) -> NoReturn:
        self._needs_value("a condition (`if`, `and`, `while`)", "select with ops.where")

    def __float__(self) -> NoReturn:
        self._needs_value("float()")

    def __int__(self) -> NoReturn:
        self._needs_value("int()")

    def __index__(self) -> NoReturn:
        self._needs_value("a size or a list index", "index an array with it")

    def __complex__(self) -> NoReturn:
        self._needs_value("complex()")

    def item(self, *args: Any) -> NoReturn:
        """Raise: the value is not known while tracing."""
        self._needs_value(".item()")

    def tolist(self) -> NoReturn:
        """Raise: the values are not known while tracing."""
        self._needs_value(".tolist()")

    def _needs_value(self, what: str, instead: str = "") -> NoReturn:
        _ = self.node
        raise TraceError(
            f"{what} needs the value of a traced {type_text(self._node)}, which is known only when "
            f"the compiled program runs{t.at_line()}; {instead + ', ' if instead else ''}return it "
            "and look at it outside, print it with ndl.debug_print, or call the function under "
            "ndl.disable_jit()"
        )

    def __repr__(self) -> str:
        return f"traced {type_text(self._node)}"

    def __str__(self) -> str:
        return self.__repr__()

    def __format__(self, spec: str) -> str:
        if spec:
            self._needs_value("formatting")
        return str(self)

    def __copy__(self) -> TracedArray:
        return TracedArray(self._recorder, self.node)

    def __deepcopy__(self, memo: Any) -> TracedArray:
        return self.__copy__()

    def __reduce__(self) -> NoReturn:
        self._needs_value("pickling")


class WeakArray(TracedArray):
    """A traced number as an array without axes, whose dtype adapts to others as a number's does."""

    __slots__ = ("weak",)

    def __init__(self, recorder: Recorder, node: Node, weak: Any) -> None:
        super().__init__(recorder, node)
        self.weak = weak


def not_traced(name: str, instead: str = "") -> NoReturn:
    """Raise for a function that the compiler does not know."""
    hint = instead or INSTEAD.get(name, "write it with functions of needle.ops")
    raise TraceError(f"{name} is not traced{t.at_line()}; {hint}")


INSTEAD = {
    "np.add.at": "use ops.scatter_add",
    "np.nonzero": "its shape depends on values: use np.where(condition, a, b)",
    "np.unique": "its shape depends on values",
    "np.random.permutation": "use init.rand",
    "np.linalg.inv": "solve outside of the compiled function",
}
"""What to write instead of functions that are often met."""

METHODS = frozenset(
    [
        "all",
        "any",
        "argmax",
        "argmin",
        "astype",
        "clip",
        "copy",
        "cumsum",
        "cumprod",
        "diagonal",
        "dot",
        "fill",
        "flatten",
        "max",
        "mean",
        "min",
        "prod",
        "ravel",
        "repeat",
        "reshape",
        "round",
        "squeeze",
        "std",
        "sum",
        "swapaxes",
        "take",
        "trace",
        "transpose",
        "var",
        "to_device",
    ]
)


def functions() -> dict[str, Callable[..., Any]]:
    """Return the table of traced functions by NumPy's names."""
    from needle.compiler.trace_functions import FUNCTIONS

    return FUNCTIONS


def _ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from needle.compiler import trace_elementwise

    return trace_elementwise.call(ufunc, method, inputs, kwargs)


def _is_foreign(x: Any) -> bool:
    """Whether the other operand of an operator has its own rules: a Tensor."""
    return hasattr(x, "realize_cached_data")


def _operator(name: str, reflected: bool = False) -> Callable[..., Any]:
    ufunc = getattr(np, name)

    def method(self: TracedArray, other: Any) -> Any:
        if other is None or isinstance(other, str) or _is_foreign(other):
            return NotImplemented
        return _ufunc(ufunc, "__call__", (other, self) if reflected else (self, other), {})

    return method


def _in_place(name: str) -> Callable[..., Any]:
    ufunc = getattr(np, name)

    def method(self: TracedArray, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else ufunc(self, other, out=self)

    return method


def _unary(name: str) -> Callable[..., Any]:
    return lambda self: _ufunc(getattr(np, name), "__call__", (self,), {})


_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "matmul": "matmul",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift", "divmod": "divmod",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "eq": "equal", "ne": "not_equal",
}  # fmt: skip

for _name, _function in _OPERATORS.items():
    setattr(TracedArray, f"__{_name}__", _operator(_function))
    setattr(TracedArray, f"__r{_name}__", _operator(_function, reflected=True))
    if _name != "divmod":
        setattr(TracedArray, f"__i{_name}__", _in_place(_function))
for _name, _function in _COMPARISONS.items():
    setattr(TracedArray, f"__{_name}__", _operator(_function))
for _name, _function in {
    "neg": "negative",
    "pos": "positive",
    "abs": "absolute",
    "invert": "invert",
}.items():
    setattr(TracedArray, f"__{_name}__", _unary(_function))


class Namespace:
    """The Array API namespace of traced arrays: NumPy's names."""

    def __getattr__(self, name: str) -> Any:
        function = functions().get(name)
        if function is not None:
            return function
        known = getattr(np, name, None)
        if isinstance(known, np.ufunc) or known is None:
            if known is None:
                raise AttributeError(f"the namespace of traced arrays has no `{name}`")
            return known  # a ufunc finds its traced operands by itself
        if callable(known) and not isinstance(known, type):
            return lambda *args, **kwargs: not_traced(f"np.{name}")
        return known

    def __repr__(self) -> str:
        return "<namespace of traced arrays>"


NAMESPACE = Namespace()
