"""The harness of the benchmarks: agreement of losses, bounds for slow systems, absent peers."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import run, worker
from benchmarks.peers import settings
from benchmarks.task import Task


def learner(*losses):
    return SimpleNamespace(name="some/1", answer={"losses": list(losses)})


def test_systems_that_learn_the_same_agree_to_a_thousandth():
    run.check_losses("case", "size", [learner(2.0, 1.0, 0.5), learner(2.001, 1.001, 0.499)])
    with pytest.raises(run.DisagreementError, match="some/1 learns"):
        run.check_losses("case", "size", [learner(2.0, 1.0, 0.5), learner(2.0, 1.0, 0.503)])


def test_a_slow_system_is_compared_by_the_steps_it_took():
    run.check_losses("case", "size", [learner(2.0, 1.0, 0.5), learner(2.0, 1.0)])
    with pytest.raises(run.DisagreementError):
        run.check_losses("case", "size", [learner(2.0, 1.0, 0.5), learner(2.0, 1.1)])


@pytest.mark.parametrize(("spent", "samples"), [(0.0, 15), (run.SAMPLE_SECONDS + 1, 2)])
def test_samples_end_with_the_time_of_a_system(spent, samples):
    one = object.__new__(run.Worker)
    one.samples, one.spent = [], spent
    one.process = SimpleNamespace(stdin=io.StringIO())
    one._read = lambda: {"seconds": 0.001}
    for _ in range(15):
        one.sample()
    assert len(one.samples) == samples


def test_first_steps_of_a_slow_system_are_the_fewest(monkeypatch):
    monkeypatch.setattr(worker, "PATIENCE", -1.0)
    times, outputs = worker.first_steps(lambda: 1.0, np.asarray, 5)
    assert len(times) == len(outputs) == worker.FEWEST
    monkeypatch.setattr(worker, "PATIENCE", 60.0)
    assert len(worker.first_steps(lambda: 1.0, np.asarray, 5)[0]) == 5


def test_an_absent_peer_is_left_out_and_the_others_run(capsys):
    figures = run.run_size("policy", "infer-1", ["needle-eager", "absent"], rounds=2)
    assert list(figures["left_out"]) == ["absent"]
    assert "absent" in capsys.readouterr().out
    assert all(len(samples) == 2 for samples in figures["samples"].values())
    run.report("policy", "infer-1", figures)
    assert "1.00 x needle" in capsys.readouterr().out


def test_nothing_to_compare_is_said():
    with pytest.raises(run.UnfitError, match="none of the systems"):
        run.run_size("policy", "infer-1", ["absent"], rounds=1)


def test_a_peer_that_fails_is_left_out_with_its_last_words():
    with pytest.raises(run.UnfitError, match="no-such-size"):
        run.Worker("gpt", "absent", "no-such-size", 1, "")


def test_settings_of_old_builds_do_not_reach_the_systems(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = settings.environment("jax", 1, "folder")
    assert "OPENBLAS_CORETYPE" not in found
    assert found["OMP_NUM_THREADS"] == "1"
    assert "XLA_FLAGS" in found


def test_systems_without_threads_are_not_swept():
    assert list(settings.thread_counts("needle-jit", 2)) == [2, 1]
    assert list(settings.thread_counts("tinygrad", 2)) == [1]
    assert list(settings.thread_counts("mlx-wheel", 2)) == [1]
    assert list(settings.thread_counts("mlx-lazy", 2)) == [2, 1]


def test_weights_are_the_models_in_the_layout_asked_for():
    from needle import nn

    def model():
        return nn.Sequential(nn.Conv(3, 5, 3), nn.Linear(5, 2))

    task = Task(data=(), model=model, needle=model, peers=model)
    state = task.start().state_dict()
    weights = task.weights(np.transpose, lambda a: a.transpose(3, 2, 0, 1))
    assert weights["0.weight"].shape == (5, 3, 3, 3)
    assert weights["1.bias"].shape == (2,)
    np.testing.assert_array_equal(weights["1.weight"], state["1.weight"].T)
