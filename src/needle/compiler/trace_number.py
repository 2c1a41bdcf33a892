"""The traced number: a Python number that is read, and computed with, on the host at each call.

`opt.lr`, `opt.t` and float arguments are such numbers. Arithmetic and NumPy functions on them are
recorded and repeated; what fixes a value (a comparison, `float()`, formatting) is guarded: another
value traces again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.trace_record import Calculation, Guard, Literal, Recorder
from needle.errors import TraceError

_PLAIN = (int, float, np.number, np.bool_)


class TracedNumber:
    """A number with today's `value`, and the way to compute it at each call."""

    __slots__ = ("_recorder", "position", "value")
    __array_priority__ = 950

    def __init__(self, recorder: Recorder, position: int, value: Any) -> None:
        self._recorder, self.position, self.value = recorder, position, value

    @property
    def weak(self) -> Any:
        """What decides about promotion: int, float, or a NumPy number's dtype."""
        if isinstance(self.value, np.generic):
            return self.value.dtype
        return type(self.value)

    def node(self) -> Node:
        """Return the number as a 0-d input of the graph."""
        return t.active().number(self.position, self.value)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        from needle.compiler.trace import NAMESPACE

        return NAMESPACE

    @property
    def shape(self) -> tuple[int, ...]:
        """No axes."""
        return ()

    @property
    def ndim(self) -> int:
        """No axes."""
        return 0

    def astype(self, dtype: Any) -> Any:
        """Return the number as a traced array of a dtype."""
        from needle.compiler.trace_operand import lift, wrap

        return wrap(lift(self, np.dtype(dtype)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and all(isinstance(x, _ALL) for x in inputs):
            return calculate(ufunc, *inputs)
        from needle.compiler import trace_elementwise

        return trace_elementwise.call(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from needle.compiler.trace import functions, not_traced

        if func.__name__ in ("clip", "round", "around") and all(isinstance(x, _ALL) for x in args):
            return calculate(func, *args)
        function = functions().get(func.__name__)
        return function(*args, **kwargs) if function else not_traced(f"np.{func.__name__}")

    # ---- what fixes the value

    def _fix(self, what: str) -> Any:
        if not self._recorder.active:
            raise TraceError(
                "a number of a compiled function is used after the call; return it instead"
            )
        if self.position not in self._recorder.guards:  # one look at a value is enough
            source = self._recorder.source()
            self._recorder.guards[self.position] = Guard(self.value, what, source)
        return self.value

    def __bool__(self) -> bool:
        truth = calculate(bool, self)
        return bool(truth._fix("a condition"))

    def __float__(self) -> float:
        return float(self._fix("float() or math.*"))

    def __int__(self) -> int:
        return int(self._fix("int()"))

    def __index__(self) -> int:
        return operator.index(self._fix("use as a size or an index"))

    def __complex__(self) -> complex:
        return complex(self._fix("complex()"))

    def __format__(self, spec: str) -> str:
        return format(self._fix("formatting"), spec)

    def __str__(self) -> str:
        return str(self._fix("printing"))

    def __repr__(self) -> str:
        return f"traced number {self.value!r}"

    def __hash__(self) -> int:
        return hash(self._fix("use as a key"))

    def __round__(self, digits: Any = None) -> Any:
        return calculate(round, self) if digits is None else calculate(round, self, digits)

    def __floor__(self) -> Any:
        return int(self._fix("math.floor"))

    def __ceil__(self) -> Any:
        return int(self._fix("math.ceil"))

    def __trunc__(self) -> Any:
        return int(self._fix("math.trunc"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._fix("np.asarray"), dtype=dtype)

    def item(self) -> TracedNumber:
        """Return the number itself, as NumPy's numbers do."""
        return self

    def __deepcopy__(self, memo: Any) -> TracedNumber:
        return self

    def __copy__(self) -> TracedNumber:
        return self


_ALL = (*_PLAIN, TracedNumber)


def calculate(function: Callable[..., Any], *operands: Any) -> TracedNumber:
    """Compute now, and at each call again."""
    recorder = next(x._recorder for x in operands if isinstance(x, TracedNumber))
    if not recorder.active:
        raise TraceError(
            "a number of a compiled function is used after the call; return it instead"
        )
    places = tuple(x.position if isinstance(x, TracedNumber) else Literal(x) for x in operands)
    key = function, tuple((type(p), p if type(p) is int else repr(p)) for p in places)
    known = recorder.calculated.get(key)
    if known is None:  # each is computed once, however often it is written
        value = function(*(x.value if isinstance(x, TracedNumber) else x for x in operands))
        recorder.values.append(Calculation(function, places))
        known = recorder.calculated[key] = TracedNumber(recorder, len(recorder.values) - 1, value)
    return known


def _binary(name: str, reflected: bool) -> Callable[..., Any]:
    function = getattr(operator, name)

    def method(self: TracedNumber, other: Any) -> Any:
        if isinstance(other, _ALL):
            return calculate(function, *((other, self) if reflected else (self, other)))
        if isinstance(other, np.ndarray):
            from needle.compiler.trace_operand import as_traced

            other = as_traced(other)
            return function(other, self) if reflected else function(self, other)
        return NotImplemented

    return method


def _unary(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)
    return lambda self: calculate(function, self)


def _comparison(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def method(self: TracedNumber, other: Any) -> Any:
        if not isinstance(other, _ALL):
            return NotImplemented
        return calculate(function, self, other)._fix(f"a comparison ({name})")

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(TracedNumber, f"__{_name}__", _binary(_name, False))
    setattr(TracedNumber, f"__r{_name}__", _binary(_name, True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TracedNumber, f"__{_name}__", _comparison(_name))
for _name in ("neg", "pos", "abs"):
    setattr(TracedNumber, f"__{_name}__", _unary(_name))
