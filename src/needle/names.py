"""Names that people look for here and find elsewhere: one table, one error text."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

LAZY = {
    "data": "needle.data",
    "models": "needle.models",
    "testing": "needle.testing",
    "training": "needle.training",
    "fit": "needle.training",
    "load": "needle.training",
    "load_pytorch": "needle.training",
    "predict": "needle.training",
    "save": "needle.training",
    "summary": "needle.training",
    "jit": "needle.compiler.jit.jit",
    "disable_jit": "needle.compiler.jit.jit",
    "debug_print": "needle.compiler.jit.jit",
    "draw": "needle.training.draw",
    "set_num_threads": "needle.settings",
}
"""Names of needle that are imported at their first use: rooms, and where functions are."""

ELSEWHERE = {
    "needle": {
        "manual_seed": "numpy.random.seed(n)",
        "tensor": "ndl.Tensor(...)",
        "as_tensor": "ndl.Tensor(...)",
        "from_numpy": "ndl.Tensor(array)",
        "array": "ndl.Tensor(...)",
        "zeros_": "ndl.zeros(...)",
        "rand": "ndl.init.rand(...)",
        "randn": "ndl.init.randn(...)",
        "full": "ndl.init.constant(*shape, c=value)",
        "arange": "ndl.Tensor(numpy.arange(...))",
        "cat": "ndl.concat(list, axis)",
        "mm": "ndl.matmul(a, b)",
        "sum": "ndl.summation(t, axes)",
        "mul": "ndl.multiply(a, b)",
        "log_softmax": "ndl.logsoftmax(t, axis)",
        "grad": "loss.backward(), then t.grad",
        "float32": '"float32"',
        "float64": '"float64"',
        "device": "ndl.cpu()",
        "compile": "ndl.jit",
        "utils": "ndl.data for loaders, ndl.training for training",
    },
    "needle.nn": {
        "CrossEntropyLoss": "nn.SoftmaxLoss()",
        "NLLLoss": "nn.SoftmaxLoss(), which takes logits",
        "BatchNorm": "nn.BatchNorm1d(dim)",
        "Conv2d": "nn.Conv(in_channels, out_channels, kernel_size)",
        "MultiheadAttention": "nn.MultiHeadAttention",
        "ModuleList": "a list: modules are found in lists",
        "ModuleDict": "a dict: modules are found in dicts",
        "ParameterList": "a list: parameters are found in lists",
        "Dropout1d": "nn.Dropout(p)",
        "functional": "ndl.ops",
        "init": "ndl.init",
        "utils": "ndl.optim.clip_grad_norm for clipping",
        "L1Loss": "ndl.ops.abs(a - b).mean()",
        "LogSoftmax": "ndl.ops.logsoftmax(x)",
        "Softmax": "ndl.ops.softmax(x)",
    },
    "needle.optim": {
        "clip_grad_norm_": "optim.clip_grad_norm(params, max_norm)",
        "clip_grad_value_": "optim.clip_grad_value(params, clip_value)",
        "StepLR": "optim.lr_scheduler.StepLR",
        "CosineAnnealingLR": "optim.lr_scheduler.CosineAnnealingLR",
        "OneCycleLR": "optim.lr_scheduler.OneCycleLR",
        "LinearLR": "optim.lr_scheduler.LinearLR",
    },
}

OF_TENSORS = {
    "view": "t.reshape(shape)",
    "flatten": "t.reshape(-1)",
    "clone": "t.copy()",
    "to": "t.astype(dtype); everything is on the CPU",
    "cuda": "none yet: everything is on the CPU",
    "cpu": "t itself: everything is on the CPU",
    "float": 't.astype("float32")',
    "double": 't.astype("float64")',
    "long": 't.astype("int64")',
    "argmax": "t.numpy().argmax(axis)",
    "argmin": "t.numpy().argmin(axis)",
    "abs": "abs(t)",
    "pow": "t ** number",
    "mm": "a @ b",
    "dot": "a @ b",
    "std": "t.var(axes) ** 0.5",
    "norm": "(t ** 2).sum() ** 0.5",
    "clamp": "ndl.clip(t, min, max)",
    "dim": "t.ndim",
    "zero_": "p.grad = None, or opt.zero_grad()",
    "requires_grad_": "t.requires_grad = True",
}
"""Attributes of tensors elsewhere; functions of `ops` need no line."""


def lazy(name: str) -> Any:
    """Return one of needle's names that are imported at first use; AttributeError for any other."""
    if name not in LAZY:
        raise unknown("needle", name)
    module = import_module(LAZY[name])
    return module if module.__name__ == f"needle.{name}" else getattr(module, name)


class Missing:
    """Stands for an attribute that Tensors lack: reading it raises AttributeError with the way."""

    def __init__(self, name: str, functions: Collection[str]) -> None:
        self.name, self.functions = name, functions

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Raise, also for `hasattr`, which then is False."""
        raise unknown_of_tensor(self.name, self.functions)


def unknown_of_tensor(name: str, functions: Collection[str]) -> AttributeError:
    """Make the error for an attribute that Tensors lack; `functions` are those of a Tensor."""
    way = OF_TENSORS.get(name, f"ndl.{name}(t)" if name in functions else "")
    hint = f"; needle's way: {way}" if way else ""
    return AttributeError(f"a Tensor has no attribute {name!r}{hint}", name=name)


def unknown(module: str, name: str) -> AttributeError:
    """Make the error for a name that `module` lacks: it says where to look if the table knows."""
    way = ELSEWHERE.get(module, {}).get(name)
    hint = f"; needle's way: {way}" if way else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)
