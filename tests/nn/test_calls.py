"""Errors and warnings name the layer they come from."""

import threading
import warnings

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import DtypeError, IndexRangeError, ShapeError
from needle.nn.calls import calls


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def model():
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


def test_a_layer_in_a_model_is_named_by_its_path():
    net = model()
    net.modules[0].weight.data = init.ones(12, 128)
    net.modules[0].bias.data = init.ones(1, 128)
    text = message(lambda: net(init.ones(32, 12)), ShapeError)
    assert text == "model.2 (Linear 64 -> 10): expected last axis 64, got (32, 128)"


def test_a_layer_by_itself_is_named_without_a_path():
    text = message(lambda: nn.Linear(3, 2)(init.ones(5, 4)), ShapeError)
    assert text == "Linear 3 -> 2: expected last axis 3, got (5, 4)"
    text = message(lambda: nn.LayerNorm1d(64).forward(init.ones(32, 128)), ShapeError)
    assert text == ("LayerNorm1d 64: expected last axis 64, got (32, 128); pass dim=128 or reshape")


def test_errors_of_ops_name_the_innermost_module():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = {"a": [nn.Residual(nn.Linear(2, 2))]}

        def forward(self, x):
            return self.blocks["a"][0](x) + init.ones(3)

    text = message(lambda: Mixed()(init.ones(4, 2)), ShapeError)
    assert text.startswith("model (Mixed): add: ")
    text = message(lambda: Mixed()(init.ones(4, 5)), ShapeError)
    assert text == "model.blocks.a.0.fn (Linear 2 -> 2): expected last axis 2, got (4, 5)"


def test_a_layer_called_past_its_parent_is_found_below():
    class Reaches(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2))
            self.hidden = lambda: nn.Tanh()

        def forward(self, x, how):
            return self.body[0](x) if how == "past" else nn.Linear(7, 7)(x)

    text = message(lambda: Reaches()(init.ones(1, 3), "past"), ShapeError)
    assert text.startswith("model.body.0 (Linear 2 -> 2)")
    text = message(lambda: Reaches()(init.ones(1, 3), "made here"), ShapeError)
    assert text.startswith("model.Linear (Linear 7 -> 7)")


def test_losses_name_themselves():
    text = message(lambda: nn.SoftmaxLoss()(init.ones(1, 2), np.array([5])), IndexRangeError)
    assert text == "SoftmaxLoss: one_hot: expected labels from 0 to 1, got 5"


def test_lists_and_text_are_refused():
    text = message(lambda: model()([[1.0] * 12]), DtypeError)
    assert text.startswith("model.0 (Linear 12 -> 64): expected a Tensor or an array, got [[1.0")
    assert text.endswith("write ndl.Tensor([...])")
    text = message(lambda: nn.Flatten()(np.array([["a"]])), DtypeError)
    assert text == "Flatten: expected numbers, got dtype <U1"


def test_nothing_is_left_on_the_stack_after_an_error():
    net = model()
    message(lambda: net(init.ones(1, 5)), ShapeError)
    assert calls.stack == []
    net(init.ones(1, 12))
    assert calls.stack == []


def test_the_error_of_another_kind_passes_unchanged():
    class Fails(nn.Module):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nn.Sequential(Fails())(init.ones(1))
    assert calls.stack == []


def test_threads_do_not_share_a_stack():
    texts, barrier = {}, threading.Barrier(2, timeout=10)

    class Waits(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.inner = nn.Linear(size, size)

        def forward(self, x):
            barrier.wait()
            return self.inner(x)

    def run(size):
        texts[size] = message(lambda: nn.Sequential(Waits(size))(init.ones(1, 9)), ShapeError)

    threads = [threading.Thread(target=run, args=(size,)) for size in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for size in (2, 3):
        assert texts[size].startswith(f"model.0.inner (Linear {size} -> {size}): ")


# ---- PrecisionWarning


WIDE = (
    "model.0 (Linear 12 -> 64): float64 input, float32 weight: computing in float64; "
    'pass x.astype("float32")'
)


def test_float64_input_warns_once_and_computes_in_float64():
    net, x = model(), np.ones((2, 12))
    with pytest.warns(ndl.PrecisionWarning) as caught:
        y = net(x)
    assert [str(w.message) for w in caught] == [WIDE]  # the layers behind follow, and say nothing
    assert caught[0].filename == __file__
    assert y.dtype == np.float64
    net(x)  # a second warning would be an error here


def test_each_model_warns_for_itself():
    for _ in range(2):
        with pytest.warns(ndl.PrecisionWarning, match="LayerNorm1d 3: float64 input"):
            nn.LayerNorm1d(3)(np.ones((1, 3)))
    net = model()
    net.modules[0].weight.data = init.ones(12, 64)
    with pytest.warns(ndl.PrecisionWarning):
        net(np.ones((2, 12)))
    with pytest.warns(ndl.PrecisionWarning, match=r"model\.2 \(Linear 64 -> 10\)"):
        nn.Sequential(nn.Linear(12, 64, dtype="float64"), nn.ReLU(), nn.Linear(64, 10))(
            np.ones((1, 12))
        )


def test_matching_dtypes_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model()(np.ones((2, 12), np.float32)).dtype == np.float32
        wide = nn.Linear(12, 3, dtype="float64")
        assert wide(np.ones((2, 12))).dtype == np.float64
        assert wide(np.ones((2, 12), np.float32)).dtype == np.float64
