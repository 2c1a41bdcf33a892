"""The examples do what they say: run as a user runs them, on their full size."""

import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Import an example by file name."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first_program_learns_digits(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "first.py"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert float(lines[-1].removeprefix("test accuracy ")) > 0.95


def test_custom_op_prints_its_gradient_and_passes_its_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(EXAMPLES / "custom_op.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "gradient [0.04742587" in out
    assert "agree" in out


def test_textbook_batch_norm_equals_the_built_in_one() -> None:
    import needle as ndl
    from needle import nn

    mine, built_in = load("custom_module").TextbookBatchNorm(5), nn.BatchNorm1d(5)
    for _ in range(3):
        data = np.random.randn(16, 5).astype("float32") * 3 + 1
        results = []
        for bn in (mine, built_in):
            x = ndl.Tensor(data)
            y = bn(x)
            (y * y * y).sum().backward()
            results.append([y, x.grad, bn.weight.grad, bn.running_mean, bn.running_var])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-4)


def test_tabular_beats_the_linear_fit() -> None:
    network, linear = load("tabular").main()
    assert network >= 0.93
    assert 0.70 <= linear <= 0.78


def test_policy_balances_the_pole() -> None:
    assert load("policy").main() >= 195
