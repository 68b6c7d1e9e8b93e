"""Cutting a model's regions to a part of the picture, and taking them out again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.nodes.regions.apply_regions import ApplyIPAdapterRegions
from ipadapter_pack.nodes.regions.change import CropRegions, RemoveReferences
from ipadapter_pack.nodes.regions.region import IPAdapterRegion
from ipadapter_pack.nodes.sampling.patching import regions_of
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import PROPERTIES, any_mask, check_mask_output
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def crop(model, x, y, width, height, **inputs):
    return CropRegions.execute(model, x, y, width, height, **inputs)[0]


def remove(model):
    return RemoveReferences.execute(model)[0]


def random_mask(seed, height=128, width=128, masks=1):
    return torch.rand(masks, height, width, generator=torch.Generator().manual_seed(seed))


def chain(loaded, *masks, model=None):
    model = model or tiny.shared_model()
    for i, mask in enumerate(masks):
        model = apply(model, loaded, i, attn_mask=mask)
    return model


def wrapped(model):
    """As another pack lays its own replacement over ours."""

    def over(found):
        return lambda q, k, v, extra_options: found(q, k, v, extra_options) * 1.0

    model = model.clone()
    replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
    for key, patch in list(replaced.items()):
        model.set_model_attn2_replace(over(patch), *key)
    return model


# Crop


def test_crop_is_applying_the_cropped_masks(loaded):
    masks = random_mask(1), None, random_mask(2, masks=3)
    cropped = crop(chain(loaded, *masks), 24, 40, 64, 56)
    parts = [m if m is None else m[:, 40:96, 24:88] for m in masks]
    expected = tiny.sample(chain(loaded, *parts), size=(7, 8), batch=3)
    assert torch.equal(tiny.sample(cropped, size=(7, 8), batch=3), expected)


def test_crop_of_step_masks(loaded):
    settings = {"step_weights": "1, 0.5", "attn_mask": random_mask(1)}
    parts = random_mask(2, masks=2)
    model = apply(tiny.shared_model(), loaded, 1, step_masks=parts, **settings)
    settings["attn_mask"] = settings["attn_mask"][:, :64, 64:]
    expected = apply(tiny.shared_model(), loaded, 1, step_masks=parts[:, :64, 64:], **settings)
    assert torch.equal(tiny.sample(crop(model, 64, 0, 64, 64)), tiny.sample(expected))


def test_crop_beyond_the_picture_is_black(loaded):
    model = chain(loaded, torch.ones(1, 64, 64))
    padded = torch.zeros(1, 64, 64)
    padded[:, 16:, :48] = 1
    expected = tiny.sample(chain(loaded, padded))
    assert torch.equal(tiny.sample(crop(model, 16, -16, 64, 64)), expected)


def test_crop_of_a_picture_of_another_size_than_its_masks(loaded):
    """The mask is white left of the middle; the rectangle lies across it, in the larger picture."""
    model = chain(loaded, left_half(32, 32), left_half(64, 64))
    cropped = crop(model, 96, 0, 64, 64, picture_width=256, picture_height=256)
    for region in regions_of(cropped):
        assert region.settings.mask.shape == (1, 64, 64)
        assert region.settings.mask[..., :24].all()
        assert not region.settings.mask[..., 40:].any()


@pytest.mark.parametrize("rule", ["normalize", "priority"])
def test_crop_of_regions_that_act_everywhere(loaded, caplog, rule):
    """A rule gives them a mask of one pixel, which says nothing about the picture's size."""
    regions = {f"region_{i}": IPAdapterRegion.execute(image=tiny.picture(i))[0] for i in (1, 2)}
    model = ApplyIPAdapterRegions.execute(
        tiny.shared_model(), loaded, regions, overlap=rule, clip_vision=ENCODER
    )[0]
    whole = tiny.sample(model, size=(8, 12))
    assert torch.equal(tiny.sample(crop(model, 256, 256, 96, 64), size=(8, 12)), whole)
    assert not caplog.text


def test_apply_after_crop_keeps_the_cropped_regions(loaded):
    whole, other = random_mask(1), random_mask(2, 64, 64)
    model = apply(crop(chain(loaded, whole), 0, 64, 64, 64), loaded, 5, attn_mask=other)
    expected = chain(loaded, whole[:, 64:, :64])
    expected = apply(expected, loaded, 5, attn_mask=other)
    assert torch.equal(tiny.sample(model), tiny.sample(expected))


def test_crop_below_another_packs_patch(loaded):
    mask = random_mask(1)
    expected = tiny.sample(wrapped(chain(loaded, mask[:, :64, :64])))
    assert torch.equal(tiny.sample(crop(wrapped(chain(loaded, mask)), 0, 0, 64, 64)), expected)


def test_crop_leaves_the_model_that_came_in(loaded):
    model = chain(loaded, random_mask(1))
    before = tiny.sample(model)
    crop(model, 0, 0, 32, 32)
    assert torch.equal(tiny.sample(model), before)


@pytest.mark.parametrize(
    ("masks", "place", "said"),
    [
        ([torch.ones(1, 64, 64)], (200, 0, 64, 64), "the rectangle at 200, 0 lies outside of every"),
        ([torch.ones(1, 64, 64)], (-64, 0, 64, 64), "lies outside of every mask"),
        (
            [torch.ones(1, 64, 64), torch.ones(1, 32, 32)], (0, 0, 8, 8),
            "the masks are of several sizes (32 x 32, 64 x 64): set picture_width",
        ),
        ([torch.ones(1, 64, 64)], (0, 0, 8, 8), ""),
        ([None], (0, 0, 8, 8), ""),
        ([], (0, 0, 8, 8), "this model has no references"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(loaded, caplog, masks, place, said):
    crop(chain(loaded, *masks), *place)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


# Remove


def test_removed_is_the_model_before(loaded):
    model = tiny.shared_model()
    plain = remove(chain(loaded, left_half(), None))
    assert torch.equal(tiny.sample(plain), tiny.sample(model))
    assert not plain.model_options["transformer_options"].get("patches_replace", {}).get("attn2")
    assert "ipadapter_regions" not in plain.attachments
    assert not any(kinds.get("ipadapter_regions") for kinds in plain.wrappers.values())


def test_removed_brings_back_what_was_replaced(loaded):
    def other(q, k, v, extra_options):
        return q * 0.5

    model = tiny.shared_model().clone()
    model.set_model_attn2_replace(other, "input", 1, 0)
    model.set_model_attn2_replace(other, "middle", 0)
    plain = remove(chain(loaded, None, model=model))
    assert torch.equal(tiny.sample(plain), tiny.sample(model))
    assert not torch.equal(tiny.sample(plain), tiny.sample(tiny.shared_model()))


def test_removed_lets_a_blocks_replacement_be_replaced_again(loaded):
    """One set for a whole block is not copied to the layer, where it would hide a later one."""

    def half(q, k, v, extra_options):
        return q * 0.5

    def quarter(q, k, v, extra_options):
        return q * 0.25

    def with_block(model, replacement):
        model = model.clone()
        model.set_model_attn2_replace(replacement, "middle", 0)
        return model

    plain = remove(chain(loaded, None, model=with_block(tiny.shared_model(), half)))
    expected = tiny.sample(with_block(tiny.shared_model(), quarter))
    assert torch.equal(tiny.sample(with_block(plain, quarter)), expected)


def test_removed_below_another_packs_patch(loaded):
    over = wrapped(chain(loaded, None))
    plain = tiny.sample(remove(over))
    expected = tiny.sample(tiny.shared_model())
    assert_near(plain, expected, 1e-4, effect=tiny.sample(over) - expected)


@pytest.mark.parametrize("between", [lambda model: model, wrapped], ids=["alone", "wrapped"])
def test_apply_after_remove_is_apply_alone(loaded, between):
    model = remove(between(chain(loaded, left_half(), None)))
    again = apply(model, loaded, 4, attn_mask=left_half())
    expected = apply(between(tiny.shared_model()) if between is not wrapped else model, loaded, 4,
                     attn_mask=left_half())  # fmt: skip
    assert torch.equal(tiny.sample(again), tiny.sample(expected))
    alone = tiny.sample(apply(tiny.shared_model(), loaded, 4, attn_mask=left_half()))
    effect = alone - tiny.sample(tiny.shared_model())
    assert_near(tiny.sample(again), alone, 1e-4, effect=effect)


def test_remove_leaves_the_model_that_came_in(loaded):
    model = chain(loaded, left_half())
    before = tiny.sample(model)
    remove(model)
    assert torch.equal(tiny.sample(model), before)


def test_removing_nothing_is_told(caplog):
    assert remove(tiny.shared_model()) is tiny.shared_model()
    assert "this model has no references" in caplog.text


@PROPERTIES
@given(any_mask(), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 80))
def test_any_mask_is_cropped(loaded, mask, x, y, side):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=mask)
    before = regions_of(model)[0].settings.mask.clone()
    (region,) = regions_of(crop(model, x, y, side, side + 3))
    check_mask_output(region.settings.mask)
    assert region.settings.mask.shape == (len(before), side + 3, side)
    assert torch.equal(regions_of(model)[0].settings.mask, before)
