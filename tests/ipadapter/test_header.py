"""The header of a .safetensors file: what a good one says, and every way in which one can lie."""

import builtins
import io
import json
import os
import resource
import struct
import sys

import pytest
import safetensors.torch
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.header import (
    DTYPES,
    MAX_HEADER,
    check_file,
    read_header,
)
from ipadapter_pack.ipadapter.wrong_files import what_it_is

TENSORS = {
    "a.weight": torch.randn(3, 4),
    "b": torch.zeros(5, dtype=torch.float16),
    "c": torch.zeros(2, 1, dtype=torch.bfloat16),
    "scalar": torch.tensor(1, dtype=torch.int64),
    "nothing": torch.zeros(0, 7),
}


def write(path, header, data=b"", length=None):
    """A file of the header (a table, or bytes as they are) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return str(path)


def row(dtype="F32", shape=(1,), start=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def refused(path):
    with pytest.raises(IPAdapterError) as caught:
        check_file(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_header_says_what_the_file_holds(tmp_path):
    path = tmp_path / "good.safetensors"
    safetensors.torch.save_file(TENSORS, path, metadata={"family": "plus"})
    header = read_header(str(path))
    assert header.metadata == {"family": "plus"}
    meta = header.tensors
    assert meta.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (meta[name].shape, meta[name].dtype) == (tensor.shape, tensor.dtype)
        assert meta[name].is_meta
        assert meta[name].nbytes == tensor.nbytes


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_every_type_of_number(tmp_path, dtype):
    path = tmp_path / "typed.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(16, dtype=torch.uint8).view(dtype)}, path)
    assert read_header(str(path)).tensors["x"].dtype == dtype


def test_no_notes_may_be_written_as_null(tmp_path):
    path = write(tmp_path / "null.safetensors", {**HOLDS_4, "__metadata__": None}, b"\0" * 4)
    assert read_header(str(path)).metadata == {}


def test_only_the_header_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(2**20)}, path)
    positions = []

    class Watched(io.FileIO):
        def close(self):
            if not self.closed:
                positions.append(self.tell())
            super().close()

    monkeypatch.setattr(builtins, "open", lambda path, mode: Watched(path, mode))
    check_file(str(path))
    assert positions
    assert max(positions) <= 512


def test_of_a_large_file_no_tensor_is_touched(tmp_path):
    """A gibibyte that the disk does not hold; mapped into memory it is, a page at a time."""
    path = tmp_path / "huge.safetensors"
    write(path, {"a": row(shape=(2**28,), end=2**30)})
    os.truncate(path, path.stat().st_size + 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    check_file(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000


HOLDS_4 = {"a": row()}
TWICE = b'{"a": %b, "a": %b}' % ((json.dumps(row()).encode(),) * 2)
HEADERS = {
    "offsets beyond the file": (
        {"a": row(end=64, shape=(16,))},
        "it is cut short, or bytes at its end",
    ),
    "overlap": ({"a": row(), "b": row()}, "its tensors overlap or leave a gap"),
    "hole": ({"a": row(start=2, end=6)}, "its tensors overlap or leave a gap"),
    "bytes at the end": ({}, "it is cut short, or bytes at its end"),
    "negative dimensions": ({"a": row(shape=(-1, -1))}, "its header cannot be read"),
    "negative offsets": ({"a": row(start=-4, end=0)}, "its header cannot be read"),
    "offsets the wrong way round": (
        {"a": row(start=4, end=0)},
        "its tensors overlap or leave a gap",
    ),
    "a dimension that is no number": ({"a": row(shape=("1",))}, "its header cannot be read"),
    "a dimension that is a truth value": ({"a": row(shape=(True,))}, "its header cannot be read"),
    "a dimension with a fraction": ({"a": row(shape=(1.0,))}, "its header cannot be read"),
    "many dimensions": ({"a": row(shape=(1,) * 9)}, "impossible shape"),
    "huge dimensions": ({"a": row(shape=(2**60, 2**60))}, "impossible shape"),
    "huge dimensions of nothing": (
        {"a": row(shape=(0, 2**60), end=0)},
        "it is cut short, or bytes at its end",
    ),
    "no bytes for a shape": (
        {"a": row(shape=(4096, 4096), end=0)},
        "a tensor has an impossible shape",
    ),
    "too few bytes for a shape": ({"a": row(shape=(2,))}, "a tensor has an impossible shape"),
    "unknown type": ({"a": row(dtype="F7")}, "its header cannot be read"),
    "a type that is a list": ({"a": row(dtype=["F32"])}, "its header cannot be read"),
    "a row that is a list": ({"a": [1]}, "its header cannot be read"),
    "a row without a shape": (
        {"a": {"dtype": "F32", "data_offsets": [0, 4]}},
        "its header cannot be read",
    ),
    "three offsets": ({"a": {**row(), "data_offsets": [0, 2, 4]}}, "its header cannot be read"),
    "offsets that are a text": (
        {"a": {**row(), "data_offsets": "04"}},
        "its header cannot be read",
    ),
    "notes that are no table": ({**HOLDS_4, "__metadata__": []}, "its header cannot be read"),
    "notes that are no texts": ({**HOLDS_4, "__metadata__": {"a": 1}}, "its header cannot be read"),
    "a list": ([1, 2], "its header cannot be read"),
    "many tensors": (
        {"a": row(), **{str(i): row(shape=(0,), start=4) for i in range(2**17)}},
        "its header names 131073 tensors",
    ),
    "two of one name": (b'{"a": 1, "a": 2}', "its header cannot be read"),
    "deep": (b'{"a": ' + b"[" * 10**6, "its header cannot be read"),
    "not JSON": (b"{nonsense", "its header cannot be read"),
    "not text": (b'{"\xff": 1}', "its header cannot be read"),
    # What safetensors lets pass.
    "the row of a tensor twice": (TWICE, "its header cannot be read"),
    "a row that lists what it is to name": ({"a": ["F32", [1], [0, 4]]}, "a is not described"),
    "a row of more than the three": ({"a": {**row(), "more": 1}}, "a is not described"),
    "a type that is a table": (
        {"a": row(dtype={"F32": None})},
        "a holds numbers of an unknown type",
    ),
    "a type that no loader knows": ({"a": row(dtype="F8_E8M0", shape=(4,))}, "F8_E8M0"),
    "huge dimensions of nothing, beside a tensor": (
        {"a": row(), "b": row(shape=(0, 2**60), start=4)},
        "b has an impossible shape",
    ),
}


@pytest.mark.parametrize("what", HEADERS)
def test_malformed_headers(tmp_path, what):
    header, expected = HEADERS[what]
    path = write(tmp_path / "odd.safetensors", header, b"\0" * 4)
    message = refused(path)
    assert message.startswith("odd.safetensors ")
    assert expected in message
    assert message.endswith("download it again")


@pytest.mark.parametrize("length", [2**60, 2**63, 2**64 - 1, 2**40, MAX_HEADER + 1, 1000])
def test_header_longer_than_the_file(tmp_path, length):
    path = write(tmp_path / "odd.safetensors", HOLDS_4, b"\0" * 4, length)
    assert "odd.safetensors " in refused(path)
    assert "cut short" in refused(path)


def test_a_header_longer_than_any(tmp_path):
    path = write(tmp_path / "odd.safetensors", HOLDS_4, length=MAX_HEADER + 1)
    os.truncate(path, 2 * MAX_HEADER)
    assert "cut short or no model file" in refused(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the file is Linux's")
def test_where_no_file_can_be_mapped_into_memory(tmp_path):
    path = tmp_path / "here.safetensors"
    path.symlink_to("/proc/self/pagemap")
    assert refused(path).startswith("here.safetensors cannot be opened: ")


def test_no_huge_number_is_computed(tmp_path):
    """Python multiplies whole numbers of any length; a header may hold millions of digits."""
    digits = b"9" * 10**6
    path = write(tmp_path / "odd.safetensors", b'{"a": {"shape": [' + digits + b"]}}")
    assert "its header cannot be read" in refused(path)


def test_a_good_file_at_every_length_but_its_own(tmp_path):
    path = tmp_path / "cut.safetensors"
    safetensors.torch.save_file(TENSORS, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refused(path).startswith("cut.safetensors ")
    path.write_bytes(whole + b"\0")
    assert "bytes at its end" in refused(path)


WRONG_FILES = {
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "web page with a mark": (b"\xef\xbb\xbf<html lang='en'>", "web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\n", "git lfs pull"),
    "answer of a server": (b'{"error": "Unauthorized"}', "it is a text"),
    "refusal of a server": (b"Access to model x is restricted", "it is a text"),
    "packed": (b"\x1f\x8b\x08\0\0", "unpack it"),
    "empty": (b"", "it is empty"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
@pytest.mark.parametrize("ending", ["safetensors", "SFT", "bin", "pt"])
def test_what_is_no_model_at_all(tmp_path, what, ending):
    start, expected = WRONG_FILES[what]
    path = tmp_path / f"model.{ending}"
    path.write_bytes(start)
    message = refused(path)
    assert message.startswith(f"model.{ending} is no model file: ")
    assert expected in message


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_file_called_safetensors(tmp_path, legacy):
    path = tmp_path / "renamed.safetensors"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    assert "pickled file (.bin), not .safetensors: rename it" in refused(path)


def test_safetensors_called_bin(tmp_path):
    path = tmp_path / "renamed.bin"
    safetensors.torch.save_file(TENSORS, path)
    assert "rename it to .safetensors" in refused(path)


def test_a_header_whose_length_looks_like_something_else(tmp_path):
    """Lengths that begin like a web page or a pickle: 0x3c is <, 0x0280 a pickle's first bytes."""
    for length in (0x3C, 0x280, 0x5B, 0x7B):
        header = json.dumps(HOLDS_4).encode().ljust(length)
        path = write(tmp_path / "good.safetensors", header, b"\0" * 4)
        assert what_it_is(path) is None
        check_file(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_file_is_looked_into(tmp_path, legacy):
    path = tmp_path / "good.bin"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    check_file(str(path))


def test_folder_called_like_a_file(tmp_path):
    path = tmp_path / "folder.safetensors"
    path.mkdir()
    assert refused(path).startswith("folder.safetensors cannot be opened: ")
