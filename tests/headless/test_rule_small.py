"""Rule 9: what stays in memory is keys, values and masks; a file in use is one copy."""

import gc
import weakref

import pytest
import safetensors.torch
import torch
from ipadapter_pack.nodes.loading import adapter as load
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, left_half


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_small_only_keys_and_values_stay(dtype):
    """Of a reference of 16 tokens: K and V of both roles, in the model's dtype, and no more."""
    loaded, model = adapter(kind="plus"), tiny.model(dtype=dtype)
    applied = apply(model, loaded, 1, attn_mask=left_half())
    expected = sum(2 * 2 * 16 * width for width in tiny.widths(model)) * dtype.itemsize
    kept = [
        kv for patch in applied.attachments["ipadapter_regions"].values() for kv in patch.regions
    ]
    assert {x.dtype for kv in kept for seen in kv.seen for x in seen} == {dtype}
    storages = {
        x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()
        for kv in kept
        for seen in kv.seen
        for x in seen
    }
    assert sum(storages.values()) == expected

    layers = Layers(applied)
    tiny.sample(applied, steps=1)
    packed = layers.calls[0][1]["ipadapter_regions"]._kv
    laid_out = [x for groups in packed.values() for _, kv in groups for x in (kv.k, kv.v)]
    assert sum(x.untyped_storage().nbytes() for x in laid_out) == expected  # one row per role


def test_small_the_adapter_may_leave():
    """Sampling holds no reference to the adapter's weights."""
    loaded = adapter(kind="plus")
    weights = weakref.ref(loaded.adapter)
    model = apply(tiny.shared_model(), loaded, 1)
    del loaded
    gc.collect()
    assert weights() is None
    assert torch.isfinite(tiny.sample(model)).all()


def test_small_one_file_is_one_copy(tmp_path):
    path = tmp_path / "adapter.safetensors"
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()))
    flat = {f"{half}.{key}": t for half, tensors in file.items() for key, t in tensors.items()}
    safetensors.torch.save_file(flat, path)
    first = load.load_adapter(str(path))
    assert load.load_adapter(str(path)) is first
    alive = weakref.ref(first.adapter)
    del first
    gc.collect()
    assert alive() is None


def test_small_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "adapter.bin"
    torch.save(tiny.adapter_file(tiny.widths(tiny.shared_model())), path)
    first = load.load_adapter(str(path))
    torch.save(tiny.adapter_file(tiny.widths(tiny.shared_model()), "plus"), path)
    assert load.load_adapter(str(path)) is not first


@pytest.mark.parametrize("wrap", [lambda t: t, torch.nn.Parameter], ids=["tensor", "parameter"])
def test_small_another_packs_adapter_goes_with_its_tensors(wrap):
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()))
    file["ip_adapter"] = {key: wrap(t) for key, t in file["ip_adapter"].items()}
    alive = weakref.ref(load.accept_adapter(file).loaded)
    assert load.accept_adapter(file).loaded is alive()
    del file
    gc.collect()
    assert alive() is None


def test_small_the_adapter_shares_the_loaded_tensors():
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()))
    loaded = load.LoadedAdapter(file, "tiny")
    weight = loaded.adapter.to_k_ip[0].weight
    assert weight.data_ptr() == file["ip_adapter"]["1.to_k_ip.weight"].data_ptr()
