"""Kolors: SDXL's layers, and tokens that go through the UNet's own encoder_hid_proj."""

import copy

import comfy.ops
import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, apply
from ipadapter_pack.tests.headless.test_faceid import (
    ANNA,
    apply_face,
    bgr,
    encode_face,
    recognizer,  # noqa: F401  a fixture
)
from ipadapter_pack.tests.ipadapter.published import FILES, on_meta
from ipadapter_pack.tests.near import assert_near
from PIL import Image
from torch import nn


def kolors_model(dtype=torch.float32):
    """A tiny SDXL UNet with the module that Kolors' loaders set."""
    model = tiny.model("SDXL", dtype)
    project = nn.Linear(4096, tiny.CONTEXT)
    tiny.randomize(project, seed=4)
    model.model.diffusion_model.encoder_hid_proj = project.to(dtype)
    return model


@pytest.fixture(scope="module")
def loaded():
    widths = tiny.widths(tiny.shared_model("SDXL"))
    file = tiny.adapter_file(widths, "kolors-faceid")
    file["adapter_modules"] = file.pop("ip_adapter")
    return LoadedAdapter(file, "ipa-faceid-plus.bin")


def test_tokens_go_through_the_models_own_projection(recognizer, loaded):  # noqa: F811
    model = kolors_model()
    applied = apply_face(recognizer, loaded, model=model)[0]
    reference = encode_face(recognizer, loaded, ANNA)[0]
    assert reference.positive.shape == (1, 6, 4096)
    [patch, *_] = applied.attachments["ipadapter_regions"].values()
    project = model.model.diffusion_model.encoder_hid_proj
    entry = patch.regions[0]
    for tokens, kept in zip((reference.positive, reference.negative), entry.seen, strict=True):
        v = project(tokens) @ loaded.adapter.to_v_ip[0].weight.T
        assert_near(kept.v, v.unflatten(-1, (entry.heads, -1)).transpose(1, 2), 1e-5)
    out = tiny.sample(applied, layout="SDXL")
    assert torch.isfinite(out).all()
    assert not torch.equal(out, tiny.sample(model, layout="SDXL"))


@pytest.mark.parametrize("operations", [comfy.ops.manual_cast, comfy.ops.disable_weight_init])
def test_any_kind_of_linear_at_any_place(recognizer, loaded, operations):  # noqa: F811
    """Kolors' loaders set ComfyUI's layers, some as an object patch of the patcher."""
    model = tiny.shared_model("SDXL").clone()
    project = operations.Linear(4096, tiny.CONTEXT, dtype=torch.float16)
    tiny.randomize(project, seed=4)
    model.add_object_patch("diffusion_model.encoder_hid_proj", project)
    applied = apply_face(recognizer, loaded, model=model)[0]
    [patch, *_] = applied.attachments["ipadapter_regions"].values()
    same = apply_face(recognizer, loaded, model=kolors_model(torch.float16))[0]
    [other, *_] = same.attachments["ipadapter_regions"].values()
    ours, theirs = (each.regions[0].seen.positive.k for each in (patch, other))
    assert_near(ours.half(), theirs, 1e-3)


def test_narrow_kolors_adapters_are_told_by_their_wider_tokens():
    file = tiny.adapter_file([32], "faceid-plus", context=96)
    layers = tiny.adapter_file([32], "faceid-plus", context=64)["ip_adapter"]
    loaded = LoadedAdapter({**file, "ip_adapter": layers}, "narrow.bin")
    assert loaded.projection.name == "Kolors FaceID Plus"


def test_half_precision_models_project_in_float32(recognizer, loaded):  # noqa: F811
    applied = apply_face(recognizer, loaded, model=kolors_model(torch.float16))[0]
    project = copy.deepcopy(kolors_model(torch.float16).model.diffusion_model.encoder_hid_proj)
    reference = encode_face(recognizer, loaded, ANNA)[0].positive
    [patch, *_] = applied.attachments["ipadapter_regions"].values()
    v = project.float()(reference) @ loaded.adapter.to_v_ip[0].weight.T
    kept = patch.regions[0].seen.positive.v[0].transpose(0, 1).flatten(1)
    assert_near(kept, v[0].half(), 1e-3)


def test_what_kolors_reads_of_a_face(recognizer, loaded):  # noqa: F811
    """The embedding as it is, a square crop, and zero features as "no picture"."""
    [face] = recognizer.get(bgr(ANNA[0]))
    reference, crops = encode_face(recognizer, loaded, ANNA, weight_v2=0.5).result
    positive, negative = reference.features
    assert abs(positive.face.norm() / torch.from_numpy(face.embedding).norm() - 1) < 0.01
    assert positive.shortcut_scale == negative.shortcut_scale == 0.5
    assert positive.clip.any()
    assert not negative.clip.any()
    assert not negative.face.any()
    assert crops.shape[1] == ENCODER.image_size
    left, top, side = 40, 30, 120  # where the toy face is, which its box fits exactly
    pixels = (ANNA[0, top : top + side, left : left + side] * 255).round().byte().numpy()
    size = (ENCODER.image_size, ENCODER.image_size)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    assert np.abs((crops[0] * 255).numpy() - expected).max() <= 1


def test_a_model_without_the_projection_is_one_clear_error(recognizer, loaded):  # noqa: F811
    model = tiny.shared_model("SDXL")
    with pytest.raises(IPAdapterError) as caught:
        apply_face(recognizer, loaded, model=model)
    message = str(caught.value)
    assert message.startswith("ipa-faceid-plus.bin is a Kolors FaceID Plus adapter, and the model")
    assert "encoder_hid_proj" in message
    assert "\n" not in message


def test_kolors_plus_on_another_model_is_said(caplog):
    """It has SDXL's shapes, so nothing but the missing projection tells."""
    image_proj, *_ = FILES["ip_adapter_plus_general (Kolors)"]
    widths = tiny.widths(tiny.shared_model("SDXL"))
    file = tiny.adapter_file(widths, "plus", context=2048, width=48)
    del file["image_proj"]
    file["image_proj"] = {key: torch.zeros(t.shape) for key, t in on_meta(image_proj).items()}
    loaded = LoadedAdapter(file, "ip_adapter_plus_general.bin")
    assert loaded.projection.kolors
    encoder = tiny.clip_vision(width=1024)
    with pytest.raises(IPAdapterError, match="is for another base model"):
        apply(tiny.shared_model("SDXL"), loaded, clip_vision=encoder)
    wide = tiny.model("SDXL", context_dim=2048)
    apply(wide, loaded, clip_vision=encoder)
    assert "ip_adapter_plus_general.bin is made for Kolors" in caplog.text
    caplog.clear()
    wide.model.diffusion_model.encoder_hid_proj = nn.Linear(4096, 2048)
    apply(wide, loaded, clip_vision=encoder)
    assert "made for Kolors" not in caplog.text
