"""Beside attention couple, which gives regions texts by repeating queries inside each layer.

The stand-ins do what such packs do: one tells of its copies in ``cond_or_uncond``, as
comfyui-tooling-nodes does for Krita, one does not, as cgem156-ComfyUI and its relatives, one repeats
the whole batch.
"""

import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.company import packs
from ipadapter_pack.tests.company.couple import couple
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near

TEXTS = 3


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.fixture(scope="module")
def plus():
    return adapter(kind="plus")


def columns():
    """[TEXTS, 8, 12]: a third of the picture each."""
    masks = torch.zeros(TEXTS, 8, 12)
    for i in range(TEXTS):
        masks[i, :, 4 * i : 4 * i + 4] = 1
    return masks


def tells(model, texts):
    return couple(model, columns(), texts, tells=True)


def tells_not(model, texts):
    return couple(model, columns(), texts, tells=False)


def krita(model, texts):
    """The real node of comfyui-tooling-nodes, whose texts replace the positive's."""
    region = packs.module("comfyui-tooling-nodes", "region")
    regions = None
    for mask, text in zip(columns(), texts or [tiny.conditioning(1)[0][0]] * TEXTS, strict=True):
        regions = region.DefineRegion.execute(mask[None], [[text, {}]], regions)[0]
    return region.AttentionMask.execute(model, regions)[0]


COUPLES = [tells, tells_not, *([krita] if packs.has("comfyui-tooling-nodes") else [])]


def whole_batch_twice(model):
    model = model.clone()
    model.set_model_attn2_patch(lambda q, k, v, options: [x.repeat(2, 1, 1) for x in (q, k, v)])
    model.set_model_attn2_output_patch(lambda out, options: out.chunk(2)[1])
    return model


def with_area():
    area = tiny.conditioning(3)
    area[0][1] |= {"area": (8, 8, 0, 4), "strength": 1.0}
    return tiny.conditioning(1) + area


CASES = {
    "guided": {"cfg": 5.0},
    "without a negative": {"cfg": 1.0},
    "three latents": {"batch": 3},
    "an area": {"positive": with_area()},
}
MASKS = {
    "left": left_half(64, 96),
    "each latent its own": torch.cat([left_half(64, 96), 1 - left_half(64, 96)]),
}


@pytest.mark.parametrize("coupled", COUPLES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mask", MASKS)
def test_with_one_text_for_all_regions_nothing_changes(loaded, coupled, case, mask):
    """Copies that see the same sum up to what one would have seen."""
    if coupled is krita and case == "an area":
        return  # it knows masks of the whole picture only
    run = {"size": (8, 12), "steps": 1, **CASES[case]}
    plain = apply(tiny.shared_model(), loaded, 1, attn_mask=MASKS[mask])
    model = coupled(apply(tiny.shared_model(), loaded, 1, attn_mask=MASKS[mask]), None)
    expected = tiny.sample(plain, **run)
    effect = expected - tiny.sample(tiny.shared_model(), **run)
    assert_near(tiny.sample(model, **run), expected, 1e-4, effect=effect)


@pytest.mark.parametrize("coupled", COUPLES)
def test_order_does_not_matter(loaded, coupled):
    texts = [tiny.conditioning(i)[0][0] for i in (5, 6, 7)]
    model, mask = tiny.shared_model(), left_half(64, 96)
    after = apply(coupled(model, texts), loaded, 1, attn_mask=mask)
    before = coupled(apply(model, loaded, 1, attn_mask=mask), texts)
    assert torch.equal(tiny.sample(after, size=(8, 12)), tiny.sample(before, size=(8, 12)))
    alone = tiny.sample(coupled(model, texts), size=(8, 12))
    assert (tiny.sample(after, size=(8, 12)) - alone).norm() > 0.01 * alone.norm()


@pytest.mark.parametrize("coupled", COUPLES)
def test_a_reference_adds_the_same_to_every_copy(loaded, plus, coupled):
    """Two references of two token counts, a picture for each latent, every layer."""
    texts = [tiny.conditioning(i)[0][0] for i in (5, 6, 7)]
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96))
    model = apply(model, plus, tiny.picture(2, batch=2), unfold_batch=True, weight=0.5)
    model = coupled(model, texts)
    layers = Layers(model)
    tiny.sample(model, size=(8, 12), batch=2, steps=1)
    assert len(layers.calls) == 16
    for _, options, out, bare in layers.calls:
        added = (out - bare).unflatten(0, (-1, 2))  # [copies and the negative, latents, ...]
        assert len(added) == 1 + TEXTS
        copies = added[1:] if options["cond_or_uncond"][0] == 1 else added[:-1]
        assert copies[0].norm() > 0
        for copy in copies[1:]:
            assert_near(copy, copies[0], 1e-4)


def test_a_couple_in_another(loaded):
    """Each repeats what it finds, nine copies of the positive's queries in all."""
    run = {"size": (8, 12), "steps": 1}
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96))
    expected = tiny.sample(model, **run)
    effect = expected - tiny.sample(tiny.shared_model(), **run)
    both = tells(tells(model, None), None)
    assert_near(tiny.sample(both, **run), expected, 1e-4, effect=effect)


def test_rows_of_a_batch_that_is_repeated_whole(loaded):
    """Told by the queries and the text's keys, which say nothing about it in the options."""
    plain = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    expected = tiny.sample(plain)
    effect = expected - tiny.sample(tiny.shared_model())
    assert_near(tiny.sample(whole_batch_twice(plain)), expected, 1e-4, effect=effect)
