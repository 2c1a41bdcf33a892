import numpy as np
import pytest

from needle import settings
from needle.compiler.check import machine
from needle.compiler.check.explain import Cost, costs, describe, explain, peak_memory
from needle.compiler.check.machine import Limits, limits, measure
from needle.compiler.run.run import load
from needle.compiler.target import host
from tests.compiler.handwritten import saxpy_program, sum_program

MADE_UP = Limits(
    2,
    {"float32": 1e9, "float64": 5e8},
    {"L1": 8e9, "L2": 4e9, "L3": 2e9, "memory": 1e9},
    {"L1": 1000, "L2": 10_000, "L3": 100_000},
)


@pytest.mark.parametrize(
    ("flops", "nbytes", "dtype", "seconds", "cause"),
    [
        (1_000, 800, "float32", 1e-6, "arithmetic"),
        (0, 800, "float32", 1e-7, "L1"),
        (0, 1_001, "float32", 1_001 / 4e9, "L2"),
        (0, 100_000, "float32", 5e-5, "L3"),
        (99_999, 100_001, "float32", 100_001e-9, "memory"),
        (1_000, 800, "float64", 2e-6, "arithmetic"),
    ],
)
def test_the_limit_is_the_larger_of_arithmetic_and_transfer(flops, nbytes, dtype, seconds, cause):
    limit, name = MADE_UP.bound(flops, nbytes, dtype)
    assert limit == pytest.approx(seconds)
    assert name == cause


def cost(seconds, limit=1e-6):
    program = saxpy_program(2)
    return Cost(program.steps[0], program.kernels[0], seconds, limit, "L2")


def test_more_than_the_limit_has_a_question_mark():
    bound = load(saxpy_program(2))
    lines = list(describe(bound, [cost(2e-6), cost(0.5e-6), cost(0.0)]))
    assert " 50% L2" in lines[-3]
    assert " 200%? L2" in lines[-2]
    assert " ? L2" in lines[-1]
    assert cost(2e-6).share == 0.5


def test_the_report_names_kernels_lines_costs_and_history(monkeypatch):
    monkeypatch.setattr(machine, "limits", lambda threads: MADE_UP)
    bound = load(saxpy_program(50, times=2))
    state = np.ones(3200, "float32")
    bound.call([np.ones_like(state), state], [2.0])
    before = state.copy()
    notes = {"retraced": ["opt.mode was 1, is 2 (model.py:7)"], "frozen": []}
    text = explain([("train_step(float32[3200])", bound)], notes)
    assert text.startswith("train_step(float32[3200])\n  2 kernels, 1 distinct, ")
    assert text.count("add mul; model.py:3") == 2
    assert "retraced: 1\n  opt.mode was 1, is 2 (model.py:7)" in text
    assert "frozen: 0" in text
    assert "2 threads: float32 1 GFLOP/s, float64 0 GFLOP/s, L1 8 GB/s, L2 4 GB/s" in text
    assert "512 bytes at the peak (scratch 512)" in text or "256 bytes at the peak" in text
    np.testing.assert_array_equal(state, before)


@pytest.mark.parametrize("threads", [1, 2])
def test_times_and_limits_are_of_the_threads_in_use(threads, monkeypatch):
    monkeypatch.setattr(machine, "limits", lambda n: Limits(n, *list(vars(MADE_UP).values())[1:]))
    monkeypatch.setattr("needle.compiler.check.explain.usable_cores", lambda: 8)
    bound = load(sum_program(50))
    with settings.override(num_threads=threads, exact_threads=True):
        bound.call([np.ones(3200, "float32")])
        text = explain([("f", bound)], {})
    assert f" {threads} thread{'s' * (threads > 1)}, " in text


def test_inputs_that_are_not_given_are_made_up():
    bound = load(saxpy_program(50, times=3))
    found = costs(bound, limits=MADE_UP, repeats=3)
    assert len(found) == 3
    assert all(one.seconds > 0 and one.limit > 0 for one in found)


def test_profiling_leaves_results_of_the_caller(monkeypatch):
    bound = load(sum_program(4))
    bound.vouch(0, 1)  # its next call may overwrite what is held
    held = bound.call([np.ones(256, "float32")])[0]
    costs(bound, [np.full(256, 7, "float32")], limits=MADE_UP, repeats=3)
    assert held == 256


def test_peak_memory_counts_every_kind():
    program = sum_program(10)
    assert peak_memory(program, threads=3) == {
        "arena": 128 + 40,
        "results": 4,
        "constants": 0,
        "scratch": 3 * 256,
    }


def test_a_level_is_not_slower_than_the_next():
    measured = {"L1": 5.0, "L2": 7.0, "L3": 2.0, "memory": 3.0}
    assert machine.ordered(measured) == {"L1": 7.0, "L2": 7.0, "L3": 3.0, "memory": 3.0}


def test_this_machine_is_measured():
    found = measure(1, host())
    assert 1e8 < found.flops["float64"] < found.flops["float32"] < 1e13
    rates = [found.bandwidth[level] for level in ("L1", "L2", "L3", "memory")]
    assert rates == sorted(rates, reverse=True)
    assert 1e8 < rates[-1] <= rates[0] < 1e14
    assert found.level(10**12) == "memory"


def test_measurements_are_kept_in_the_cache_folder(tmp_path, monkeypatch):
    measured = []

    def fake(threads, target):
        measured.append(threads)
        return MADE_UP

    monkeypatch.setattr(machine, "measure", fake)
    with settings.override(cache=str(tmp_path / "programs")):
        for _ in range(2):
            machine._limits.cache_clear()
            assert limits(2) == MADE_UP
        assert measured == [2]
        (file,) = (tmp_path / "programs").glob("machine-*.json")
        file.write_text("{damaged", encoding="utf-8")
        machine._limits.cache_clear()
        assert limits(2) == MADE_UP
        assert measured == [2, 2]
    with settings.override(cache="0"):
        assert limits(2) == MADE_UP
        assert measured == [2, 2, 2]
    machine._limits.cache_clear()
