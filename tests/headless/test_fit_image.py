"""Fit Image in front of the encoder."""

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.references.fit_image import FitImage
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply
from PIL import Image

SIZE = 56  # the tiny encoder's


def fit(image, **inputs):
    return FitImage.execute(image=image, **inputs)[0]


def test_a_cropped_picture_acts_as_the_picture_itself():
    loaded, model = adapter(kind="plus"), tiny.shared_model()
    image = tiny.picture(1, 90, 130, batch=2)
    direct = apply(model, loaded, image)
    through = apply(model, loaded, fit(image, size=SIZE))
    assert torch.equal(tiny.sample(through), tiny.sample(direct))


def test_the_node_shows_every_square(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    output = FitImage.execute(image=tiny.picture(1, 40, 90), mode="tiles", size=32)
    shown = [
        np.asarray(Image.open(tmp_path / file["subfolder"] / file["filename"])) / 255
        for file in output.ui.as_dict()["images"]
    ]
    assert np.abs(np.stack(shown) - output[0].numpy()).max() <= 1 / 255


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch", "tiles"])
def test_the_encoder_is_shown_what_comes_out(monkeypatch, mode):
    shown = []
    encode_image = ENCODER.encode_image
    monkeypatch.setattr(
        ENCODER, "encode_image", lambda pixels: shown.append(pixels) or encode_image(pixels)
    )
    image = tiny.picture(2, 60, 160)
    fitted = fit(image, mode=mode, crop_position="right", size=SIZE)
    apply(tiny.shared_model(), adapter(), fitted)
    assert torch.equal(torch.cat(shown), fitted)
    assert fitted.shape == (3 if mode == "tiles" else 1, SIZE, SIZE, 3)


def test_batches_come_out_picture_by_picture():
    image = tiny.picture(3, 40, 100, batch=3)
    for mode in ("crop", "pad", "stretch", "tiles"):
        expected = torch.cat([fit(one[None], mode=mode, size=32) for one in image])
        assert torch.equal(fit(image, mode=mode, size=32), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["crop", "stretch", "tiles"])
def test_the_mask_of_a_picture_without_alpha_is_white(mode, channels):
    fitted, mask = FitImage.execute(image=torch.rand(2, 40, 100, channels), mode=mode, size=32).args
    assert torch.equal(mask, torch.ones(fitted.shape[:3]))


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch", "tiles"])
def test_a_cut_out_is_fitted_with_its_mask(mode):
    """What is hidden under its transparent part is nowhere to be seen."""
    image = torch.rand(2, 64, 64, 4)
    image[..., 3] = 0
    image[:, 10:40, 20:50, 3] = 1
    other = image.clone()
    other[..., :3] = torch.where(image[..., 3:] == 1, image[..., :3], torch.rand(64, 64, 3))
    fitted, mask = FitImage.execute(image=image, mode=mode, size=64).args
    assert torch.equal(mask, image[..., 3])
    assert torch.equal(fitted, fit(other, mode=mode, size=64))
    loaded = adapter(kind="plus")
    one, two = (
        tiny.sample(apply(tiny.shared_model(), loaded, picture)) for picture in (image, other)
    )
    assert torch.equal(one, two)


def test_defaults():
    schema = FitImage.GET_SCHEMA()
    inputs = {i.id: i for i in schema.inputs}
    assert inputs["mode"].options == ["crop", "pad", "stretch", "tiles"]
    assert inputs["crop_position"].options == ["center", "top", "bottom", "left", "right"]
    image = tiny.picture(1, 300, 200)
    assert torch.equal(fit(image), fit(image, mode="crop", crop_position="center", size=224))


def test_pictures_that_are_none():
    with pytest.raises(IPAdapterError, match="image is an empty batch"):
        fit(torch.zeros(0, 8, 8, 3))
    with pytest.raises(IPAdapterError, match="image has the shape"):
        fit(torch.zeros(8, 8, 3))


def test_progress_and_interruption():
    shown = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: shown.append(value))
    try:
        fit(tiny.picture(1, batch=4))
        assert shown[-1] == 4
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        fit(tiny.picture(1))
    assert fit(tiny.picture(1)).shape == (1, 224, 224, 3)
