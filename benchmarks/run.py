"""Run cases side by side: one process per system and thread count, sampled in turn."""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CASES = ("mlp_resnet", "norms", "policy", "import_time")


class Worker:
    """A warm process that runs one system of one case and answers with samples."""

    def __init__(self, case: str, system: str, size: str, threads: int) -> None:
        self.system, self.threads = system, threads
        self.samples: list[float] = []
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")
        }  # settings for broken old builds slow a current NumPy down
        count = str(threads)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NEEDLE_NUM_THREADS"):
            environment[name] = count
        if system.startswith("jax") and threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        command = [sys.executable, "-m", "benchmarks.worker", case, system, size, count]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE.parent,
            env=environment,
        )
        answer = self._read()
        self.losses, self.version = answer["losses"], answer["version"]
        self.first_step = answer["first_step"]

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.system} with {self.threads} threads ended early")

    def sample(self) -> None:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        self.samples.append(self._read()["seconds"])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def run_size(case: str, size: str, systems: list[str], rounds: int) -> dict[str, Any]:
    """Time all systems on one size; return the raw figures."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = range(1, (cores or 1) + 1)
    workers = [Worker(case, s, size, t) for s, t in itertools.product(systems, threads)]
    losses = {f"{w.system}/{w.threads}": w.losses for w in workers}
    reference = workers[0].losses
    for w in workers:
        # to a thousandth of the first: rounding flips a ReLU somewhere, and Adam feels it
        scale = 1e-3 * abs(reference[0]) if reference else 0.0
        agree = all(abs(a - b) <= scale for a, b in zip(w.losses, reference, strict=True))
        assert agree, f"{case} {size}: losses differ: {losses}"
    for _ in range(rounds):
        for w in workers:
            w.sample()
            time.sleep(0.02)  # let the threads of the one before fall asleep
    for w in workers:
        w.close()
    return {
        "losses": losses,
        "versions": {w.system: w.version for w in workers},
        "first_step_seconds": {f"{w.system}/{w.threads}": w.first_step for w in workers},
        "samples": {f"{w.system}/{w.threads}": w.samples for w in workers},
    }


def report(case: str, size: str, figures: dict[str, Any]) -> None:
    """Print each system's best median and the ratio to needle's."""
    best: dict[str, tuple[float, str]] = {}
    for name, samples in figures["samples"].items():
        system, threads = name.split("/")
        best[system] = min(
            best.get(system, (float("inf"), "")), (statistics.median(samples), threads)
        )
    needle = min(median for system, (median, _) in best.items() if system.startswith("needle"))
    for system, (median, threads) in sorted(best.items(), key=lambda item: item[1]):
        print(
            f"{case:12} {size:12} {system:14} {median * 1e3:10.3f} ms  {threads} threads  "
            f"{median / needle:6.2f} x needle",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--sizes", nargs="*")
    parser.add_argument("--systems", nargs="*")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    for case in options.cases:
        module = import_module(f"benchmarks.cases.{case}")
        for size in options.sizes or module.SIZES:
            systems = [s for s in module.SYSTEMS if not options.systems or s in options.systems]
            figures = run_size(case, size, systems, options.rounds)
            report(case, size, figures)
            figures |= {"case": case, "size": size, "cpu": cpu_name(), "date": time.strftime("%F")}
            path = HERE / "results" / f"{case}-{size}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
