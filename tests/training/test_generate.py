"""`generate`: what it draws from, what the model is shown."""

import numpy as np
import pytest

import needle as ndl
from needle.errors import ArgumentError
from needle.training import generate


class Recorder:
    """A model of 5 ids that expects the id after the last one, and keeps what it was shown."""

    def __init__(self, certainty):
        self.certainty, self.seen = certainty, []

    def __call__(self, ids):
        self.seen.append(ids.numpy()[0].tolist())
        return ndl.Tensor(self.certainty * np.eye(5, dtype="float32")[(ids.numpy() + 1) % 5])


def test_the_model_sees_the_last_ids_at_the_left_of_a_window_of_one_length():
    model = Recorder(100.0)
    assert generate(model, [3, 4], 4, context=3).tolist() == [0, 1, 2, 3]
    assert model.seen == [[3, 4, 0], [3, 4, 0], [4, 0, 1], [0, 1, 2]]


def test_temperature_zero_takes_the_likeliest_and_a_high_one_nearly_any():
    model = Recorder(1.0)
    assert generate(model, [0], 4, context=2, temperature=0).tolist() == [1, 2, 3, 4]
    drawn = generate(model, [0], 400, context=2, temperature=100.0)
    counts = np.bincount((drawn - np.append(0, drawn[:-1])) % 5, minlength=5)
    assert counts.min() > 50
    follow = generate(model, [0], 2000, context=2, temperature=1.0)
    share = np.mean((follow - np.append(0, follow[:-1])) % 5 == 1)
    assert abs(share - np.e / (np.e + 4)) < 0.04


def test_the_seed_decides_and_numpys_random_numbers_stay():
    model = Recorder(1.0)
    before = np.random.get_state()[1].copy()
    first, again, other = (generate(model, [0], 50, context=2, seed=s) for s in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert (np.random.get_state()[1] == before).all()


def test_nothing_to_draw():
    assert generate(Recorder(1.0), [0], 0, context=2).tolist() == []


@pytest.mark.parametrize(
    ("ids", "options"),
    [
        ([], {}), ([0], {"context": 0}), ([0], {"temperature": -1}), ([0], {"temperature": np.nan}),
        ([0.5], {}), ("text", {}), ([0], {"count": -1}),
    ],
)  # fmt: skip
def test_bad_input(ids, options):
    with pytest.raises(
        ArgumentError, match=r"generate: expected (an )?integer (ids|context|count)"
    ):
        generate(Recorder(1.0), ids, **{"count": 1, "context": 2, **options})
