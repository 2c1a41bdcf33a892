"""Files of PyTorch and safetensors: all that is in them, and nothing of it runs."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needle.errors import DataError
from needle.training import read_weights
from tests.reference import values

FOLDER = Path(values.__file__).parent
OLD_HEADER = (FOLDER / "kinds-old.pt").read_bytes()


def in_zip(pickled, storages=None, extra=None):
    """Return a file of the newer form around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"a/data/{key}", data)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return file.getvalue()


def in_old(pickled, storages=None):
    """Return a file of the older form around a pickle."""
    start = 0
    for _ in range(3):  # magic number, version, machine
        start = OLD_HEADER.index(b".", OLD_HEADER.index(b"\x80\x02", start)) + 1
    parts = [pickle.dumps(list(storages or {}), 2)]
    parts += [struct.pack("<q", len(data) // 4) + data for data in (storages or {}).values()]
    return OLD_HEADER[:start] + pickled + b"".join(parts)


def tensor(offset=0, size=(2,), stride=(1,), count=4, name="w", kind="FloatStorage"):
    """Return the pickle of {name: a tensor of storage "0"}, written out by hand."""
    numbers = b"".join(pickle.dumps(x, 0)[:-1] for x in (offset, size, stride))
    return (
        b"\x80\x02}(" + pickle.dumps(name, 0)[:-1] + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        b"Vstorage\nctorch\n" + kind.encode() + b"\nV0\nVcpu\nI" + str(count).encode() + b"\ntQ"
        + numbers + b"I00\nccollections\nOrderedDict\n)RtRu."
    )  # fmt: skip


def read(tmp_path, data):
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    return read_weights(path)


FORMS = [in_zip, in_old]
FOUR = {"0": np.array([1, 2, 3, 4], "<f4").tobytes()}


@pytest.mark.parametrize("file", ["kinds-zip.pt", "kinds-old.pt", "kinds.safetensors"])
def test_each_dtype_and_view_is_read(file):
    expected, got = values.case("weights", "kinds"), read_weights(FOLDER / file)
    assert sorted(got) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, strict=True)
        assert got[name].flags.writeable


@pytest.mark.parametrize("file", ["images-zip.pt", "images-old.pt"])
def test_the_weights_of_a_checkpoint(file):
    got = read_weights(str(FOLDER / file))
    np.testing.assert_equal(got, values.case("weights", "images"))
    np.testing.assert_equal(read_weights(FOLDER / file, key="state_dict"), got)
    with pytest.raises(DataError, match=r"no weights under 'ema', but Entries|dict .*'epoch'"):
        read_weights(FOLDER / file, key="ema")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_written_by_hand(tmp_path, form):
    """So what the tests below change is the only thing that is wrong."""
    np.testing.assert_equal(
        read(tmp_path, form(tensor(1, (2, 1), (2, 9)), FOUR)), {"w": np.float32([[2], [4]])}
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_call_is_refused_by_name_and_not_run(tmp_path, form):
    target = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"echo > {target}",)

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(DataError, match=r"weights\.pt: holds (posix|nt)\.system, which is no"):
            read(tmp_path, form(pickle.dumps({"w": Evil()}, protocol)))
    assert not target.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name", ["torch.load", "torch._utils._rebuild_sparse_tensor", "torch.hub.load", "builtins.dict"]
)
def test_other_functions_are_refused_by_name(tmp_path, form, name):
    module, _, function = name.rpartition(".")
    evil = b"\x80\x02c" + module.encode() + b"\n" + function.encode() + b"\n)R."
    with pytest.raises(DataError, match=f"holds {name}, which is no array"):
        read(tmp_path, form(evil))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 3},
        {"size": (5,)},
        {"stride": (4,)},
        {"size": (2, 2), "stride": (2,)},
        {"size": (1 << 40,), "stride": (0,)},
        {"offset": -1},
        {"size": (-1,)},
        {"stride": (-1,)},
        {"size": (1.5,)},
        {"count": 5},
        {"count": 3},
        {"count": -4},
        {"kind": "DoubleStorage"},
        {"size": 3},
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, form, changes):
    with pytest.raises(DataError, match=r"weights\.pt: "):
        read(tmp_path, form(tensor(**changes), FOUR))


def test_a_small_file_does_not_fill_the_memory(tmp_path):
    """Tensors may share storage, but not without end: each becomes an array of its own."""
    n = 1 << 16

    def entries(count):
        return b"".join(tensor(size=(n,), count=n, name=f"w{i}")[4:-2] for i in range(count))

    storages = {"0": bytes(4 * n)}
    shared = in_zip(b"\x80\x02}(" + entries(24) + b"u.", storages)
    assert len(read(tmp_path, shared)) == 24
    with pytest.raises(DataError, match=r"w\d+: tensors that share memory, over 64 times the file"):
        read(tmp_path, in_zip(b"\x80\x02}(" + entries(300) + b"u.", storages))


@pytest.mark.parametrize("form", FORMS)
def test_what_a_file_sets_on_its_dictionaries_is_dropped(tmp_path, form):
    data = tensor().replace(b"}(", b"ccollections\nOrderedDict\n)R(", 1)[:-1] + b"}Vitems\nK\x01sb."
    assert list(read(tmp_path, form(data, FOUR))) == ["w"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1, 2], r"no dictionary of weights, but list \[\]"),
        ({"epoch": 1}, r"but dict \['epoch'\]"),
        ({"model": {"w": 3}}, r"but dict \['model'\]"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(tmp_path, content, text):
    for form in FORMS:
        with pytest.raises(DataError, match=text):
            read(tmp_path, form(pickle.dumps(content, 2)))


def test_files_of_other_kinds_are_named(tmp_path):
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", tensor())
    cases = {
        b"": "expected a file of torch.save or of safetensors",
        b"hello" * 9: "expected a file of torch.save or of safetensors",
        pickle.dumps({"w": 1}): "expected a file of torch.save or of safetensors",
        in_zip(b"", extra={"b/data.pkl": b""}): r"holds no data\.pkl",
        compressed.getvalue(): "a compressed archive",
    }
    for data, text in cases.items():
        with pytest.raises(DataError, match=rf"weights\.pt: .*{text}"):
            read(tmp_path, data)


def test_big_endian_storages(tmp_path):
    data = in_zip(
        tensor(0, (4,)), {"0": np.array([1, 2, 3, 4], ">f4").tobytes()}, {"a/byteorder": b"big"}
    )
    np.testing.assert_array_equal(read(tmp_path, data)["w"], [1, 2, 3, 4])


def test_a_changed_byte_of_a_storage_is_noticed(tmp_path):
    """The zip form has checksums."""
    data = in_zip(tensor(), FOUR)
    where = data.index(FOUR["0"])
    with pytest.raises(DataError, match="CRC"):
        read(tmp_path, data[:where] + b"\xff" + data[where + 1 :])


@pytest.mark.parametrize("file", ["text-zip.pt", "text-old.pt", "kinds.safetensors"])
@given(data=st.data())
def test_a_damaged_file_is_read_or_told(tmp_path_factory, file, data):
    content = bytearray((FOLDER / file).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        # the first kilobytes: what is not a weight
        content[data.draw(st.integers(0, 4000)) % len(content)] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{file}"
    path.write_bytes(content)
    try:
        assert isinstance(read_weights(path), dict)
    except DataError as error:
        assert str(error).startswith(str(path))
