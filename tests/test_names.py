"""Names that needle lacks say where to look."""

import importlib
import subprocess
import sys

import pytest

import needle as ndl
from needle.names import ELSEWHERE, OF_TENSORS


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in ELSEWHERE.items() for name in names]
)
def test_every_name_of_the_table_names_the_way(module, name):
    way = ELSEWHERE[module][name]
    with pytest.raises(AttributeError) as caught:
        getattr(importlib.import_module(module), name)
    assert str(caught.value) == (
        f"module {module!r} has no attribute {name!r}; needle's way: {way}"
    )


@pytest.mark.parametrize(("name", "way"), [*OF_TENSORS.items(), ("exp", "ndl.exp(t)")])
def test_what_tensors_elsewhere_have_names_the_way(name, way):
    with pytest.raises(AttributeError) as caught:
        getattr(ndl.Tensor([1.0]), name)
    assert str(caught.value) == f"a Tensor has no attribute {name!r}; needle's way: {way}"
    code = way.split(";")[0].split(", or ")[-1]
    if "(" in code:  # the way is one that works
        names = {"t": ndl.Tensor([[1.0, 2.0]]), "ndl": ndl, "shape": (2, 1), "dtype": "float32",
                 "opt": ndl.optim.SGD([ndl.Tensor([1.0])]), "p": ndl.Tensor([1.0])}  # fmt: skip
        eval(code, names | {"axis": 1, "axes": 0, "number": 2, "min": 0, "max": 1})


def test_rooms_that_a_model_does_not_need_are_imported_at_their_first_use():
    code = (
        "import sys, needle as ndl\n"
        "rooms = 'compiler', 'data', 'models', 'testing', 'training'\n"
        "assert not {f'needle.{room}' for room in rooms} & sys.modules.keys()\n"
        "assert not {'llvmlite', 'tqdm', 'click', 'pooch', 'safetensors'} & sys.modules.keys()\n"
        "assert ndl.fit is sys.modules['needle.training'].fit and ndl.data.DataLoader\n"
        "assert set(dir(ndl)) >= {'jit', 'fit', 'models', 'relu'}\n"
        "for name in ndl.__all__: getattr(ndl, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_attributes_of_a_tensor_are_plain_errors():
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        ndl.Tensor([1.0]).nothing
    assert not hasattr(ndl.Tensor([1.0]), "__array_interface__")


def test_other_names_are_plain_attribute_errors():
    with pytest.raises(AttributeError, match=r"module 'needle' has no attribute 'nothing'$"):
        ndl.nothing
    assert not hasattr(ndl.nn, "Linear2")
    with pytest.raises(ImportError):
        importlib.import_module("needle.nothing")


@pytest.mark.parametrize("path", [
    "nn.nn_basic", "init.init_basic", "init.init_initializers", "optim.lr_scheduler",
])  # fmt: skip
def test_paths_of_the_course(path):
    module = importlib.import_module(f"needle.{path}")
    room = importlib.import_module(f"needle.{path.split('.')[0]}")
    for name in getattr(module, "__all__", []):
        assert getattr(module, name) is getattr(room, name)
    assert module.__name__ == f"needle.{path}"
