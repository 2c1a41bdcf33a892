"""Weights from files of PyTorch (.pt, .pth, both forms) and of safetensors, without either running.

The newer form is a zip archive: `data.pkl`, whose tensors refer to storages by key, and the bytes
of each storage in `data/<key>`. The older one is four pickles (a magic number, a version, facts
about the machine, the object), the keys, and the storages' bytes in the order of the keys.
Reference: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from needle.data.pickles import BROKEN, array_constructors, read_pickle
from needle.errors import DataError

OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of 0x1950a86a20f9469cfc6c
ZIP_MAGIC = b"PK\x03\x04"
BFLOAT16 = "bfloat16"
STORAGES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": BFLOAT16, "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "b1",
}  # fmt: skip
SAFETENSORS = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": BFLOAT16, "I64": "i8", "I32": "i4", "I16": "i2",
    "I8": "i1", "U8": "u1", "BOOL": "b1",
}  # fmt: skip
MOST_SHARED = 64  # tensors may share storage, as layers do; a small file may not fill the memory
STATE_KEYS = ("state_dict", "model_state_dict", "model", "net")


def read_weights(path: str | os.PathLike[str], key: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays in a file of PyTorch (.pt, .pth) or safetensors by their names in it.

    bfloat16 becomes float32. Of a checkpoint with more in it than weights, the dictionary under
    `key` is taken, by default `state_dict`, `model_state_dict`, `model` or `net`. Nothing in the
    file is executed: a pickle in it may hold numbers, text, lists, dictionaries and tensors.

    Raises: DataError for a file that is damaged, or holds anything else (named), or no weights.
    See also: `ndl.load_pytorch`, which puts them into a model.
    """
    data = Path(path).read_bytes()
    try:
        if data.startswith(ZIP_MAGIC):
            return named_arrays(*read_zip(data), key, MOST_SHARED * len(data))
        if data.startswith(OLD_MAGIC):
            return named_arrays(*read_old(data), key, MOST_SHARED * len(data))
        return read_safetensors(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (*BROKEN, zipfile.BadZipFile, RuntimeError, OSError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error})") from error


class Storage(NamedTuple):
    """A tensor's memory: where it lies in the file, its dtype, how many elements."""

    key: str
    dtype: str
    elements: int


class PickledTensor(NamedTuple):
    """What a pickle says of a tensor, none of it checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class Entries(dict):
    """An OrderedDict of the file; attributes that it wants to set are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


Reader = Callable[[Storage], np.ndarray]


def read_zip(data: bytes) -> tuple[Any, Reader]:
    """Return the object in an archive, and a function that reads its storages."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise DataError("a compressed archive, which torch.save does not write")
    names = [info.filename for info in archive.infolist()]
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl")]
    if len(roots) != 1:
        raise DataError("a zip archive, but not of torch.save: it holds no data.pkl")
    (root,) = roots
    big = f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big"
    order = ">" if big else "<"

    def read(storage: Storage) -> np.ndarray:
        return numbers(archive.read(f"{root}data/{storage.key}"), storage.dtype, order)

    return read_object(io.BytesIO(archive.read(f"{root}data.pkl")), {}), read


def read_old(data: bytes) -> tuple[Any, Reader]:
    """Return the object in a stream of pickles, and a function that reads its storages."""
    file, seen = io.BytesIO(data), {}  # type: tuple[io.BytesIO, dict[str, Storage]]
    _, _, machine = (read_pickle(file, {}, encoding="utf-8") for _ in range(3))
    content = read_object(file, seen)
    order = "<" if machine["little_endian"] else ">"
    arrays = {}
    for key in read_pickle(file, {}, encoding="utf-8"):
        count = int.from_bytes(file.read(8), "little" if order == "<" else "big", signed=True)
        if count != seen[key].elements:
            raise DataError(f"storage {key}: {count} elements, expected {seen[key].elements}")
        dtype = seen[key].dtype
        arrays[key] = numbers(file.read(count * item_size(dtype)), dtype, order)
    return content, lambda storage: arrays[storage.key]


def read_object(file: io.BytesIO, seen: dict[str, Storage]) -> Any:
    """Return the object in a pickle of torch.save, tensors as `PickledTensor`; note storages."""

    def persistent_load(pid: Any) -> Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, StorageType) or any(view):
            raise DataError("holds a reference to something that is no storage: refused")
        storage = Storage(str(key), dtype.dtype, natural(count))
        if seen.setdefault(storage.key, storage) != storage:
            raise DataError(f"storage {key}: of two kinds")
        return storage

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> PickledTensor:
        return PickledTensor(storage, offset, size, stride)

    admitted: dict[str, Any] = {
        f"torch.{name}Storage": StorageType(code) for name, code in STORAGES.items()
    }
    admitted |= array_constructors() | {
        "collections.OrderedDict": lambda *entries: Entries(*entries),
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
    }
    return read_pickle(file, admitted, persistent_load, encoding="utf-8")


class StorageType(NamedTuple):
    """What stands in for `torch.FloatStorage` and the like."""

    dtype: str


def named_arrays(content: Any, read: Reader, key: str | None, most: int) -> dict[str, np.ndarray]:
    """Return the tensors in a dictionary of the file, or in the one under `key` in it.

    Raises: DataError where there are none, or of more than `most` bytes.
    """
    held = content if isinstance(content, dict) else {}
    tensors = tensors_of(held) if key is None else {}
    for name in STATE_KEYS if key is None else (key,):
        tensors = tensors or tensors_of(held.get(name))
    if not tensors:
        wanted = "no dictionary of weights" if key is None else f"no weights under {key!r}"
        raise DataError(f"holds {wanted}, but {type(content).__name__} {list(held)!r:.200}")
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        array = arrays[str(name)] = as_array(str(name), tensor, read)
        most -= array.nbytes
        if most < 0:
            raise DataError(f"{name}: tensors that share memory, over {MOST_SHARED} times the file")
    return arrays


def tensors_of(value: Any) -> dict[Any, PickledTensor]:
    """Return the tensors directly in a dictionary; none where `value` is something else."""
    items = value.items() if isinstance(value, dict) else ()
    return {name: tensor for name, tensor in items if isinstance(tensor, PickledTensor)}


def as_array(name: str, tensor: PickledTensor, read: Reader) -> np.ndarray:
    """Return a tensor as an array of its own, after all its numbers are checked."""
    storage, offset, size, stride = tensor
    if not isinstance(storage, Storage) or len(size) != len(stride):
        raise DataError(f"{name}: not a tensor's description")
    offset, size, stride = natural(offset), [*map(natural, size)], [*map(natural, stride)]
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.elements or count > storage.elements):
        text = f"size {size}, stride {stride} and offset {offset}"
        raise DataError(f"{name}: {text} do not fit {storage.elements} elements")
    flat = read(storage)
    if len(flat) != storage.elements:
        raise DataError(f"{name}: expected {storage.elements} elements, the file has {len(flat)}")
    if not count:
        return np.zeros(size, flat.dtype)
    steps = [step * flat.itemsize for step in stride]
    return np.array(np.lib.stride_tricks.as_strided(flat[offset:], size, steps))


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes of a safetensors file."""
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(data)
    except SafetensorError as error:
        text = f"expected a file of torch.save or of safetensors ({error})"
        raise DataError(" ".join(text.split())) from error
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in SAFETENSORS:
            raise DataError(f"{name}: cannot read dtype {tensor['dtype']}")
        flat = numbers(bytes(tensor["data"]), SAFETENSORS[tensor["dtype"]], "<")
        arrays[name] = flat.reshape(tensor["shape"])
    return arrays


def numbers(data: bytes, dtype: str, order: str) -> np.ndarray:
    """Return bytes as an array in the machine's byte order; bfloat16 becomes float32."""
    if dtype == BFLOAT16:
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(data, order + dtype)
    return array.astype(array.dtype.newbyteorder("="))


def item_size(dtype: str) -> int:
    """Return the bytes of one element."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def natural(value: Any) -> int:
    """Return an int of at least 0, or raise DataError."""
    if type(value) is not int or value < 0:
        raise DataError(f"expected a count, got {value!r:.40}")
    return value
