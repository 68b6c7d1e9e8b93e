"""Rule 8: who is positive and who negative, whatever the guider and the order of its calls."""

import functools

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_perpneg, nodes_sag
from comfy_extras.nodes_custom_sampler import DualCFGGuider
from ipadapter_pack.masks.layout import Area
from ipadapter_pack.nodes.sampling.conds import is_positive, resolve
from ipadapter_pack.nodes.sampling.types import CondChunk
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, left_half

POSITIVE, NEGATIVE = CondChunk(True, None), CondChunk(False, None)


@pytest.fixture(scope="module")
def model():
    return apply(tiny.shared_model(), adapter(), 1, attn_mask=left_half())


def calls_of(model, run):
    """The chunks of each UNet call of a run."""
    layers = Layers(model)
    run(model)
    return [
        call[1]["ipadapter_regions"].call.chunks
        for call in layers.calls
        if call[0] == ("input", 1, 0)
    ]


def guide(guider, size=(8, 8)):
    noise = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(7))
    sigmas = torch.tensor([5.0, 1.0])
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)


def roles_by_text(model, run):
    """{which text: role that its rows were given}, read off the layer's own inputs."""
    texts = {seed: tiny.conditioning(seed)[0][0] for seed in (1, 2, 3)}
    found = {}
    layer = model.model_options["transformer_options"]["patches_replace"]["attn2"]["input", 1, 0]
    unet_layer = model.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2
    keys = {seed: unet_layer.to_k(text)[0] for seed, text in texts.items()}

    def replacement(q, k, v, extra_options):
        chunks = extra_options["ipadapter_regions"].call.chunks
        for rows, chunk in zip(k.chunk(len(chunks)), chunks, strict=True):
            for seed, key in keys.items():
                if torch.allclose(rows[0, :77], key, atol=1e-4):
                    found.setdefault(seed, set()).add(chunk.positive)
        return layer(q, k, v, extra_options)

    model = model.clone()
    model.set_model_attn2_replace(replacement, "input", 1, 0)
    run(model)
    return found


def test_roles_of_a_plain_sampler(model):
    assert roles_by_text(model, tiny.sample) == {1: {True}, 2: {False}}


def test_roles_without_guidance(model):
    assert roles_by_text(model, lambda m: tiny.sample(m, cfg=1.0)) == {1: {True}}


def test_roles_of_texts_of_very_different_length(model):
    """Their rows do not fit one call, so each comes alone, with index 0 or 1."""
    long = tiny.conditioning(2)
    long[0][0] = torch.nn.functional.pad(long[0][0], (0, 0, 0, 77 * 4))
    run = functools.partial(tiny.sample, negative=long)
    assert roles_by_text(model, run) == {1: {True}, 2: {False}}
    assert {len(call) for call in calls_of(model, run)} == {1}


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_roles_of_dual_cfg(model, style):
    def run(model):
        texts = [tiny.conditioning(seed) for seed in (1, 3, 2)]
        guide(DualCFGGuider.execute(model, *texts, 3.0, 5.0, style)[0])

    assert roles_by_text(model, run) == {1: {True}, 3: {True}, 2: {False}}


def test_roles_of_perp_neg(model):
    def run(model):
        guider = nodes_perpneg.Guider_PerpNeg(model)
        guider.set_conds(*(tiny.conditioning(seed) for seed in (1, 2, 3)))
        guider.set_cfg(5.0, 1.0)
        guide(guider)

    assert roles_by_text(model, run) == {1: {True}, 2: {False}, 3: {False}}


def test_roles_of_self_attention_guidance(model):
    """Its second call is the negative alone, as index 0."""

    def run(model):
        model = nodes_sag.SelfAttentionGuidance.execute(model, 0.5, 2.0)[0]
        tiny.sample(model, size=(16, 16), steps=1)

    assert roles_by_text(model, run) == {1: {True}, 2: {False}}


def test_roles_and_areas_with_their_opposites(model):
    """A positive with an area gets a negative of its own, which copies its identity."""
    area = tiny.conditioning(3)
    area[0][1] |= {"area": (8, 4, 0, 4), "strength": 1.0}
    positive = tiny.conditioning(1) + area
    right = Area(y=0, x=4, height=8, width=4)
    calls = calls_of(model, lambda m: tiny.sample(m, positive, steps=1))
    cropped = {CondChunk(False, right), CondChunk(True, right)}
    assert {frozenset(call) for call in calls} == {
        frozenset([NEGATIVE, POSITIVE]),
        frozenset(cropped),
    }
    found = roles_by_text(model, lambda m: tiny.sample(m, positive))
    assert found == {1: {True}, 2: {False}, 3: {True}}


def test_roles_masked_texts_share_a_call(model):
    second = tiny.conditioning(3)
    second[0][1] |= {"mask": left_half(8, 8), "mask_strength": 1.0}
    positive = tiny.conditioning(1) + second
    found = roles_by_text(model, lambda m: tiny.sample(m, positive))
    assert found == {1: {True}, 2: {False}, 3: {True}}


def test_roles_by_name():
    named = {"positive": True, "middle": True, "negative": False, "empty_negative_prompt": False}
    others = {"cond_b": True, "uncond": False, "neg_2": False, "empty": False}
    assert {name: is_positive(name) for name in named | others} == named | others


def test_roles_of_copies_go_by_uuid_then_by_their_list():
    positive, negative = {"uuid": 1, "model_conds": {}}, {"uuid": 2}
    opposite = {"uuid": 1, "area": (4, 4, 0, 0)}  # its uuid is a positive's
    named = {"positive": [positive], "negative": [negative, opposite]}
    copies = [[dict(negative), dict(opposite)], [dict(positive)]]
    chunks = resolve(copies, named, (8, 8))
    assert {key: chunk.positive for key, chunk in chunks.items()} == {
        (2, 0): False,
        (1, 0): False,
        (1, 1): True,
    }
    assert resolve([[{"uuid": 9}], [{"uuid": 8}]], {}, (8, 8)) == {
        (9, 0): POSITIVE,
        (8, 1): NEGATIVE,
    }


def test_roles_negative_sees_no_image_and_positive_the_reference(model):
    """Swapping the roles changes the picture: the rows really differ."""
    swapped = tiny.sample(model, tiny.conditioning(2), tiny.conditioning(1), cfg=1.0)
    assert not torch.equal(swapped, tiny.sample(model, cfg=1.0))
