"""Residual networks: parameters, names and shapes; blocks against PyTorch; a step of training."""

import itertools

import numpy as np
import pytest

import needle as ndl
from needle import models, nn
from needle.errors import ArgumentError
from needle.models.resnet import BasicBlock, Bottleneck, PaddedShortcut, _projection
from needle.testing import assert_close, compare
from tests.reference.values import case

COUNTS = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586,
    "resnet56": 853_018,
}  # fmt: skip
LAYERS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    assert count(getattr(models, name)()) == COUNTS[name]


def torchvision_names(blocks, convolutions):
    """The parameters of torchvision's ResNets, from their rules of naming."""
    names = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for layer, block in [(i + 1, j) for i, n in enumerate(blocks) for j in range(n)]:
        start = f"layer{layer}.{block}"
        for i in range(1, convolutions + 1):
            names += [f"{start}.conv{i}.weight", f"{start}.bn{i}.weight", f"{start}.bn{i}.bias"]
        if block == 0 and (layer > 1 or convolutions == 3):
            down = f"{start}.downsample"
            names += [f"{down}.0.weight", f"{down}.1.weight", f"{down}.1.bias"]
    return [*names, "fc.weight", "fc.bias"]


@pytest.mark.parametrize("name", LAYERS)
def test_names_are_torchvisions(name):
    model = getattr(models, name)(num_classes=10)
    convolutions = 3 if name == "resnet50" else 2
    names = torchvision_names(LAYERS[name], convolutions)
    assert [n for n, _ in model.named_parameters()] == names
    norms = [n.removesuffix(".weight") for n in names if "bn" in n or "downsample.1" in n]
    buffers = {f"{n}.running_{what}" for n in norms if "bias" not in n for what in ("mean", "var")}
    assert set(model.state_dict()) == buffers | set(names)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    assert shapes["conv1.weight"] == (7, 7, 3, 64)
    assert shapes["layer4.0.conv2.weight"] == (3, 3, 512, 512)
    wide = 1 if convolutions == 2 else 4
    assert shapes["layer2.0.downsample.0.weight"] == (1, 1, 64 * wide, 128 * wide)


def test_names_of_the_cifar_networks():
    names = [n for n, _ in models.resnet20().named_parameters()]
    expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for layer, block, i in itertools.product((1, 2, 3), range(3), (1, 2)):
        start = f"layer{layer}.{block}"
        expected += [f"{start}.conv{i}.weight", f"{start}.bn{i}.weight", f"{start}.bn{i}.bias"]
    assert names == [*expected, "linear.weight", "linear.bias"]


def shapes_of(model, x):
    """Shapes of the results of a model's own layers."""
    found = {}
    for name, layer in vars(model).items():
        if not isinstance(layer, nn.Module):
            continue
        forward = layer.forward

        def note(*args, name=name, forward=forward):
            y = forward(*args)
            found[name] = y.shape
            return y

        layer.forward = note
    with ndl.no_grad():
        model(x)
    return found


@pytest.mark.parametrize(
    ("model", "size", "stages"),
    [
        (lambda: models.resnet18(), 64, [16, 16, 8, 4, 2]),
        (lambda: models.resnet50(num_classes=7), 32, [8, 8, 4, 2, 1]),
        (lambda: models.resnet18(10, stem="cifar"), 32, [32, 32, 16, 8, 4]),
        (lambda: models.resnet20(), 32, [32, 16, 8]),
    ],
)
def test_sizes_of_the_stages(model, size, stages):
    found = shapes_of(model(), np.zeros((1, 3, size, size), "float32"))
    names = ["maxpool", "layer1", "layer2", "layer3", "layer4"][-len(stages) :]
    names = ["layer1", "layer2", "layer3"] if len(stages) == 3 else names
    assert [found[name][2:] for name in names] == [(n, n) for n in stages]


def reference_block(name, block):
    values = case("vision", name)
    for module in [block, *(m for _, m in block.named_modules())]:
        for key, value in vars(module).items():
            if isinstance(value, ndl.Tensor):
                value.cached_data = value.cached_data.astype("float64")
                assert key in ("weight", "running_mean", "running_var", "bias")
    names = [n for n, _ in block.named_parameters()]
    block.load_state_dict({n: values[n] for n in names}, strict=False)
    x = ndl.Tensor(values["x"])
    y = block(x)
    assert_close(y, values["out"])
    y.backward(values["out_grad"])
    for n, p in [("x", x), *block.named_parameters()]:
        assert_close(p.grad, values[f"grad_{n}"], name=f"gradient of {n}")
    assert {n.removeprefix("grad_") for n in values if n.startswith("grad_")} == {"x", *names}


def test_blocks_are_pytorchs():
    reference_block("basic_block", BasicBlock(2, 4, 2, _projection(2, 4, 2)))
    reference_block("padded_block", BasicBlock(3, 6, 2, PaddedShortcut(3, 2)))
    reference_block("bottleneck", Bottleneck(3, 2, 2, _projection(3, 8, 2)))


def test_bad_arguments():
    with pytest.raises(ArgumentError, match='resnet: expected stem "imagenet" or "cifar", got'):
        models.resnet18(stem="mnist")
    with pytest.raises(ArgumentError, match="out_features >= 1"):
        models.resnet20(num_classes=0)
    with pytest.raises(ValueError, match=r"model\.conv1 .*expected input \(N, 3, H, W\)"):
        models.resnet20()(np.zeros((2, 32, 32, 3), "float32"))


@pytest.mark.parametrize(
    "block",
    [
        lambda: BasicBlock(3, 6, 2, PaddedShortcut(3, 2)), lambda: BasicBlock(3, 3),
        lambda: Bottleneck(3, 2, 2, _projection(3, 8, 2)),
    ],
)  # fmt: skip
def test_compiled_blocks_are_eager_ones(block):
    mine = block()
    compare(mine, mine, np.random.RandomState(1).randn(3, 3, 6, 5).astype("float32"))


def test_resnet9_of_the_course():
    np.random.seed(0)
    model = models.ResNet9()
    shapes = [p.shape for p in model.parameters() if len(p.shape) == 4]
    assert shapes == [
        (7, 7, 3, 16), (3, 3, 16, 32), (3, 3, 32, 32), (3, 3, 32, 32), (3, 3, 32, 64),
        (3, 3, 64, 128), (3, 3, 128, 128), (3, 3, 128, 128),
    ]  # fmt: skip
    assert count(model) == 431_946
    np.random.seed(0)
    first = nn.Conv(3, 16, 7, 4)
    np.testing.assert_array_equal(model.parameters()[0].numpy(), first.weight.numpy())
    doubles = models.ResNet9(dtype="float64")
    assert {p.dtype for p in doubles.parameters()} == {np.dtype("float64")}
    assert doubles(np.zeros((1, 3, 32, 32))).dtype == np.float64


def test_training_lowers_the_loss():
    np.random.seed(0)
    state = np.random.RandomState(0)
    x, y = state.randn(16, 3, 8, 8).astype("float32"), state.randint(0, 10, 16)
    model = models.resnet20()
    optimizer = ndl.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.reset_grad()
        loss = nn.SoftmaxLoss()(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad.shape == p.shape for p in model.parameters())


def test_resnet9_gives_the_numbers_that_the_course_publishes():
    np.random.seed(0)
    drawn = ndl.init.kaiming_uniform(16 * 9, 8 * 9, shape=(3, 3, 16, 8))
    assert abs(drawn.sum().item() - -2.5719218) < 1e-4
    np.random.seed(0)
    model = models.ResNet9()
    y = model(np.random.randn(2, 3, 32, 32).astype("float32")).numpy()
    published = [
        [-1.8912625, 0.64833605, 1.9400386, 1.1435282, 1.89777, 2.9039745, -0.10433993, 0.35458302,
         -0.5684191, 2.6178317],
        [-0.2905612, -0.4147861, 0.90268034, 0.46530387, 1.3335679, 1.8534894, -0.1867125,
         -2.4298222, -0.5344223, 4.362149],
    ]  # fmt: skip
    np.testing.assert_allclose(y, published, atol=1e-4)
