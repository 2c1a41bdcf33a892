"""One system of one case: build it, report its losses, then time a sample for each line read."""

import json
import sys
import time
from importlib import import_module, metadata

SAMPLE_SECONDS = 0.1


def main() -> None:
    case, system, size, threads = sys.argv[1:]
    module = import_module(f"benchmarks.cases.{case}")
    losses = module.losses(system, size, int(threads))
    step = module.build(system, size, int(threads))
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    for _ in range(3):
        step()
    start = time.perf_counter()
    step()
    once = time.perf_counter() - start
    count = max(1, round(SAMPLE_SECONDS / once))
    answer = {"losses": losses, "version": version(system), "first_step": first}
    print(json.dumps(answer), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(count):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - start) / count}), flush=True)


def version(system: str) -> str:
    """Return the installed version of the package behind a system's name."""
    name = {"needle": "needle-dl"}.get(system.split("-")[0], system.split("-")[0])
    return f"{name} {metadata.version(name)}"


if __name__ == "__main__":
    main()
