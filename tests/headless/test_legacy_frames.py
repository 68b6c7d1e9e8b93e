"""When and for which frames version 2's references act, in every layer, against float64."""

import comfy.samplers
import pytest
import torch
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.legacy.params import (
    IPAdapterCombineParams,
    IPAdapterFromParams,
    IPAdapterRegionalConditioning,
)
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.legacy_layers import (
    CLOSE,
    EITHER,
    Acts,
    adapter_of,
    at,
    call_node,
    mean_mask,
    pictures,
    recorded,
    sees,
    weights,
    worst,
)
from ipadapter_pack.tests.headless.legacy_oracle import SCALING
from ipadapter_pack.tests.headless.support import in_windows, left_half
from ipadapter_pack.tests.weight_types.test_layers import AWAY

PERCENTS = [0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9]


def at_percents(model, layout, steps):
    """One UNet call at each of these places of the noise schedule, and where it ends."""
    sigmas = [model.get_model_object("model_sampling").percent_to_sigma(p) for p in PERCENTS]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning(1, layout), tiny.conditioning(2, layout))
    noise = torch.zeros(1, 4, 8, 8)
    guider.sample(noise, noise, comfy.samplers.KSAMPLER(evaluate), torch.tensor([*sigmas, 0.0]))


def evaluate(model, x, sigmas, extra_args, callback, disable):
    for sigma in sigmas[:-1]:
        model(x, sigma * x.new_ones(len(x)), **extra_args)
    return x


RANGES = [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (0.0, 0.0), (1.0, 1.0), (0.4, 1.0)]


@pytest.mark.parametrize(
    ("layout", "start_at", "end_at"),
    [
        pytest.param(layout, *range, marks=() if quick else pytest.mark.release)
        for layout in ("SD1.5", "SDXL")
        for range in RANGES
        for quick in [layout == "SD1.5" or range == (0.25, 0.75)]
    ],
)
def test_a_range_acts_from_sigma_to_sigma(layout, start_at, end_at):
    adapter = adapter_of(layout)
    inputs = {"start_at": start_at, "end_at": end_at, "weight_type": "ease in", "weight": 0.8}
    model = call_node(IPAdapterAdvanced, layout, adapter, pictures(0), **inputs)
    calls = recorded(model, layout, at_percents)
    to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    start, end = (999999999.9 if p == 0 else float(to_sigma(p)) for p in (start_at, end_at))
    acted = {call.sigma for call in calls if end <= call.sigma <= start}
    assert len({call.sigma for call in calls}) == len(PERCENTS)
    assert len(acted) == sum(start_at <= p <= end_at for p in PERCENTS)
    table = weights(layout, "ease in", 0.8, None)
    tokens = sees(adapter.pair(pictures(0)))
    for now in (True, False):
        part = [call for call in calls if (call.sigma in acted) == now]
        acts = Acts(adapter.file, tokens, table if now else lambda *_: None, SCALING["V only"])
        assert not part or worst(part, layout, acts) < CLOSE


FRAMES = 3
UNFOLDED = {  # pictures, weights, masks, weight type
    "short": ((0, 1), [0.9, -0.4], 2, "ease in"),
    "long": ((0, 1, 2, 3, 4), [0.9, -0.4, 0.6, 1.0, 2.0], 5, "composition precise"),
    "one picture": ((0,), [0.9, 0.0, -0.6], 0, "style and composition"),
    "one weight": ((0, 1, 2), 0.7, 1, "style transfer precise"),
    "weights run on": ((0, 1), [0.9, -0.4, 0.6], 0, "linear"),
    "one of each": ((0,), [0.7], 3, "weak output"),
}


def gray_masks(count):
    """Each of another gray, the left half only."""
    return torch.cat([left_half() * (i + 1) / (count + 1) for i in range(count)]) if count else None


def per_frame(layout, adapter, seeds, weight, masks, weight_type, scaling):
    """The reference of IPAdapterBatch."""
    positive, negative = adapter.pair(pictures(*seeds))
    away = AWAY.get((layout, weight_type), [])
    each = weight if isinstance(weight, list) else [weight]
    second = 1.0 if weight_type == "style and composition" else None
    tables = [weights(layout, weight_type, w, w if second is None else second) for w in each]

    def tokens(t, is_positive, frame):
        if t in away:
            return None if is_positive else at(positive, frame)[None]
        return at(positive if is_positive else negative, frame)[None]

    return Acts(
        adapter.file,
        tokens,
        lambda t, frame: at(tables, frame)(t, frame),
        SCALING[scaling],
        lambda call, frame: 1.0 if masks is None else mean_mask(at(masks, frame), call),
    )


@EITHER
@pytest.mark.parametrize("scaling", SCALING)
@pytest.mark.parametrize("case", UNFOLDED)
def test_a_batch_goes_to_the_latents_one_by_one(layout, case, scaling):
    adapter = adapter_of(layout)
    seeds, weight, count, weight_type = UNFOLDED[case]
    masks = gray_masks(count)
    inputs = {"weight": weight, "weight_type": weight_type, "embeds_scaling": scaling}
    inputs["attn_mask"] = masks
    model = call_node(IPAdapterBatch, layout, adapter, pictures(*seeds), **inputs)
    acts = per_frame(layout, adapter, seeds, weight, masks, weight_type, scaling)
    assert worst(recorded(model, layout, batch=FRAMES), layout, acts) < CLOSE


def in_core_windows(model):
    return in_windows(model, 3, 1), {"batch": 7}


def in_animatediff_window(model):
    model = model.clone()
    ad_params = {"sub_idxs": [2, 4, 6], "full_length": 7}
    model.model_options["transformer_options"]["ad_params"] = ad_params
    return model, {"batch": 3}


WINDOWS = [in_core_windows, in_animatediff_window]


@EITHER
@pytest.mark.parametrize("scaling", ["V only", "K+mean(V) w/ C penalty"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_take_their_frames(layout, windows, scaling):
    """Six pictures, five weights and masks for seven frames."""
    adapter = adapter_of(layout)
    seeds, weight, masks = range(6), [0.9, -0.4, 0.6, 0.2, 1.1], gray_masks(5)
    inputs = {"weight": weight, "weight_type": "ease out", "embeds_scaling": scaling}
    inputs["attn_mask"] = masks
    model, run = windows(call_node(IPAdapterBatch, layout, adapter, pictures(*seeds), **inputs))
    calls = recorded(model, layout, **run)
    acts = per_frame(layout, adapter, seeds, weight, masks, "ease out", scaling)
    assert worst(calls, layout, acts) < CLOSE
    assert {frame for call in calls for _, frame in call.rows} >= {2, 4, 6}


@EITHER
@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_take_their_masks_where_nothing_is_unfolded(layout, windows):
    adapter = adapter_of(layout)
    masks = gray_masks(5)
    inputs = {"weight": [0.8, 5.0], "attn_mask": masks}
    image = pictures(0, 1)
    model, run = windows(call_node(IPAdapterAdvanced, layout, adapter, image, **inputs))
    masked = lambda call, frame: mean_mask(at(masks, frame), call)  # noqa: E731
    first = lambda t, frame: 0.8  # noqa: E731
    acts = Acts(adapter.file, sees(adapter.pair(image)), first, SCALING["V only"], masked)
    assert worst(recorded(model, layout, **run), layout, acts) < CLOSE


@EITHER
@pytest.mark.parametrize("scaling", ["V only", "K+V"])
def test_params_are_a_chain(layout, scaling):
    """Regions with a mask, a weight type and a range of their own; what they add is summed."""
    adapter = adapter_of(layout)
    regions = [
        (0, 0.8, "ease in", 0.0, 0.5, left_half()),
        (1, 1.3, "style and composition", 0.25, 1.0, 1 - left_half()),
        (2, -0.5, "composition precise", 0.0, 1.0, None),
    ]
    names = ("image_weight", "weight_type", "start_at", "end_at", "mask")
    params = []
    for seed, *region in regions:
        inputs = dict(zip(names, region, strict=True))
        params.append(IPAdapterRegionalConditioning.execute(image=pictures(seed), **inputs)[0])
    joined = IPAdapterCombineParams.execute(**{f"params_{i}": p for i, p in enumerate(params, 1)})
    inputs = {"embeds_scaling": scaling, "ipadapter_params": joined[0]}
    model = call_node(IPAdapterFromParams, layout, adapter, None, **inputs)
    to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    acts = []
    for seed, weight, weight_type, start, end, mask in regions:
        second = 1.0 if weight_type == "style and composition" else weight
        ends = float(to_sigma(end)), float(to_sigma(start))

        def factor(call, frame, ends=ends, mask=mask):
            inside = ends[0] <= call.sigma <= ends[1]
            return inside * (1.0 if mask is None else mean_mask(mask[0], call))

        tokens = sees(adapter.pair(pictures(seed)), AWAY.get((layout, weight_type), []))
        table = weights(layout, weight_type, weight, second)
        acts.append(Acts(adapter.file, tokens, table, SCALING[scaling], factor))
    assert worst(recorded(model, layout, at_percents), layout, *acts) < CLOSE
