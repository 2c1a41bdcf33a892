"""Nodes of the graph: an Op computes arrays and differentiates Tensors, a Value holds one result.

An op is written once: `compute(*arrays)` in terms of the arrays it is given, and
`gradient(out_grad, node)` in terms of ops, so that a gradient can be differentiated again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import needle.autograd as autograd
from needle.autograd.mode import mode
from needle.errors import (
    ArgumentError,
    DtypeError,
    GradientError,
    IndexRangeError,
    NeedleError,
    ShapeError,
)  # fmt: skip

if TYPE_CHECKING:
    from needle.autograd.tensor import Tensor

NUMBERS = (int, float, np.generic)  # a tuple: a union would be built anew at each isinstance
_ABOUT_SHAPES = re.compile("shape|dimension|axis|axes|broadcast|mismatch|size|length")


class Op:
    """An operator: what it computes and how it is differentiated.

    A user's op needs the two methods, no more; `numpy` functions may stand inside `compute`:

    >>> class Cube(ndl.autograd.TensorOp):
    ...     def compute(self, a):
    ...         return a**3
    ...     def gradient(self, out_grad, node):
    ...         return out_grad * 3 * node.inputs[0] ** 2
    >>> x = ndl.Tensor([2.0])
    >>> y = Cube()(x)
    >>> y.backward()
    >>> x.grad
    needle.Tensor([12.])
    """

    name: str  # in error messages; the class name unless a class says otherwise
    differentiable = True  # False: results are always constants (comparisons, argmax)
    tuple_part: int | None = None  # the place in its tuple of what the op takes out (TupleGetItem)

    def __init_subclass__(cls) -> None:
        cls.name = cls.__dict__.get("name", cls.__name__)

    def __call__(self, *args: Any) -> Any:
        """Apply the op to Values, arrays and numbers."""
        raise NotImplementedError

    def compute(self, *args: Any) -> Any:
        """Compute the result's array from the inputs' arrays."""
        raise NotImplementedError(f"{type(self).__name__} has no compute(self, *arrays)")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """Return the gradient for each input of `node`, given the gradient of its output."""
        raise GradientError(f"{self.name}: has no gradient; define gradient(self, out_grad, node)")

    def gradient_as_tuple(self, out_grad: Any, node: Any) -> tuple[Any, ...]:
        """Return `gradient` as a tuple with one entry per input.

        Expensive entries may be None where the input does not require a gradient.
        """
        output = self.gradient(out_grad, node)
        if isinstance(output, tuple):
            return output
        return tuple(output) if isinstance(output, list) else (output,)


class TensorTupleOp(Op):
    """An op that gives a TensorTuple; `compute` returns a tuple of arrays."""

    def __call__(self, *args: Any) -> TensorTuple:
        """Apply the op to Values, arrays and numbers."""
        return TensorTuple.make_from_op(self, args)


_token = object()  # each Value holds it, so that its reference count says how many are alive


def count_values() -> int:
    """Return the number of Values alive: `autograd.TENSOR_COUNTER`.

    There is no `__del__` that counts down: Python drops an exception that arises inside one, and
    with it a Ctrl-C.
    """
    return sys.getrefcount(_token) - _others


_others = 0
_others = count_values()


class Value:
    """A node of the graph: the op that made it (None for a leaf), its inputs, its data."""

    __slots__ = (
        "__dict__", "__weakref__", "_data", "_grad", "_token", "inputs", "num_outputs", "op",
        "requires_grad",
    )  # fmt: skip

    op: Op | None
    inputs: Sequence[Any]
    num_outputs: int
    requires_grad: bool

    def _init(
        self,
        op: Op | None,
        inputs: Sequence[Value],
        *,
        num_outputs: int = 1,
        cached_data: Any = None,
        requires_grad: bool | None = None,
    ) -> None:
        """Set all fields; without `requires_grad`, it is taken from the inputs."""
        if requires_grad is None:
            requires_grad = mode.grad_enabled and any(x.requires_grad for x in inputs)
        self._fill(op, inputs, cached_data, requires_grad)
        self.num_outputs = num_outputs

    def _fill(self, op: Op | None, inputs: Sequence[Any], data: Any, requires_grad: bool) -> None:
        """Set all fields: `_init` without its keywords, which cost a tenth of a node."""
        self._token = _token
        self.op = op
        self.inputs = inputs
        self.num_outputs = 1
        self.requires_grad = requires_grad
        self._data = data
        self._grad: Any = None
        if mode.tracer is not None:
            mode.tracer.born(self)

    @property
    def cached_data(self) -> Any:
        """The array, or None where a lazy value was not computed yet."""
        return self._data if mode.tracer is None else mode.tracer.read_data(self)

    @cached_data.setter
    def cached_data(self, data: Any) -> None:
        if mode.tracer is None:
            self._data = data
        else:
            mode.tracer.write_data(self, data)

    def _repr_html_(self) -> str:
        from needle.markup import array

        made = f" by {self.op.name}" if self.op is not None else ""
        data = self.realize_cached_data()
        parts = data if isinstance(data, tuple) else (data,)
        return "".join(array(part, f"{part.dtype} {part.shape}{made}") for part in parts)

    def is_leaf(self) -> bool:
        """Say whether no op made this value."""
        return self.op is None

    def realize_cached_data(self) -> Any:
        """Return the array itself, computing it first where it is lazy. No copy is made."""
        data = self._data if mode.tracer is None else mode.tracer.read_data(self)
        if data is None:
            _realize(self)
            data = self.cached_data
        return data

    @classmethod
    def make_const(cls, data: Any, *, requires_grad: bool = False) -> Self:
        """Wrap an array as a leaf, without a copy."""
        value = cls.__new__(cls)
        value._init(None, (), cached_data=data, requires_grad=requires_grad)
        return value

    @classmethod
    def make_from_op(cls, op: Op, inputs: Sequence[Any]) -> Self:
        """Apply `op` to `inputs`: a node, or a constant where no gradient can be asked for.

        In lazy mode the node is made and nothing is computed.
        """
        requires_grad, arrays, traced = False, [], mode.tracer is not None
        for x in inputs:
            if not isinstance(x, Value):
                return cls.make_from_op(op, tuple(_as_value(op, x, inputs) for x in inputs))
            if x.requires_grad:
                requires_grad = True
            data = x._data  # this runs for every node: no property, no second loop
            if (data is None or traced) and not autograd.LAZY_MODE:
                data = x.realize_cached_data()
            arrays.append(data)
        if requires_grad:
            requires_grad = op.differentiable and mode.grad_enabled
        value = cls.__new__(cls)
        if autograd.LAZY_MODE:
            value._fill(op, inputs, None, requires_grad)
        elif requires_grad:
            value._fill(op, inputs, _compute(op, inputs, arrays), True)
        else:
            value._fill(None, (), _compute(op, inputs, arrays), False)
        return value


class TensorTuple(Value):
    """A tuple of Tensors that one op takes or gives; `len`, `[i]`, `tuple()`, `+` (elementwise)."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.realize_cached_data())

    def __getitem__(self, index: int) -> Tensor:
        from needle import ops

        return ops.tuple_get_item(self, index)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def tuple(self) -> tuple[Tensor, ...]:
        """Return the parts as a Python tuple of Tensors."""
        return tuple(self)

    def __add__(self, other: TensorTuple) -> TensorTuple:
        from needle import ops

        if not isinstance(other, TensorTuple) or len(self) != len(other):
            raise ShapeError(
                f"TensorTuple + : expected another of length {len(self)}, got {other!r}"
            )
        return ops.make_tuple(*(a + b for a, b in zip(self, other, strict=True)))

    def __repr__(self) -> str:
        return f"needle.TensorTuple{self.tuple()!r}"

    __str__ = __repr__

    def detach(self) -> TensorTuple:
        """Return the same data as a constant."""
        return TensorTuple.make_const(self.realize_cached_data())


def _as_array(op: Op, data: Any) -> Any:
    """Return an op's result as an array: NumPy's reductions give scalars, users' ops numbers."""
    if isinstance(data, NUMBERS):
        return np.asarray(data)
    several = isinstance(data, tuple | list)
    if several and isinstance(op, TensorTupleOp):
        return tuple(_as_array(op, part) if type(part) is not np.ndarray else part for part in data)
    if several or isinstance(data, Value) or not hasattr(data, "dtype"):
        raise DtypeError(
            f"{op.name}: compute gave a {type(data).__name__}, expected an array; it gets arrays "
            "and returns one (a TensorTupleOp: a tuple of them)"
        )
    return data


def _compute(op: Op, values: Sequence[Value], arrays: Sequence[Any]) -> Any:
    try:
        data = op.compute(*arrays)
    except NeedleError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise _explain(op, values, error) from error
    return data if type(data) is np.ndarray else _as_array(op, data)


def _explain(op: Op, values: Sequence[Value], error: Exception) -> NeedleError:
    """Say which op failed on which shapes: NumPy's own texts do not."""
    text = f"{op.name}: {error}; inputs were {describe(values)}"
    if isinstance(error, TypeError):
        return DtypeError(text)
    if isinstance(error, IndexError) and not isinstance(error, ValueError):
        return IndexRangeError(text)
    return ShapeError(text) if _ABOUT_SHAPES.search(str(error)) else ArgumentError(text)


def _realize(root: Value) -> None:
    """Compute the lazy values that `root` needs, inputs first, without recursion."""
    stack = [root]
    while stack:
        value = stack[-1]
        if value.cached_data is not None:
            stack.pop()
            continue
        missing = [x for x in value.inputs if x.cached_data is None]
        if missing:
            stack.extend(missing)
        else:
            assert value.op is not None
            arrays = [x.cached_data for x in value.inputs]
            value.cached_data = _compute(value.op, value.inputs, arrays)
            stack.pop()


def _as_value(op: Op, x: Any, inputs: Sequence[Any]) -> Value:
    from needle.autograd.tensor import Tensor

    if isinstance(x, Value):
        return x
    kind = x.dtype.kind if isinstance(x, np.ndarray | np.generic) else "f"
    if kind in "biuf" and isinstance(x, NUMBERS):
        return Tensor.make_const(number_as_array(op, x, common_dtype(inputs)))
    if kind in "biuf" and hasattr(x, "__array_namespace__"):
        return Tensor.make_const(np.asarray(x) if isinstance(x, np.ndarray) else x)
    what = f"{x.dtype} {type(x).__name__}" if hasattr(x, "dtype") else type(x).__name__
    hint = "; write ndl.Tensor([...])" if isinstance(x, list | tuple) else ""
    raise DtypeError(f"{op.name}: expected Tensors, arrays or numbers, got {what} {x!r:.60}{hint}")


def common_dtype(inputs: Sequence[Any]) -> np.dtype:
    """Return NumPy's promotion of the dtypes; numbers, NumPy's too, widen nothing of their kind."""
    numbers = [
        x.item() if isinstance(x, np.generic) else x for x in inputs if isinstance(x, NUMBERS)
    ]
    dtypes = [x.dtype for x in inputs if hasattr(x, "dtype") and not isinstance(x, np.generic)]
    return np.result_type(*dtypes, *numbers)


def number_as_array(op: Op, x: Any, dtype: np.dtype) -> np.ndarray:
    """Return a number as a 0-d array; ArgumentError where it does not fit the dtype."""
    x = x.item() if isinstance(x, np.generic) else x
    try:
        data = np.asarray(x, dtype=dtype)
    except OverflowError as error:
        data = np.asarray(x)
        if op.differentiable:  # comparisons have an answer for a number out of range
            raise ArgumentError(
                f"{op.name}: {error}; convert the Tensor to a wider dtype"
            ) from error
    if data.dtype.kind not in "biuf":
        raise ArgumentError(f"{op.name}: {x!r:.60} is too large for any dtype of NumPy")
    return data


def describe(values: Sequence[Any]) -> str:
    """Return dtypes and shapes for a message, such as `float32(32, 128), float32(64,)`."""
    return ", ".join(_describe(x.realize_cached_data()) for x in values) or "none"


def _describe(data: Any) -> str:
    if isinstance(data, tuple):
        return "(" + ", ".join(_describe(part) for part in data) + ")"
    return f"{data.dtype}{data.shape}"
