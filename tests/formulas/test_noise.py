"""Noise pictures: to the bit what torch and torchvision draw from the global generator, which stays
as it is."""

import pytest
import torch
import torchvision.transforms.v2 as T
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.formulas.noise import KINDS, noise_picture
from ipadapter_pack.tests.ipadapter.test_preprocess import photo


def pictures(count=1, height=300, width=260):
    many = [torch.from_numpy(photo(height, width)).roll(9 * i, 1) for i in range(count)]
    return torch.stack(many) / 255


def recipe(clean, kind, s):
    """Of squares [images, 224, 224, 3], from the global generator as it is."""
    if kind == "fade":
        return clean * (1 - s) + torch.rand_like(clean) * s
    if kind == "dissolve":
        replaced = (torch.rand_like(clean) < s).float()
        return torch.rand_like(clean) * replaced + clean * (1 - replaced)
    if kind == "gaussian":
        return clean + torch.randn_like(clean) * s
    transforms = T.Compose(
        [
            T.ElasticTransform(alpha=75.0, sigma=(1 - s) * 3.5),
            T.RandomVerticalFlip(p=1.0),
            T.RandomHorizontalFlip(p=1.0),
        ]
    )
    moved = transforms(clean.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    grain = torch.randn_like(moved) * (s * 0.75)
    return moved * (1 - grain) + grain


def squares(image):
    side = min(image.shape[1:3])
    small = T.Compose(
        [T.CenterCrop(side), T.Resize((224, 224), T.InterpolationMode.BICUBIC, antialias=True)]
    )
    return small(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize("blur", [0, 4, 5])
def test_version_2_draws_for_the_whole_batch(kind, strength, blur):
    image = pictures(3)
    clean = squares(image)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.sum(clean).item()) % 1000000007)
        expected = recipe(clean, kind, strength).clamp(0, 1)
    if blur:
        kernel = {4: 5, 5: 5}[blur]
        expected = T.functional.gaussian_blur(expected.permute(0, 3, 1, 2), [kernel, kernel])
        expected = expected.permute(0, 2, 3, 1)
    ours = noise_picture(image, kind, strength, blur, seeded_by_picture=True)
    assert torch.equal(ours, expected)


def test_version_2_without_a_picture_distorts_black(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = recipe(torch.zeros(1, 224, 224, 3), kind, 0.5).clamp(0, 1)
    assert torch.equal(noise_picture(None, kind, 0.5, 0, True), expected)
    assert torch.equal(noise_picture(None, kind, 0.5, 0), expected)


def test_a_picture_s_noise_does_not_depend_on_its_company(kind):
    image = pictures(3)
    together = noise_picture(image, kind, 0.4, 3)
    alone = torch.cat([noise_picture(one[None], kind, 0.4, 3) for one in image])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = recipe(squares(image[1:2]), kind, 0.4).clamp(0, 1)
    assert torch.equal(noise_picture(image, kind, 0.4, 0)[1:2], expected)


@pytest.mark.parametrize("seeded", [False, True])
def test_no_random_numbers_of_others_are_used(kind, seeded):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = noise_picture(pictures(2), kind, 0.4, 2, seeded)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(noise_picture(pictures(2), kind, 0.4, 2, seeded), first)


@pytest.mark.parametrize("size", [(1, 1), (9, 5000), (700, 300), (224, 224)])
def test_pictures_of_any_size_and_channels(kind, size):
    for channels in (1, 4):
        image = torch.rand(2, *size, channels)
        noisy = noise_picture(image, kind, 0.4, 1)
        assert noisy.shape == (2, 224, 224, 3)
        assert torch.isfinite(noisy).all()
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        rgb = image[..., :3].expand(-1, -1, -1, 3)
        torch.testing.assert_close(noise_picture(rgb, kind, 0.4, 1), noisy)


def test_0_leaves_the_picture():
    for kind in ("fade", "dissolve", "gaussian"):
        ours = noise_picture(pictures(), kind, 0.0, 0)
        assert torch.equal(ours, squares(pictures()).clamp(0, 1))


def test_an_unknown_type():
    with pytest.raises(IPAdapterError, match="type perlin: choose one of fade, dissolve, gaussian"):
        noise_picture(None, "perlin", 0.4, 0)
