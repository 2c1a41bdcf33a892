"""What is known of each peer before its process starts: how it is found, set and bounded."""

import os
import shutil
from ctypes.util import find_library
from importlib import metadata

PACKAGES = {"needle": "needle-dl"}  # where the name of the package is another
KEPT = ("needle-jit", "torch-compile", "jax", "mlx", "tinygrad", "tinygrad-beam")
CLANGS = ("clang", *(f"clang-{v}" for v in range(22, 13, -1)))


def version(system: str) -> str:
    """Return the installed version of the package behind a system's name."""
    framework = system.split("-")[0]
    name = PACKAGES.get(framework, framework)
    return f"{name} {metadata.version(name)}"


def missing(system: str) -> str | None:
    """Return why a system cannot run here, or None."""
    try:
        version(system)
    except metadata.PackageNotFoundError:
        return f"pip install {'mlx[cpu]' if system.startswith('mlx') else system.split('-')[0]}"
    if system in ("mlx", "mlx-lazy") and find_library("openblas") is None:
        return "needs OpenBLAS as a library of the system; mlx-wheel is MLX without it"
    if system.startswith("mlx") and shutil.which("g++") is None:
        return "needs g++"
    if system.startswith("tinygrad") and clang() is None:
        return "needs clang"
    return None


def clang() -> str | None:
    return next((name for name in CLANGS if shutil.which(name)), None)


def thread_counts(system: str, most: int) -> range:
    """Return the numbers of threads to try, all cores first.

    mlx-wheel has a BLAS without threads, and tinygrad 0.14.0 runs all kernels on one thread.
    """
    return range(1, 0, -1) if system.startswith(("tinygrad", "mlx-wheel")) else range(most, 0, -1)


def environment(system: str, threads: int, cache: str) -> dict[str, str]:
    """Return the environment of a system's process; what it compiles is kept in `cache`."""
    # settings for broken old builds of OpenBLAS slow a current one down
    variables = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NEEDLE_NUM_THREADS"):
        variables[name] = str(threads)
    return variables | own(system, threads, cache)


def own(system: str, threads: int, cache: str) -> dict[str, str]:
    """Return the variables that only this system reads."""
    match system.split("-"):
        case ["needle", *_]:
            return {"NEEDLE_CACHE": cache}
        case ["torch", *_]:
            return {"TORCHINDUCTOR_CACHE_DIR": cache}
        case ["jax", *_]:
            flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {}
            least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
            return {"JAX_COMPILATION_CACHE_DIR": cache} | least | flags
        case ["mlx", *variant]:
            # its wheel for Linux brings the reference BLAS, 15 times and more slower
            blas = {} if variant == ["wheel"] else {"LD_PRELOAD": find_library("openblas") or ""}
            return {"TMPDIR": cache} | blas
        case ["tinygrad", *variant]:
            beam = {"BEAM": "2"} if variant == ["beam"] else {}
            return {"CACHEDB": f"{cache}/tinygrad.db", "DEV": "CPU", "CC": clang() or ""} | beam
    return {}
