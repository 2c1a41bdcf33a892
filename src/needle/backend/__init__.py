"""Devices, random numbers, and the array functions that the Array API standard lacks."""

from needle.backend.device import (
    CPUDevice, CUDADevice, Device, NDArray, all_devices, cpu, cpu_numpy, cuda, default_device,
)  # fmt: skip

__all__ = [
    "CPUDevice", "CUDADevice", "Device", "NDArray", "all_devices", "cpu", "cpu_numpy", "cuda",
    "default_device",
]  # fmt: skip
