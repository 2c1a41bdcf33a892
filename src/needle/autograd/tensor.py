"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from needle.autograd.gradient import compute_gradient_of_variables
from needle.autograd.mode import mode
from needle.autograd.value import Op, Value
from needle.backend.device import Device, check_device, default_device
from needle.errors import DtypeError, GradientError, ShapeError
from needle.names import OF_TENSORS, Missing

F = TypeVar("F")


def _op(function: Callable[[], F]) -> F:
    """Stand for a function of `ops` in the class below: those need Tensors, so they come later."""
    return _Later(function)  # type: ignore[return-value]


class _Later(NamedTuple):
    function: Callable[[], Any]


def _reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: function(other, self)


class TensorOp(Op):
    """An op that gives a Tensor."""

    def __call__(self, *args: Any) -> Tensor:
        """Apply the op to Tensors, arrays and numbers."""
        return Tensor.make_from_op(self, args)


class Tensor(Value):
    """An n-dimensional array with define-by-run automatic differentiation.

    `array` is a list, a number, an ndarray (copied) or a Tensor (shared). Without `dtype`, NumPy's
    inference holds: float64 stays float64. `requires_grad` is True unless told otherwise.

    Errors: DtypeError for text and objects, ShapeError for ragged lists, DeviceError for a device
    that is not enabled.

    >>> x = ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> (x * x).sum().backward()
    >>> x.grad
    needle.Tensor([[2. 4.]
     [6. 8.]])
    """

    __slots__ = ()
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(
        self,
        array: Any,
        *,
        device: Device | None = None,
        dtype: DTypeLike | None = None,
        requires_grad: bool = True,
    ) -> None:
        check_device(device)
        self._init(None, (), cached_data=to_array(array, dtype), requires_grad=requires_grad)

    @staticmethod
    def make_const(data: Any, requires_grad: bool = False) -> Tensor:  # type: ignore[override]
        """Wrap an array or another Tensor's array as a leaf, without a copy."""
        data = data.realize_cached_data() if isinstance(data, Value) else data
        return _rebuild(Tensor, data, requires_grad)

    @property
    def data(self) -> Tensor:
        """The same storage as a constant: `detach()`. Setting it replaces the storage."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        new = value.realize_cached_data() if isinstance(value, Value) else np.asarray(value)
        if new.dtype != self.dtype:
            raise DtypeError(
                f"Tensor.data: expected dtype {self.dtype}, got {new.dtype}; "
                f'write .astype("{self.dtype}")'
            )
        self.cached_data = new

    @property
    def grad(self) -> Any:
        """The gradient of the last `backward()`, a Tensor, or None.

        A leaf's can be differentiated again, until the next `backward()` or reset in this thread.
        """
        if mode.tracer is not None:
            return mode.tracer.read_grad(self)
        if self._grad is not None and not isinstance(self._grad, Tensor):
            kept = mode.graphs.get(id(self))
            if kept is not None and kept._data is self._grad:
                return kept
            self._grad = Tensor.make_const(self._grad)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if mode.tracer is not None:
            mode.tracer.write_grad(self, value)
            return
        self._grad = value
        if value is None:
            mode.graphs.clear()

    def detach(self) -> Tensor:
        """Return a constant that shares the storage: no copy, no graph."""
        return Tensor.make_const(self.realize_cached_data())

    def numpy(self) -> np.ndarray:
        """Return the values as an ndarray to keep: needle never writes into it afterwards.

        It may share storage with the Tensor; `copy()` it before you write into it.
        """
        return np.asarray(self.realize_cached_data())

    def item(self) -> Any:
        """Return the only element as a Python number; ShapeError if there are more or none."""
        return self._only("item").item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.numpy().tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; computes the value in lazy mode."""
        return self.realize_cached_data().shape

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype; computes the value in lazy mode."""
        return self.realize_cached_data().dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.realize_cached_data().ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.realize_cached_data().size

    @property
    def device(self) -> Device:
        """The device that holds the data."""
        return default_device()

    # ---- gradients

    def backward(self, out_grad: Any = None, *, accumulate: bool = False) -> None:
        """Set `.grad` of every Tensor this one was computed from.

        `out_grad`, of this Tensor's shape, weights its elements; ones where it is None, also for a
        non-scalar. A leaf's `.grad` is overwritten, or added to with `accumulate=True`.

        Errors: GradientError on a constant; ShapeError where `out_grad` does not fit.
        """
        if not self.requires_grad:
            raise GradientError(
                "backward: this Tensor is a constant; it was made under no_grad or from inputs "
                "without requires_grad"
            )
        if out_grad is None:
            data = self.realize_cached_data()
            out_grad = Tensor.make_const(data.__array_namespace__().ones_like(data))
        elif not isinstance(out_grad, Tensor):
            out_grad = Tensor(out_grad, dtype=self.dtype, requires_grad=False)
        if out_grad.shape != self.shape:
            raise ShapeError(f"backward: expected out_grad {self.shape}, got {out_grad.shape}")
        compute_gradient_of_variables(self, out_grad, accumulate=accumulate)

    # ---- methods and operators that are ops

    sum = _op(lambda: ops.summation)
    mean = _op(lambda: ops.mean)
    max = _op(lambda: ops.max)
    min = _op(lambda: ops.min)
    var = _op(lambda: ops.var)
    broadcast_to = _op(lambda: ops.broadcast_to)
    transpose = _op(lambda: ops.transpose)
    matmul = _op(lambda: ops.matmul)
    astype = _op(lambda: ops.cast)

    __add__ = _op(lambda: ops.add)
    __sub__ = _op(lambda: ops.subtract)
    __mul__ = _op(lambda: ops.multiply)
    __truediv__ = _op(lambda: ops.divide)
    __pow__ = _op(lambda: ops.power)
    __matmul__ = _op(lambda: ops.matmul)
    __radd__ = _op(lambda: _reflected(ops.add))
    __rsub__ = _op(lambda: _reflected(ops.subtract))
    __rmul__ = _op(lambda: _reflected(ops.multiply))
    __rtruediv__ = _op(lambda: _reflected(ops.divide))
    __rpow__ = _op(lambda: _reflected(ops.power))
    __rmatmul__ = _op(lambda: _reflected(ops.matmul))
    __neg__ = _op(lambda: ops.negate)
    __abs__ = _op(lambda: ops.abs)
    __lt__ = _op(lambda: ops.less)
    __le__ = _op(lambda: ops.less_equal)
    __gt__ = _op(lambda: ops.greater)
    __ge__ = _op(lambda: ops.greater_equal)
    __getitem__ = _op(lambda: ops.getitem)

    def reshape(self, *shape: Any) -> Tensor:
        """Give the elements another shape: `reshape(2, 3)` or `reshape((2, 3))`; -1 infers."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    @property
    def T(self) -> Tensor:  # noqa: N802  NumPy's name
        """All axes in reverse order."""
        return ops.permute(self, tuple(range(self.ndim))[::-1])

    def copy(self) -> Tensor:
        """Return a copy with storage of its own; gradients flow through it."""
        return ops.cast(self, self.dtype)

    def __eq__(self, other: object) -> bool:
        return self is other if _is_comparable(other, "equal") else NotImplemented

    def __ne__(self, other: object) -> bool:
        return self is not other if _is_comparable(other, "not_equal") else NotImplemented

    def __setitem__(self, index: Any, value: Any) -> None:
        raise DtypeError(
            "Tensor: elements cannot be assigned; build a new Tensor with ops.where, "
            "or set t.data to a changed copy"
        )

    # ---- what Python and NumPy ask for

    def __len__(self) -> int:
        if self.ndim == 0:
            raise DtypeError("len: expected at least one axis, got a 0-d Tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"bool: the truth of a Tensor of shape {self.shape} is ambiguous; to test whether "
                "one is there write `tensor is not None`"
            )
        return bool(self.realize_cached_data())

    def __float__(self) -> float:
        return float(self._only("float"))

    def __int__(self) -> int:
        return int(self._only("int"))

    def _only(self, what: str) -> Any:
        if self.size != 1:
            raise ShapeError(f"{what}: expected one element, got shape {self.shape}")
        return self.realize_cached_data().reshape(())

    def __str__(self) -> str:
        data = self.realize_cached_data()  # a traced array has no text of its own: say what it is
        return str(data) if isinstance(data, np.ndarray) else repr(self)

    def __repr__(self) -> str:
        return f"needle.Tensor({self.realize_cached_data()})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        data = self.realize_cached_data()
        if copy is None:
            return np.asarray(data, dtype=dtype)
        return np.array(data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = _UFUNCS.get(ufunc.__name__)
        if ufunc.__name__ in ("equal", "not_equal"):
            _is_comparable(inputs[0], ufunc.__name__)
        if method != "__call__" or kwargs or function is None:
            raise DtypeError(
                f"numpy.{ufunc.__name__} on a Tensor: not an op of needle; use an op of "
                "needle.ops, or t.numpy() for the bare values"
            )
        return function(*inputs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.numpy().__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.numpy().__dlpack_device__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        data = np.array(self.realize_cached_data())
        copied = memo[id(self)] = _rebuild(type(self), data, self.requires_grad)
        return copied

    def __reduce__(self) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return _rebuild, (type(self), self.numpy(), self.requires_grad)


def to_array(array: Any, dtype: DTypeLike | None) -> Any:
    """Return the array that a Tensor made of `array` holds: shared for a Tensor, else a copy."""
    if isinstance(array, Value):
        data = array.realize_cached_data()
        return data if dtype is None or data.dtype == dtype else data.astype(dtype)
    if hasattr(array, "__array_namespace__") and not isinstance(array, np.ndarray | np.generic):
        return array if dtype is None else array.astype(np.dtype(dtype))
    try:
        data = np.array(array, dtype=dtype)
    except (TypeError, OverflowError) as error:
        raise DtypeError(f"Tensor: cannot convert {_brief(array)}: {error}") from error
    except ValueError as error:
        raise ShapeError(f"Tensor: cannot make an array of {_brief(array)}: {error}") from error
    if data.dtype.kind not in "biuf":
        raise DtypeError(
            f"Tensor: expected numbers or booleans, got {data.dtype} from {_brief(array)}; "
            "convert text and dates to numbers first"
        )
    return data


def _brief(array: Any) -> str:
    return f"{array!r:.60}"


def _rebuild(kind: type[Tensor], data: Any, requires_grad: bool) -> Tensor:
    value = kind.__new__(kind)
    value._init(None, (), cached_data=data, requires_grad=requires_grad)
    return value


def _is_comparable(other: object, op: str) -> bool:
    if isinstance(other, Tensor):
        return True
    if isinstance(other, int | float | np.generic | np.ndarray | list | tuple):
        raise DtypeError(
            f"Tensor == compares identity; for values write ops.{op}(t, {_short(other)}), "
            "which gives a bool Tensor"
        )
    return False


def _short(other: object) -> str:
    return repr(other) if isinstance(other, int | float) else "array"


from needle import ops  # noqa: E402  a Tensor's operators are ops, and ops make Tensors

for _name, _value in list(vars(Tensor).items()):
    if isinstance(_value, _Later):
        setattr(Tensor, _name, _value.function())

# Not by `__getattr__`: a class that has one reads every attribute three times as slowly (8, 26 ns).
_FUNCTIONS: list[str] = vars(ops)["__all__"]
for _name in OF_TENSORS.keys() | set(_FUNCTIONS):
    if not hasattr(Tensor, _name):
        setattr(Tensor, _name, Missing(_name, _FUNCTIONS))

_UFUNCS: dict[str, Callable[..., Tensor]] = {
    name: getattr(ops, name)
    for name in (
        "add", "subtract", "multiply", "divide", "power", "matmul", "exp", "log", "tanh", "sqrt",
        "maximum", "minimum", "less", "less_equal", "greater", "greater_equal",
    )
} | {"negative": ops.negate, "absolute": ops.abs}  # fmt: skip
