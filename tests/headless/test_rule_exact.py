"""Rule 7: masks on the exact grid; white is no mask, black is no adapter."""

import math

import comfy.samplers
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, left_half


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def test_exact_white_is_no_mask(loaded):
    model = tiny.shared_model()
    white = apply(model, loaded, 1, attn_mask=torch.ones(1, 512, 384))
    assert torch.equal(tiny.sample(white), tiny.sample(apply(model, loaded, 1)))


def test_exact_black_is_no_adapter(loaded):
    model = tiny.shared_model()
    black = apply(model, loaded, 1, attn_mask=torch.zeros(1, 512, 384))
    assert torch.equal(tiny.sample(black), tiny.sample(model))


def test_exact_closed_range_is_no_adapter(loaded):
    model = tiny.shared_model()
    closed = apply(model, loaded, 1, start_at=1.0, end_at=1.0)
    assert torch.equal(tiny.sample(closed), tiny.sample(model))


@pytest.mark.parametrize("start_at", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("end_at", [0.5, 0.75, 1.0])
def test_exact_range_includes_both_ends(loaded, start_at, end_at):
    """Active while percent_to_sigma(end_at) <= sigma <= percent_to_sigma(start_at)."""
    model = apply(tiny.shared_model(), loaded, 1, start_at=start_at, end_at=end_at)
    layers = Layers(model)
    sampling = model.get_model_object("model_sampling")
    percents = [0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9]
    sigmas = torch.tensor([sampling.percent_to_sigma(p) for p in percents] + [0.0])
    noise = torch.zeros(1, 4, 8, 8)
    sampler = comfy.samplers.sampler_object("euler")
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning(1), tiny.conditioning(2))
    guider.sample(noise, noise, sampler, sigmas)
    acted = [not torch.equal(out, without) for key, _, out, without in layers.calls if key == FIRST]
    assert acted == [start_at <= percent <= end_at for percent in percents]


FIRST = ("input", 1, 0)


def test_exact_outside_the_mask_a_layer_is_as_without(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(320, 448))
    layers = Layers(model)
    tiny.sample(model, size=(40, 56))
    assert len(layers.calls) == 16 * 2
    for _, options, out, without in layers.calls:
        height, width = options["activations_shape"][-2:]
        out, without = (x.unflatten(1, (height, width)) for x in (out, without))
        outside = (width + 1) // 2  # cells that touch nothing white
        assert torch.equal(out[:, :, outside:], without[:, :, outside:])
        assert not torch.equal(out[:, :, : width // 2], without[:, :, : width // 2])


@pytest.fixture(scope="module")
def without_self_attention():
    """The real UNet and its grids, without what makes large pictures slow."""
    model = tiny.shared_model().clone()
    for layer in find_layers(model):
        model.set_model_attn1_replace(lambda q, k, v, extra_options: v, *layer)
    return model


# Long sides too, but few cells in all: they are what a UNet call costs.
SIZES = st.one_of(
    st.tuples(st.integers(8, 40), st.integers(8, 160)),
    st.tuples(st.integers(8, 160), st.integers(8, 40)),
)


@settings(
    max_examples=2 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    size=SIZES,
    mask_size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
)
def test_exact_grid_at_every_size(loaded, without_self_attention, size, mask_size):
    """Any latent size through a real UNet: each layer's tokens and the mask that it sees."""
    mask = torch.rand(1, *mask_size, generator=torch.Generator().manual_seed(sum(mask_size)))
    model = apply(without_self_attention, loaded, 1, attn_mask=mask)
    layers = Layers(model)
    tiny.sample(model, size=size, steps=1, cfg=1.0)
    assert len(layers.calls) == 16
    expected = {}
    for _, options, out, _ in layers.calls:
        height, width = options["activations_shape"][-2:]
        if (height, width) not in expected:
            expected[height, width] = reduced(mask[0].double().numpy(), height, width)
        seen = options["ipadapter_regions"].mask(0, height, width)
        assert out.shape[1] == height * width == seen.shape[2]
        close = np.abs(seen.flatten().numpy() - expected[height, width].flatten()).max()
        assert close <= 1e-6


def reduced(mask, height, width):
    """Straight from the definition, in float64: coverage along an axis, or linear between."""
    return along(along(mask, height).T, width).T


def along(values, cells):
    pixels = len(values)
    out = np.zeros((cells, *values.shape[1:]))
    for i in range(cells):
        if pixels >= cells:
            start, end = i * pixels / cells, (i + 1) * pixels / cells
            for p in range(int(start), min(pixels, math.ceil(end))):
                out[i] += values[p] * (min(p + 1, end) - max(p, start)) / (end - start)
        else:
            at = min(max((i + 0.5) * pixels / cells - 0.5, 0.0), pixels - 1.0)
            low = int(at)
            high = min(low + 1, pixels - 1)
            out[i] = values[low] * (1 - at + low) + values[high] * (at - low)
    return out
