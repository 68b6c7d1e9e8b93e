"""Versions 1 and 2's nodes that prepare pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced
from ipadapter_pack.nodes.legacy.compat import WAYS
from ipadapter_pack.nodes.legacy.embeds import IPAdapterEncoder
from ipadapter_pack.nodes.legacy.formulas.noise import KINDS, noise_picture
from ipadapter_pack.nodes.legacy.formulas.sharpen import sharpened
from ipadapter_pack.nodes.legacy.images import (
    NODES,
    IPAdapterNoise,
    PrepImageForClipVision,
    PrepImageForInsightFace,
)
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import (
    BAD_IMAGES,
    PROPERTIES,
    any_image,
    refuses,
    run,
)
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply
from ipadapter_pack.tests.ipadapter.test_preprocess import photo
from ipadapter_pack.tests.painted import tensor
from PIL import Image

FIRST = {IPAdapterNoise: "image_optional"}


def shown(pixels):
    """As the node is given a picture of 8 bits."""
    return torch.from_numpy(pixels)[None].float() / 255


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_the_recipe(kind):
    image = tiny.picture(1, 70, 60, batch=2)
    for compat, seeded in (("faithful", False), ("v2", True)):
        (noisy,) = run(
            IPAdapterNoise, type=kind, strength=0.4, blur=3, image_optional=image, compat=compat
        )
        assert torch.equal(noisy, noise_picture(image, kind, 0.4, 3, seeded))


def test_noise_of_nothing_is_a_negative():
    (noisy,) = run(IPAdapterNoise)
    assert torch.equal(noisy, noise_picture(None, "fade", 1.0, 0))
    model, loaded = tiny.shared_model(), adapter(kind="plus")
    plain, steered = apply(model, loaded), apply(model, loaded, image_negative=noisy)
    assert not torch.equal(tiny.sample(plain), tiny.sample(steered))


WIDE = {"left": 0, "right": 80, "top": 40, "bottom": 40, "center": 40}
TALL = {"top": 0, "bottom": 81, "left": 40, "right": 40, "center": 40}


@pytest.mark.parametrize("position", WIDE)
@pytest.mark.parametrize("name", ["LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST"])
def test_crop(position, name):
    """Against Pillow's own cropping."""
    left, top = WIDE[position], TALL[position]
    for pixels, box in (
        (photo(300, 380), (left, 0, left + 300, 300)),
        (photo(381, 300), (0, top, 300, top + 300)),
    ):
        cut = Image.fromarray(pixels).crop(box)
        expected = tensor(cut.resize((224, 224), getattr(Image.Resampling, name)))
        (ours,) = run(
            PrepImageForClipVision, image=shown(pixels), interpolation=name, crop_position=position
        )
        torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(200, 301), (301, 200), (10, 11), (64, 64)])
def test_pad(size):
    """To an exact square, with black."""
    pixels = photo(*size)
    side = max(size)
    square = np.zeros((side, side, 3), np.uint8)
    down, right = (side - size[0]) // 2, (side - size[1]) // 2
    square[down : down + size[0], right : right + size[1]] = pixels
    expected = tensor(Image.fromarray(square).resize((224, 224), Image.Resampling.BOX))
    (ours,) = run(
        PrepImageForClipVision, image=shown(pixels), interpolation="BOX", crop_position="pad"
    )
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("border", [0, 30])
def test_faces_get_a_white_border(border):
    pixels = photo(300, 380)
    side = 640 - 2 * border
    cut = Image.fromarray(pixels).crop((40, 0, 340, 300))
    small = tensor(cut.resize((side, side), Image.Resampling.LANCZOS)).movedim(-1, 0)[None]
    (ours,) = run(
        PrepImageForInsightFace, image=shown(pixels), sharpening=0.5, pad_around=border > 0
    )
    expected = torch.ones(1, 640, 640, 3)
    middle = slice(border, 640 - border)
    expected[:, middle, middle] = sharpened(small, 0.5).movedim(1, -1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_sharpening():
    image = shown(photo(300, 380))
    soft, sharp = (PrepImageForClipVision.execute(image=image, sharpening=s)[0] for s in (0, 0.8))
    expected = sharpened(soft.movedim(-1, 1), 0.8).movedim(1, -1)
    assert torch.equal(sharp, expected)
    assert not torch.equal(sharp, soft)


@pytest.mark.parametrize("node", NODES)
@PROPERTIES
@given(image=any_image(pixels=60_000))
def test_any_picture(node, image):
    (ours,) = run(node, **{FIRST.get(node, "image"): image})
    assert ours.shape == (len(image), *([640] * 2 if "Insight" in node.__name__ else [224] * 2), 3)
    assert torch.isfinite(ours).all()
    assert ours.min() >= 0
    assert ours.max() <= 1


@pytest.mark.parametrize("node", NODES)
def test_pictures_come_out_one_by_one(node):
    name = FIRST.get(node, "image")
    image = tiny.picture(3, 50, 90, batch=3)
    alone = torch.cat([node.execute(**{name: one[None]})[0] for one in image])
    torch.testing.assert_close(node.execute(**{name: image})[0], alone)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_pictures_that_are_none(node, image, problem):
    name = FIRST.get(node, "image")
    refuses(node, name, problem, **{name: image})


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        (IPAdapterNoise, {"type": "perlin"}, "type perlin: choose one of fade"),
        (PrepImageForClipVision, {"interpolation": "SINC"}, "interpolation SINC: choose one of"),
        (PrepImageForClipVision, {"crop_position": "up"}, "crop_position up: choose one of"),
        (PrepImageForInsightFace, {"crop_position": "up"}, "crop_position up: choose one of"),
    ],
)
def test_unknown_choices(node, inputs, message):
    with pytest.raises(IPAdapterError, match=message):
        node.execute(**{FIRST.get(node, "image"): tiny.picture(1), **inputs})


@pytest.mark.parametrize("node", NODES)
def test_alpha_is_not_read_as_in_older_packs(node):
    image = torch.rand(2, 40, 50, 4)
    name = FIRST.get(node, "image")
    assert torch.equal(run(node, **{name: image})[0], run(node, **{name: image[..., :3]})[0])


@pytest.mark.parametrize("compat", WAYS)
def test_older_packs_apply_what_is_hidden_under_alpha(compat):
    image, negative = torch.rand(2, 1, 40, 50, 4)
    inputs = {"ipadapter": adapter(kind="plus"), "clip_vision": ENCODER, "compat": compat}
    ours, expected = (
        tiny.sample(
            IPAdapterAdvanced.execute(
                model=tiny.shared_model(), image=image[..., :n], image_negative=negative[..., :n],
                **inputs,
            )[0]
        )
        for n in (4, 3)
    )  # fmt: skip
    assert torch.equal(ours, expected)
    ours, expected = (
        IPAdapterEncoder.execute(image=image[..., :n], mask=torch.ones(1, 8, 8), **inputs)
        for n in (4, 3)
    )
    assert torch.equal(ours[0], expected[0])
