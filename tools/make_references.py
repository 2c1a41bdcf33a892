"""Make the reference values of the tests with PyTorch, or check that the stored ones are right.

    python tools/make_references.py            writes tests/reference/<name>.npz
    python tools/make_references.py --check    recomputes, compares; exit code 1 where one differs

Needs PyTorch, which the tests themselves do not. Each module of tools/references with a function
`arrays()` gives one file; what `files()` returns is written as it is, and checked by the tests.
"""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "reference"
RTOL, ATOL = 1e-12, 1e-13  # float64: another CPU may add in another order


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src"), str(ROOT)]  # needle for its samples
    differences = []
    for name, arrays in compute().items():
        path = FOLDER / f"{name}.npz"
        if check:
            differences += [f"{path.name}: {text}" for text in compare(path, arrays)]
        else:
            FOLDER.mkdir(exist_ok=True)
            np.savez_compressed(path, **arrays)
            for file, content in files(name).items():
                (FOLDER / file).write_bytes(content)
        print(f"{path.name}: {len(arrays)} arrays")
    for text in differences:
        print(text)
    return 1 if differences else 0


def compute() -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each module of tools/references by its name."""
    import references

    names = [module.name for module in pkgutil.iter_modules(references.__path__)]
    modules = {name: importlib.import_module(f"references.{name}") for name in names}
    return {name: m.arrays() for name, m in modules.items() if hasattr(m, "arrays")}


def files(name: str) -> dict[str, bytes]:
    """Return the further files of a module of tools/references by their names."""
    module = importlib.import_module(f"references.{name}")
    return module.files() if hasattr(module, "files") else {}


def compare(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """Return one line for each array that is missing, unexpected or different."""
    if not path.exists():
        return ["is not there"]
    with np.load(path) as stored:
        old = dict(stored)
    problems = [f"{name} is stored, not computed" for name in old.keys() - arrays.keys()]
    problems += [f"{name} is computed, not stored" for name in arrays.keys() - old.keys()]
    for name in old.keys() & arrays.keys():
        a, b = old[name], arrays[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            problems.append(f"{name} is {a.dtype}{a.shape}, computed {b.dtype}{b.shape}")
        elif not np.allclose(a, b, rtol=RTOL, atol=ATOL, equal_nan=True):
            problems.append(f"{name} differs by {np.nanmax(np.abs(a - b)):.3g}")
    return sorted(problems)


if __name__ == "__main__":
    sys.exit(main())
