"""What the encoder is shown, against the processor that the adapters were trained with."""

import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.preprocess import fit_to_encoder
from PIL import Image
from transformers import CLIPImageProcessorPil


def photo(height, width):
    """Smooth shapes with sharp edges, 8 bits deep."""
    y, x = np.mgrid[:height, :width] / 37.0
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y) * (x > 4)], -1)
    return ((waves + 1) * 127).astype(np.uint8)


@pytest.mark.parametrize("size", [224, 336])
@pytest.mark.parametrize(
    "shape", [(480, 640), (640, 480), (513, 768), (300, 1000), (224, 224), (150, 90), (512, 512)]
)
def test_equals_the_training_processor(shape, size):
    pixels = photo(*shape)
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    options = {"do_normalize": False, "do_rescale": False, "return_tensors": "np"}
    expected = processor(Image.fromarray(pixels), **options)["pixel_values"][0]
    ours = fit_to_encoder(torch.from_numpy(pixels)[None] / 255, size)[0].movedim(-1, 0)
    difference = np.abs(ours.numpy() * 255 - expected.astype(np.float32))
    assert difference.mean() <= 0.5
    assert difference.max() <= 4.5  # that one keeps 8 bits between its two passes


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(channels):
    picture = torch.rand(2, 30, 40, channels)
    rgb = picture[..., :3].expand(-1, -1, -1, 3)
    assert torch.equal(fit_to_encoder(picture, 28), fit_to_encoder(rgb, 28))
