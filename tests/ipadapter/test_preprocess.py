"""What the encoder is shown, against the processor that the adapters were trained with."""

import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.preprocess import (
    CLIP_MEAN,
    LONGEST,
    fit_to_encoder,
    shorter_side,
)
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
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


def test_gray_pictures():
    picture = torch.rand(2, 30, 40, 1)
    rgb = picture.expand(-1, -1, -1, 3)
    assert torch.equal(fit_to_encoder(picture, 28), fit_to_encoder(rgb, 28))


def with_alpha(colors, alpha):
    return torch.cat([colors, torch.full_like(colors[..., :1], 1) * alpha], -1)


def test_an_opaque_picture_is_as_one_without_alpha():
    colors = torch.rand(2, 30, 40, 3)
    assert torch.equal(fit_to_encoder(with_alpha(colors, 1), 28), fit_to_encoder(colors, 28))


def test_what_is_transparent_is_nothing_to_clip():
    hidden, other = torch.rand(2, 1, 30, 40, 3)
    cut_out = torch.rand(1, 30, 40, 1).round()
    nothing = torch.tensor(CLIP_MEAN)
    seen = fit_to_encoder(torch.where(cut_out == 1, hidden, nothing), 28)
    for under in (hidden, torch.where(cut_out == 1, hidden, other)):
        assert torch.equal(fit_to_encoder(with_alpha(under, cut_out), 28), seen)
    half = fit_to_encoder(with_alpha(hidden, 0.5), 28)
    torch.testing.assert_close(half, fit_to_encoder((hidden + nothing) / 2, 28))


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (2, 4000)])
def test_a_thread_of_a_picture_costs_no_more_than_its_middle(shape):
    """Its shorter side is not enlarged over all of its length."""
    most = max_elements(lambda: fit_to_encoder(torch.rand(1, *shape, 3), 224))
    assert most <= 3 * 224 * 224 * LONGEST
    thread = torch.linspace(0, 1, max(shape)).view(1, -1, 1, 1).expand(1, -1, min(shape), 3)
    thread = thread if shape[0] > shape[1] else thread.transpose(1, 2)
    assert (fit_to_encoder(thread, 224) - 0.5).abs().max() < 0.001


def max_elements(function):
    """Of the largest tensor that it makes."""

    class Watched(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **kwargs or {})
            if isinstance(made, torch.Tensor):
                self.most = max(self.most, made.numel())
            return made

    with Watched() as watched:
        function()
    return watched.most


@pytest.mark.parametrize("shape", [(300, 200), (64, 64), (30, 300), (480, 30)])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_ordinary_pictures_are_resized_whole(shape, place):
    """To the bit: what is cut off then has a say in the antialiased rest."""
    pixels = torch.rand(1, *shape, 3).movedim(-1, 1)
    whole = shorter_side(pixels, 56)
    down, right = (
        int((side - 56) * part) for side, part in zip(whole.shape[-2:], place, strict=True)
    )
    expected = whole[..., down : down + 56, right : right + 56].movedim(1, -1)
    assert torch.equal(fit_to_encoder(pixels.movedim(1, -1), 56, place), expected)
