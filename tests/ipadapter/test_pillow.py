"""Pillow's resizing, as torchvision brings pictures there and back."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.pillow import FILTERS, pillow_resized
from PIL import Image
from torchvision.transforms.functional import to_pil_image, to_tensor


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(5, 40), (30, 7), (1, 1)])
def test_it_equals_torchvision_and_pillow(name, size):
    pixels = torch.rand(2, 3, 20, 16)
    height, width = size
    expected = [
        to_tensor(to_pil_image(p).resize((width, height), getattr(Image.Resampling, name)))
        for p in pixels
    ]
    assert torch.equal(pillow_resized(pixels, height, width, name), torch.stack(expected))


def test_values_outside_of_0_to_1_do_not_wrap_around():
    pixels = torch.tensor([-0.5, 1.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    resized = pillow_resized(pixels, 2, 2, "NEAREST")
    assert torch.equal(resized, pixels.clamp(0, 1))


def test_an_unknown_interpolation():
    with pytest.raises(IPAdapterError, match="interpolation SINC: choose one of LANCZOS, BICUBIC"):
        pillow_resized(torch.rand(1, 3, 2, 2), 2, 2, "SINC")
