"""What the negative prompt sees, and values that other packs' loaders give."""

import pytest
import torch
from ipadapter_pack.ipadapter.noise import distorted
from ipadapter_pack.nodes.loading.adapter import accept_adapter
from ipadapter_pack.nodes.references.encode import encode_reference
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply
from ipadapter_pack.tests.near import assert_near


@pytest.fixture(scope="module", params=["base", "plus", "full"])
def loaded(request):
    return adapter(kind=request.param)


def tokens(loaded, picture):
    return encode_reference(loaded, ENCODER, picture).positive


def test_the_negative_is_no_picture(loaded):
    reference = encode_reference(loaded, ENCODER, tiny.picture(1))
    assert reference.negative.shape == reference.positive.shape
    other = encode_reference(loaded, ENCODER, tiny.picture(2))
    assert torch.equal(reference.negative, other.negative)
    assert not torch.equal(reference.positive, other.positive)


def test_noise_shows_the_negative_a_distorted_picture(loaded):
    reference = encode_reference(loaded, ENCODER, tiny.picture(1), noise=0.3)
    expected = tokens(loaded, distorted(tiny.picture(1), 0.3))
    assert_near(reference.negative, expected, 1e-5)


def test_a_negative_picture_replaces_both(loaded):
    pictures = torch.cat([tiny.picture(1), tiny.picture(2), tiny.picture(3)])
    reference = encode_reference(loaded, ENCODER, pictures, pictures[1:], noise=0.5)
    expected = tokens(loaded, pictures[[1, 2, 2]])  # a short list repeats its last
    assert_near(reference.negative, expected, 1e-5)


def test_too_many_negative_pictures_are_said(loaded, caplog):
    two = torch.cat([tiny.picture(1), tiny.picture(2)])
    encode_reference(loaded, ENCODER, tiny.picture(3), two)
    assert "image_negative: 2 pictures for 1; the last are not used" in caplog.text


def test_values_of_the_prevailing_pack():
    """Its loader's dictionary and its pipeline give the same picture as our own value."""
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()))
    pipeline = {
        "clipvision": {"file": "x", "model": ENCODER},
        "ipadapter": {"file": "y", "model": file},
    }
    model = tiny.shared_model()
    ours = tiny.sample(apply(model, adapter(), 1))
    assert torch.equal(tiny.sample(apply(model, file, 1)), ours)
    assert torch.equal(tiny.sample(apply(model, pipeline, 1, clip_vision=None)), ours)
    assert accept_adapter(file).loaded is accept_adapter(pipeline).loaded
