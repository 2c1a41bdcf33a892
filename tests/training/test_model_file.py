"""save and load: whole or not at all, and nothing loaded half."""

import errno
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import needle as ndl
from needle import nn
from needle.errors import ArgumentError, DataError, StateDictError
from tests.training.problems import arrays, classification, network, trained


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def adam(model, **options):
    return ndl.optim.Adam(model.parameters(), **options)


def test_model_and_optimizer_go_on_as_if_never_saved(path):
    model, optimizer, _ = trained(2)
    ndl.save(path, model, optimizer)
    other = network(seed=7)
    other_optimizer = adam(other, lr=0.5)
    assert arrays(other) != arrays(model)
    ndl.load(path, other, other_optimizer)
    assert arrays(other, other_optimizer) == arrays(model, optimizer)
    trained(2, model=model, optimizer=optimizer)
    trained(2, model=other, optimizer=other_optimizer)
    assert arrays(other, other_optimizer) == arrays(model, optimizer)


def test_the_file_is_one_of_plain_weights_to_others(path):
    model = network()
    ndl.save(path, model, note="x")
    found = load_file(path)
    assert set(found) == set(model.state_dict())
    np.testing.assert_array_equal(found["0.weight"], model.modules[0].weight.numpy())


def test_a_file_of_others_loads(path):
    state = {name: array + 1 for name, array in network().state_dict().items()}
    save_file(state, path)
    model = network(seed=3)
    assert ndl.load(path, model) == {}
    assert arrays(model) == {name: array.tobytes() for name, array in state.items()}


def test_extra_values_come_back(path):
    extra = {"classes": ["a", "b"], "scale": 0.1, "nothing": None, "n": np.int64(4)}
    ndl.save(path, network(), **extra)
    assert ndl.load(path, network()) == extra


def test_an_optimizer_in_the_file_need_not_be_loaded(path):
    model, optimizer, _ = trained(1)
    ndl.save(path, model, optimizer, epoch=1)
    other = network(seed=3)
    assert ndl.load(path, other) == {"epoch": 1}
    assert arrays(other) == arrays(model)


def test_an_optimizer_that_is_not_in_the_file_is_missed(path):
    ndl.save(path, network())
    model = network(seed=3)
    before = arrays(model)
    with pytest.raises(StateDictError, match="holds no optimizer"):
        ndl.load(path, model, adam(model))
    assert arrays(model) == before


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 8)), r"unexpected: 1\.fn"),
        (
            lambda: nn.Sequential(*network().modules, nn.Linear(3, 3)),
            r"missing: 3\.weight, 3\.bias",
        ),
        (lambda: nn.Sequential(nn.Linear(6, 8), *network().modules[1:]), r"0\.weight of shape"),
    ],
)
def test_a_model_that_does_not_fit_is_unchanged(path, make, text):
    ndl.save(path, network())
    model = make()
    before = arrays(model)
    with pytest.raises(StateDictError, match=rf"load: .*model\.safetensors: .*{text}"):
        ndl.load(path, model)
    assert arrays(model) == before


def test_an_optimizer_that_does_not_fit_leaves_the_model_unchanged_too(path):
    model, optimizer, _ = trained(1)
    ndl.save(path, model, optimizer)
    other = network(seed=3)
    sgd = ndl.optim.SGD(other.parameters(), lr=0.25, momentum=0.9)
    before = arrays(other, sgd)
    with pytest.raises(StateDictError, match=r"SGD: missing: momentum.*unexpected: "):
        ndl.load(path, other, sgd)
    assert arrays(other, sgd) == before


def test_a_damaged_file_changes_nothing(path):
    model, optimizer, _ = trained(1)
    ndl.save(path, model, optimizer)
    data = path.read_bytes()
    other = network(seed=3)
    other_optimizer = adam(other)
    before = arrays(other, other_optimizer)
    for damaged in (data[:-1], data[: len(data) // 2], b"", data[:-3] + b"abc", b"x" * 500):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"load: .*model\.safetensors"):
            ndl.load(path, other, other_optimizer)
        assert arrays(other, other_optimizer) == before


def names(folder):
    return [entry.name for entry in folder.iterdir()]


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    ndl.save(path, network())
    before = path.read_bytes()

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left.*model\.safetensors"):
        ndl.save(path, network(seed=3))
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        ndl.save(tmp_path / "missing" / "model", network())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        ndl.save(tmp_path / "file" / "model", network())
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_leaves_the_old_file(path):
    ndl.save(path, network())
    before = path.read_bytes()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot write"):
            ndl.save(path, network(seed=3))
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == before


def test_extra_that_is_not_json_leaves_the_old_file(path):
    ndl.save(path, network())
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match="expected numbers, text, lists and dicts"):
        ndl.save(path, network(seed=3), data=classification())
    assert path.read_bytes() == before


def test_a_parameter_whose_name_begins_with_an_underscore_is_saved(path):
    class Hidden(nn.Module):
        def __init__(self, value):
            super().__init__()
            self._weight = nn.Parameter(ndl.Tensor([value], dtype="float32"))

        def forward(self, x):
            return x * self._weight

    ndl.save(path, Hidden(3.0), adam(Hidden(3.0)))
    other = Hidden(0.0)
    ndl.load(path, other)
    assert other._weight.numpy().tolist() == [3.0]
