import time

import numpy as np

import needle as ndl
from needle import init, nn, optim


def test_an_interrupt_leaves_the_state_of_a_whole_step(interrupts):
    a, b = (nn.Parameter(init.zeros(40_000)) for _ in range(2))
    opt = optim.SGD([a, b], lr=1.0)
    count = init.zeros(1)

    model = nn.Module()
    model.steps = count

    @ndl.jit
    def step(x):
        opt.reset_grad()
        model.steps = model.steps + 1
        (-(a * x).sum() - (b * x).sum()).backward()
        opt.step()

    x = ndl.Tensor(np.ones(40_000, "float32"))
    step(x)
    done, stopped = 1, 0
    limit = time.monotonic() + 20
    while stopped < 40 and time.monotonic() < limit:
        snapshot = b.data  # so that b gets another array at each step, and a keeps its own
        try:
            interrupts.append("armed")
            step(x)
            interrupts.clear()
        except KeyboardInterrupt:
            stopped += 1
            assert np.unique(snapshot.numpy()) == [done]
        now = model.steps.item()
        assert now in (done, done + 1)
        assert np.unique(a.numpy()) == [now]
        assert np.unique(b.numpy()) == [now]
        done = now
    assert stopped == 40
