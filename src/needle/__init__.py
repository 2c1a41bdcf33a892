"""A deep learning framework in Python: Tensors that differentiate, layers, optimizers, training.

`import needle as ndl`
"""

from typing import Any

from needle import autograd, backend_numpy, data, init, models, nn, ops, optim, testing, training
from needle.autograd import Tensor, TensorTuple, Value, no_grad
from needle.backend.device import (
    Device, NDArray, all_devices, cpu, cpu_numpy, cuda, default_device,
)  # fmt: skip
from needle.errors import PrecisionWarning
from needle.init import ones, ones_like, zeros, zeros_like
from needle.names import LAZY, lazy
from needle.ops import *  # noqa: F403  every op is needle's too: one list of them, in ops
from needle.ops import abs as abs
from needle.ops import max as max
from needle.ops import min as min
from needle.training import fit, load, load_pytorch, predict, save, summary

__version__ = "0.1.0"
__all__ = [
    "Device", "NDArray", "PrecisionWarning", "Tensor", "TensorTuple", "Value", "__version__",
    "all_devices", "autograd", "backend_numpy", "cpu", "cpu_numpy", "cuda", "data",
    "default_device", "fit", "init", "load", "load_pytorch", "models", "nn", "no_grad", "ones",
    "ones_like", "ops", "optim", "predict", "save", "summary", "testing", "training", "zeros",
    "zeros_like",
]  # fmt: skip
__all__ += ops.__all__
__all__ += LAZY


def __getattr__(name: str) -> Any:
    return lazy(name)
