"""Rule 4: what does not change over the steps is worked out once."""

from collections import Counter

import pytest
import torch
from comfy_extras.nodes_model_downscale import PatchModelAddDownscale
from ipadapter_pack.masks.grid import pyramid
from ipadapter_pack.nodes.loading.feature_cache import FeatureCache
from ipadapter_pack.nodes.sampling import group_masks as group_masks
from ipadapter_pack.nodes.sampling import run
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, in_windows, left_half


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.fixture
def work(monkeypatch):
    """Counts mask reductions and layings out of keys and values, by what they are for."""
    counts = {"masks": Counter(), "rows": Counter()}
    crop_to_grid, pack_kv = group_masks.crop_to_grid, run.pack_kv

    def counting_crop(mask, latent_size, area, grid):
        counts["masks"][id(mask), area, grid] += 1
        return crop_to_grid(mask, latent_size, area, grid)

    def counting_pack(group, call):
        roles = tuple(chunk.positive for chunk in call.chunks)
        counts["rows"][id(group), roles, call.device] += 1
        return pack_kv(group, call)

    monkeypatch.setattr(group_masks, "crop_to_grid", counting_crop)
    monkeypatch.setattr(run, "pack_kv", counting_pack)
    return counts


def graph(loaded, **inputs):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(), **inputs)
    return apply(model, loaded, 2, attn_mask=1 - left_half())


TURNS = torch.cat([left_half(), 1 - left_half()])
OVER_TIME = {
    "open": {},
    "range": {"start_at": 0.3, "end_at": 0.7},
    "curve": {"step_weights": "1, 0"},
    "turns": {"step_masks": TURNS, "frame_weights": "0.5"},
}


@pytest.mark.parametrize("inputs", OVER_TIME.values(), ids=OVER_TIME)
def test_constant_masks_and_rows_once_per_run(loaded, work, inputs):
    tiny.sample(graph(loaded, **inputs), steps=6)
    assert work["masks"]
    assert set(work["masks"].values()) == {1}
    assert len(work["rows"]) == 16
    assert set(work["rows"].values()) == {1}


def test_constant_with_areas_once_per_area(loaded, work):
    area = tiny.conditioning(3)
    area[0][1] |= {"area": (8, 4, 0, 4), "strength": 1.0}
    positive = tiny.conditioning(1) + area
    tiny.sample(graph(loaded), positive, size=(8, 8), steps=4)
    assert {area for _, area, _ in work["masks"]} == {None, (0, 4, 8, 4)}
    assert set(work["masks"].values()) == {1}
    assert set(work["rows"].values()) == {1}


def test_constant_with_grids_that_only_layers_know(loaded, work, monkeypatch):
    """Deep shrink runs the first steps on a smaller grid, between the UNet's own."""
    stacked = Counter()
    lane_mask = group_masks.GroupMasks._group_mask

    def counting(self, group, grid, *rest):
        stacked[grid] += 1
        return lane_mask(self, group, grid, *rest)

    monkeypatch.setattr(group_masks.GroupMasks, "_group_mask", counting)
    tiny.sample(deep_shrink(graph(loaded)), size=(22, 26), steps=6)
    assert set(stacked) - set(pyramid(22, 26)), stacked
    assert set(work["masks"].values()) == set(stacked.values()) == {1}


def deep_shrink(model):
    settings = {
        "downscale_after_skip": True,
        "downscale_method": "bicubic",
        "upscale_method": "bicubic",
    }
    return PatchModelAddDownscale.execute(model, 3, 1.5, 0.0, 0.5, **settings)[0]


def test_constant_context_windows_share_what_is_alike(loaded, work):
    tiny.sample(in_windows(graph(loaded), length=4, overlap=2), batch=10, steps=2)
    assert len(work["rows"]) == 16
    assert set(work["rows"].values()) == {1}


def test_constant_no_adapter_or_encoder_layer_runs_while_sampling(loaded):
    ran = []
    modules = [*loaded.adapter.modules(), *ENCODER.model.modules()]
    model = graph(loaded)
    hooks = [m.register_forward_hook(lambda *a: ran.append(a[0])) for m in modules]
    try:
        tiny.sample(model)
        assert not ran
        graph(loaded)  # the hooks do see what Apply runs
        assert ran
    finally:
        for hook in hooks:
            hook.remove()


def test_constant_a_picture_is_encoded_once(loaded, monkeypatch):
    """Sweeping weight, mask, type or range never runs the encoder; a new picture does."""
    encoder, runs = tiny.clip_vision(), []
    encode = encoder.encode_image
    monkeypatch.setattr(encoder, "encode_image", lambda *a, **k: runs.append(1) or encode(*a, **k))
    model, inputs = tiny.shared_model(), {"clip_vision": encoder}
    apply(model, loaded, 1, **inputs)
    for change in (
        {"weight": 0.5},
        {"attn_mask": left_half()},
        {"weight_type": "linear"},
        {"end_at": 0.5},
    ):
        apply(model, loaded, 1, **inputs, **change)
    assert len(runs) == 1
    apply(model, loaded, torch.cat([tiny.picture(1), tiny.picture(2)]), **inputs)
    assert len(runs) == 2
    most = FeatureCache.size
    for seed in range(3, most + 1):  # the memo is full
        apply(model, loaded, seed, **inputs)
    assert len(runs) == most
    apply(model, loaded, 1, **inputs)
    assert len(runs) == most
    apply(model, loaded, most + 1, **inputs)  # picture 2 was used longest ago, and goes
    apply(model, loaded, 1, **inputs)
    assert len(runs) == most + 1
    apply(model, loaded, 2, **inputs)
    assert len(runs) == most + 2
    apply(model, loaded, 1, clip_vision=tiny.clip_vision(seed=1))
    apply(model, loaded, 1, **inputs)
    assert len(runs) == most + 2
