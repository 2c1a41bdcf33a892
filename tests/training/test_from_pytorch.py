"""PyTorch's weights in needle's layers: the same outputs; what does not fit is named."""

from pathlib import Path

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.errors import DataError, StateDictError
from needle.testing import assert_close
from needle.training.from_pytorch import pytorch_name
from tests.reference import values

FOLDER = Path(values.__file__).parent


class Images(nn.Module):
    """tools/references/weights.py has the same in PyTorch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv(3, 4, 3, stride=2, dtype="float64")
        self.bn = nn.BatchNorm2d(4, dtype="float64")
        self.fc = nn.Linear(64, 5, dtype="float64")

    def forward(self, x):
        return self.fc(nn.Flatten()(ndl.relu(self.bn(self.conv(x)))))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 5, dtype="float64")
        self.lstm = nn.LSTM(5, 6, 2, dtype="float64")
        self.rnn = nn.RNN(6, 4, dtype="float64")
        self.norm = nn.LayerNorm1d(4, dtype="float64")
        self.fc = nn.Linear(4, 7, dtype="float64")

    def forward(self, x):
        x = self.rnn(self.lstm(self.embedding(x))[0])[0]
        return self.fc(self.norm(x))


def check(model, source, case):
    assert ndl.load_pytorch(source, model) == ([], [])
    run = values.case("weights", f"{case}-run")
    assert_close(model.eval()(ndl.Tensor(run["x"], requires_grad=False)), run["out"])


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize(("case", "kind"), [("images", Images), ("text", Text)])
def test_a_file_gives_the_same_outputs(case, kind, form):
    check(kind(), FOLDER / f"{case}-{form}.pt", case)


@pytest.mark.parametrize(("case", "kind"), [("images", Images), ("text", Text)])
def test_a_state_dict_gives_the_same_outputs(case, kind):
    state = {k.removeprefix("module."): v for k, v in values.case("weights", case).items()}
    check(kind(), state, case)


def test_safetensors_of_pytorch(tmp_path):
    from safetensors.numpy import save_file

    save_file(values.case("weights", "text"), tmp_path / "text.safetensors")
    check(Text(), str(tmp_path / "text.safetensors"), "text")


def test_the_models_dtype_stays():
    model = nn.Sequential(nn.Linear(2, 3))
    weights = {"0.weight": np.arange(6.0).reshape(3, 2), "0.bias": np.ones(3, "float16")}
    ndl.load_pytorch(weights, model)
    assert model[0].weight.dtype == model[0].bias.dtype == np.float32
    np.testing.assert_array_equal(model[0].weight.numpy(), [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(model[0].bias.numpy(), [[1, 1, 1]])
    weights["0.bias"][0] = 9
    assert model[0].bias.numpy()[0, 0] == 1


def test_what_does_not_fit_is_listed_in_pytorchs_words_and_nothing_is_loaded():
    model = Text()
    before = model.state_dict()
    weights = dict(values.case("weights", "text"))
    weights["fc.weight"] = weights["fc.weight"].T
    weights["more"] = weights.pop("lstm.bias_hh_l1")
    weights["norm.weight"] = np.ones(5)
    with pytest.raises(StateDictError) as caught:
        ndl.load_pytorch(weights, model)
    assert str(caught.value) == (
        "load_pytorch: Text: wrong: norm.weight of shape (5,), expected (4,), "
        "fc.weight of shape (4, 7), expected (7, 4); missing: lstm.bias_hh_l1; unexpected: more"
    )
    np.testing.assert_equal(model.state_dict(), before)


def test_shapes_are_told_as_pytorch_has_them():
    model = nn.Sequential(nn.Conv(3, 8, 5), nn.Linear(8, 2))
    shapes = {"0.weight": (1, 3, 5, 5), "0.bias": (1, 8), "1.weight": (8, 2), "1.bias": (1, 2)}
    expected = {"0.weight": (8, 3, 5, 5), "0.bias": (8,), "1.weight": (2, 8), "1.bias": (2,)}
    with pytest.raises(StateDictError) as caught:
        ndl.load_pytorch({name: np.zeros(shape) for name, shape in shapes.items()}, model)
    for name, shape in shapes.items():
        assert f"{name} of shape {shape}, expected {expected[name]}" in str(caught.value)


def test_strict_false_loads_what_is_there():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    kept = model[1].weight.numpy().copy()
    weights = {"0.weight": np.eye(2), "0.bias": np.ones(2), "head.weight": np.ones(1)}
    missing, unexpected = ndl.load_pytorch(weights, model, strict=False)
    assert (missing, unexpected) == (["1.weight", "1.bias"], ["head.weight"])
    np.testing.assert_array_equal(model[0].weight.numpy(), np.eye(2))
    np.testing.assert_array_equal(model[1].weight.numpy(), kept)
    with pytest.raises(StateDictError, match=r"0\.weight of shape \(2,\), expected \(2, 2\)"):
        ndl.load_pytorch({"0.weight": np.ones(2)}, model, strict=False)


def torchvision_shapes(convolutions, expansion, counts):
    """Shapes by name in torchvision's resnet: `convolutions` gives a block's (in, out, k)."""
    shapes = {}

    def add(conv, norm, n, m, k):
        shapes[f"{conv}.weight"] = (m, n, k, k)
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes.update({f"{norm}.{part}": (m,) for part in parts})
        shapes[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 3, 64, 7)
    last = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        for i in range(count):
            path = f"layer{stage + 1}.{i}"
            for j, (n, m, k) in enumerate(convolutions(last, width), start=1):
                add(f"{path}.conv{j}", f"{path}.bn{j}", n, m, k)
            if i == 0 and last != width * expansion:
                down = f"{path}.downsample"
                add(f"{down}.0", f"{down}.1", last, width * expansion, 1)
            last = width * expansion
    return shapes | {"fc.weight": (1000, last), "fc.bias": (1000,)}


@pytest.mark.parametrize(
    ("make", "convolutions", "expansion", "counts"),
    [
        (ndl.models.resnet18, lambda n, w: [(n, w, 3), (w, w, 3)], 1, (2, 2, 2, 2)),
        (ndl.models.resnet50, lambda n, w: [(n, w, 1), (w, w, 3), (w, 4 * w, 1)], 4, (3, 4, 6, 3)),
    ],
)
def test_torchvisions_names_and_shapes_fit(make, convolutions, expansion, counts):
    shapes = torchvision_shapes(convolutions, expansion, counts)
    weights = {name: np.full(shape, i, "float32") for i, (name, shape) in enumerate(shapes.items())}
    model = make()
    assert ndl.load_pytorch(weights, model) == ([], [])
    for name, array in model.state_dict().items():
        assert array.flat[0] == weights[name].flat[0]


def test_names():
    table = {
        "weight": "weight",
        "W_ih": "weight_ih",
        "a.cell.bias_hh": "a.cell.bias_hh",
        "lstm_cells.0.W_ih": "weight_ih_l0",
        "a.rnn_cells.12.bias_ih": "a.bias_ih_l12",
        "layer1.0.bn1.running_mean": "layer1.0.bn1.running_mean",
    }
    assert {name: pytorch_name(name) for name in table} == table


def test_a_file_of_needles_own_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False))  # square: its shape tells no layout
    ndl.save(tmp_path / "model.safetensors", model)
    before = model[0].weight.numpy()
    with pytest.raises(StateDictError, match=r"written by needle.*use ndl\.load"):
        ndl.load_pytorch(tmp_path / "model.safetensors", model)
    assert np.array_equal(model[0].weight.numpy(), before)


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "model.pth").write_bytes((FOLDER / "text-old.pt").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"model\.pth: "):
        ndl.load_pytorch(tmp_path / "model.pth", Text())
