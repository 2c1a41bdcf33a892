"""How long an import takes, each in a fresh process."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

SIZES = ("fresh-process",)
SYSTEMS = ("needle", "numpy", "torch", "jax", "mlx-wheel", "tinygrad")
SWEEP = False


def build(system: str) -> Callable[[], Any]:
    name = {"mlx-wheel": "mlx.core"}.get(system, system)
    return lambda: subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
