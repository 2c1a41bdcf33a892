"""How long an import takes, each in a fresh process."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

SIZES = ("fresh-process",)
SYSTEMS = ("needle", "numpy", "torch", "jax")


def losses(system: str, size: str, threads: int) -> list[float]:
    """There is no loss to compare."""
    return []


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    return lambda: subprocess.run([sys.executable, "-c", f"import {system}"], check=True)
