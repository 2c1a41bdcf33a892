"""Arrays and plain values in one safetensors file: written whole or not at all, no pickle."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from needle.errors import ArgumentError, DataError
from needle.files import write_bytes

METADATA_KEY = "needle"  # one key: the order of several would differ from file to file
ARRAY = "array of this file"


def write_tensors(path: str | os.PathLike[str], arrays: dict[str, Any], info: dict) -> None:
    """Write arrays under their names and `info` (what JSON can say) as metadata, atomically.

    A checksum of the arrays goes with them. Raises: ArgumentError where `info` is not JSON or an
    array has no dtype of the format, OSError that names `path`; what stood there stays.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        text = json.dumps(info | {"crc32": checksum(arrays)}, default=_plain)
    except (TypeError, ValueError) as error:
        text = f"expected numbers, text, lists and dicts, got something else ({error})"
        raise ArgumentError(f"save: {path}: {text}") from error
    try:
        data = save(arrays, {METADATA_KEY: text})
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArgumentError(f"save: {path}: cannot store these arrays: {error}") from error
    write_bytes(path, data)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict]:
    """Return (arrays, info) of a safetensors file; `info` is empty where needle did not write it.

    Raises: DataError for a corrupt or truncated file, OSError where it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):  # the system's own error for a folder, a missing file, no rights
        pass
    try:
        with safe_open(os.fspath(path), framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            info = dict(json.loads((file.metadata() or {}).get(METADATA_KEY, "{}")))
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"load: {path}: not a whole safetensors file ({reason})") from error
    if info.pop("crc32", None) not in (None, checksum(arrays)):
        raise DataError(f"load: {path}: corrupt: the arrays do not match their checksum")
    return arrays, info


def is_own(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by `write_tensors`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="np") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def checksum(arrays: dict[str, np.ndarray]) -> int:
    """Return the CRC-32 of the arrays' little-endian bytes, in the order of their names."""
    value = 0
    for name in sorted(arrays):
        array = arrays[name]
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        value = zlib.crc32(data, zlib.crc32(name.encode(), value))
    return value


def split(tree: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Return `tree` (dicts, lists, values) with each array replaced by its name in `arrays`.

    >>> from needle.training.storage import join, split
    >>> arrays = {}
    >>> split({"t": 3, "m": [np.zeros(2)]}, "_optimizer", arrays)
    {'t': 3, 'm': [{'array of this file': '_optimizer.m.0'}]}
    >>> join(_, arrays)
    {'t': 3, 'm': [array([0., 0.])]}
    """
    if isinstance(tree, dict):
        return {key: split(value, f"{name}.{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [split(value, f"{name}.{i}", arrays) for i, value in enumerate(tree)]
    if isinstance(tree, np.ndarray):
        arrays[name] = tree
        return {ARRAY: name}
    return tree


def join(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return what `split` was given, tuples as lists."""
    if isinstance(tree, dict):
        if set(tree) == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {key: join(value, arrays) for key, value in tree.items()}
    return [join(value, arrays) for value in tree] if isinstance(tree, list) else tree


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
