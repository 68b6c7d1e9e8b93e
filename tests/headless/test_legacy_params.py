"""Version 2's regions: a chain of its apply nodes, to the bit, with core's conditioning masks."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced
from ipadapter_pack.nodes.legacy.params import (
    IPAdapterCombineParams,
    IPAdapterFromParams,
    IPAdapterRegionalConditioning,
)
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, BAD_MASKS, refuses
from ipadapter_pack.tests.headless.support import ENCODER, adapter
from ipadapter_pack.tests.headless.test_regions import box, frames_of_text, turns

import nodes as core


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def params(image, **inputs):
    return IPAdapterRegionalConditioning.execute(image=tiny.picture(image), **inputs)[0]


def from_params(loaded, given, model=None, **inputs):
    return IPAdapterFromParams.execute(
        model=model or tiny.shared_model(loaded.adapter.base_model),
        ipadapter=loaded,
        ipadapter_params=given,
        **{"clip_vision": ENCODER, **inputs},
    )[0]


SETTINGS = [
    {"mask": box(0, 24), "weight": 0.7},
    {"mask": box(20, 64), "weight_type": "ease out", "start_at": 0.2},
    {"weight_type": "style and composition", "weight": 0.4, "end_at": 0.6},
]


@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
@pytest.mark.parametrize(
    "shared",
    [
        {},
        {"compat": "v2", "embeds_scaling": "K+V"},
        {"combine_embeds": "average", "image_negative": tiny.picture(5)},
    ],
    ids=["plain", "v2", "negative"],
)
def test_it_is_the_chain_of_apply_nodes(layout, shared):
    loaded = adapter(layout)
    pictures = [tiny.picture(i, batch=2) for i in range(len(SETTINGS))]
    chain, all_params = tiny.shared_model(layout), None
    for picture, settings in zip(pictures, SETTINGS, strict=True):
        settings = dict(settings)
        mask, weight = settings.pop("mask", None), settings.pop("weight", 1.0)
        chain = IPAdapterAdvanced.execute(
            model=chain, ipadapter=loaded, image=picture, weight=weight, attn_mask=mask,
            clip_vision=ENCODER, **settings, **shared,
        )[0]  # fmt: skip
        one = IPAdapterRegionalConditioning.execute(
            image=picture, image_weight=weight, mask=mask, **settings
        )[0]
        all_params = IPAdapterCombineParams.execute(all_params, one)[0] if all_params else one
    ours = tiny.sample(from_params(loaded, all_params, **shared), layout=layout)
    assert torch.equal(ours, tiny.sample(chain, layout=layout))
    assert not torch.equal(ours, tiny.sample(tiny.shared_model(layout), layout=layout))


def test_five_are_joined_in_their_order():
    five = [params(i) for i in range(5)]
    joined = IPAdapterCombineParams.execute(*five)[0]
    assert joined.keys() == five[0].keys()
    for key, values in joined.items():
        assert [id(value) for value in values] == [id(one[key][0]) for one in five]
    inputs = {"params_1": five[0], "params_2": five[1], "params_4": joined}
    assert len(IPAdapterCombineParams.execute(**inputs)[0]["image"]) == 7


def test_weight_zero_changes_nothing(loaded):
    model = tiny.shared_model()
    assert from_params(loaded, params(0, image_weight=0.0), model) is model


# Texts


def test_texts_get_cores_conditioning_mask(loaded):
    texts = {"positive": tiny.conditioning(3), "negative": tiny.conditioning(5)}
    given, *ours = IPAdapterRegionalConditioning.execute(
        image=tiny.picture(0), prompt_weight=1.7, mask=box(0, 32), **texts
    ).args
    cores = [
        core.ConditioningSetMask().append(text, box(0, 32), "default", 1.7)[0]
        for text in texts.values()
    ]

    def combined(text, base):
        return core.ConditioningCombine().combine(tiny.conditioning(base), text)[0]

    for mine, theirs in zip(ours, cores, strict=True):
        assert torch.equal(mine[0][0], theirs[0][0])
        assert torch.equal(mine[0][1].pop("mask"), theirs[0][1]["mask"])
        assert mine[0][1] == {key: value for key, value in theirs[0][1].items() if key != "mask"}
    ours = IPAdapterRegionalConditioning.execute(
        image=tiny.picture(0), prompt_weight=1.7, mask=box(0, 32), **texts
    ).args[1:]
    model = from_params(loaded, given)
    sampled, expected = (
        tiny.sample(model, combined(positive, 1), combined(negative, 2))
        for positive, negative in (ours, cores)
    )
    assert torch.equal(sampled, expected)
    assert "mask" not in texts["positive"][0][1]


def test_texts_without_a_mask_stay_and_those_of_nobody_are_none():
    text = tiny.conditioning(3)
    made = IPAdapterRegionalConditioning.execute(
        image=tiny.picture(0), prompt_weight=2.0, positive=text
    )
    assert made[1] is text
    assert made[2] is None


@pytest.mark.parametrize("weight", [1.0, 0.0])
@pytest.mark.parametrize(
    ("masks", "batch", "expected"),
    [(turns(1, 0), 3, (True, False, False)), (turns(1, 0, 1, 0), 2, (True, False))],
)
def test_a_text_has_the_frames_of_its_mask(loaded, weight, masks, batch, expected):
    """Core would fail where the masks do not come out even."""
    given, positive, _ = IPAdapterRegionalConditioning.execute(
        image=tiny.picture(0), image_weight=weight, mask=masks, positive=tiny.conditioning(3)
    ).args
    model = from_params(loaded, given)
    assert frames_of_text(model, positive, batch=batch) == {(tuple(range(batch)), expected)}


# Refusals


@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_bad_masks_are_refused_by_name(mask, problem):
    refuses(IPAdapterRegionalConditioning, "mask", problem, image=tiny.picture(0), mask=mask)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_bad_images_are_refused_by_name(loaded, image, problem):
    refuses(IPAdapterRegionalConditioning, "image", problem, image=image)
    inputs = {"model": tiny.shared_model(), "ipadapter": loaded, "ipadapter_params": params(0)}
    refuses(IPAdapterFromParams, "image_negative", problem, image_negative=image, **inputs)


def test_an_error_says_in_which_region(loaded):
    given = IPAdapterCombineParams.execute(params(0), params(1, weight_type="backwards"))[0]
    with pytest.raises(IPAdapterError, match=r"^params 2: .*backwards"):
        from_params(loaded, given)


@pytest.mark.parametrize("value", [(), {"image": []}, {**params(0), "weight": []}])
def test_what_is_no_region_is_refused_by_name(loaded, value):
    with pytest.raises(IPAdapterError, match=r"^params_2: a \w+ is no region; connect"):
        IPAdapterCombineParams.execute(params(0), value)
    with pytest.raises(IPAdapterError, match=r"^ipadapter_params: a \w+ is no region; connect"):
        from_params(loaded, value)


def test_ranges_and_masks_without_effect_are_told(caplog):
    params(0, start_at=0.8, end_at=0.2, mask=torch.zeros(1, 8, 8))
    assert "start_at 0.8 is after end_at 0.2" in caplog.text
    assert "all black: this region does nothing" in caplog.text
