"""What running a compiled program costs, and how processes share the cores.

    python -m benchmarks.running

Prints the Python around a call (1.0 us a call and 0.05 us a state array where it was written), the
price of a barrier, and the steps per second of one, two and four processes that run the 100 x 100
MLPResNet step side by side, as a ratio to one process alone. The processes are measured in turn, in
several rounds, because other work on the machine changes all of these numbers.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import numpy as np

from needle import settings
from needle.compiler.program import Buffer, Input, Kernel, Output, Program, Step
from needle.compiler.run.run import BoundProgram, load

NOTHING = "define void @nothing(ptr %t, i64 %b, i64 %e, ptr %s) {\n  ret void\n}"
SECONDS = 3.0


def program(state: int = 0, steps: int = 1) -> Program:
    """A program that does nothing, to so many state arrays, in so many steps with barriers."""
    buffers = tuple(Buffer("input", i) for i in range(state))
    return Program(
        kernels=(Kernel("nothing", NOTHING),),
        steps=(Step("nothing", buffers, blocks=2, barrier_before=True),) * steps,
        inputs=(Input((16,), "float32"),) * state,
        outputs=tuple(Output((16,), "float32", in_place=i) for i in range(state)),
    )


def call_time(bound: BoundProgram, state: int, threads: int) -> float:
    """Median microseconds of a call."""
    slots = [np.zeros(16, "float32") for _ in range(state)]
    times = []
    with settings.override(num_threads=threads, exact_threads=True):
        slots = bound.call(slots)
        for _ in range(5000):
            start = time.perf_counter()
            bound.call(slots)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def steps_per_second() -> float:
    """Compile the MLPResNet step, wait for a line, and run the step for some seconds."""
    from needle.compiler.plan.plan import compile_graph
    from needle.compiler.simplify.simplify import simplify
    from tests.compiler.compiled import state_inputs
    from tests.compiler.graphs import mlp_resnet_step, sample

    graph = simplify(mlp_resnet_step())
    bound = load(compile_graph(graph, tied=state_inputs(graph)))
    arrays, count = sample(graph), 0
    state = {o.in_place: j for j, o in enumerate(bound.program.outputs) if o.in_place is not None}
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        outputs = bound.call(arrays)
        for i, j in state.items():
            arrays[i] = outputs[j]
        del outputs
        count += 1
    return count / SECONDS


def together(processes: int) -> float:
    """Steps per second of so many processes at once."""
    command = [sys.executable, "-m", "benchmarks.running", "child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(processes)]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    return sum(float(one.communicate()[0]) for one in running)


def main() -> None:
    base, many = (call_time(load(program(state)), state, 1) for state in (0, 100))
    print(f"call {base:.2f} us, a state array {(many - base) / 100:.3f} us")
    one, more = (call_time(load(program(steps=steps)), 0, 2) for steps in (1, 1001))
    print(f"two threads: call {one:.2f} us, a barrier {(more - one) / 1000:.3f} us")
    rounds = [{n: together(n) for n in (1, 2, 4)} for _ in range(3)]
    for n in (1, 2, 4):
        ratio = statistics.median(rates[n] / rates[1] for rates in rounds)
        rate = statistics.median(rates[n] for rates in rounds)
        print(f"{n} processes: {rate:.0f} steps/s together, {ratio:.2f} of one alone")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(steps_per_second())
    else:
        main()
