"""The stored values of PyTorch in float64; tools/make_references.py makes and checks them."""

from functools import cache
from pathlib import Path

import numpy as np


@cache
def file(name: str) -> dict[str, np.ndarray]:
    """Return all arrays of tests/reference/<name>.npz."""
    with np.load(Path(__file__).parent / f"{name}.npz") as arrays:
        return dict(arrays)


def case(name: str, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays of one case of a file: the entries `prefix/...`."""
    start = f"{prefix}/"
    found = {k.removeprefix(start): v for k, v in file(name).items() if k.startswith(start)}
    assert found, f"no case {prefix} in {name}.npz"
    return found
