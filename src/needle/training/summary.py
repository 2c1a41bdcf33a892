"""A model's layers with their output shapes, parameters and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from needle.autograd import Tensor
from needle.data.loader import constant
from needle.training.evaluation import evaluating, model_dtype
from needle.training.history import table


@dataclass(frozen=True)
class Layer:
    """One module: its path, class, output shape; parameters of its own, bytes with buffers."""

    path: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Summary:
    """The layers of a model; printing it gives a table."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """The number of all parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def bytes(self) -> int:
        """The bytes of all parameters and buffers."""
        return sum(layer.bytes for layer in self.layers)

    def __str__(self) -> str:
        head = ["layer", "class", "output", "parameters", "bytes"]
        rows = [
            [layer.path, layer.kind, str(layer.output or "-"), f"{layer.parameters:,}",
             f"{layer.bytes:,}"]
            for layer in self.layers
        ]  # fmt: skip
        total = ["total", "", "", f"{self.parameters:,}", f"{self.bytes:,}"]
        return table([head, *rows, total])

    __repr__ = __str__


def summary(model: Any, x: Any) -> Summary:
    """Run `x` through the model and return what each layer gives; printing the result is a table.

    Shapes: x is one batch as the model takes it. Evaluation mode, no graph, nothing changes. A
    layer that is not called shows `-`; one called several times shows its last output. A parameter
    is counted at the layer that holds it.

    >>> ndl.summary(ndl.nn.Sequential(ndl.nn.Linear(4, 8), ndl.nn.ReLU()), np.ones((2, 4)))
    layer       class  output  parameters  bytes
    model  Sequential  (2, 8)           0      0
        0      Linear  (2, 8)          40    160
        1        ReLU  (2, 8)           0      0
    total                              40    160
    """
    named = model.named_modules()
    outputs: dict[int, tuple[int, ...]] = {}
    with evaluating(model):
        for _, module in named:
            vars(module)["forward"] = _recording(module, outputs)
        try:
            model(constant(np.asarray(x), model_dtype(model)))
        finally:
            for _, module in named:
                del vars(module)["forward"]
    return Summary(tuple(_layer(path, module, outputs) for path, module in named))


def _recording(module: Any, outputs: dict[int, tuple[int, ...]]) -> Callable[..., Any]:
    forward = module.forward

    def recorded(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        if isinstance(result, Tensor):
            outputs[id(module)] = result.shape
        return result

    return recorded


def _layer(path: str, module: Any, outputs: dict[int, tuple[int, ...]]) -> Layer:
    inside = {id(tensor) for child in module._children() for tensor in _tensors(child)}
    own = [tensor for tensor in _tensors(module) if id(tensor) not in inside]
    trained = {id(parameter) for parameter in module.parameters()}
    count = sum(tensor.size for tensor in own if id(tensor) in trained)
    size = sum(tensor.size * tensor.dtype.itemsize for tensor in own)
    kind = type(module).__name__
    return Layer(path or "model", kind, outputs.get(id(module)), count, size)


def _tensors(module: Any) -> list[Tensor]:
    return [tensor for _, tensor in (*module.named_parameters(), *module.named_buffers())]
