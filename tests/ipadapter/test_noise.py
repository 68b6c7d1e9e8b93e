"""Distorted pictures: each recipe, and that nothing else draws other numbers because of it."""

import pytest
import torch
import torchvision.transforms as T
from einops import rearrange
from ipadapter_pack.ipadapter.noise import NOISES, distorted
from ipadapter_pack.ipadapter.preprocess import fit_to_encoder, rgb
from ipadapter_pack.tests.ipadapter.test_preprocess import photo


@pytest.mark.parametrize("noise", [0.01, 0.4, 1.0])
def test_distorted_is_the_recipe_without_the_global_generator(noise):
    """The same transforms as torchvision draws them from a freshly seeded global generator."""
    picture = pictures()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recipe = T.Compose(
            [
                T.CenterCrop(260),
                T.Resize((224, 224), T.InterpolationMode.BICUBIC, antialias=True),
                T.ElasticTransform(alpha=75.0, sigma=noise * 3.5),
                T.RandomVerticalFlip(p=1.0),
                T.RandomHorizontalFlip(p=1.0),
            ]
        )
        expected = recipe(picture.movedim(-1, 1)).movedim(1, -1)
        expected = expected + (0.25 * (1 - noise) + 0.05) * torch.randn_like(expected)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    ours = distorted(picture, noise)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def pictures(count=1, height=300, width=260):
    return torch.from_numpy(photo(height, width))[None].repeat(count, 1, 1, 1) / 255


@pytest.fixture(params=["fade", "dissolve", "gaussian"])
def kind(request):
    return request.param


def test_it_is_calculated_as_in_the_formula(kind):
    """Of the center square at 224 pixels, in float64, with the numbers that the seed gives."""
    strength = 0.3
    clean = fit_to_encoder(pictures(), 224)[0].double()
    generator = torch.Generator().manual_seed(0)
    ours = NOISES[kind].value(pictures(), strength)[0].double()
    if kind == "gaussian":
        normal = torch.randn(224, 224, 3, generator=generator).double()
        expected = clean + strength * normal
        expected = torch.minimum(torch.maximum(expected, torch.zeros(1)), torch.ones(1))
    elif kind == "fade":
        uniform = torch.rand(224, 224, 3, generator=generator).double()
        expected = (1 - strength) * clean + strength * uniform
    else:
        uniform = torch.rand(224, 224, 3, generator=generator).double()
        replaced = torch.rand(224, 224, 3, generator=generator) < strength
        expected = uniform * replaced + clean * ~replaced
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_0_changes_nothing_and_more_changes_more(kind):
    clean = fit_to_encoder(pictures(), 224)
    assert torch.equal(NOISES[kind].value(pictures(), 0.0), clean)
    change = [(NOISES[kind].value(pictures(), s) - clean).abs().mean() for s in (0.1, 0.5, 1.0)]
    assert change == sorted(change)


def test_1_leaves_nothing_of_the_picture_in_fade_and_dissolve():
    for kind in ("fade", "dissolve"):
        assert torch.equal(
            NOISES[kind].value(pictures(), 1.0), NOISES[kind].value(1 - pictures(), 1.0)
        )


def test_a_part_of_the_values_dissolves():
    changed = NOISES["dissolve"].value(pictures(), 0.25) != fit_to_encoder(pictures(), 224)
    assert abs(changed.float().mean() - 0.25) < 0.01


@pytest.mark.parametrize("name", NOISES)
def test_no_random_numbers_of_others_are_used(name):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = NOISES[name].value(pictures(), 0.4)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(NOISES[name].value(pictures(), 0.4), first)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(name, channels):
    picture = torch.rand(2, 30, 40, channels)
    noisy = NOISES[name].value(picture, 0.4)
    assert noisy.shape == (2, 224, 224, 3)
    seen = rearrange(rgb(picture), "images c h w -> images h w c")
    assert torch.equal(noisy, NOISES[name].value(seen, 0.4))


def test_every_picture_gets_the_same_noise(kind):
    """So that one picture's negative does not depend on its company."""
    noisy = NOISES[kind].value(pictures(3), 0.4)
    assert torch.equal(noisy, NOISES[kind].value(pictures(1), 0.4).expand(3, -1, -1, -1))
