"""Names that needle lacks say where to look."""

import importlib

import pytest

import needle as ndl
from needle.names import ELSEWHERE


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
