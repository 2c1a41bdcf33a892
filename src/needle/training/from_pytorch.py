"""Weights of PyTorch's layers as needle's layers keep them: names and layouts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from needle import nn
from needle.errors import StateDictError
from needle.training.storage import is_own
from needle.training.torch_file import read_weights

CELL = re.compile(r"(|.*\.)(?:rnn|lstm)_cells\.(\d+)")
CELL_NAMES = {"W_ih": "weight_ih", "W_hh": "weight_hh"}


def load_pytorch(
    source: str | os.PathLike[str] | Mapping[str, Any], model: nn.Module, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Put weights of a PyTorch model into a needle model with the same names of layers.

    `source` is a .pt, .pth or .safetensors file (read without PyTorch, nothing in it is executed)
    or a `state_dict()`. Returns (missing, unexpected), which `strict=False` allows to be non-empty.

    | layer | PyTorch | needle |
    |---|---|---|
    | Linear | weight (out, in), bias (out,) | weight (in, out), bias (1, out) |
    | Conv | weight (out, in, K, K) | weight (K, K, in, out) |
    | BatchNorm, LayerNorm, Embedding | the same | num_batches_tracked is left out |
    | RNN, LSTM | weight_ih_l0 (gates h, in), bias_ih_l0 | lstm_cells.0.W_ih (in, gates h), ... |

    Gates are in the order i, f, g, o in both. The prefix `module.` of DataParallel is left out.
    Raises: StateDictError that lists what is missing, unexpected or of another shape, under
    PyTorch's names and shapes; DataError for a file that is damaged or holds anything but tensors.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> weights = {"0.weight": np.ones((2, 3)), "0.bias": np.zeros(2)}
    >>> ndl.load_pytorch(weights, model)
    ([], [])
    >>> model[0].weight.shape
    (3, 2)
    """
    if not isinstance(source, Mapping) and is_own(source):
        raise StateDictError(
            f"load_pytorch: {source}: was written by needle, with its own layouts; "
            "use ndl.load(path, model)"
        )
    given = _plain_names(source if isinstance(source, Mapping) else read_weights(source))
    state, modules = model.state_dict(), dict(model.named_modules())
    names = {pytorch_name(name): name for name in state}
    missing = [theirs for theirs in names if theirs not in given]
    unexpected = [theirs for theirs in given if theirs not in names]
    converted, wrong = {}, []
    for theirs, name in names.items():
        if theirs in given:
            path, _, part = name.rpartition(".")
            array, own = np.asarray(given[theirs]), state[name]
            axes, expected = layout(modules.get(path), part, own.shape)
            if array.shape == expected:
                converted[name] = array.transpose(axes).reshape(own.shape)
            else:
                wrong.append(f"{theirs} of shape {array.shape}, expected {expected}")
    problems = {"wrong": wrong} | ({"missing": missing, "unexpected": unexpected} if strict else {})
    if any(problems.values()):
        text = "; ".join(f"{kind}: {', '.join(found)}" for kind, found in problems.items() if found)
        raise StateDictError(f"load_pytorch: {type(model).__name__}: {text}")
    model.load_state_dict(converted, strict=False)
    return missing, unexpected


def pytorch_name(name: str) -> str:
    """Return PyTorch's name for what needle has under `name`.

    >>> from needle.training.from_pytorch import pytorch_name
    >>> pytorch_name("encoder.lstm_cells.1.W_hh")
    'encoder.weight_hh_l1'
    """
    path, dot, part = name.rpartition(".")
    part = CELL_NAMES.get(part, part)
    if cell := CELL.fullmatch(path):
        return f"{cell[1]}{part}_l{cell[2]}"
    return f"{path}{dot}{part}"


def layout(
    module: nn.Module | None, part: str, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the order in which needle has PyTorch's axes, and PyTorch's shape."""
    axes = tuple(range(len(shape)))
    if isinstance(module, nn.Linear) and part == "bias":
        return (0,), shape[1:]
    if isinstance(module, nn.Conv) and part == "weight":
        axes = (2, 3, 1, 0)
    elif part in CELL_NAMES or (isinstance(module, nn.Linear) and part == "weight"):
        axes = (1, 0)
    return axes, tuple(shape[axes.index(axis)] for axis in range(len(shape)))


def _plain_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the batch counts, and the prefix that DataParallel gives all names."""
    given = {k: v for k, v in given.items() if k.rpartition(".")[2] != "num_batches_tracked"}
    wrapped = all(name.startswith("module.") for name in given)
    return {name.removeprefix("module.") if wrapped else name: v for name, v in given.items()}
