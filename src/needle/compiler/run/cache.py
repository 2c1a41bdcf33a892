"""Compiled programs on disk: a file each, named by its key, in a folder only the user writes.

The key is a hash of the traced graph, the CPU, and the versions of needle and llvmlite. A file
holds the hash of its key and content: one that does not match is compiled again and replaced.
Nothing is unpickled, and nothing is ever loaded from another folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import stat
import sys
import typing
import zlib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from needle import settings
from needle.compiler.program import Program
from needle.compiler.target import Target, host
from needle.files import atomic_write, user_cache_folder

MAGIC = b"needle-2"
SUFFIX = ".program"
LARGEST = 512 << 20
"""Bytes of entries beyond which the oldest are removed."""


def key(parts: Iterable[str | bytes], target: Target | None = None) -> str:
    """The name of an entry: a hash of what determines the code, and of what generates it."""
    digest = hashlib.sha256(_generator())
    for part in (repr(target or host()), *parts):
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@functools.cache
def _generator() -> bytes:
    """A hash of llvmlite's version and of the compiler's own files (2 ms, once)."""
    digest = hashlib.sha256(metadata.version("llvmlite").encode())
    folder = Path(__file__).parents[1]
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".py", ".ll"):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.digest()


def folder() -> Path | None:
    """The cache's folder, made if it is missing; None if there is none to use.

    That is so with ``NEEDLE_CACHE=0``, where it cannot be made, and where another user owns it or
    may write to it: then one line on stderr says so.
    """
    chosen = settings.current().cache
    if chosen == "0":
        return None
    path = Path(chosen).expanduser() if chosen else user_cache_folder() / "programs"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = _unsafe(path.stat())
    except OSError as error:
        reason = str(error)
    if reason:
        _say_once(f"needle: programs are not cached in {path}: {reason}")
        return None
    return path


def _unsafe(status: os.stat_result) -> str:
    """Why code must not be loaded from there, or an empty string."""
    if not hasattr(os, "geteuid"):
        return ""  # Windows: the user's own profile
    if status.st_uid != os.geteuid():
        return "another user owns it"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users may write to it; chmod 700 allows it again"
    return ""


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


def load(name: str) -> tuple[Program, list[bytes]] | None:
    """Return the program stored under a key and its object code; None if there is none, or if the
    entry is damaged.
    """
    path = folder()
    if path is None:
        return None
    try:
        with (path / (name + SUFFIX)).open("rb") as file:
            if _unsafe(os.fstat(file.fileno())):
                return None
            return unpack(file.read(), name)
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None


def store(name: str, program: Program, objects: Iterable[bytes]) -> bool:
    """Write an entry, whole or not at all; False where that is not possible (disk full, ...)."""
    path = folder()
    if path is None:
        return False
    try:
        with atomic_write(path / (name + SUFFIX)) as file:
            if hasattr(os, "fchmod"):  # whatever the umask is: `load` refuses others' files
                os.fchmod(file.fileno(), 0o600)
            file.write(pack(program, list(objects), name))
        _trim(path)
    except OSError:
        return False
    return True


def pack(program: Program, objects: list[bytes], name: str) -> bytes:
    """The bytes of an entry: magic, hash of the rest, NumPy's archive of a JSON text and arrays."""
    head = dataclasses.asdict(dataclasses.replace(program, constants=()))
    text = json.dumps(head | {"name": name, "objects": len(objects)})
    blobs = [zlib.compress(text.encode(), 1), *objects]
    np.savez(body := io.BytesIO(), *[np.frombuffer(x, np.uint8) for x in blobs], *program.constants)
    return MAGIC + hashlib.sha256(body.getbuffer()).digest() + body.getbuffer()


def unpack(data: bytes, name: str) -> tuple[Program, list[bytes]]:
    """Read what `pack` has written.

    Raises: ValueError if the bytes are damaged, or of another key.
    """
    body = memoryview(data)[40:]
    if data[:8] != MAGIC or data[8:40] != hashlib.sha256(body).digest():
        raise ValueError("cache: the entry is damaged")
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        text, *arrays = (archive[key] for key in archive)
    head = json.loads(zlib.decompress(text))
    if head.pop("name") != name:
        raise ValueError("cache: the entry has another key")
    count = head.pop("objects")
    program = dataclasses.replace(_rebuilt(Program, head), constants=tuple(arrays[count:]))
    return program, [array.tobytes() for array in arrays[:count]]


def _rebuilt(kind: Any, values: dict[str, Any]) -> Any:
    """Undo `dataclasses.asdict` and JSON, which turned tuples into lists."""
    for name, item in _tuples(kind).items():
        parts = values[name]
        nested = dataclasses.is_dataclass(item)
        values[name] = tuple([_rebuilt(item, part) for part in parts] if nested else parts)
    return kind(**values)


@functools.cache
def _tuples(kind: Any) -> dict[str, Any]:
    """The fields that are tuples, and of what."""
    hints = typing.get_type_hints(kind).items()
    return {name: typing.get_args(x)[0] for name, x in hints if typing.get_origin(x) is tuple}


def info() -> dict[str, Any]:
    """Folder, number of entries and their bytes; the folder is None if nothing is cached."""
    path = folder()
    sizes = [status.st_size for _, status in _entries(path)]
    return {"folder": path, "entries": len(sizes), "bytes": sum(sizes)}


def clear() -> int:
    """Remove all entries, and what killed processes left behind; returns how many."""
    removed = 0
    for file, _ in _entries(folder(), ("*" + SUFFIX, ".*.tmp")):
        with contextlib.suppress(OSError):
            file.unlink()
            removed += 1
    return removed


def _entries(
    path: Path | None, patterns: tuple[str, ...] = ("*" + SUFFIX,)
) -> Iterator[tuple[Path, os.stat_result]]:
    for file in itertools.chain(*map(path.glob, patterns)) if path else ():
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            yield file, file.stat()


def _trim(path: Path) -> None:
    entries = sorted(_entries(path), key=lambda entry: entry[1].st_mtime)
    total = sum(status.st_size for _, status in entries)
    for file, status in entries:
        if total <= LARGEST:
            return
        with contextlib.suppress(OSError):
            file.unlink()
        total -= status.st_size
