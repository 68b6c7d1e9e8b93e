"""Regions: one node is the chain of Apply nodes, to the bit; texts are core's."""

import comfy.patcher_extension
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.masks.overlap import RULES
from ipadapter_pack.nodes.references import encode as encode_module
from ipadapter_pack.nodes.references.encode_nodes import EncodeReference
from ipadapter_pack.nodes.regions.apply_regions import ApplyIPAdapterRegions
from ipadapter_pack.nodes.regions.region import IPAdapterRegion
from ipadapter_pack.nodes.regions.schedule import IPAdapterSchedule
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, BAD_MASKS, refuses
from ipadapter_pack.tests.headless.support import (
    ENCODER,
    adapter,
    apply,
    in_windows,
    left_half,
    with_schedule,
)
from ipadapter_pack.tests.kernels import per_step

import nodes as core


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.fixture(scope="module")
def plus():
    return adapter(kind="plus")


def region(image=None, **inputs):
    if isinstance(image, int):
        image = tiny.picture(image)
    return IPAdapterRegion.execute(image=image, **with_schedule(inputs))[0]


def apply_regions(model, loaded, regions, **inputs):
    """(model, positive, negative)"""
    named = {f"region_{i + 1}": given for i, given in enumerate(regions)}
    inputs = {"clip_vision": ENCODER, **inputs}
    return ApplyIPAdapterRegions.execute(model=model, ipadapter=loaded, region=named, **inputs).args


def box(left, right, size=64):
    mask = torch.zeros(1, size, size)
    mask[..., left:right] = 1
    return mask


SETTINGS = [
    {"attn_mask": box(0, 24), "weight": 0.7},
    {"attn_mask": box(20, 50), "weight_type": "linear", "start_at": 0.2},
    {"attn_mask": box(40, 64, 64), "weight_type": "channel penalty", "end_at": 0.6},
    {"weight": 0.3, "layer_schedule": "style and composition", "second_weight": 0.2},
    {"attn_mask": torch.rand(2, 16, 16), "step_weights": "1, 0.2", "frame_weights": "1, 0.5"},
    {
        "layer_weights": "3: 1, output: 0.5",
        "step_masks": torch.stack([box(0, 9)[0], box(9, 64)[0]]),
    },
    {"attn_mask": box(5, 60), "weight": -0.4},
]


@pytest.mark.parametrize("kind", ["base", "plus"])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_regions_are_the_chain_to_the_bit(kind, count):
    loaded = adapter(kind=kind)
    chain = tiny.shared_model()
    for i, settings in enumerate(SETTINGS[:count]):
        chain = apply(chain, loaded, i, **settings)
    regions = [region(i, **settings) for i, settings in enumerate(SETTINGS[:count])]
    model, *_ = apply_regions(tiny.shared_model(), loaded, regions)
    seen = tiny.sample(model, batch=2, size=(9, 11))
    assert torch.equal(seen, tiny.sample(chain, batch=2, size=(9, 11)))
    assert not torch.equal(seen, tiny.sample(tiny.shared_model(), batch=2, size=(9, 11)))


def test_regions_of_references_and_pictures_per_latent(loaded):
    reference = EncodeReference.execute(loaded, tiny.picture(1), ENCODER)[0]
    pictures = torch.cat([tiny.picture(2), tiny.picture(3)])
    regions = [
        region(reference=reference, attn_mask=left_half()),
        region(pictures, unfold_batch=True),
    ]
    chain = apply(tiny.shared_model(), loaded, None, reference=reference, attn_mask=left_half())
    chain = apply(chain, loaded, pictures, unfold_batch=True)
    model, *_ = apply_regions(tiny.shared_model(), loaded, regions)
    assert torch.equal(tiny.sample(model, batch=2), tiny.sample(chain, batch=2))


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.release), 10])
@pytest.mark.parametrize("kind", ["base", "plus"])
def test_cheap_regions_share_one_pass(kind, count):
    loaded = adapter(kind=kind)
    regions = [region(i, attn_mask=box(6 * i, 6 * i + 9)) for i in range(count)]
    model, *_ = apply_regions(
        tiny.shared_model(), loaded, regions, overlap="normalize", background=region(11)
    )
    with_regions = per_step(lambda steps: tiny.sample(model, steps=steps)).total()
    plain = per_step(lambda steps: tiny.sample(tiny.shared_model(), steps=steps)).total()
    assert (with_regions - plain) / 16 <= 8


@pytest.mark.parametrize("rule", RULES)
def test_overlap_is_what_the_rule_makes_of_the_masks(loaded, rule):
    first, second = box(0, 40), 0.8 * box(24, 64)
    regions = [region(0, attn_mask=first), region(1, attn_mask=second)]
    rest = region(2, attn_mask=torch.cat([torch.ones(1, 32, 64), torch.zeros(1, 32, 64)], 1))
    model, *_ = apply_regions(tiny.shared_model(), loaded, regions, overlap=rule, background=rest)
    masks = {
        "add": (first, second),
        "normalize": (
            first / (first + second).clamp(min=1),
            second / (first + second).clamp(min=1),
        ),
        "priority": (first, torch.minimum(second, 1 - first)),
    }[rule]
    left = (1 - first - second).clamp(min=0)
    left[:, 32:] = 0
    chain = tiny.shared_model()
    for i, mask in enumerate([*masks, left]):
        chain = apply(chain, loaded, i, attn_mask=mask)
    assert torch.equal(tiny.sample(model), tiny.sample(chain))


@pytest.mark.parametrize(
    ("overlap", "rest"), [("normalize", None), ("priority", None), ("add", 2), ("add", None)]
)
def test_masks_of_another_shape_are_told_where_all_get_one_size(loaded, caplog, overlap, rest):
    regions = [
        region(0, attn_mask=torch.ones(1, 64, 64)),
        region(1, attn_mask=torch.ones(1, 32, 90)),
    ]
    rest = None if rest is None else region(rest, attn_mask=torch.rand(1, 64, 64))
    apply_regions(tiny.shared_model(), loaded, regions, overlap=overlap, background=rest)
    said = "a mask is 90 x 32, another 64 x 64: the first is stretched to that"
    assert (said in caplog.text) == (overlap != "add" or rest is not None)


def test_a_region_switched_off_still_holds_its_place(loaded):
    regions = [region(0, attn_mask=box(0, 40), weight=0), region(1, attn_mask=box(20, 64))]
    model, *_ = apply_regions(tiny.shared_model(), loaded, regions, overlap="priority")
    alone = apply(tiny.shared_model(), loaded, 1, attn_mask=box(40, 64))
    assert torch.equal(tiny.sample(model), tiny.sample(alone))


# Texts


def test_texts_of_regions_are_cores_conditioning_masks(loaded):
    base, left, right = (tiny.conditioning(i) for i in (1, 3, 4))
    regions = [
        region(0, attn_mask=box(0, 32), positive=left),
        region(1, attn_mask=box(32, 64), positive=right, negative=tiny.conditioning(5)),
    ]
    model, positive, negative = apply_regions(
        tiny.shared_model(), loaded, regions, positive=base, negative=tiny.conditioning(2)
    )

    def masked(text, mask):
        return core.ConditioningSetMask().append(text, mask, "default", 1.0)[0]

    def combined(*texts):
        joined = texts[0]
        for text in texts[1:]:
            joined = core.ConditioningCombine().combine(joined, text)[0]
        return joined

    mask = box(32, 64)
    chain = apply(
        apply(tiny.shared_model(), loaded, 0, attn_mask=box(0, 32)), loaded, 1, attn_mask=mask
    )
    expected = tiny.sample(
        chain,
        combined(base, masked(left, box(0, 32)), masked(right, mask)),
        combined(tiny.conditioning(2), masked(tiny.conditioning(5), mask)),
    )
    assert torch.equal(tiny.sample(model, positive, negative), expected)
    assert "mask" not in left[0][1]  # the region's own text stays as it was


def test_text_gets_the_mask_that_the_rule_leaves(loaded):
    regions = [
        region(0, attn_mask=box(0, 40)),
        region(1, attn_mask=box(20, 64), positive=tiny.conditioning(3)),
    ]
    _, positive, _ = apply_regions(
        tiny.shared_model(), loaded, regions, overlap="priority", positive=tiny.conditioning(1)
    )
    assert torch.equal(positive[1][1]["mask"], box(40, 64))


def frames_of_text(model, positive, **settings):
    """(frames of a call, which of them a text's mask is white in), as core multiplies with it."""
    seen = set()

    def spy(executor, model, conds, x, timestep, options):
        window = options["transformer_options"].get("context_window")
        frames = torch.arange(len(x))
        if window is not None:
            frames = window.get_tensor(torch.arange(window.total_frames), dim=0)
        for mask in (cond["mask"] for cond in conds[0] if "mask" in cond):
            white = [bool(m.any()) for m in mask[: len(x)]] if len(mask) > 1 else []
            seen.add((tuple(frames.tolist()), tuple(white)))
        return executor(model, conds, x, timestep, options)

    model = model.clone()
    model.add_wrapper(comfy.patcher_extension.WrappersMP.CALC_COND_BATCH, spy)
    tiny.sample(model, positive, steps=1, **settings)
    return seen


def turns(*frames):
    return torch.stack([torch.full((8, 8), float(frame)) for frame in frames])


@pytest.mark.parametrize("pictured", [True, False], ids=["picture", "text alone"])
@pytest.mark.parametrize(
    ("masks", "batch", "expected"),
    [
        (turns(1, 0), 3, {(True, False, False)}),
        (turns(0, 1), 4, {(False, True, True, True)}),
        (turns(1, 0, 1, 0), 2, {(True, False)}),
        (turns(1, 1, 1), 2, {()}),
    ],
)
def test_a_text_has_the_frames_of_its_region(loaded, pictured, masks, batch, expected):
    """Core would repeat the masks from the beginning, or fail where that does not come out even."""
    image = 0 if pictured else None
    regions = [region(image, attn_mask=masks, positive=tiny.conditioning(3))]
    model, positive, _ = apply_regions(
        tiny.shared_model(), loaded, regions, positive=tiny.conditioning(1)
    )
    assert {white for _, white in frames_of_text(model, positive, batch=batch)} == expected


def test_a_text_has_the_frames_of_its_region_in_windows(loaded):
    masks = turns(1, 1, 1, 1, 0, 0, 0, 0)
    regions = [region(0, attn_mask=masks, positive=tiny.conditioning(3))]
    model, positive, _ = apply_regions(
        tiny.shared_model(), loaded, regions, positive=tiny.conditioning(1)
    )
    windows = frames_of_text(in_windows(model, 4, 2), positive, batch=9)
    assert len(windows) > 1
    for frames, white in windows:
        assert white == tuple(frame < 4 for frame in frames)


def test_a_still_text_beside_a_moving_region(loaded):
    """normalize makes all masks as long as the longest; the text's stays one for all."""
    regions = [
        region(0, attn_mask=box(0, 32), positive=tiny.conditioning(3)),
        region(1, attn_mask=torch.cat([box(32, 40 + 8 * i) for i in range(4)])),
    ]
    model, positive, _ = apply_regions(
        tiny.shared_model(), loaded, regions, overlap="normalize", positive=tiny.conditioning(1)
    )
    assert len(positive[1][1]["mask"]) == 1
    tiny.sample(model, positive, batch=6, steps=1)


def test_gray_masks_leave_nothing_without_a_text(loaded, caplog):
    regions = [region(0, positive=tiny.conditioning(3), attn_mask=torch.full((1, 8, 8), 0.4))]
    apply_regions(tiny.shared_model(), loaded, regions)
    assert not caplog.text


def test_weights_of_many_regions_change_without_encoding_again(monkeypatch):
    loaded = adapter(seed=5)
    encoded = []
    encode = encode_module.encode_picture
    monkeypatch.setattr(encode_module, "encode_picture", lambda *a: encoded.append(1) or encode(*a))
    for weight in (1.0, 0.5):
        regions = [region(i, weight=weight) for i in range(50)]
        apply_regions(tiny.shared_model(), loaded, regions)
        assert len(encoded) == 50


def test_region_with_a_text_alone(loaded):
    regions = [region(positive=tiny.conditioning(3), attn_mask=left_half())]
    model, positive, _ = apply_regions(
        tiny.shared_model(), loaded, regions, positive=tiny.conditioning(1)
    )
    assert model is tiny.shared_model()
    assert len(positive) == 2


def test_texts_that_leave_a_part_without_any_are_told(loaded, caplog):
    regions = [region(0, positive=tiny.conditioning(3), attn_mask=box(0, 16))]
    apply_regions(tiny.shared_model(), loaded, regions)
    assert (
        "75.0% of the picture has no positive text at all: connect a base positive, or give the "
        "background a text" in caplog.text
    )


def test_output_of_a_text_that_nobody_gave_says_so_where_it_is_used(loaded):
    _, positive, negative = apply_regions(tiny.shared_model(), loaded, [region(0)])
    for blocked, name in ((positive, "positive"), (negative, "negative")):
        assert isinstance(blocked, ExecutionBlocker)
        assert f"its {name} is empty" in blocked.message


# Refusals


@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_bad_masks_are_refused_by_name(mask, problem):
    refuses(IPAdapterRegion, "attn_mask", problem, image=tiny.picture(0), attn_mask=mask)
    refuses(IPAdapterSchedule, "step_masks", problem, step_masks=mask)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_bad_images_are_refused_by_name(image, problem):
    refuses(IPAdapterRegion, "image", problem, image=image)


def test_one_of_image_and_reference(loaded):
    reference = EncodeReference.execute(loaded, tiny.picture(1), ENCODER)[0]
    with pytest.raises(IPAdapterError, match="image and reference: neither is connected"):
        IPAdapterRegion.execute()
    with pytest.raises(IPAdapterError, match="image and reference: both are connected"):
        IPAdapterRegion.execute(image=tiny.picture(0), reference=reference)


def test_errors_name_the_region(loaded, plus):
    theirs = EncodeReference.execute(plus, tiny.picture(1), ENCODER)[0]
    for wrong, problem in (
        ([region(0), region(reference=theirs)], "region_2: reference: it was made with"),
        ([region(0, layer_schedule="none")], "region_1: layer_schedule none: choose one of even"),
        ([region(0), "x"], "region_2: a str is no region; connect IPAdapter Region"),
        ([], "region: none is connected"),
    ):
        with pytest.raises(IPAdapterError) as caught:
            apply_regions(tiny.shared_model(), loaded, wrong)
        assert str(caught.value).startswith(problem)
    with pytest.raises(IPAdapterError, match=r"^weight_type none: choose one of original"):
        region(0, weight_type="none")
    with pytest.raises(IPAdapterError, match="overlap max: choose one of add, normalize, priority"):
        apply_regions(tiny.shared_model(), loaded, [region(0)], overlap="max")


def test_the_model_that_came_in_stays_as_it_is(loaded):
    model = tiny.shared_model()
    before = tiny.sample(model)
    apply_regions(model, loaded, [region(0), region(1)], background=region(2))
    assert torch.equal(tiny.sample(model), before)
