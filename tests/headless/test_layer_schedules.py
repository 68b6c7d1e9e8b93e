"""Layer schedules in a real UNet: what each layer adds, in float64, and diffusers' per-block scales."""

from types import SimpleNamespace

import pytest
import torch
from diffusers.loaders import IPAdapterMixin
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.nodes.references.encode import encode_reference
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless import oracle
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half
from ipadapter_pack.tests.headless.test_rule_faithful import TIMESTEP, features
from ipadapter_pack.tests.near import assert_near
from ipadapter_pack.tests.weight_types.test_layers import AWAY, BY_DEPTH, BY_ROLE, LAYOUTS
from ipadapter_pack.weight_types.layers import SCHEDULES

WEIGHT, SECOND = 0.8, 1.3


def patches(model):
    return model.attachments["ipadapter_regions"]


def recorded(model):
    """(layer, q, what the references added, is positive per row) of every layer in a UNet call."""
    calls = []

    def spy(layer, patch):
        def replacement(q, k, v, extra_options):
            out = patch(q, k, v, extra_options)
            bare = {name: o for name, o in extra_options.items() if name != "ipadapter_regions"}
            rows = [which == 0 for which in extra_options["cond_or_uncond"]]
            calls.append((layer, q, out - patch(q, k, v, bare), rows))
            return out

        return replacement

    model = model.clone()
    for key, patch in patches(model).items():
        model.set_model_attn2_replace(spy(key.layer, patch), *key.layer)
    return model, calls


def by_number(schedule, layout):
    """t -> weight, from the survey's tables."""
    blocks = LAYOUTS[layout]
    if schedule in BY_DEPTH:
        curve = BY_DEPTH[schedule]
        return {t: WEIGHT * curve(t, len(blocks), row[0]) for t, row in enumerate(blocks)}
    return BY_ROLE[layout][schedule](WEIGHT, SECOND)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
def test_what_each_layer_adds(layout, schedule):
    model, loaded = tiny.shared_model(layout), adapter(layout)
    inputs = {"layer_schedule": schedule, "weight": WEIGHT, "second_weight": SECOND}
    applied, calls = recorded(apply(model, loaded, 0, **inputs))
    tiny.sample(applied, layout=layout, steps=1)

    layers = find_layers(model)
    numbers = {row[:2]: t for t, row in enumerate(LAYOUTS[layout])}
    weights = by_number(schedule, layout)
    away = AWAY.get((layout, schedule), [])
    fired = {layer for layer, *_ in calls}
    assert fired == {at for at in layers if weights.get(numbers[at[:2]], 0)}
    reference = encode_reference(loaded, ENCODER, tiny.picture(0))
    checked = 0
    for layer, q, added, rows in calls:
        t, at = numbers[layer[:2]], list(layers).index(layer)
        heads = layers[layer].heads
        for row, positive in enumerate(rows):
            tokens = reference.positive if positive or t in away else reference.negative
            expected = weights[t] * attention(q[row], loaded, at, tokens, heads)
            if t in away and positive:
                expected = 0 * expected
            # The sum with the text's attention rounds in float32.
            assert_near(added[row], expected, 1e-4)
            checked += 1
    assert checked == 2 * len(calls)


def attention(q, loaded, layer, tokens, heads):
    """softmax(q K^T / sqrt(d)) V in float64, heads in a loop."""
    k, v = (
        tokens[0].double() @ weights[layer].weight.double().T
        for weights in (loaded.adapter.to_k_ip, loaded.adapter.to_v_ip)
    )
    out = []
    for qh, kh, vh in zip(*(x.double().chunk(heads, -1) for x in (q, k, v)), strict=True):
        out.append((qh @ kh.T / qh.shape[-1] ** 0.5).softmax(-1) @ vh)
    return torch.cat(out, -1)


# diffusers' own names for the blocks of InstantStyle, as its documentation gives them.
STYLE = {"up": {"block_0": [0.0, WEIGHT, 0.0]}}
COMPOSITION = {"down": {"block_2": [0.0, SECOND]}}


@pytest.mark.parametrize("cfg", [pytest.param(1.0, marks=pytest.mark.release), 5.0])
@pytest.mark.parametrize(
    ("schedule", "inputs", "scale"),
    [
        ("style transfer", {"weight": WEIGHT}, STYLE),
        ("composition", {"weight": SECOND}, COMPOSITION),
        ("style and composition", {"weight": WEIGHT, "second_weight": SECOND}, STYLE | COMPOSITION),
    ],
)
def test_style_and_composition_equal_diffusers(schedule, inputs, scale, cfg):
    model, file = tiny.shared_model("SDXL"), None
    file = tiny.adapter_file(tiny.widths(model), "plus")
    picture = tiny.picture(0, 56, 56)
    applied = apply(model, file, picture, layer_schedule=schedule, **inputs)
    x, ours, sigma = oracle.one_call(applied, "SDXL", cfg, TIMESTEP)
    _, without, _ = oracle.one_call(model, "SDXL", cfg, TIMESTEP)
    unet = oracle.diffusers_unet(model, "SDXL")
    unet._load_ip_adapter_weights([file])
    IPAdapterMixin.set_ip_adapter_scale(SimpleNamespace(unet=unet, unet_name="unet"), scale)
    seen = [features(ENCODER, "plus", picture)]
    theirs = oracle.diffusers_noise(unet, "SDXL", x, sigma, TIMESTEP, cfg, seen)
    assert_near(ours, theirs, 1e-5)
    assert_near(ours, theirs, 1e-3, effect=theirs - without)


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
def test_without_a_negative_the_precise_part_does_nothing(weight_type):
    model, loaded = tiny.shared_model(), adapter()
    inputs = {"weight_type": weight_type, "weight": 0.0, "layer_schedule": "style transfer precise"}
    away = apply(model, loaded, 0, second_weight=2.0, **inputs)
    assert torch.equal(tiny.sample(away, cfg=1.0), tiny.sample(model, cfg=1.0))
    assert not torch.equal(tiny.sample(away), tiny.sample(model))


def test_a_layer_at_zero_gets_no_patch():
    model = apply(tiny.shared_model("SDXL"), adapter("SDXL"), 0, layer_schedule="style transfer")
    assert {key.layer[:2] for key in patches(model)} == {("output", 1)}
    assert len(patches(model)) == 10
    named = apply(tiny.shared_model("SDXL"), adapter("SDXL"), 0, layer_weights="style: 1")
    assert torch.equal(tiny.sample(model, layout="SDXL"), tiny.sample(named, layout="SDXL"))


def test_nothing_anywhere_is_the_model_itself():
    model, loaded = tiny.shared_model(), adapter()
    assert apply(model, loaded, 0, weight=0.0, layer_schedule="style transfer") is model
    assert apply(model, loaded, 0, layer_weights="3: 0") is model
    two = {"weight": 0.0, "layer_schedule": "style and composition"}
    assert apply(model, loaded, 0, second_weight=0.0, **two) is model
    assert len(patches(apply(model, loaded, 0, second_weight=1.0, **two))) == 2


def test_two_schedules_share_one_model_and_keep_their_masks():
    """Style from one picture in the left half, composition from another in the right."""
    model, loaded = tiny.shared_model("SDXL"), adapter("SDXL")
    style = {"layer_schedule": "style transfer", "attn_mask": left_half()}
    composition = {"layer_schedule": "composition", "attn_mask": 1 - left_half()}
    both = apply(apply(model, loaded, 0, **style), loaded, 1, **composition)
    by_block = {key.layer[:2]: len(patch.regions) for key, patch in patches(both).items()}
    assert by_block == {("output", 1): 1, ("input", 8): 1}
    other = apply(apply(model, loaded, 1, **composition), loaded, 0, **style)
    first, second = (tiny.sample(m, layout="SDXL") for m in (both, other))
    assert torch.equal(first, second)  # they meet in no layer, so their order is nothing
    alone = apply(model, loaded, 0, **style)
    assert not torch.equal(first, tiny.sample(alone, layout="SDXL"))


def test_a_bad_schedule_is_named():
    for inputs, expected in [
        ({"layer_schedule": "wavy"}, "layer_schedule wavy: choose one of even, ease in"),
        ({"layer_weights": "brush: 1"}, "layer_weights: 'brush: 1' is not a layer of this model"),
    ]:
        with pytest.raises(IPAdapterError, match=expected):
            apply(tiny.shared_model(), adapter(), 0, **inputs)
