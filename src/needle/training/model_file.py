"""`save` and `load`: a model, if wished its optimizer, and what the user adds, in one file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from needle.errors import NeedleError, StateDictError
from needle.training.storage import join, read_tensors, split, write_tensors

# No name of a module's state begins with this one, unless its author chose it for a parameter.
OPTIMIZER = "_optimizer"


def save(path: str | os.PathLike[str], model: Any, optimizer: Any = None, **extra: Any) -> None:
    """Write a model's parameters and buffers, and the optimizer's state, to one safetensors file.

    Names are those of `state_dict()`, the optimizer's begin with `_optimizer.`; its numbers and
    `extra` (what JSON can say) stand in the metadata as JSON. The file is replaced whole or, after
    an error, not at all; the safetensors library opens it, and nothing in it is ever executed.

    Raises: OSError for a full disk or a folder without rights, ArgumentError for `extra` that is
    not JSON.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> model = ndl.nn.Linear(4, 2)
    >>> ndl.save(path, model, classes=["cat", "dog"])
    >>> ndl.load(path, ndl.nn.Linear(4, 2))
    {'classes': ['cat', 'dog']}
    """
    parts = {} if optimizer is None else {OPTIMIZER: optimizer.state_dict()}
    write_state(path, model.state_dict(), parts, extra)


def load(path: str | os.PathLike[str], model: Any, optimizer: Any = None) -> dict[str, Any]:
    """Put a file's state into `model`, and into `optimizer` where given; return the extra values.

    A file by another program, with arrays under the model's names, loads too.
    Raises: DataError for a corrupt or truncated file, StateDictError for names or shapes that do
    not fit: then both are as they were.
    """
    state, parts, extra = read_state(path)
    if optimizer is not None and OPTIMIZER not in parts:
        raise StateDictError(f"load: {path}: holds no optimizer; save(path, model, optimizer)")
    restore(path, model, state, {} if optimizer is None else {OPTIMIZER: optimizer}, parts)
    return extra


def write_state(
    path: str | os.PathLike[str],
    state: dict[str, np.ndarray],
    parts: dict[str, Any],
    extra: dict[str, Any],
) -> None:
    """Write a model's state, further states by name (`_optimizer`, ...), and JSON values."""
    arrays = dict(state)
    trees = {name: split(tree, name, arrays) for name, tree in parts.items()}
    write_tensors(path, arrays, {"parts": trees, "extra": extra})


def read_state(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Return what `write_state` wrote: the model's state, the parts, the JSON values."""
    arrays, info = read_tensors(path)
    parts = {name: join(tree, arrays) for name, tree in info.get("parts", {}).items()}
    state = {name: a for name, a in arrays.items() if name.partition(".")[0] not in parts}
    return state, parts, info.get("extra", {})


def restore(
    path: str | os.PathLike[str],
    model: Any,
    state: dict[str, np.ndarray],
    holders: dict[str, Any],
    parts: dict[str, Any],
) -> None:
    """Load `state` into `model` and each part into its holder, or leave all as they were."""
    before = model.state_dict()
    befores = {name: holder.state_dict() for name, holder in holders.items()}
    try:
        model.load_state_dict(state)
        for name, holder in holders.items():
            holder.load_state_dict(parts[name])
    except (NeedleError, KeyError, TypeError, ValueError) as error:
        model.load_state_dict(before)
        for name, holder in holders.items():
            holder.load_state_dict(befores[name])
        raise StateDictError(f"load: {path}: {error}") from error
