"""Packs that read an IPADAPTER value as the dictionary that version 2's loader gave."""

from collections.abc import Mapping

import pytest
import torch
from ipadapter_pack.nodes.loading.adapter import AdapterBundle, LoadedAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, apply

FACES = object()  # what a loader brought as face models is handed on as it is


def file_of(kind, layout="SD1.5"):
    return tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), kind)


@pytest.mark.parametrize(
    ("kind", "name", "flags"),
    [
        ("base", "ip-adapter_sd15.safetensors", set()),
        ("plus", "ip-adapter-plus_sd15.safetensors", set()),
        ("faceid", "ip-adapter-faceid_sd15.bin", set()),
        ("faceid-plus", "ip-adapter-faceid-plus_sd15.bin", set()),
        ("faceid-plus", "ip-adapter-faceid-plusv2_sd15.bin", {"faceidplusv2"}),
        ("unnorm", "ip-adapter-faceid-portrait_sdxl_unnorm.bin", {"portraitunnorm"}),
    ],
)
@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
def test_an_adapter_reads_as_its_file(layout, kind, name, flags):
    """In two halves of named tensors, the LoRA of faces among those of the layers."""
    file = file_of(kind, layout)
    value = LoadedAdapter(file, name)
    assert isinstance(value, Mapping)
    assert set(value) == {"image_proj", "ip_adapter"} | flags
    assert "ipadapter" not in value  # by which packs tell it from a unified loader's
    for half, tensors in file.items():
        assert value[half].keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert torch.equal(value[half][key], tensor)


def test_a_bundle_reads_as_a_unified_loaders():
    loaded = LoadedAdapter(file_of("base"), "ip-adapter_sd15.safetensors")
    value = AdapterBundle(loaded, ENCODER, FACES)
    assert isinstance(value, Mapping)
    assert set(value) == {"ipadapter", "clipvision", "insightface"}
    assert value["ipadapter"] == {"file": "ip-adapter_sd15.safetensors", "model": loaded}
    assert value["clipvision"]["model"] is ENCODER
    assert value["insightface"]["model"] is FACES
    assert value.get("image_proj") is None


def test_what_another_pack_puts_together_from_its_parts_acts_as_the_value():
    loaded = LoadedAdapter(file_of("base"), "tiny.safetensors")
    value, model = AdapterBundle(loaded, ENCODER), tiny.shared_model()
    expected = tiny.sample(apply(model, value, clip_vision=None), steps=1)
    copies = [dict(value), dict(value["ipadapter"]["model"])]
    for copy, encoder in zip(copies, [None, ENCODER], strict=True):
        assert torch.equal(tiny.sample(apply(model, copy, clip_vision=encoder), steps=1), expected)


def test_values_are_told_apart_and_stay_as_they_are():
    one, other = (LoadedAdapter(file_of("base"), "tiny.safetensors") for _ in range(2))
    assert one != other
    assert len({one, other, AdapterBundle(one), AdapterBundle(one)}) == 4
    with pytest.raises(TypeError):
        one["image_proj"] = {}
