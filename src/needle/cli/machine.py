"""What a run runs on: versions, CPU, cores and threads; for config.json and `needle info`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import needle
from needle import settings

PACKAGES = ("numpy", "llvmlite", "safetensors", "tqdm", "click", "pooch", "matplotlib")


def versions() -> dict[str, str | None]:
    """Return the versions of needle, Python and the packages it can use; None: not installed."""
    return {
        "needle": needle.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def machine() -> dict[str, Any]:
    """Return the platform, CPU and its vector instructions, cores and threads."""
    from needle.compiler.run.cores import usable_cores

    cores = usable_cores()
    simd: Any = np.show_config(mode="dicts")
    return {
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu_features": simd.get("SIMD Extensions", {}).get("found", []),
        "cores": os.cpu_count(),
        "usable_cores": cores,
        "threads": settings.current().num_threads or cores,
    }


def cpu_name() -> str:
    """Return the processor's name as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
