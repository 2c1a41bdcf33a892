"""What is being recorded: the nodes of one trace, its inputs, and where in the user's code they
arise.

A `Recorder` is active on one thread at a time. Traced arrays belong to it and die with it: one
that is used afterwards raises and names the line it came from.
"""

from __future__ import annotations

import functools
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import numpy as np

from needle.compiler.graph import graph as g
from needle.compiler.graph.graph import Build, Node, Source
from needle.compiler.graph.primitives import Iota, Primitive
from needle.compiler.graph.primitives_base import DTYPES
from needle.errors import TraceError

_ROOT, _NUMPY = str(Path(__file__).resolve().parents[2]), str(Path(np.__file__).parent)


class _Current(threading.local):
    recorder: Recorder | None = None


_current = _Current()


@dataclass(frozen=True)
class Calculation:
    """A number computed on the host at each call: `function` of values by position, or literals."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]  # ints are positions, `Literal`s are themselves


@dataclass(frozen=True)
class Literal:
    """A Python number that stands in a calculation."""

    value: Any


@dataclass(frozen=True)
class Guard:
    """The value at a position must be the one seen when tracing, else the trace does not hold."""

    expected: Any
    why: str  # what fixed it: `float()`, a comparison
    source: Source


class Recorder:
    """The nodes and numbers of one trace.

    `inputs` are the graph's inputs in the order of their first use; `origins[i]` says what the
    array or number of input i is, in terms of who asked for it. `values` are the host's numbers:
    leaves (any object that says where a number comes from) and calculations. `functions` are those
    that traced arrays know, by NumPy's names: `trace_functions.FUNCTIONS`.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.functions = functions
        self.active = True
        self.inputs: list[Node] = []
        self.origins: list[Any] = []
        self.values: list[Any] = []
        self.samples: dict[int, Any] = {}  # what the leaves among them were while tracing
        self.calculated: dict[Any, Any] = {}
        self.guards: dict[int, Guard] = {}  # by position
        self.arrays: dict[int, tuple[np.ndarray, Any]] = {}
        self.fixed: list[tuple[Any, np.ndarray]] = []  # guarded contents, by where they are
        self._numbers: dict[int, Node] = {}
        self.on_node: Callable[[str], None] | None = None
        self.refused: TraceError | None = None

    def input(self, label: str, shape: Sequence[int], dtype: Any, origin: Any) -> Node:
        """Add an input to the graph."""
        node = g.input_node(len(self.inputs), label, tuple(shape), dtype)
        self.inputs.append(node)
        self.origins.append(origin)
        return node

    def fix(self, traced: Any) -> np.ndarray | None:
        """Return the values of an array that was there before the trace, and guard them.

        None for an array that is computed inside, or comes as an argument.
        """
        for array, known in self.arrays.values():
            if known is traced and known.node is known.first:
                origin = self.origins[known.first.primitive.index]
                self.watch(array, array if isinstance(origin, ArrayOrigin) else origin)
                return array
        return None

    def watch(self, array: np.ndarray, origin: Any = None) -> None:
        """Guard the contents of an array whose values decide about the graph."""
        place = array if origin is None else origin
        if not any(known is place for known, _ in self.fixed):
            self.fixed.append((place, array.copy()))

    def number(self, position: int, value: Any) -> Node:
        """Return the 0-d input node of a host number."""
        node = self._numbers.get(position)
        if node is None:
            kind = np.asarray(value).dtype.kind
            dtype = {"f": "float64", "u": "uint64"}.get(kind, "int64")
            node = self.input(f"number {position}", (), dtype, NumberOrigin(position))
            self._numbers[position] = node
        return node

    def make(self, primitive: Primitive, *inputs: Node) -> Node:
        """Record a node."""
        if self.on_node is not None:
            self.on_node(primitive.name)
        return g.make(primitive, *inputs, source=self.source(primitive.name))

    def source(self, otherwise: str = "") -> Source:
        """Say which line of the user is running, and for which op."""
        frame: FrameType | None = sys._getframe(2)
        op, last = "", frame
        while frame is not None:
            code = frame.f_code
            if not op and code.co_name == "compute":
                op = getattr(frame.f_locals.get("self"), "name", "")
            if not _library(code.co_filename):
                break
            last, frame = frame, frame.f_back
        frame = frame or last
        assert frame is not None
        return Source(
            frame.f_code.co_filename, frame.f_lineno, op or otherwise or frame.f_code.co_name
        )


@dataclass(frozen=True)
class ArrayOrigin:
    """An ndarray that the function met: its source is where."""

    source: Source


@dataclass(frozen=True)
class NumberOrigin:
    """The host number at a position."""

    position: int


@functools.cache
def _library(file: str) -> str:
    """Whose code a file holds: "needle" (or none: generated), "numpy", or "" for the user's."""
    own = file.startswith((_ROOT, "<frozen", "<__array_function__"))
    return "needle" if own else "numpy" if file.startswith(_NUMPY) else ""


def is_needles(code: CodeType) -> bool:
    """Whether code is needle's own, or generated without a file."""
    return _library(code.co_filename) == "needle"


INSTEAD = {
    "np.add.at": "use ops.scatter_add",
    "np.nonzero": "its shape depends on values: use np.where(condition, a, b)",
    "np.unique": "its shape depends on values",
    "np.random.permutation": "use init.rand",
    "np.linalg.inv": "solve outside of the compiled function",
}
"""What to write instead of functions that are often met."""


def refuse(text: str) -> TraceError:
    """Make an error, and keep it: code that catches it would go another way than eagerly."""
    error = TraceError(text)
    if _current.recorder is not None and _current.recorder.refused is None:
        _current.recorder.refused = error
    return error


def not_traced(name: str, instead: str = "") -> NoReturn:
    """Raise for a function that the compiler does not know."""
    hint = instead or INSTEAD.get(name, "write it with functions of needle.ops")
    raise refuse(f"{name} is not traced{at_line()}; {hint}")


def check_dtype(dtype: np.dtype, label: str) -> None:
    """Raise TraceError for a dtype that the graph does not know."""
    if dtype not in DTYPES:
        raise refuse(
            f"{label}: dtype {dtype} is not compiled; use float32, float64, an integer type or "
            f"bool{at_line()}"
        )


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Make `recorder` the active one of this thread inside the block; it is closed afterwards."""
    before, _current.recorder = _current.recorder, recorder
    try:
        yield recorder
    finally:
        _current.recorder = before
        recorder.active = False  # from now on its arrays raise


def active() -> Recorder:
    """Return this thread's active recorder."""
    if _current.recorder is None:
        raise TraceError("a traced array is used outside of a trace")
    return _current.recorder


def at_line() -> str:
    """Return ` (file:line)` of the user's line for a message."""
    if _current.recorder is None:
        return ""
    source = _current.recorder.source()
    text = linecache.getline(source.file, source.line).strip()  # of notebook cells, too
    return f" ({source.place}{': ' + text if text else ''})"


class _Recording(Build):
    """Writes nodes into the active trace."""

    def __call__(self, primitive: Primitive, *inputs: Node) -> Node:
        return active().make(primitive, *inputs)


make = _Recording()
unary, binary, compare, where = make.unary, make.binary, make.compare, make.where
cast, broadcast, reshape, permute = make.cast, make.broadcast, make.reshape, make.permute
reduce, like = make.reduce, make.full


def constant(value: Any, dtype: Any, shape: Sequence[int] = ()) -> Node:
    """Return a number, repeated to `shape`."""
    return broadcast(make.constant(value, dtype), shape)


def iota(shape: Sequence[int], axis: int, dtype: Any = np.int64) -> Node:
    """Return each element's index along an axis."""
    return make(Iota(tuple(shape), axis, np.dtype(dtype)))
