"""`save` and `load`: a model, if wished its optimizer, and what the user adds, in one file."""

from __future__ import annotations

import os
from typing import Any

from needle.errors import NeedleError, StateDictError
from needle.training.storage import join, read_tensors, split, write_tensors

# No name of a module's state begins with the second, unless its author chose it for a parameter.
MODEL, OPTIMIZER = "_model", "_optimizer"


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
    states = {MODEL: model.state_dict()}
    if optimizer is not None:
        states[OPTIMIZER] = optimizer.state_dict()
    write_state(path, states, extra)


def load(path: str | os.PathLike[str], model: Any, optimizer: Any = None) -> dict[str, Any]:
    """Put a file's state into `model`, and into `optimizer` where given; return the extra values.

    A file by another program, with arrays under the model's names, loads too.
    Raises: DataError for a corrupt or truncated file, StateDictError for names or shapes that do
    not fit: then both are as they were.
    """
    states, extra = read_state(path)
    holders = {MODEL: model} if optimizer is None else {MODEL: model, OPTIMIZER: optimizer}
    if optimizer is not None and OPTIMIZER not in states:
        raise StateDictError(f"load: {path}: holds no optimizer; save(path, model, optimizer)")
    restore(path, holders, states)
    return extra


def write_state(path: str | os.PathLike[str], states: dict[str, Any], extra: dict) -> None:
    """Write the state of MODEL, further states by name (`_optimizer`, ...), and JSON values."""
    arrays = dict(states[MODEL])
    parts = {name: split(s, name, arrays) for name, s in states.items() if name != MODEL}
    write_tensors(path, arrays, {"parts": parts, "extra": extra})


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `write_state` wrote: the states, and the JSON values."""
    arrays, info = read_tensors(path)
    states = {name: join(tree, arrays) for name, tree in info.get("parts", {}).items()}
    own = {name: a for name, a in arrays.items() if name.partition(".")[0] not in states}
    return {MODEL: own} | states, info.get("extra", {})


def restore(path: str | os.PathLike[str], holders: dict[str, Any], states: dict[str, Any]) -> None:
    """Load each state into the model, optimizer, ... of its name, or leave all as they were."""
    before = {name: holder.state_dict() for name, holder in holders.items()}
    try:
        for name, holder in holders.items():
            holder.load_state_dict(states[name])
    except (NeedleError, KeyError, TypeError, ValueError) as error:
        for name, holder in holders.items():
            holder.load_state_dict(before[name])
        raise StateDictError(f"load: {path}: {error}") from error
