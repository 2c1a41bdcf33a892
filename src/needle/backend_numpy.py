"""The course's module of NumPy devices: names only, the code is in `needle.backend`."""

from needle.backend.device import (
    CPUDevice, Device, NDArray, all_devices, cpu, cpu_numpy, cuda, default_device,
)  # fmt: skip

__all__ = [
    "CPUDevice", "Device", "NDArray", "all_devices", "cpu", "cpu_numpy", "cuda",
    "default_device",
]  # fmt: skip
