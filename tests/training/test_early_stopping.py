"""When early stopping stops, and what it brings back."""

import math

import numpy as np
import pytest

import needle as ndl
from needle.errors import ArgumentError
from needle.training import EarlyStopping


class Model:
    """Stands for a module: its state is the number of the epoch."""

    def __init__(self):
        self.state = 0

    def state_dict(self):
        return {"w": np.array(self.state)}

    def load_state_dict(self, state):
        self.state = int(state["w"])


def run(stopping, losses):
    """Return the epoch after which training ends, the model after the restore."""
    model = Model()
    for epoch, loss in enumerate(losses, 1):
        model.state = epoch
        stopping.update(epoch, loss, model)
        if stopping.should_stop:
            break
    stopping.restore(model)
    return epoch, model.state


@pytest.mark.parametrize(
    ("patience", "losses", "end", "best"),
    [
        (1, [3, 2, 2, 1], 3, 2),
        (2, [3, 2, 4, 5, 1], 4, 2),
        (2, [3, 4, 2, 4, 4], 5, 3),
        (3, [1, 2, 3], 3, 1),
        (1, [5, 4, 3, 2], 4, 4),
        (math.inf, [1] + [2] * 50, 51, 1),
    ],
)
def test_stops_after_patience_epochs_without_a_lower_loss(patience, losses, end, best):
    assert run(EarlyStopping(patience), losses) == (end, best)


def test_small_improvements_do_not_count():
    assert run(EarlyStopping(2, min_delta=0.5), [3.0, 2.6, 2.5]) == (3, 1)
    assert run(EarlyStopping(2, min_delta=0.5), [3.0, 2.6, 2.4]) == (3, 3)


def test_nan_is_no_improvement():
    assert run(EarlyStopping(2), [math.nan, math.nan, 1.0]) == (2, 2)
    assert run(EarlyStopping(2), [1.0, math.nan, 0.5]) == (3, 3)


def test_without_restore_the_model_stays():
    stopping = EarlyStopping(1, restore_best=False)
    assert run(stopping, [1.0, 2.0]) == (2, 2)
    assert stopping.best_epoch == 1


def test_the_best_state_is_a_copy():
    model, stopping = ndl.nn.Linear(2, 1), EarlyStopping()
    stopping.update(1, 1.0, model)
    before = model.state_dict()
    model.weight.data = model.weight.data * 2
    stopping.restore(model)
    np.testing.assert_array_equal(model.weight.numpy(), before["weight"])


def test_its_state_continues_elsewhere_and_reset_forgets():
    first, second, model = EarlyStopping(2), EarlyStopping(2), Model()
    first.update(1, 1.0, model)
    first.update(2, 2.0, model)
    second.load_state_dict(first.state_dict())
    second.update(3, 2.0, model)
    assert second.should_stop
    assert second.best_epoch == 1
    second.reset()
    assert not second.should_stop
    assert second.state_dict() == EarlyStopping().state_dict()


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"patience": math.nan}, {"min_delta": -1}])
def test_values_out_of_range_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ArgumentError, match=f"EarlyStopping: expected {name} >= "):
        EarlyStopping(**arguments)
