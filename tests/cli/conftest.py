"""Each test of the command line works in a folder of its own, without matplotlib unless it asks."""

import sys

import pytest

from tests.cli.runs import make_data


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # its import takes longer than a run
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    return tmp_path


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data")
