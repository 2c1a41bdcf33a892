"""Devices: where arrays live and where random numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from needle.backend import random
from needle.errors import DeviceError

NDArray = np.ndarray


class Device:
    """A place that holds arrays. Devices of one kind are equal and hash alike."""

    kind = "device"

    def __repr__(self) -> str:
        return f"needle.{self}"

    def __str__(self) -> str:
        return f"{self.kind}()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.kind)

    def enabled(self) -> bool:
        """Say whether arrays can be made here."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise DeviceError(f"{self!r} is not enabled: `{name}` is not available; use needle.cpu()")


class CPUDevice(Device):
    """The processor, through NumPy arrays.

    Random numbers come from NumPy's global legacy stream: `numpy.random.seed(n)` repeats a run.

    >>> ndl.cpu().zeros(2, 3).shape
    (2, 3)
    """

    kind = "cpu"

    def enabled(self) -> bool:
        """Say whether arrays can be made here: always."""
        return True

    def rand(self, *shape: int) -> Any:
        """Draw float64 numbers, uniform in [0, 1): one call of `numpy.random.rand`."""
        return random.source.uniform(shape)

    def randn(self, *shape: int) -> Any:
        """Draw float64 numbers, standard normal: one call of `numpy.random.randn`."""
        return random.source.normal(shape)

    def zeros(self, *shape: int, dtype: DTypeLike = "float32") -> np.ndarray:
        """Return an array of zeros."""
        return np.zeros(shape, dtype=dtype)

    def ones(self, *shape: int, dtype: DTypeLike = "float32") -> np.ndarray:
        """Return an array of ones."""
        return np.ones(shape, dtype=dtype)

    def empty(self, shape: Any, dtype: DTypeLike = "float32") -> np.ndarray:
        """Return an array whose contents are not set."""
        return np.empty(shape, dtype=dtype)

    def full(self, shape: Any, fill_value: Any, dtype: DTypeLike = "float32") -> np.ndarray:
        """Return an array filled with one value."""
        return np.full(shape, fill_value, dtype=dtype)

    def one_hot(self, n: int, i: Any, dtype: DTypeLike = "float32") -> np.ndarray:
        """Return rows of the identity matrix: 1 at index `i`, else 0; shape `i.shape + (n,)`."""
        return np.eye(n, dtype=dtype)[np.asarray(i).astype(np.intp)]


class CUDADevice(Device):
    """An NVIDIA GPU. Its place is reserved: `enabled()` is False."""

    kind = "cuda"


def cpu() -> CPUDevice:
    """Return the CPU device.

    >>> ndl.cpu()
    needle.cpu()
    """
    return CPUDevice()


def cpu_numpy() -> CPUDevice:
    """Return the CPU device of NumPy arrays; here the same as `cpu()`."""
    return CPUDevice()


def cuda() -> CUDADevice:
    """Return the CUDA device, which is not enabled yet.

    >>> ndl.cuda().enabled()
    False
    """
    return CUDADevice()


def default_device() -> CPUDevice:
    """Return the device that everything uses unless told otherwise."""
    return CPUDevice()


def all_devices() -> list[Device]:
    """Return every device needle knows, enabled or not."""
    return [cpu(), cuda()]


def check_device(device: Device | None) -> Device:
    """Return `device`, or the default for None; raise DeviceError unless it is enabled."""
    if device is None:
        return default_device()
    if not isinstance(device, Device):
        raise DeviceError(f"expected a needle device, got {device!r}; pass needle.cpu() or nothing")
    if not device.enabled():
        raise DeviceError(f"{device!r} is not enabled on this machine; use needle.cpu()")
    return device
