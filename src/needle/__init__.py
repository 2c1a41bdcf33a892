"""A deep learning framework in Python: Tensors that differentiate, layers, optimizers, training.

`import needle as ndl`
"""

from typing import TYPE_CHECKING, Any

from needle import autograd, backend_numpy, init, nn, ops, optim
from needle.autograd import Tensor, TensorTuple, Value, no_grad
from needle.backend.device import (
    Device, NDArray, all_devices, cpu, cpu_numpy, cuda, default_device,
)  # fmt: skip
from needle.errors import PrecisionWarning
from needle.init import ones, ones_like, zeros, zeros_like
from needle.names import lazy
from needle.ops import *  # noqa: F403  every op is needle's too: one list of them, in ops
from needle.ops import abs as abs
from needle.ops import max as max
from needle.ops import min as min

if TYPE_CHECKING:  # what `lazy` imports at first use
    from needle import data, models, testing, training
    from needle.compiler.jit.jit import debug_print, disable_jit, jit
    from needle.settings import set_num_threads
    from needle.training import load, load_pytorch, predict, save
    from needle.training.draw import draw
    from needle.training.fit import fit
    from needle.training.summary import summary

__version__ = "0.1.0"
__all__ = [
    "Device", "NDArray", "PrecisionWarning", "Tensor", "TensorTuple", "Value", "__version__",
    "all_devices", "autograd", "backend_numpy", "cpu", "cpu_numpy", "cuda", "data", "debug_print",
    "default_device", "disable_jit", "draw", "fit", "init", "jit", "load", "load_pytorch", "models",
    "nn", "no_grad", "ones", "ones_like", "ops", "optim", "predict", "save", "set_num_threads",
    "summary", "testing", "training", "zeros", "zeros_like",
]  # fmt: skip
__all__ += ops.__all__


def __getattr__(name: str) -> Any:
    return lazy(name)


def __dir__() -> list[str]:
    return __all__
