"""Run cases side by side: one process per system and thread count, sampled in turn."""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CASES = ("mlp_resnet", "norms", "policy", "resnet", "lstm", "gpt", "import_time")
COMPILED = ("needle-jit", "jax", "torch-compile")  # they keep what they compile on disk


class Worker:
    """A warm process that runs one system of one case and answers with samples."""

    def __init__(
        self, case: str, system: str, size: str, threads: int, cache: str, *options: str
    ) -> None:
        self.system, self.threads = system, threads
        self.samples: list[float] = []
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")
        }  # settings for broken old builds slow a current NumPy down
        count = str(threads)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NEEDLE_NUM_THREADS"):
            environment[name] = count
        for name in ("NEEDLE_CACHE", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            environment[name] = cache
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if system.startswith("jax") and threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        command = [sys.executable, "-m", "benchmarks.worker", case, system, size, count, *options]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=HERE.parent,
            env=environment,
        )
        self.answer = self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")[-2000:]
        raise RuntimeError(f"{self.system} with {self.threads} threads ended early:\n{text}")

    def sample(self) -> None:
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        self.samples.append(self._read()["seconds"])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def run_size(case: str, size: str, systems: list[str], rounds: int) -> dict[str, Any]:
    """Time all systems on one size; return the raw figures."""
    module = import_module(f"benchmarks.cases.{case}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = cores or 1
    fewest = 1 if getattr(module, "SWEEP", True) else most
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # all cores come first: their first step finds an empty cache
        threads = range(most, fewest - 1, -1)
        workers = [Worker(case, s, size, t, folder) for s, t in itertools.product(systems, threads)]
        again = [Worker(case, s, size, most, folder, "first") for s in systems if s in COMPILED]
    check_losses(case, size, workers)
    for _ in range(rounds):
        for w in workers:
            w.sample()
            time.sleep(0.02)  # let the threads of the one before fall asleep
    for w in (*workers, *again):
        w.close()
    named = {f"{w.system}/{w.threads}": w for w in workers}
    cold = {w.system: w for w in workers if w.threads == most}
    return {
        "losses": {name: w.answer["losses"] for name, w in named.items()},
        "versions": {w.system: w.answer["version"] for w in workers},
        "first_step_seconds": {
            "cold": {system: w.answer["first_step"] for system, w in cold.items()},
            "from cache": {w.system: w.answer["first_step"] for w in again},
        },
        "peak_bytes": {name: w.answer["peak_bytes"] for name, w in named.items()},
        "explain": {name: w.answer["report"] for name, w in named.items() if w.answer["report"]},
        "samples": {name: w.samples for name, w in named.items()},
    }


def check_losses(case: str, size: str, workers: list[Worker]) -> None:
    """Stop where the systems do not learn the same."""
    reference = workers[0].answer["losses"]
    for w in workers:
        # to a thousandth of the first: rounding flips a ReLU somewhere, and Adam feels it
        scale = 1e-3 * abs(reference[0]) if reference else 0.0
        losses = w.answer["losses"]
        agree = all(abs(a - b) <= scale for a, b in zip(losses, reference, strict=True))
        assert agree, f"{case} {size}: {w.system} learns {losses}, {workers[0].system} {reference}"


def report(case: str, size: str, figures: dict[str, Any]) -> None:
    """Print each system's best median and the ratio to needle's."""
    best: dict[str, tuple[float, str]] = {}
    for name, samples in figures["samples"].items():
        system, threads = name.split("/")
        best[system] = min(
            best.get(system, (float("inf"), "")), (statistics.median(samples), threads)
        )
    needle = min(median for system, (median, _) in best.items() if system.startswith("needle"))
    first = figures["first_step_seconds"]
    for system, (median, threads) in sorted(best.items(), key=lambda item: item[1]):
        cached = first["from cache"].get(system)
        peak = figures["peak_bytes"][f"{system}/{threads}"]
        print(
            f"{case:10} {size:12} {system:19} {median * 1e3:10.3f} ms  {threads} threads  "
            f"{median / needle:6.2f} x needle  first step {first['cold'][system]:.2f} s"
            + (f", cached {cached:.2f} s" if cached is not None else "")
            + (f"  {peak / 1e6:.0f} MB" if peak else ""),
            flush=True,
        )
    for name, lines in figures["explain"].items():
        for line in lines:
            print(f"{case:10} {size:12} {name:19} {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--sizes", nargs="*")
    parser.add_argument("--systems", nargs="*")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    for case in options.cases:
        module = import_module(f"benchmarks.cases.{case}")
        for size in options.sizes or module.SIZES:
            systems = [s for s in module.SYSTEMS if not options.systems or s in options.systems]
            rounds = options.rounds or getattr(module, "ROUNDS", 15)
            figures = run_size(case, size, systems, rounds)
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
