"""The errors and warnings that needle raises, each derived from the built-in class users expect.

Every message reads `where: expected what, got what; what to do`. `NeedleError.module_path` is set
by the modules an error passes through, so that the text names the layer:
`model.2 (Linear 64 -> 10): ...`.
"""

from __future__ import annotations

import operator
from typing import Any


class NeedleError(Exception):
    """Base of all errors that needle raises; `text` is the message without the module path.

    Itself it says that a native program could not be made or called, which is a bug of needle: run
    the function under `ndl.disable_jit()`, and report it.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.module_path = ""

    def __str__(self) -> str:
        return f"{self.module_path}: {self.text}" if self.module_path else self.text


class ShapeError(NeedleError, ValueError):
    """Shapes, ranks or axes do not fit.

    Print the shapes that the message names, and reshape the input or size the layer to fit;
    `ndl.summary(model, x)` shows what each layer gives.
    """


class DtypeError(NeedleError, TypeError, AssertionError):
    """A dtype or a kind of value does not fit (an AssertionError too: the course asserts).

    Convert with `.astype(...)`, or pass what the message names.
    """


class DeviceError(NeedleError, RuntimeError):
    """A device is not there, or arrays live on different devices.

    Leave `device` out: everything is on the CPU.
    """


class GradientError(NeedleError, RuntimeError):
    """A gradient was asked for where there is none.

    Ask for gradients of Parameters or of Tensors made with `requires_grad=True`, outside of
    `no_grad`; in an op of your own return one Tensor for each input.
    """


class IndexRangeError(NeedleError, IndexError):
    """An index or a label lies outside its range.

    Labels and indices count from 0; look at the smallest and the largest of yours.
    """


class ArgumentError(NeedleError, ValueError):
    """An argument has a value outside its range.

    Pass a value from the range that the message gives.
    """


class DataError(NeedleError, ValueError):
    """A data set or a data file is empty, corrupt, truncated or inconsistent.

    Look at the file or the array that the message names; fetch or write it again.
    """


class DownloadError(NeedleError, OSError):
    """A file could not be fetched; the text lists what to put where by hand.

    Get a network, or put the files by hand where the message says.
    """


class StateDictError(NeedleError, ValueError, KeyError):
    """A state dictionary or checkpoint does not fit the module or the optimizer.

    Build the model that the file was saved from; `strict=False` accepts what is missing or
    unexpected, not what has another shape.
    """

    __str__ = NeedleError.__str__  # KeyError would print the repr


class GraphError(NeedleError, ValueError):
    """A node of the compiler's graph does not fit its inputs.

    This is a bug of needle: run the function under `ndl.disable_jit()`, and report it.
    """


class TraceError(NeedleError, TypeError, ValueError):
    """A compiled function does something that a program cannot repeat; the text names the line.

    Write that line as the message says, or run the function under `ndl.disable_jit()`;
    docs/compiled_functions.md lists what is not traced.
    """


class CheckError(NeedleError, AssertionError):
    """NEEDLE_CHECK: a compiled call and its reference differ.

    If the function reads a clock, a file or the like, pass that as an argument; otherwise this is
    a bug of needle: report it with the function.
    """


class PrecisionWarning(UserWarning):
    """A layer computes in a wider dtype than its parameters, usually by accident.

    Convert the input, or make the layer with `dtype="float64"` where that is meant.
    """


def whole_number(text: str, value: Any, least: int) -> int:
    """Return `value` as an int; ArgumentError `text >= least, got value` where it is none such."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ArgumentError(f"{text} >= {least}, got {value!r}")
    return number
