"""Files of arrays and plain values: what is written comes back, what is damaged is refused."""

import json
import math

import numpy as np
import pytest
from safetensors import safe_open

from needle.errors import ArgumentError, DataError
from needle.training import storage
from needle.training.storage import join, read_tensors, split, write_tensors

ARRAYS = {
    "b.weight": np.arange(6, dtype="float32").reshape(2, 3),
    "a": np.array(3.5),
    "empty": np.zeros((0, 4), "int64"),
    "mask": np.array([True, False]),
    "bytes": np.arange(250, 256, dtype="uint8"),
    "half": np.array([math.inf, -0.0, math.nan], "float16"),
}
INFO = {"text": 'aé\n"', "list": [1, 2.5, None, True], "nan": math.nan, "deep": {"x": -math.inf}}


@pytest.fixture
def path(tmp_path):
    write_tensors(tmp_path / "file.safetensors", ARRAYS, INFO)
    return tmp_path / "file.safetensors"


def test_arrays_and_values_come_back(path):
    arrays, info = read_tensors(path)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert math.isnan(info.pop("nan"))
    assert info == {key: value for key, value in INFO.items() if key != "nan"}


def test_arrays_of_any_layout_come_back(path):
    odd = {"T": np.arange(6.0).reshape(2, 3).T, "back": np.arange(4)[::-1], "step": np.eye(4)[::2]}
    odd["big"] = np.arange(3, dtype=">f4")
    write_tensors(path, odd, {})
    for name, array in read_tensors(path)[0].items():
        np.testing.assert_array_equal(array, odd[name])


def test_numpy_numbers_and_paths_become_plain(path):
    write_tensors(path, ARRAYS, {"n": np.float32(0.5), "i": np.int64(3), "p": path})
    assert read_tensors(path)[1] == {"n": 0.5, "i": 3, "p": str(path)}


def test_the_same_content_is_the_same_bytes(path):
    first = path.read_bytes()
    write_tensors(path, dict(reversed(ARRAYS.items())), INFO)
    assert path.read_bytes() == first


def test_the_safetensors_library_opens_it(path):
    with safe_open(path, framework="np") as file:
        np.testing.assert_array_equal(file.get_tensor("b.weight"), ARRAYS["b.weight"])
        assert json.loads(file.metadata()["needle"])["text"] == INFO["text"]


def test_a_file_of_another_program_has_no_info(path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, path, {"format": "pt"})
    arrays, info = read_tensors(path)
    assert arrays["w"].tolist() == [1, 1]
    assert info == {}


def test_a_file_cut_anywhere_is_refused(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"file\.safetensors: not a whole safetensors file"):
            read_tensors(path)


def test_a_byte_changed_anywhere_never_gives_other_arrays(path):
    data = path.read_bytes()
    expected = {name: array.tobytes() for name, array in ARRAYS.items()}
    refused = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            arrays, _ = read_tensors(path)
        except DataError:
            refused += 1
        else:  # a letter in the metadata
            assert {name: array.tobytes() for name, array in arrays.items()} == expected
    assert refused > 0.5 * len(data)


def test_a_changed_array_is_called_corrupt(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 0x80]))
    with pytest.raises(DataError, match="corrupt: the arrays do not match their checksum"):
        read_tensors(path)


def test_other_files_and_folders_are_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match=r"model\.pt: not a whole safetensors file"):
        read_tensors(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "missing")
    with pytest.raises(OSError, match=str(tmp_path.name)):
        read_tensors(tmp_path)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", {"deep": [1j]}, np.ones(2)])
def test_values_that_are_not_json_are_refused_and_the_file_stays(path, value):
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"save: .*file\.safetensors: expected numbers, text"):
        write_tensors(path, ARRAYS, {"value": value})
    assert path.read_bytes() == before


def test_arrays_that_the_format_lacks_are_refused_and_the_file_stays(path):
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"save: .*: cannot store these arrays"):
        write_tensors(path, {"text": np.array(["a"])}, {})
    assert path.read_bytes() == before


def test_trees_are_taken_apart_and_joined():
    tree = {"t": 3, "m": [np.ones(2), {"k": np.zeros(1)}], "none": None, "pair": (1, "x")}
    arrays = {}
    plain = json.loads(json.dumps(split(tree, "_part", arrays)))
    assert list(arrays) == ["_part.m.0", "_part.m.1.k"]
    joined = join(plain, arrays)
    assert joined["m"][0] is tree["m"][0]
    assert joined["m"][1]["k"] is tree["m"][1]["k"]
    assert {k: joined[k] for k in ("t", "none", "pair")} == {"t": 3, "none": None, "pair": [1, "x"]}


def test_the_checksum_sees_names_values_and_order():
    a, b = np.array([1.0, 2.0]), np.array([3.0])
    sums = [
        storage.checksum(arrays)
        for arrays in ({"a": a, "b": b}, {"a": b, "b": a}, {"a": a}, {"a": a[::-1], "b": b})
    ]
    assert len(set(sums)) == 4
    assert storage.checksum({"b": b, "a": a}) == sums[0]
