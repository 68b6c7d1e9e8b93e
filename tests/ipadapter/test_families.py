"""What an adapter file is follows from the shapes of its tensors, whatever it is called."""

import re

import pytest
import torch
from ipadapter_pack.ipadapter.adapter import IPAdapter
from ipadapter_pack.ipadapter.checkpoint import read_checkpoint
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.families import FAMILIES
from ipadapter_pack.tests.ipadapter.published import FILES, on_meta

FACES = {"FaceID", "FaceID Plus", "FaceID Portrait", "FaceID Portrait unnorm", "Kolors FaceID Plus"}


def loaded(name: str, form: str, file: str = "renamed.bin") -> tuple[IPAdapter, dict]:
    """The published file on the meta device: not one weight is allocated."""
    image_proj, rest, *_ = FILES[name]
    half = "adapter_modules" if "Kolors" in name else "ip_adapter"
    halves = {"image_proj": on_meta(image_proj), half: on_meta(rest)}
    flat = {f"{part}.{key}": t for part, tensors in halves.items() for key, t in tensors.items()}
    checkpoint = read_checkpoint(halves if form == "nested" else flat, file)
    return IPAdapter.from_checkpoint(checkpoint, torch.nn, file), checkpoint.lora


@pytest.mark.parametrize("form", ["nested", "flat"])
@pytest.mark.parametrize("name", FILES)
def test_published_files_are_told_by_their_shapes(name, form):
    image_proj, rest, family, tokens, width = FILES[name]
    adapter, lora = loaded(name, form)
    projection = adapter.projection
    assert projection.name == family
    assert projection.width == width
    assert getattr(projection, "tokens", None) == tokens
    assert (projection.face is not None) == (family in FACES)
    assert (projection.feature is None) == (width == 0)
    assert projection.kolors == ("Kolors" in name)
    assert adapter.base_model == ("SD1.5" if len(rest) % 70 else "SDXL")
    assert lora.keys() == {key for key in rest if "_lora." in key}
    parameters = sum(p.numel() for p in adapter.parameters())
    expected = [*image_proj.values(), *(s for k, s in rest.items() if "_lora." not in k)]
    assert parameters == sum(torch.Size(shape).numel() for shape in expected)


def test_every_family_is_published():
    assert {family.name for family in FAMILIES} == {row[2] for row in FILES.values()}


@pytest.mark.parametrize("every_layer", [False, pytest.param(True, marks=pytest.mark.release)])
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_one_tensor_missing_or_short_is_refused(name, every_layer):
    image_proj, rest, *_ = FILES[name]
    short = {key: (shape[0] - 1,) for key, shape in image_proj.items() if key.endswith(".bias")}
    alike = {re.sub(r"layers\.\d+", "layers", key): key for key in image_proj}
    for key in image_proj if every_layer else alike.values():
        broken = {k: s for k, s in image_proj.items() if k != key}
        for changed in (broken, broken | {k: s for k, s in short.items() if k == key}):
            content = {"image_proj": on_meta(changed), "ip_adapter": on_meta(rest)}
            with pytest.raises(IPAdapterError, match=r"^x\.bin "):
                IPAdapter.from_checkpoint(read_checkpoint(content, "x.bin"), torch.nn, "x.bin")


def test_a_lora_without_its_other_half_is_refused():
    image_proj, rest, *_ = FILES["ip-adapter-faceid_sd15"]
    for half in ("3.to_q_lora.down.weight", "3.to_out_lora.up.weight"):
        content = {"image_proj": on_meta(image_proj), "ip_adapter": on_meta(rest)}
        del content["ip_adapter"][half]
        with pytest.raises(IPAdapterError, match="has no matching half"):
            read_checkpoint(content, "x.bin")
