"""`fit` compiles its step, knows when not to, and learns the same."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.training.compiled import MOST_SHAPES, CompiledStep


def problem(rows: int = 70):
    np.random.seed(0)
    X = np.random.randn(rows, 5).astype("float32")
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    return X, (X[:, 0] > 0).astype("int64"), model


def fitted(**options):
    X, y, model = problem()
    opt = ndl.optim.Adam(model.parameters(), lr=0.01)
    history = ndl.fit(
        model, (X, y), loss=nn.SoftmaxLoss(), optimizer=opt, epochs=3, batch_size=16,
        progress=False, **options,
    )  # fmt: skip
    return history, model.state_dict()


def test_compiled_and_eager_training_agree():
    (compiled, state), (eager, other) = fitted(), fitted(compile=False)
    np.testing.assert_allclose(compiled["loss"], eager["loss"], rtol=1e-5)
    for name, value in state.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-5, err_msg=name)


def make_step():
    _, _, model = problem()
    opt = ndl.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = nn.SoftmaxLoss()

    def step(x, y):
        opt.reset_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return step


def test_random_lengths_stop_compiling_after_eight_shapes(capfd: pytest.CaptureFixture[str]):
    step = CompiledStep(make_step())
    for rows in (*range(1, MOST_SHAPES + 4), 3, 11):
        x = ndl.Tensor(np.ones((rows, 5), "float32"), requires_grad=False)
        loss = step(x, ndl.Tensor(np.zeros(rows, "int64"), requires_grad=False))
        assert np.isfinite(loss.item())
    assert step.eager_steps == 4  # 9, 10, 11 rows and 11 again; 3 rows were compiled
    assert step.compiled.history.retraces == MOST_SHAPES - 1
    assert capfd.readouterr().err.count("batch shapes are compiled; further ones run eagerly") == 1
    assert "steps run eagerly: 4 (8 batch shapes are compiled)" in step.explain()


def test_a_loss_that_cannot_be_traced_trains_eagerly_and_says_so(
    capfd: pytest.CaptureFixture[str],
):
    X, y, model = problem()
    loss_fn = nn.SoftmaxLoss()
    seen = []

    def loss(output, labels):
        value = loss_fn(output, labels)
        seen.append(float(value))  # asks for a number that a program does not have yet
        return value

    opt = ndl.optim.Adam(model.parameters(), lr=0.01)
    history = ndl.fit(model, (X, y), loss=loss, optimizer=opt, epochs=2, progress=False)
    assert len(seen) == 4
    assert history["loss"][1] < history["loss"][0]
    err = capfd.readouterr().err
    assert err.count("all runs eagerly") == 1
    assert "float" in err


def test_a_run_without_the_compiler_is_the_same_as_compile_false():
    with ndl.disable_jit():
        history, _ = fitted()
    assert history["loss"] == fitted(compile=False)[0]["loss"]
