"""The settings of a process: read once from the environment, validated, overridden in a block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from needle.errors import ArgumentError


@dataclass(frozen=True)
class Settings:
    """All settings; the environment variable and the default of each stand beside it.

    `num_threads`: threads of a compiled program (``NEEDLE_NUM_THREADS``; 0: all usable cores).
    `exact_threads`: run on exactly `num_threads` threads, even where there are fewer cores or one
    thread would be faster (no variable; for tests).
    `jit`: whether compiled functions compile (``NEEDLE_JIT``; 1).
    `check`: 1 compares each compiled call with the interpreter, 2 with an eager run too
    (``NEEDLE_CHECK``; 0).
    `cache`: folder of compiled programs (``NEEDLE_CACHE``; "": the user's cache folder, "0": none).

    >>> from needle.settings import Settings
    >>> Settings(num_threads=2).check
    0
    >>> Settings(check=3)
    Traceback (most recent call last):
        ...
    needle.errors.ArgumentError: settings: expected check to be 0, 1 or 2, got 3
    """

    num_threads: int = 0
    exact_threads: bool = False
    jit: bool = True
    check: int = 0
    cache: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.num_threads, bool) or not isinstance(self.num_threads, int):
            raise ArgumentError(f"settings: expected num_threads an int, got {self.num_threads!r}")
        if self.num_threads < 0:
            raise ArgumentError(f"settings: expected num_threads >= 0, got {self.num_threads}")
        if self.check not in (0, 1, 2):
            raise ArgumentError(f"settings: expected check to be 0, 1 or 2, got {self.check!r}")
        if not isinstance(self.jit, bool):
            raise ArgumentError(f"settings: expected jit True or False, got {self.jit!r}")
        if not isinstance(self.cache, str):
            raise ArgumentError(f"settings: expected cache a string, got {self.cache!r}")


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables; an unset or empty one keeps its default.

    Raises: ArgumentError that names the variable.

    >>> from needle.settings import from_environment
    >>> from_environment({"NEEDLE_JIT": "0", "NEEDLE_NUM_THREADS": "3"}).num_threads
    3
    """
    values: dict[str, Any] = {"cache": environ.get("NEEDLE_CACHE", "")}
    for field, largest in (("num_threads", 4096), ("jit", 1), ("check", 2)):
        variable = f"NEEDLE_{field.upper()}"
        text = environ.get(variable, "").strip()
        if not text:
            continue
        if not text.isascii() or not text.isdigit() or int(text) > largest:
            raise ArgumentError(
                f"{variable}: expected an integer from 0 to {largest}, got {text!r}"
            )
        values[field] = bool(int(text)) if field == "jit" else int(text)
    return Settings(**values)


_current: Settings | None = None


def current() -> Settings:
    """Return the settings in force; the environment is read at the first call."""
    global _current
    if _current is None:
        _current = from_environment()
    return _current


def change(**values: Any) -> None:
    """Set some settings for the rest of the process.

    Raises: ArgumentError for a value outside its range, TypeError for an unknown name.
    """
    global _current
    _current = replace(current(), **values)


@contextlib.contextmanager
def override(**values: Any) -> Iterator[Settings]:
    """Set some settings inside a ``with`` block, for all threads.

    >>> from needle import settings
    >>> with settings.override(jit=False) as inside:
    ...     inside.jit, settings.current().jit
    (False, False)
    """
    global _current
    before = current()
    change(**values)
    try:
        yield current()
    finally:
        _current = before


def set_num_threads(n: int) -> None:
    """Set how many threads a compiled program runs on; 0 means all usable cores.

    Usable are the cores of the process's affinity, and of its cgroup's quota, rounded down; more
    are never used. Results do not depend on it, and nothing is compiled again.

    Raises: ArgumentError for a negative number or something that is not an int.

    >>> from needle.settings import current, set_num_threads
    >>> set_num_threads(1)
    >>> current().num_threads
    1
    >>> set_num_threads(0)
    """
    change(num_threads=n)
