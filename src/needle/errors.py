"""The errors and warnings that needle raises, each derived from the built-in class users expect.

Every message reads `where: expected what, got what; what to do`. `NeedleError.module_path` is set
by the modules an error passes through, so that the text names the layer:
`model.2 (Linear 64 -> 10): ...`.
"""

from __future__ import annotations


class NeedleError(Exception):
    """Base of all errors that needle raises; `text` is the message without the module path."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.module_path = ""

    def __str__(self) -> str:
        return f"{self.module_path}: {self.text}" if self.module_path else self.text


class ShapeError(NeedleError, ValueError):
    """Shapes, ranks or axes do not fit."""


class DtypeError(NeedleError, TypeError, AssertionError):
    """A dtype or a kind of value does not fit (an AssertionError too: the course asserts)."""


class DeviceError(NeedleError, RuntimeError):
    """A device is not there, or arrays live on different devices."""


class GradientError(NeedleError, RuntimeError):
    """A gradient was asked for where there is none."""


class IndexRangeError(NeedleError, IndexError):
    """An index or a label lies outside its range."""


class ArgumentError(NeedleError, ValueError):
    """An argument has a value outside its range."""


class DataError(NeedleError, ValueError):
    """A data set or a data file is empty, corrupt, truncated or inconsistent."""


class DownloadError(NeedleError, OSError):
    """A file could not be fetched; the text lists what to put where by hand."""


class StateDictError(NeedleError, ValueError, KeyError):
    """A state dictionary or checkpoint does not fit the module or the optimizer."""

    __str__ = NeedleError.__str__  # KeyError would print the repr


class GraphError(NeedleError, ValueError):
    """A node of the compiler's graph does not fit its inputs."""


class TraceError(NeedleError, TypeError, ValueError):
    """A compiled function does something that a program cannot repeat; the text names the line."""


class CheckError(NeedleError, AssertionError):
    """NEEDLE_CHECK: a compiled call and its reference differ."""


class PrecisionWarning(UserWarning):
    """A layer computes in a wider dtype than its parameters, usually by accident."""
