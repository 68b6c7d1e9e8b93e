"""Files made to harm: refused by name, nothing in them runs, nothing large is allocated."""

import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy
import pytest
import safetensors.torch
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.loading.adapter import load_adapter
from ipadapter_pack.tests import tiny

MEBIBYTE = 2**20

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, on odd pickles


@pytest.fixture(scope="module")
def good():
    return tiny.adapter_file(tiny.widths(tiny.shared_model()))


def memory():
    """Bytes of this process that are in use now."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def refused():
    """Loads a file that must be refused, and looks at what that took; gives the message."""

    def load(path):
        before = memory() if sys.platform == "linux" else 0
        with pytest.raises(IPAdapterError) as caught:
            load_adapter(str(path))
        grown = memory() - before if sys.platform == "linux" else 0
        assert grown < 64 * MEBIBYTE, f"{grown // MEBIBYTE} MB to refuse a file"
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(path.name)
        return message

    return load


class Call:
    """Pickles as a call: who unpickles it freely, runs it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": lambda marker: Call(os.system, f"touch {marker}"),
    "eval": lambda marker: Call(eval, f"open({str(marker)!r}, 'w').close()"),
    "subprocess": lambda marker: Call(subprocess.Popen, ["touch", str(marker)]),
}


def zipped(content, path):
    torch.save(content, path)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare(content, path):
    path.write_bytes(pickle.dumps(content))


FORMS = {"zip": zipped, "legacy": legacy, "bare": bare}


@pytest.mark.parametrize("ending", ["bin", "pt", "safetensors"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_code_is_not_run(tmp_path, good, refused, payload, form, ending):
    path, marker = tmp_path / f"evil.{ending}", tmp_path / "ran"
    FORMS[form]({**good, "extra": PAYLOADS[payload](marker)}, path)
    message = refused(path)
    assert not marker.exists()
    assert "get the .safetensors" in message
    assert ("holds code" in message) == (ending != "safetensors")


def test_the_payloads_are_live(tmp_path):
    """Else the tests above would prove nothing."""
    for name, payload in PAYLOADS.items():
        marker = tmp_path / name
        made = pickle.loads(pickle.dumps(payload(marker)))
        if name == "subprocess":
            made.wait()
        assert marker.exists()


def test_pickled_module(tmp_path, refused):
    path = tmp_path / "module.bin"
    torch.save(torch.nn.Linear(2, 2), path)
    assert "holds code or is no plain checkpoint" in refused(path)


def test_torchscript(tmp_path, refused):
    path = tmp_path / "script.bin"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    assert "TorchScript program" in refused(path)


class Sized:
    """Pickles as a tensor of that size over a storage of one number."""

    def __init__(self, *size):
        self.size = size

    def __reduce__(self):
        storage = torch.zeros(1).untyped_storage()
        storage = torch.storage.TypedStorage(
            wrap_storage=storage, dtype=torch.float32, _internal=True
        )
        strides = torch.empty(self.size, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (storage, 0, self.size, strides, False, {})


LEAVES = {
    "sparse": (lambda: torch.eye(64).to_sparse(), "is torch.sparse_coo"),
    "sparse rows": (lambda: torch.eye(64).to_sparse_csr(), "is torch.sparse_csr"),
    "huge and sparse": (
        lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (2**30, 2**30)),
        None,
    ),
    "stride 0": (lambda: torch.zeros(1).expand(2**20, 2**12), "cannot be in"),
    "stride 0 below the limit": (lambda: torch.zeros(1).expand(2**13, 2**13), "cannot be in"),
    "larger than its storage": (lambda: Sized(2**13, 2**13), None),
    "much larger than its storage": (lambda: Sized(2**20, 2**16), None),
    "no numbers": (lambda: torch.empty(2**13, 2**13, device="meta"), "cannot be in"),
    "no numbers, of the right shape": (
        lambda: torch.empty(
            *tiny.adapter_file([32])["ip_adapter"]["1.to_k_ip.weight"].shape, device="meta"
        ),
        "without numbers",
    ),
    "string": (lambda: "text", "is a str, not a tensor"),
    "list": (lambda: [torch.zeros(1)], "is a list, not a tensor"),
    "number": (lambda: 1.5, "is a float, not a tensor"),
    "numpy scalar": (lambda: numpy.float64(1.0), "holds code or is no plain checkpoint"),
    "numpy array": (lambda: numpy.zeros(3), "holds code or is no plain checkpoint"),
    "quantized": (
        lambda: torch.quantize_per_tensor(torch.eye(64), 0.1, 0, torch.qint8),
        "cannot be read",
    ),
    "complex": (lambda: torch.zeros(4, 4, dtype=torch.complex64), "complex64"),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_that_is_no_plain_tensor(tmp_path, good, refused, leaf, form):
    make, expected = LEAVES[leaf]
    layers = {**good["ip_adapter"], "1.to_k_ip.weight": make()}
    path = tmp_path / "odd.bin"
    FORMS[form]({**good, "ip_adapter": layers}, path)
    message = refused(path)
    assert expected is None or expected in message


def test_a_small_file_that_says_it_is_16_gibibytes(tmp_path, refused):
    path = tmp_path / "small.bin"
    torch.save({"image_proj": {"latents": torch.zeros(1).expand(2**20, 2**12)}}, path)
    assert path.stat().st_size < 2048
    assert "latents has the shape (1048576, 4096), which cannot be in" in refused(path)


@pytest.mark.parametrize("content", [[1], [torch.zeros(2)], torch.zeros(2), "text", 7])
def test_content_that_is_no_table(tmp_path, refused, content):
    path = tmp_path / "list.bin"
    torch.save(content, path)
    assert f"it holds a {type(content).__name__}, not named tensors" in refused(path)


def test_a_table_in_itself(tmp_path, good, refused):
    table = {"image_proj": good["image_proj"]}
    table["ip_adapter"] = table
    torch.save(table, tmp_path / "loop.bin")
    assert "is a dict, not a tensor" in refused(tmp_path / "loop.bin")


def test_one_half_alone(tmp_path, good, refused):
    """ComfyUI hands on the only entry of a table in its place."""
    torch.save({"ip_adapter": good["ip_adapter"]}, tmp_path / "half.bin")
    assert "is not an IP-Adapter" in refused(tmp_path / "half.bin")


def test_a_bomb(tmp_path, good, refused):
    """A zip whose entries are packed grows a thousandfold when it is read."""
    plain, bomb = tmp_path / "plain.bin", tmp_path / "bomb.bin"
    torch.save({**good, "zeros": torch.zeros(4 * MEBIBYTE)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert "packed or larger when unpacked" in refused(bomb)


@pytest.mark.parametrize("form", FORMS)
def test_a_few_bytes_that_ask_for_a_gibibyte(tmp_path, good, refused, form):
    """bytearray, which PyTorch's restricted unpickler calls."""
    path = tmp_path / "hungry.bin"
    FORMS[form]({**good, "extra": Call(bytearray, 2**30)}, path)
    tracemalloc.start()
    try:
        assert "asks for memory beyond its contents" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * MEBIBYTE
    finally:
        tracemalloc.stop()


ODD_NUMBERS = ["033", "0x1", "\u0663", "9" * 5000, "1.5", "-1"]


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_layers_with_odd_numbers_are_none(tmp_path, good, number):
    odd = {f"{number}.to_{which}_ip.weight": torch.zeros(4, 64) for which in "kv"}
    lora = {f"{number}.to_q_lora.{half}.weight": torch.zeros(2, 2) for half in ("down", "up")}
    path = tmp_path / "odd.bin"
    torch.save({**good, "ip_adapter": {**good["ip_adapter"], **odd, **lora}}, path)
    assert load_adapter(str(path)).adapter.widths == tiny.widths(tiny.shared_model())
    torch.save({**good, "ip_adapter": odd}, path)
    with pytest.raises(IPAdapterError, match="no layer has a to_k_ip"):
        load_adapter(str(path))


def test_names_do_not_break_a_message_into_lines(tmp_path, good, refused):
    name = "1.to_k_ip.weight\nTraceback " + "x" * 10_000
    path = tmp_path / "long.bin"
    content = {**good["ip_adapter"], name: torch.zeros(2).to_sparse()}
    torch.save({**good, "ip_adapter": content}, path)
    assert len(refused(path)) < 300


def test_a_zip_archive_of_something_else(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "model.bin", "w") as archive:
        archive.writestr("readme.txt", "unpack me")
    assert "it is a zip archive; unpack it" in refused(tmp_path / "model.bin")


def test_storage_cut_short_inside_the_archive(tmp_path, good, refused):
    whole, cut = tmp_path / "whole.bin", tmp_path / "cut.bin"
    torch.save(good, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(cut, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, data[:8] if entry.filename.endswith("/data/0") else data)
    assert "cut short" in refused(cut)


def rows(tensors):
    """A .safetensors header of tensors of zeros, laid side by side."""
    table, end = {}, 0
    for key, tensor in tensors.items():
        offsets = [end, end := end + tensor.nbytes]
        table[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
    return table, end


def set_shape(row, shape):
    row["shape"] = shape


def point_at(row, start, end):
    row["data_offsets"] = [start, end]


# What a loader that maps the file into memory would take at its word.
LIES = {
    "end beyond the file": lambda row: point_at(row, row["data_offsets"][0], 2**40),
    "shape without bytes": lambda row: point_at(row, 0, 0),
    "16 GiB without bytes": lambda row: (set_shape(row, [2**20, 2**12]), point_at(row, 0, 0)),
    "negative dimensions": lambda row: set_shape(row, [-1, -1]),
    "overlap": lambda row: point_at(row, *(n - 4 for n in row["data_offsets"])),
    "unknown type": lambda row: row.update(dtype="F33"),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(tmp_path, good, refused, lie):
    tensors = {f"{half}.{key}": t for half, part in good.items() for key, t in part.items()}
    table, size = rows(tensors)
    LIES[lie](table["ip_adapter.1.to_k_ip.weight"])
    header = json.dumps(table).encode()
    path = tmp_path / "lie.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    assert "lie.safetensors is damaged: " in refused(path)


def test_the_header_without_a_lie_is_good(tmp_path, good):
    tensors = {f"{half}.{key}": t for half, part in good.items() for key, t in part.items()}
    table, size = rows(tensors)
    header = json.dumps(table).encode()
    path = tmp_path / "good.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    assert load_adapter(str(path)).file == "good.safetensors"


def test_a_header_of_2_to_the_60_bytes(tmp_path, refused):
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "cannot be read" in refused(path)


def test_safetensors_called_bin(tmp_path, good, refused):
    tensors = {f"{half}.{key}": t for half, part in good.items() for key, t in part.items()}
    safetensors.torch.save_file(tensors, tmp_path / "renamed.bin")
    assert "rename it to .safetensors" in refused(tmp_path / "renamed.bin")


def test_git_lfs_pointer_and_web_page(tmp_path, refused):
    for ending in ("bin", "safetensors"):
        path = tmp_path / f"model.{ending}"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        assert "git lfs pull" in refused(path)
        path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
        assert "web page" in refused(path)


def test_a_refused_file_can_be_mended(tmp_path, good):
    """A refusal leaves no trace: the same name loads once the right file is there."""
    path = tmp_path / "mended.bin"
    path.write_bytes(b"")
    with pytest.raises(IPAdapterError):
        load_adapter(str(path))
    torch.save(good, path)
    assert load_adapter(str(path)).file == "mended.bin"
