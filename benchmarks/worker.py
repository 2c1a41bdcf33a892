"""One system of one case: build it, time its first steps, then a sample for each line read."""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.peers import settings

SAMPLE_SECONDS = 0.1
FIRST_STEPS, FEWEST, PATIENCE = 5, 3, 10.0  # a slow peer takes only the fewest: TinyJit needs them


def main() -> None:
    case, system, size, threads, *only_first = sys.argv[1:]
    module = import_module(f"benchmarks.cases.{case}")
    if hasattr(module, "build"):
        task, step, array = None, module.build(system), np.asarray
    else:
        task = module.task(size)
        step, array = build(task, system, int(threads))
    times, outputs = first_steps(step, array, 1 if only_first else FIRST_STEPS)
    answer: dict[str, Any] = {"first_steps": times}
    if only_first:
        print(json.dumps(answer), flush=True)
        return
    answer |= {"peak_bytes": peak_bytes(), "report": report(step)}
    answer["version"] = settings.version(system)
    if task is not None and task.random:  # from the same weights, anew
        _, outputs = first_steps(*build(task, system, int(threads), exact=True), FIRST_STEPS)
    answer["losses"] = [] if task is None else losses(outputs, task.update is not None)
    count = max(1, round(SAMPLE_SECONDS / once(step, times[-1])))
    print(json.dumps(answer), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(count):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - start) / count}), flush=True)


def build(task: Any, system: str, threads: int, exact: bool = False) -> tuple[Any, Any]:
    """Return a system's step, and the function that turns its result into an array."""
    framework, _, variant = system.partition("-")
    peer = import_module(f"benchmarks.peers.{framework}").Peer(variant, threads, exact)
    return peer.step(task), peer.array


def first_steps(
    step: Callable[[], Any], array: Callable[[Any], np.ndarray], count: int
) -> tuple[list[float], list[np.ndarray]]:
    """Return the times and results of the first steps, fewer where they are slow."""
    times: list[float] = []
    outputs = []
    while len(times) < count and (len(times) < FEWEST or sum(times[1:]) < PATIENCE):
        start = time.perf_counter()
        result = step()
        times.append(time.perf_counter() - start)
        outputs.append(array(result))
    return times, outputs


def once(step: Callable[[], Any], last: float) -> float:
    """Return the time of a step, after some more of them where they are short."""
    if last > SAMPLE_SECONDS:
        return last
    step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def losses(outputs: list[np.ndarray], trains: bool) -> list[float]:
    """Return the losses; of an output that does not change, the sizes of its parts."""
    if trains:
        return [float(output) for output in outputs]
    a = outputs[0]
    return [float(np.abs(part).mean()) for part in (a, a[:1], a[:, :1], a * (a > 0))]


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


if __name__ == "__main__":
    main()
