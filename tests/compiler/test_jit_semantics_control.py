"""What `needle.jit` promises about composition and control, row by row."""

import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, optim, settings
from needle.compiler.graph.graph import Build, Graph
from needle.compiler.memory import address, aligned
from needle.compiler.run import pool as pools
from needle.compiler.simplify import simplify
from needle.errors import CheckError, TraceError
from tests.compiler.compiled import count

X = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")


def make_model(seed=0):
    np.random.seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


# ---- jit(model)


def test_a_compiled_model_is_a_node_with_gradients(jit):
    model = make_model()
    f = jit(model)

    def gradients(apply):
        for p in model.parameters():
            p.grad = None
        x = ndl.Tensor(X)
        (apply(x) ** 2).sum().backward()
        return [x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())]

    expected = gradients(model)
    for _ in range(2):
        for a, b in zip(gradients(f), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    y = f(ndl.Tensor(X))
    assert len(y.inputs) == 5 and type(y.op).__name__ == "CompiledOp"
    assert count(f) == 1


def test_the_gradient_program_is_compiled_at_the_first_backward(jit):
    f = jit(make_model())
    y = f(ndl.Tensor(X))
    assert f.latest._gradients == {}
    y.sum().backward()
    assert len(f.latest._gradients) == 1


def test_gradients_use_the_inputs_of_the_call(jit):
    model = nn.Linear(3, 2)
    f = jit(lambda x: model(x) * model.weight.sum())
    x = ndl.Tensor(X)
    y, z = f(x), model(x) * model.weight.sum()
    z.sum().backward()
    expected = x.grad.numpy()
    y = f(x)
    model.weight.data = ndl.zeros(3, 2)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_gradients_use_the_state_before_the_call(jit, own):
    class Fading(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = ndl.Tensor(np.full(64, 8.0, "float32"), requires_grad=False)

        def forward(self, x):
            y = x * self.scale
            self.scale = self.scale * 0.5
            return y

    model = Fading()
    if own:  # an array that the program may write in place, or one that it copies first
        model.scale.cached_data = aligned((64,), "float32")
    else:
        model.scale.cached_data = np.empty(65, "float32")[1:]
    model.scale.cached_data[:] = 8
    f, x = jit(model), ndl.Tensor(np.ones(64, "float32"))
    for k in range(4):
        f(x).sum().backward()
        assert set(x.grad.tolist()) == {8.0 / 2**k}
        assert set(model.scale.tolist()) == {4.0 / 2**k}


def test_a_result_that_is_a_node_does_not_hold_state_it_does_not_need():
    norm = nn.BatchNorm1d(64)
    f, x = ndl.jit(norm), ndl.Tensor(np.ones((4, 64), "float32"))
    kept = [f(x), f(x)]
    before = address(norm.running_mean.cached_data)
    kept.append(f(x))
    assert address(norm.running_mean.cached_data) == before
    assert all(y.requires_grad for y in kept)


def test_dropout_in_the_gradient_is_that_of_the_call(jit):
    drop = nn.Dropout(0.5)
    f = jit(lambda x: drop(x))
    x = ndl.Tensor(np.ones((4, 4), "float32"))
    y = f(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_two_results_with_gradients(jit):
    w = nn.Parameter(init.ones(3))
    f = jit(lambda x: {"a": x * w, "b": [(x * w * w).sum()]})
    x = ndl.Tensor(X[0])
    out = f(x)
    (out["a"].sum() + out["b"][0] * 2).backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(3, 3.0))
    np.testing.assert_allclose(w.grad.numpy(), X[0] * 5, rtol=1e-6)


def test_second_derivatives_run_eagerly(jit):
    w = nn.Parameter(init.ones(3) * 2)
    f = jit(lambda x: (x**3 * w).sum())

    def second(apply):
        x = ndl.Tensor(X[0])
        apply(x).backward()
        grad = x.grad
        w.grad = None
        (grad * grad).sum().backward()
        return x.grad.numpy(), w.grad.numpy()

    for a, b in zip(second(f), second(lambda x: (x**3 * w).sum()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_no_grad_gives_constants(jit):
    model = make_model()
    f = jit(model)
    with ndl.no_grad():
        y = f(X)
    assert not y.requires_grad and y.op is None
    assert f(X).requires_grad


# ---- nesting


def test_nested_functions_are_inlined(jit):
    model = make_model()
    inner = jit(lambda x: model(x).sum())
    opt = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        opt.reset_grad()
        loss = inner(x)
        loss.backward()
        opt.step()
        return loss

    outer = jit(step)
    first = outer(X).item()
    assert outer(X).item() < first
    assert count(inner) == 0 and count(outer) == 1


def test_a_method_is_compiled_for_each_instance(jit):
    class Agent:
        def __init__(self, start):
            self.w = ndl.Tensor([start])

        @ndl.jit
        def act(self, x):
            self.w = self.w + x
            return self.w * 2

    a, b = Agent(1.0), Agent(10.0)
    x = ndl.Tensor([1.0])
    assert [a.act(x).item(), a.act(x).item(), b.act(x).item()] == [4, 6, 22]
    assert a.w.item() == 3 and type(a.w) is ndl.Tensor


# ---- switched off


def test_disable_jit_and_needle_jit_run_eagerly(jit):
    ran = []

    def f(x):
        ran.append(1)
        return x * 2

    with ndl.disable_jit():
        assert jit(f)(ndl.Tensor([1.0])).item() == 2
    assert ran == [1]
    with pytest.raises(TraceError):
        jit(f)(ndl.Tensor([1.0]))


def run_python(code, **environ):
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "NEEDLE_CACHE": "0", **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_needle_jit_0_in_the_environment():
    code = "import needle as ndl; f = ndl.jit(lambda x: x * 2); print(f(ndl.Tensor([1.0])), f)"
    assert run_python(code, NEEDLE_JIT="0").stdout == "[2.] <needle.jit <lambda>, 0 programs>\n"


def test_without_llvmlite_one_line_and_everything_runs_eagerly():
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import needle as ndl\n"
        "f, g = ndl.jit(lambda x: x * 2), ndl.jit(lambda x: x * 3)\n"
        "print(f(ndl.Tensor([1.0])), f(ndl.Tensor([1.0])), g(ndl.Tensor([1.0])))\n"
    )
    done = run_python(code)
    assert done.stdout == "[2.] [2.] [3.]\n"
    assert done.stderr.count("\n") == 1 and "running eagerly" in done.stderr


def test_importing_needle_loads_no_compiler():
    code = (
        "import sys, needle as ndl\n"
        "print([n for n in sys.modules if 'llvmlite' in n or n.startswith('needle.compiler')])"
    )
    assert run_python(code).stdout == "[]\n"


# ---- checks


def test_check_1_compares_with_the_interpreter(monkeypatch):
    f = ndl.jit(lambda x: x * 2 + 1)
    x = ndl.Tensor([1.0, 2.0])
    with settings.override(check=1):
        assert f(x).tolist() == [3, 5]
        wrong = f.latest.executable.run
        monkeypatch.setattr(f.latest.executable, "run", lambda *a: [wrong(*a)[0] + 0.5])
        with pytest.raises(CheckError, match=r"(?s)add_scalar.*test_jit_semantics_control.*0\.5"):
            f(x)


def test_check_2_finds_what_tracing_froze():
    class Clock:
        time = 1.0

    f = ndl.jit(lambda x: x * Clock.time)
    x = ndl.Tensor([1.0, 2.0])
    with settings.override(check=2):
        assert f(x).tolist() == [1, 2]
        Clock.time = 3.0
        with pytest.raises(CheckError, match="eager"):
            f(x)


def test_check_2_compares_the_state_that_is_written():
    class Clock:
        time = 1.0

    model = nn.Module()
    model.mean = init.zeros(2, dtype="float64")

    @ndl.jit
    def f(x):
        model.mean = model.mean + x.data * Clock.time

    x = ndl.Tensor([1.0, 2.0])
    with settings.override(check=2):
        f(x)
        Clock.time = 3.0
        with pytest.raises(CheckError, match=r"model\.mean differs from the eager run by 4"):
            f(x)
    assert model.mean.tolist() == [2, 4]  # the compiled call's


def test_check_2_holds_where_adam_scales_up_rounding_noise():
    """The columns whose mean is taken off have no gradient but what rounding leaves."""
    state = np.random.RandomState(0)
    bias, data = nn.Parameter(init.zeros(64)), state.randn(1000, 64).astype("float32")
    centred = np.where(np.arange(64) < 32, np.float32(1), np.float32(0))
    opt = optim.Adam([bias], lr=0.1)

    @ndl.jit
    def step(x):
        opt.reset_grad()
        h = x + bias
        ((h - h.mean(0, keepdims=True) * centred) * data[::-1]).sum().backward()
        opt.step()

    with settings.override(check=2):
        step(data)


def at_a_kink():
    """A step whose ReLUs get what rounding leaves of the eager run's sums."""
    state = np.random.RandomState(0)
    data = state.randn(64, 300).astype("float32")
    weight = nn.Parameter(ndl.Tensor(state.randn(1, 300).astype("float32")))
    sums = (ndl.Tensor(data) * weight.data).sum(1).detach()

    class Clock:
        time = 1.0

    def step(x):
        weight.grad = None
        out = ndl.ops.relu((x * weight).sum(1) - sums)
        (out * Clock.time).sum().backward()

    return step, data, weight, Clock


def test_check_2_holds_where_rounding_decides_a_relu():
    step, data, weight, clock = at_a_kink()
    step(ndl.Tensor(data))
    eager = weight.grad.numpy()
    compiled = ndl.jit(step)
    with settings.override(check=2):
        compiled(ndl.Tensor(data))
        assert np.abs(weight.grad.numpy() - eager).max() > 0.1  # they do go other ways
        clock.time = 2.0
        with pytest.raises(CheckError, match=r"weight\.grad differs .*tracing froze"):
            compiled(ndl.Tensor(data))


def test_check_2_says_when_the_function_does_not_run_in_float64():
    step, data, *_ = at_a_kink()

    def picky(x):
        if x.dtype != "float32":
            raise ValueError("only float32")
        step(x)

    with settings.override(check=2), pytest.raises(CheckError, match=r"or rounding .*only float32"):
        ndl.jit(picky)(ndl.Tensor(data))


def test_check_2_finds_a_pass_that_changes_the_program(monkeypatch):
    def wrong(graph):
        build = Build()
        return Graph(graph.inputs, tuple(build.unary("neg", x) for x in graph.outputs))

    monkeypatch.setattr(simplify, "simplify", wrong)
    with (
        settings.override(check=2, cache="0"),
        pytest.raises(CheckError, match=r"result differs .* by 2: the compiler changed"),
    ):
        ndl.jit(lambda x: x * 1.0)(ndl.Tensor([1.0]))


def test_check_2_finds_a_result_in_the_wrong_place(monkeypatch):
    f = ndl.jit(lambda x: x * 2)
    x = ndl.Tensor([1.0])
    f(x)
    run = f.latest.run
    monkeypatch.setattr(f.latest, "run", lambda *call: run(*call) + 1)
    with settings.override(check=2), pytest.raises(CheckError, match="wrong place"):
        f(x)


def test_check_2_holds_for_a_training_step_with_dropout():
    np.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    opt = optim.Adam(model.parameters())

    @ndl.jit
    def step(x):
        opt.reset_grad()
        loss = (model(x) ** 2).mean() + init.randn(1).sum()
        loss.backward()
        opt.step()
        return loss

    with settings.override(check=2):
        np.random.seed(1)
        losses = [step(X).item() for _ in range(3)]
    assert opt.t == 3 and len(set(losses)) == 3


# ---- threads, interrupts, looking


def test_calls_from_threads_are_serialised(jit):
    p = nn.Parameter(init.zeros(1))
    opt = optim.SGD([p], lr=1.0)

    @jit
    def step():
        opt.reset_grad()
        (-p.sum()).backward()
        opt.step()

    def work():
        for _ in range(50):
            step()

    step()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert p.numpy().tolist() == [201.0]


def test_a_call_is_one_foreign_call(monkeypatch):
    model = make_model()
    opt = optim.Adam(model.parameters())

    @ndl.jit
    def step(x):
        opt.reset_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    step(X)
    pool, calls = pools.current(), []
    run = pool.run
    monkeypatch.setattr(pool, "run", lambda block: calls.append(block) or run(block))
    for _ in range(3):
        step(X)
    assert len(calls) == 3


def test_warmup_compiles_without_running(jit):
    p = nn.Parameter(init.ones(3))
    opt = optim.Adam([p])

    @jit
    def step(x):
        opt.reset_grad()
        loss = (p * x).sum()
        loss.backward()
        opt.step()
        return loss

    step.warmup(X[0])
    assert p.numpy().tolist() == [1, 1, 1] and opt.t == 0 and p.grad is None
    step(X[0])
    assert count(step) == 1 and opt.t == 1


def test_graph_and_llvm_ir_can_be_looked_at():
    f = ndl.jit(lambda x: np.exp(x) + 1)
    with pytest.raises(ValueError, match="was not called yet"):
        f.graph
    f(X)
    assert "exp" in str(f.graph) and "test_jit_semantics_control.py" in str(f.graph)
    assert "define" in f.llvm_ir
    report = f.explain()
    assert "exp" in report and "traced: 1" in report
    assert "exp" in report._repr_html_()  # in notebooks, a table
    assert re.search(r"fused: 1\n  <lambda>\(float32\[5, 3\]\): \d nodes in 1 kernels", report)


def test_lazy_mode_inside_a_trace(jit, monkeypatch):
    model = make_model()

    def f(x):
        monkeypatch.setattr(ndl.autograd, "LAZY_MODE", True)
        y = model(x).sum()
        monkeypatch.setattr(ndl.autograd, "LAZY_MODE", False)
        return y

    eager = model(ndl.Tensor(X)).sum().item()
    np.testing.assert_allclose(jit(f)(ndl.Tensor(X)).item(), eager, rtol=1e-5)


def test_an_interrupt_leaves_the_state_of_a_whole_step(monkeypatch):
    p = nn.Parameter(init.zeros(4))
    opt = optim.Adam([p], lr=1.0)

    @ndl.jit
    def step():
        opt.reset_grad()
        (p.sum() * -1.0).backward()
        opt.step()

    step(), step()
    whole = p.numpy().copy()
    run = step.latest.executable.run

    def late(*args):
        run(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(step.latest.executable, "run", late)
    with pytest.raises(KeyboardInterrupt):
        step()
    assert opt.t == 3 and (p.numpy() > whole).all()

    def early(*args):
        raise KeyboardInterrupt

    whole = p.numpy().copy()
    monkeypatch.setattr(step.latest.executable, "run", early)
    with pytest.raises(KeyboardInterrupt):
        step()
    assert opt.t == 3
    np.testing.assert_array_equal(p.numpy(), whole)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this platform")
def test_a_fork_after_use_is_safe():
    code = (
        "import os, numpy as np, needle as ndl\n"
        "f = ndl.jit(lambda x: (x * 2).sum())\n"
        "x = ndl.Tensor(np.ones(100000))\n"
        "print(f(x), flush=True)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    print(f(x), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(f(x))\n"
    )
    assert run_python(code).stdout == "200000.0\n200000.0\n200000.0\n"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this platform")
def test_a_fork_while_another_thread_is_in_a_call_is_safe():
    code = (
        "import os, signal, threading, needle as ndl\n"
        "inside, done = threading.Event(), threading.Event()\n"
        "def slow(x):\n"
        "    inside.set(), done.wait(20)\n"
        "    return x + 1\n"
        "f, g, x = ndl.jit(slow), ndl.jit(lambda x: x * 2), ndl.Tensor([1.0])\n"
        "thread = threading.Thread(target=f, args=(x,))\n"
        "thread.start(), inside.wait(20)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(10)\n"
        "    print(g(x), flush=True)\n"
        "    os._exit(0)\n"
        "done.set(), thread.join()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert run_python(code).stdout == "[2.]\n"


def test_a_function_without_results(jit):
    f = jit(lambda x: None)
    assert f(X) is None and f(X) is None


def test_static_with_unnamed_arguments_is_an_error():
    with pytest.raises(ValueError, match="no argument named n"):
        ndl.jit(lambda x: x, static=("n",))(X)
    with pytest.raises(ValueError, match="`xs` has none"):
        ndl.jit(lambda *xs, n=1: xs[0], static=("n",))(X)


def test_unused_host_draws_keep_the_stream_in_order(jit):
    def f(x):
        init.rand(3)
        return x * init.rand(1)

    np.random.seed(0)
    expected = f(ndl.Tensor([1.0])).item()
    np.random.seed(0)
    np.testing.assert_allclose(jit(f, random="numpy")(ndl.Tensor([1.0])).item(), expected)


def test_clipping_and_every_schedule_inside_a_step(jit):
    kinds = [
        lambda opt: optim.lr_scheduler.StepLR(opt, 2),
        lambda opt: optim.lr_scheduler.CosineAnnealingLR(opt, 10),
        lambda opt: optim.lr_scheduler.LinearLR(opt, total_iters=3),
        lambda opt: optim.lr_scheduler.OneCycleLR(opt, 0.1, 10),
    ]
    for make in kinds:
        losses = []
        for wrap in (lambda f: f, jit):
            model = make_model()
            opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            schedule = make(opt)

            def step(x, model=model, opt=opt, schedule=schedule):
                opt.reset_grad()
                loss = (model(x) ** 2).sum()
                loss.backward()
                opt.clip_grad_norm(0.5)
                optim.clip_grad_value(model.parameters(), 0.3)
                opt.step()
                schedule.step()
                return loss

            compiled = wrap(step)
            losses.append([compiled(X).item() for _ in range(5)] + [opt.lr])
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
