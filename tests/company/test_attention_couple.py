"""Beside attention couple, which gives regions texts by repeating queries inside each layer.

The stand-ins do what such packs do: one tells of its copies in ``cond_or_uncond``, as
comfyui-tooling-nodes does for Krita, one does not, as cgem156-ComfyUI and its relatives, one repeats
the whole batch.
"""

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.company import packs
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near

TEXTS = 3


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.fixture(scope="module")
def plus():
    return adapter(kind="plus")


def weights(extra_options):
    """[texts, 1, queries, 1]: columns of the picture for each text, which sum to 1."""
    height, width = extra_options["activations_shape"][-2:]
    masks = torch.zeros(TEXTS, 1, 8, 12)
    for i in range(TEXTS):
        masks[i, ..., 4 * i : 4 * i + 4] = 1
    masks = F.interpolate(masks, (height, width), mode="bilinear")
    return (masks / masks.sum(0)).flatten(2)[..., None]


def couple(model, texts, tells=True):
    """The positive's queries once for each text; with ``tells``, as an entry each in the options."""

    def repeat(q, k, v, extra_options):
        indices = extra_options["cond_or_uncond"]
        queries, keys = [], []
        chunks = zip(list(indices), q.chunk(len(indices)), k.chunk(len(indices)), strict=True)
        for index, one, text in chunks:
            queries.append(one if index else one.repeat(TEXTS, 1, 1))
            keys += (
                [text] if index else [t.expand(len(one), -1, -1) for t in texts or [text] * TEXTS]
            )
        if tells:
            indices[:] = [i for index in indices for i in [index] * (1 if index else TEXTS)]
        keys = torch.cat(keys)
        return torch.cat(queries), keys, keys

    def join(out, extra_options):
        indices, joined = extra_options["cond_or_uncond"], []
        known = list(indices)
        if tells:
            known = [i for n, i in enumerate(indices) if i or indices[:n].count(0) % TEXTS == 0]
            indices[:] = known
        latents = len(out) // sum(1 if i else TEXTS for i in known)
        at = 0
        for index in known:
            count = latents if index else TEXTS * latents
            part = out[at : at + count]
            if not index:
                part = (part.unflatten(0, (TEXTS, -1)) * weights(extra_options)).sum(0)
            joined.append(part)
            at += count
        return torch.cat(joined)

    model = model.clone()
    model.set_model_attn2_patch(repeat)
    model.set_model_attn2_output_patch(join)
    return model


def tells(model, texts):
    return couple(model, texts, tells=True)


def tells_not(model, texts):
    return couple(model, texts, tells=False)


def krita(model, texts):
    """The real node of comfyui-tooling-nodes, whose texts replace the positive's."""
    region = packs.module("comfyui-tooling-nodes", "region")
    regions = None
    for i, text in enumerate(texts or [tiny.conditioning(1)[0][0]] * TEXTS):
        mask = torch.zeros(1, 64, 96)
        mask[..., 32 * i : 32 * i + 32] = 1
        regions = region.DefineRegion.execute(mask, [[text, {}]], regions)[0]
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


@pytest.mark.parametrize("couple", COUPLES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mask", MASKS)
def test_with_one_text_for_all_regions_nothing_changes(loaded, couple, case, mask):
    """Copies that see the same sum up to what one would have seen."""
    if couple is krita and case == "an area":
        return  # it knows masks of the whole picture only
    run = {"size": (8, 12), "steps": 1, **CASES[case]}
    plain = apply(tiny.shared_model(), loaded, 1, attn_mask=MASKS[mask])
    coupled = couple(apply(tiny.shared_model(), loaded, 1, attn_mask=MASKS[mask]), None)
    expected = tiny.sample(plain, **run)
    effect = expected - tiny.sample(tiny.shared_model(), **run)
    assert_near(tiny.sample(coupled, **run), expected, 1e-4, effect=effect)


@pytest.mark.parametrize("couple", COUPLES)
def test_order_does_not_matter(loaded, couple):
    texts = [tiny.conditioning(i)[0][0] for i in (5, 6, 7)]
    model, mask = tiny.shared_model(), left_half(64, 96)
    after = apply(couple(model, texts), loaded, 1, attn_mask=mask)
    before = couple(apply(model, loaded, 1, attn_mask=mask), texts)
    assert torch.equal(tiny.sample(after, size=(8, 12)), tiny.sample(before, size=(8, 12)))
    alone = tiny.sample(couple(model, texts), size=(8, 12))
    assert (tiny.sample(after, size=(8, 12)) - alone).norm() > 0.01 * alone.norm()


@pytest.mark.parametrize("couple", COUPLES)
def test_a_reference_adds_the_same_to_every_copy(loaded, plus, couple):
    """Two references of two token counts, a picture for each latent, every layer."""
    texts = [tiny.conditioning(i)[0][0] for i in (5, 6, 7)]
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96))
    model = apply(model, plus, tiny.picture(2, batch=2), unfold_batch=True, weight=0.5)
    coupled = couple(model, texts)
    layers = Layers(coupled)
    tiny.sample(coupled, size=(8, 12), batch=2, steps=1)
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
