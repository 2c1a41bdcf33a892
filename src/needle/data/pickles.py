"""Pickles as plain data: what a table does not name is refused, and nothing of it ever runs."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from needle.errors import DataError

# What may stand in a file that is damaged or made to harm, and what Python raises at it.
BROKEN = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip
NUMBERS = frozenset(f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)) - {"f1"} | {"b1"}


def read_pickle(
    file: io.BytesIO,
    admitted: Mapping[str, Callable[..., Any]],
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: str = "bytes",
) -> Any:
    """Return the next pickle in `file`: plain values and what functions in `admitted` make.

    `admitted` gives a function for each global by its full name; these functions, ours, are all
    that is ever called. `encoding` is that of Python 2's strings.
    Raises: DataError that names a global that is not admitted, or tells what is broken.

    >>> import io, pickle
    >>> from needle.data.pickles import read_pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"a": [1, 2.5]})), {})
    {'a': [1, 2.5]}
    """

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" in admitted:
                return admitted[f"{module}.{name}"]
            raise DataError(f"holds {module}.{name}, which is no array: refused, nothing was run")

        def persistent_load(self, pid: Any) -> Any:
            if persistent_load is None:
                raise DataError("holds a reference to something outside it: refused")
            return persistent_load(pid)

    try:
        with warnings.catch_warnings(action="ignore"):  # of a damaged text: an escape unknown
            _check_memo(file)
            return Reader(file, encoding=encoding).load()
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(f"not a whole pickle ({type(error).__name__}: {error})") from error


def _check_memo(file: io.BytesIO) -> None:
    """Refuse a memo index beyond the file's size: Python would make a list as long as that."""
    import pickletools

    start, size = file.tell(), len(file.getbuffer())
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > size:
            raise DataError(f"not a whole pickle (memo index {argument} in {size} bytes)")
    file.seek(start)


class PickledArray:
    """What stands in for an ndarray while a pickle is read: filled by `__setstate__`."""

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = as_array(data, dtype, shape, "F" if fortran else "C")


class PickledDtype:
    """What stands in for a dtype: a plain number's, with its byte order."""

    def __init__(self, code: Any) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if code not in NUMBERS:
            raise DataError(f"holds an array of dtype {code!r}, expected numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


def array_constructors() -> dict[str, Callable[..., Any]]:
    """Return stand-ins for what pickled NumPy arrays of numbers name; made anew for each file.

    They give `PickledArray`s. NumPy's own constructors trust what they are given.
    """

    def ndarray(*_: Any) -> Any:
        raise DataError("calls numpy.ndarray: refused")

    table: dict[str, Callable[..., Any]] = {
        "numpy.ndarray": ndarray,
        "numpy.dtype": lambda code, *_: PickledDtype(code),
        "_codecs.encode": lambda text, _: text.encode("latin-1"),  # bytes, by protocol 2
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray._reconstruct"] = lambda *_: PickledArray()
        table[f"{core}.numeric._frombuffer"] = lambda *given: PickledArray(as_array(*given))
    return table


def as_array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return bytes as an array; DataError where they are not exactly as many as the shape needs."""
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, PickledDtype):
        raise DataError(f"holds an array made of {type(data).__name__}, expected bytes")
    if order not in ("C", "F"):
        raise DataError(f"holds an array in order {order!r}, expected 'C' or 'F'")
    flat = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape, order=order)
