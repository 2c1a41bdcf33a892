"""Print the microseconds of Python around the foreign call of compiled functions.

The foreign call is replaced by nothing, and each number is the minimum of many runs, so a loaded
machine does little harm. The budget is 3 us plus 0.1 us for each Tensor of the state.

    python tools/call_cost.py
"""

import functools
import gc
import time
from collections.abc import Callable

import numpy as np

import needle as ndl
from needle import init, nn, optim
from needle.compiler.run import pool

X = ndl.Tensor(np.ones(4, "float32"), requires_grad=False)


def microseconds(call: Callable[[], object], calls: int = 200, runs: int = 60) -> float:
    """Return the minimum over `runs` of the mean over `calls`."""
    best = float("inf")
    gc.disable()
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - start) / calls)
    gc.enable()
    return best * 1e6


def training(count: int, kind: Callable[..., optim.Optimizer]) -> Callable[[ndl.Tensor], object]:
    """Return a compiled step of `count` parameters."""
    parameters = [nn.Parameter(init.ones(4)) for _ in range(count)]
    optimizer = kind(parameters, lr=1e-3)

    @ndl.jit  # type: ignore[untyped-decorator]
    def step(x: ndl.Tensor) -> ndl.Tensor:
        optimizer.reset_grad()
        loss = (parameters[0] * x).sum()
        for p in parameters[1:]:
            loss = loss + (p * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return step  # type: ignore[no-any-return]


def main() -> None:
    """Print a line for each kind of call."""
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 2)).eval()
    observation = ndl.Tensor(np.ones((1, 8), "float32"), requires_grad=False)
    add, infer = ndl.jit(lambda x: x + 1), ndl.jit(model)
    cases = {
        "one argument, no state": (add, X),
        "inference, 4 parameters, result with a gradient": (infer, observation),
        "SGD, 4 parameters": (training(4, optim.SGD), X),
        "SGD, 96 parameters": (training(96, optim.SGD), X),
        "Adam, 32 parameters": (training(32, optim.Adam), X),
    }
    for step, x in cases.values():
        for _ in range(3):
            step(x)
    pool.current().run = lambda block: 0  # type: ignore[assignment]
    for name, (step, x) in cases.items():
        state = len(step._state.tensors)
        cost = microseconds(functools.partial(step, x))
        print(f"{name:48s} {cost:6.2f} us; {state:3} state Tensors: {3 + 0.1 * state:.1f} us")


if __name__ == "__main__":
    main()
