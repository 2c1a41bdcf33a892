"""Pickles read as plain data: what is admitted, what is refused, and that nothing of it runs."""

import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needle.data.pickles import PickledArray, array_constructors, read_pickle
from needle.errors import DataError

ARRAYS = {
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "floats by columns": np.asfortranarray(np.linspace(0, 1, 6).reshape(2, 3)),
    "big endian": np.array([1, 2, 300], ">i4"),
    "no axes": np.array(2.5, np.float32),
}


def read(data, **options):
    return read_pickle(io.BytesIO(data), array_constructors(), **options)


class Calls:
    """Pickles as a call of `function(*arguments)`: what a file made to harm holds."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_numbers_are_read(name, protocol):
    content = read(pickle.dumps({"data": ARRAYS[name], "n": [1, "a"]}, protocol))
    array = content["data"].array
    np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
    assert content["n"] == [1, "a"]


def test_a_pickle_of_python_2_and_an_old_numpy_is_read():
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\xfftb."
    )
    np.testing.assert_array_equal(pickle.loads(data, encoding="latin-1"), [7, 255])
    np.testing.assert_array_equal(read(data).array, np.array([7, 255], np.uint8), strict=True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "text"), [(os.system, "system"), (eval, "eval"), (getattr, "getattr")]
)
def test_a_call_is_refused_by_name_and_not_run(tmp_path, protocol, function, text):
    target = tmp_path / "ran"
    arguments = {
        "system": (f"echo > {target}",),
        "eval": (f"open({str(target)!r}, 'w')",),
        "getattr": (object(), "__class__"),
    }[text]
    data = pickle.dumps([Calls(function, *arguments)], protocol)
    with pytest.raises(DataError, match=f"{text}, which is no array: refused, nothing was run"):
        read(data)
    assert not target.exists()


def test_the_same_call_runs_where_pickle_itself_reads_it(tmp_path):
    """So the test above can fail."""
    target = tmp_path / "ran"
    pickle.loads(pickle.dumps(Calls(eval, f"open({str(target)!r}, 'w').close()")))
    assert target.exists()


def test_numpys_own_constructors_are_never_called():
    with pytest.raises(DataError, match=r"calls numpy\.ndarray"):
        read(pickle.dumps(Calls(np.ndarray, (1 << 40,))))
    with pytest.raises(DataError, match="dtype 'O8', expected numbers"):
        read(pickle.dumps(np.array([None])))
    with pytest.raises(DataError, match="dtype 'V1', expected numbers"):
        read(pickle.dumps(np.zeros(2, [("a", "u1")])))


def test_a_state_that_does_not_fit_is_refused():
    data = pickle.dumps(ARRAYS["bytes"], 2)
    assert data.count(b"K\x03K\x04\x86") == 1
    with pytest.raises(DataError, match="not a whole pickle"):
        read(data.replace(b"K\x03K\x04\x86", b"K\x03K\x05\x86"))


def test_what_a_file_sets_on_a_constructor_dies_with_the_file():
    name = b"cnumpy.core.multiarray\n_reconstruct\n"
    read(b"\x80\x02" + name + b"}U\x01aK\x01sb.")  # BUILD: the function's attribute a = 1
    again = read(b"\x80\x02" + name + b".")
    assert not hasattr(again, "a") and isinstance(again(), PickledArray)


def test_a_reference_outside_is_refused():
    with pytest.raises(DataError, match="reference to something outside"):
        read(b"\x80\x02U\x01aQ.")


def test_a_memo_index_that_would_fill_the_memory_is_refused():
    with pytest.raises(DataError, match=r"memo index 4294967280 in 9 bytes"):
        read(b"\x80\x02Nr\xf0\xff\xff\xff.")


def test_an_escape_in_a_damaged_text_is_no_warning():
    assert read(b"S'\\q'\n.") == rb"\q"


def test_what_claims_to_be_huge_is_refused():
    with pytest.raises(DataError, match="not a whole pickle"):
        read(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.")


@pytest.mark.parametrize("cut", [0, 1, 5, 40, -1])
def test_a_file_that_is_cut_off_is_told(cut):
    with pytest.raises(DataError, match="not a whole pickle"):
        read(pickle.dumps(ARRAYS["bytes"])[:cut])


WHOLE = pickle.dumps({"data": ARRAYS["bytes"], "labels": [1, 2, 3]}, 2)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_value_or_a_data_error(position, byte):
    data = bytearray(WHOLE)
    data[position] = byte
    try:
        assert read(bytes(data)) is not NotImplemented
    except DataError as error:
        assert str(error)
