"""Run cases side by side: one process per system and thread count, sampled in turn."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.peers import settings

HERE = Path(__file__).parent
CASES = ("mlp_resnet", "norms", "policy", "resnet", "lstm", "gpt", "import_time")
START_SECONDS = 120.0  # a peer that has not taken its first steps by then is left out
SAMPLE_SECONDS = 6.0  # a system whose samples have taken so long gets no more of them
FEWEST_SAMPLES = 2


class UnfitError(Exception):
    """A peer could not run, or was too slow to start: it is left out, and the reason kept."""


class DisagreementError(Exception):
    """A system does not learn what the first one learns."""


class Worker:
    """A warm process that runs one system of one case and answers with samples."""

    def __init__(
        self, case: str, system: str, size: str, threads: int, cache: str, *options: str
    ) -> None:
        self.system, self.threads = system, threads
        self.name = f"{system}/{threads}"
        self.samples: list[float] = []
        self.spent = 0.0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process
        count = str(threads)
        command = [sys.executable, "-m", "benchmarks.worker", case, system, size, count, *options]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=HERE.parent,
            env=settings.environment(system, threads, cache),
        )
        alarm = threading.Timer(START_SECONDS, self.process.kill)
        alarm.start()
        try:
            self.answer = self._read()
        except Exception:
            self.close()
            raise
        finally:
            alarm.cancel()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        if self.process.wait() == -9:
            raise UnfitError(f"no first steps in {START_SECONDS:.0f} s")
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()[-2000:]
        if self.system.startswith("needle"):
            raise RuntimeError(f"{self.name} ended early:\n{text}")
        raise UnfitError(text.splitlines()[-1] if text else "ended early")

    def sample(self) -> None:
        """Take a sample, unless those so far took too long."""
        if self.spent > SAMPLE_SECONDS and len(self.samples) >= FEWEST_SAMPLES:
            return
        assert self.process.stdin is not None
        start = time.perf_counter()
        print("go", file=self.process.stdin, flush=True)
        self.samples.append(self._read()["seconds"])
        self.spent += time.perf_counter() - start

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()  # closes its pipes
        self.errors.close()


def run_size(case: str, size: str, systems: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time all systems on one size; return the raw figures."""
    workers: list[Worker] = []
    again: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for system in systems:
                try:
                    start(case, size, system, f"{folder}/{system}", workers, again)
                except UnfitError as error:
                    left_out[system] = str(error)
                    print(f"{case:10} {size:12} {system:19} left out: {error}", flush=True)
            check_losses(case, size, workers)
            for _ in range(rounds):
                for w in workers:
                    w.sample()
                    time.sleep(0.02)  # let the threads of the one before fall asleep
        finally:
            for w in workers:
                w.close()
    cold = {w.system: w.answer["first_steps"] for w in reversed(workers)}
    return {
        "left_out": left_out,
        "losses": {w.name: w.answer["losses"] for w in workers},
        "versions": {w.system: w.answer["version"] for w in workers},
        "first_step_seconds": {
            "cold": {system: times[0] for system, times in cold.items()},
            "from cache": again,
        },
        "first_steps_seconds": cold,
        "peak_bytes": {w.name: w.answer["peak_bytes"] for w in workers},
        "explain": {w.name: w.answer["report"] for w in workers if w.answer["report"]},
        "bounds_seconds": {"start": START_SECONDS, "samples": SAMPLE_SECONDS},
        "samples": {w.name: w.samples for w in workers},
    }


def start(
    case: str,
    size: str,
    system: str,
    folder: str,
    workers: list[Worker],
    again: dict[str, float],
) -> None:
    """Start a system's processes, and take its first step again from what the first one kept."""
    reason = settings.missing(system)
    if reason is not None:
        raise UnfitError(f"not installed: {reason}")
    Path(folder).mkdir()
    module = import_module(f"benchmarks.cases.{case}")
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = settings.thread_counts(system, most)
    # the first finds an empty folder
    for threads in counts if getattr(module, "SWEEP", True) else counts[:1]:
        workers.append(Worker(case, system, size, threads, folder))
    if system in settings.KEPT and hasattr(module, "task"):
        w = Worker(case, system, size, counts[0], folder, "first")
        again[system] = w.answer["first_steps"][0]
        w.close()


def check_losses(case: str, size: str, workers: list[Worker]) -> None:
    """Stop where the systems do not learn the same; a slow one has taken fewer steps."""
    if not workers:
        raise UnfitError("none of the systems runs here")
    reference = workers[0].answer["losses"]
    # to a thousandth of the first: rounding flips a ReLU somewhere, and Adam feels it
    scale = 1e-3 * abs(reference[0]) if reference else 0.0
    for w in workers:
        losses = w.answer["losses"]
        if not all(abs(a - b) <= scale for a, b in zip(losses, reference, strict=False)):
            raise DisagreementError(f"{case} {size}: {w.name} learns {losses}, not {reference}")


def report(case: str, size: str, figures: dict[str, Any]) -> None:
    """Print each system's best median and the ratio to needle's."""
    best: dict[str, tuple[float, str]] = {}
    for name, samples in figures["samples"].items():
        system, threads = name.split("/")
        best[system] = min(
            best.get(system, (float("inf"), "")), (statistics.median(samples), threads)
        )
    needle = [median for system, (median, _) in best.items() if system.startswith("needle")]
    first = figures["first_step_seconds"]
    for system, (median, threads) in sorted(best.items(), key=lambda item: item[1]):
        cached = first["from cache"].get(system)
        peak = figures["peak_bytes"][f"{system}/{threads}"]
        count = len(figures["samples"][f"{system}/{threads}"])
        print(
            f"{case:10} {size:12} {system:19} {median * 1e3:10.3f} ms  {threads} threads  "
            + (f"{median / min(needle):6.2f} x needle  " if needle else "")
            + f"first step {first['cold'][system]:.2f} s"
            + (f", cached {cached:.2f} s" if cached is not None else "")
            + (f"  {peak / 1e6:.0f} MB" if peak else "")
            + f"  {count} samples",
            flush=True,
        )
    for name, lines in figures["explain"].items():
        for line in lines:
            print(f"{case:10} {size:12} {name:19} {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--sizes", nargs="*")
    parser.add_argument("--systems", nargs="*")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    failures = 0
    for case in options.cases:
        module = import_module(f"benchmarks.cases.{case}")
        for size in options.sizes or module.SIZES:
            began = time.perf_counter()
            systems = options.systems or module.SYSTEMS
            rounds = options.rounds or getattr(module, "ROUNDS", 15)
            try:
                figures = run_size(case, size, systems, rounds)
            except (DisagreementError, UnfitError) as error:
                print(f"{case:10} {size:12} stopped: {error}", flush=True)
                failures += 1
                continue
            report(case, size, figures)
            print(f"{case:10} {size:12} took {time.perf_counter() - began:.0f} s", flush=True)
            figures |= {"case": case, "size": size, "cpu": cpu_name(), "date": time.strftime("%F")}
            path = HERE / "results" / f"{case}-{size}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return min(failures, 1)


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
