"""Rule 5: a layer launches at most 8 kernels per token count, however many references."""

import functools

import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, apply, left_half
from ipadapter_pack.tests.kernels import per_step

LAYERS = 16
WITH_AREA = tiny.conditioning(3)
WITH_AREA[0][1] |= {"area": (8, 4, 0, 4), "strength": 1.0}


@pytest.fixture(scope="module")
def adapters():
    return {kind: adapter(kind=kind) for kind in ("base", "plus")}


def kernels(model, **settings):
    return per_step(lambda steps: tiny.sample(model, steps=steps, **settings)).total()


@functools.cache
def kernels_of_the_plain_model(batch):
    return kernels(tiny.shared_model(), batch=batch)


def extra_kernels(model, batch=1):
    """What references add to a layer and UNet call, by difference to the plain model."""
    return (kernels(model, batch=batch) - kernels_of_the_plain_model(batch)) / LAYERS


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("references", [1, pytest.param(3, marks=pytest.mark.release), 10])
@pytest.mark.parametrize("kind", ["base", "plus"])
def test_cheap_kernels_do_not_grow_with_references(adapters, kind, references, batch):
    model = tiny.shared_model()
    for i in range(references):
        model = apply(model, adapters[kind], i, attn_mask=left_half())
    assert extra_kernels(model, batch=batch) <= 8


def test_cheap_per_token_count(adapters):
    model = tiny.shared_model()
    for i in range(3):
        model = apply(model, adapters["base"], i, attn_mask=left_half())
        model = apply(model, adapters["plus"], i, attn_mask=left_half())
    assert extra_kernels(model) <= 2 * 8


def test_cheap_with_areas_and_ranges(adapters):
    model = tiny.shared_model()
    for i in range(3):
        model = apply(model, adapters["base"], i, attn_mask=left_half(), end_at=0.9)
    positive = tiny.conditioning(1) + WITH_AREA
    extra = kernels(model, positive=positive) - kernels(tiny.shared_model(), positive=positive)
    assert extra / LAYERS / 2 <= 8  # two UNet calls a step


def test_cheap_with_a_picture_per_latent(adapters):
    pictures = torch.cat([tiny.picture(i) for i in range(3)])
    model = apply(tiny.shared_model(), adapters["plus"], pictures, unfold_batch=True)
    model = apply(model, adapters["plus"], 4, attn_mask=left_half())
    assert extra_kernels(model, batch=3) <= 8


def test_cheap_in_half_precision(adapters):
    """Scores are float32 then."""
    plain = tiny.model(dtype=torch.float16)
    model = plain
    for i in range(3):
        model = apply(model, adapters["base"], i, attn_mask=left_half())
    assert (kernels(model) - kernels(plain)) / LAYERS <= 8
