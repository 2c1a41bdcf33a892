"""One system of one case: build it, time its first step, then a sample for each line read."""

import json
import sys
import time
from importlib import import_module, metadata
from typing import Any

SAMPLE_SECONDS = 0.1


def main() -> None:
    case, system, size, threads, *only_first = sys.argv[1:]
    module = import_module(f"benchmarks.cases.{case}")
    step = module.build(system, size, int(threads))
    start = time.perf_counter()
    step()
    answer: dict[str, Any] = {"first_step": time.perf_counter() - start}
    if only_first:
        print(json.dumps(answer), flush=True)
        return
    for _ in range(3):
        step()
    answer |= {"peak_bytes": peak_bytes(), "report": report(step), "version": version(system)}
    answer["losses"] = module.losses(system, size, int(threads))  # from the same weights, anew
    step()
    start = time.perf_counter()
    step()
    once = time.perf_counter() - start
    count = max(1, round(SAMPLE_SECONDS / once))
    print(json.dumps(answer), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(count):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - start) / count}), flush=True)


def peak_bytes() -> int | None:
    """Return the most memory this process has had, with the interpreter and all imports."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def report(step: Any) -> list[str]:
    """Return what needle says of its kernels: one line of totals for each program."""
    explain = getattr(step, "explain", None)
    lines = explain().splitlines() if explain is not None else []
    return [line.strip() for line in lines if "of the machine's limit" in line]


def version(system: str) -> str:
    """Return the installed version of the package behind a system's name."""
    name = {"needle": "needle-dl"}.get(system.split("-")[0], system.split("-")[0])
    return f"{name} {metadata.version(name)}"


if __name__ == "__main__":
    main()
