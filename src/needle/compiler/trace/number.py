"""The traced number: a Python number that is read, and computed with, on the host at each call.

`opt.lr`, `opt.t` and float arguments are such numbers. Arithmetic and NumPy functions on them are
recorded and repeated; what fixes a value (a comparison, `float()`, formatting) is guarded: another
value traces again.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.trace.record import Calculation, Guard, Literal, Recorder, is_needles, refuse
from needle.compiler.trace.trace import Traced

_PLAIN = (int, float, np.number, np.bool_)
_ATTRIBUTES = {name for kind in (int, float) for name in dir(kind) if not name.startswith("_")}


class TracedNumber(Traced):
    """A number with today's `value`, and the way to compute it at each call."""

    __slots__ = ("_recorder", "position", "value")
    __array_priority__ = 950
    shape, ndim = (), 0

    def __init__(self, recorder: Recorder, origin: Any, value: Any) -> None:
        recorder.values.append(origin)
        self._recorder, self.position, self.value = recorder, len(recorder.values) - 1, value
        recorder.samples[self.position] = value

    @property
    def __class__(self) -> Any:
        """What the user's `isinstance` sees: the number's own type."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith("<frozen"):
            frame = frame.f_back  # abc, which asks for numbers.Number
        return TracedNumber if is_needles(frame.f_code) else type(self.value)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        raise TypeError("the class of a number cannot be changed")

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:  # such as is_integer()
            return getattr(self.fix(f".{name}"), name)
        raise AttributeError(f"a traced number has no attribute `{name}`")

    @property
    def weak(self) -> Any:
        """What decides about promotion: int, float, or a NumPy number's dtype."""
        return self.value.dtype if isinstance(self.value, np.generic) else type(self.value)

    def node(self) -> Node:
        """Return the number as a 0-d input of the graph."""
        return self._recorder.number(self.position, self.value)

    def astype(self, dtype: Any) -> Any:
        """Return the number as a traced array of a dtype."""
        return self._recorder.functions["astype"](self, dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and all(isinstance(x, _ALL) for x in inputs):
            return calculate(ufunc, *inputs)
        return self._recorder.functions["ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ in ("clip", "round", "around") and all(isinstance(x, _ALL) for x in args):
            return calculate(func, *args)
        return super().__array_function__(func, types, args, kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.fix("np.asarray"), dtype=dtype)

    def fix(self, what: str) -> Any:
        """Return the value, and guard it: the program holds for this one only."""
        _check_active(self._recorder)
        if self.position not in self._recorder.guards:  # one look at a value is enough
            source = self._recorder.source()
            self._recorder.guards[self.position] = Guard(self.value, what, source)
        return self.value

    def __bool__(self) -> bool:
        return bool(calculate(bool, self).fix("a condition"))

    def __round__(self, *digits: Any) -> Any:
        return calculate(round, self, *digits)

    def __repr__(self) -> str:
        return f"traced number {self.value!r}"

    def item(self) -> TracedNumber:
        """Return the number itself, as NumPy's numbers do."""
        return self

    def __copy__(self) -> TracedNumber:
        return self

    def __deepcopy__(self, memo: Any) -> TracedNumber:
        return self


_ALL = (*_PLAIN, TracedNumber)


def _check_active(recorder: Recorder) -> None:
    if not recorder.active:
        raise refuse("a number of a compiled function is used after the call; return it instead")


def calculate(function: Callable[..., Any], *operands: Any) -> TracedNumber:
    """Compute now, and at each call again."""
    recorder = next(x._recorder for x in operands if isinstance(x, TracedNumber))
    _check_active(recorder)
    places = tuple(x.position if isinstance(x, TracedNumber) else Literal(x) for x in operands)
    key = function, tuple((type(p), p if type(p) is int else repr(p)) for p in places)
    known = recorder.calculated.get(key)
    if known is None:  # each is computed once, however often it is written
        value = function(*(x.value if isinstance(x, TracedNumber) else x for x in operands))
        known = TracedNumber(recorder, Calculation(function, places), value)
        recorder.calculated[key] = known
    return known


def _calculated(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: TracedNumber, *other: Any) -> Any:
        operands = (*other, self) if reflected else (self, *other)
        if all(isinstance(x, _ALL) for x in other):
            return calculate(function, *operands)
        if isinstance(other[0], np.ndarray):  # traced, as a number is no array to NumPy
            asarray = self._recorder.functions["asarray"]
            return function(*(x if x is self else asarray(x) for x in operands))
        return NotImplemented

    return method


def _compared(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def method(self: TracedNumber, other: Any) -> Any:
        if not isinstance(other, _ALL):
            return NotImplemented
        return calculate(function, self, other).fix(f"a comparison ({name})")

    return method


def _fixed(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    return lambda self, *args: function(self.fix(what), *args)


def _both(self: TracedNumber, other: Any) -> Any:
    return self // other, self % other


def _both_reflected(self: TracedNumber, other: Any) -> Any:
    return other // self, other % self


for _name in (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift",
    "rshift",
):  # fmt: skip
    _operator = getattr(operator, f"__{_name}__")
    setattr(TracedNumber, f"__{_name}__", _calculated(_operator))
    setattr(TracedNumber, f"__r{_name}__", _calculated(_operator, reflected=True))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(TracedNumber, f"__{_name}__", _calculated(getattr(operator, _name)))
for _name, _method in (("divmod", _both), ("rdivmod", _both_reflected)):
    setattr(TracedNumber, f"__{_name}__", _method)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(TracedNumber, f"__{_name}__", _compared(_name))
for _name, _function, _what in (
    ("__float__", float, "float() or math.*"), ("__int__", int, "int()"),
    ("__index__", operator.index, "use as a size or an index"),
    ("__complex__", complex, "complex()"), ("__hash__", hash, "use as a key"),
    ("__str__", str, "printing"), ("__format__", format, "formatting"),
    ("__floor__", math.floor, "math.floor"), ("__ceil__", math.ceil, "math.ceil"),
    ("__trunc__", math.trunc, "math.trunc"),
):  # fmt: skip
    setattr(TracedNumber, _name, _fixed(_function, _what))
