"""The course's choice of a backend: names only, the code is in `needle.backend`."""

import numpy as array_api

from needle.backend.device import (
    CPUDevice, Device, NDArray, all_devices, cpu, cpu_numpy, cuda, default_device,
)  # fmt: skip

BACKEND = "np"

__all__ = [
    "BACKEND", "CPUDevice", "Device", "NDArray", "all_devices", "array_api", "cpu", "cpu_numpy",
    "cuda", "default_device",
]  # fmt: skip
