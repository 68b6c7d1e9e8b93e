"""Rule 3: what other packs put at a layer is called, and keeps its attention settings."""

import comfy.ldm.modules.attention as core
import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near

KEY3, KEY2 = ("input", 1, 0), ("middle", 0)


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def foreign(seen, factor=0.5):
    """A pack's replacement: plain attention, scaled."""

    def replacement(q, k, v, extra_options):
        seen.append(extra_options["block"])
        return factor * core.optimized_attention(q, k, v, extra_options["n_heads"])

    return replacement


@pytest.mark.parametrize("key", [KEY3, KEY2], ids=["3-key", "2-key"])
def test_composes_with_a_replacement_set_before(loaded, key):
    seen = []
    model = tiny.shared_model().clone()
    model.set_model_attn2_replace(foreign(seen), *key)
    alone = tiny.sample(model)
    count = len(seen)
    assert count > 0
    both = tiny.sample(apply(model, loaded, 1))
    assert len(seen) == 2 * count
    assert not torch.equal(both, alone)
    black = apply(model, loaded, 1, attn_mask=torch.zeros(1, 64, 64))
    assert torch.equal(tiny.sample(black), alone)  # still called, and its result kept


def test_composes_with_a_pack_that_wraps_ours(loaded):
    """It finds a plain callable; a later Apply goes on top, once, and both references act."""
    calls = []

    def wrap(found):
        def replacement(q, k, v, extra_options):
            calls.append(1)
            return found(q, k, v, extra_options)

        return replacement

    def graph(wrapped):
        model = apply(tiny.shared_model(), loaded, 1)
        if wrapped:
            replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
            for key, patch in list(replaced.items()):
                model.set_model_attn2_replace(wrap(patch), *key)
        return apply(model, loaded, 2, attn_mask=left_half())

    model = graph(wrapped=True)
    depths = {key.nesting for key in model.attachments["ipadapter_regions"]}
    assert depths == {0, 1}
    out, merged = tiny.sample(model), tiny.sample(graph(wrapped=False))
    assert calls
    first = tiny.sample(apply(tiny.shared_model(), loaded, 1))
    assert_near(out, merged, 1e-4, effect=merged - first)


def test_composes_text_attention_keeps_its_settings(loaded):
    """An attention override (as sage attention is) sees the text's call and its options."""
    seen = []

    def override(attention, q, k, v, heads, **settings):
        if k.shape[1] == 77:
            seen.append(settings)
        return attention(q, k, v, heads, **settings)

    model = apply(tiny.shared_model(), loaded, 1).clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    tiny.sample(model, steps=1)
    assert len(seen) == 16
    assert all("attn_precision" in s and "block" in s["transformer_options"] for s in seen)


def test_composes_with_packs_that_change_the_batch_inside(loaded, caplog):
    """Where it cannot be told whose rows they are, references are left out, and it is said once."""

    def turn_around(n, context, value, extra_options):
        rows = [torch.cat([x, x.flip(0), x.flip(1)]) for x in (n, context, value)]
        return tuple(rows)

    def join(n, extra_options):
        return n.chunk(3)[0]

    odd = tiny.shared_model().clone()
    odd.set_model_attn2_patch(turn_around)
    odd.set_model_attn2_output_patch(join)
    found = tiny.sample(apply(odd, loaded, 1, attn_mask=left_half()), batch=2)
    assert torch.isfinite(found).all()
    assert caplog.text.count("another node changes the batch inside the model") == 1


def test_composes_with_a_wrapper_that_runs_rows_one_by_one(loaded, caplog):
    def one_by_one(apply_model, arguments):
        x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
        context = c["c_crossattn"]
        rows = [
            apply_model(x[i : i + 1], t[i : i + 1], **{**c, "c_crossattn": context[i : i + 1]})
            for i in range(len(x))
        ]
        return torch.cat(rows)

    plain = apply(tiny.shared_model(), loaded, 1)
    model = plain.clone()
    model.set_model_unet_function_wrapper(one_by_one)
    expected = tiny.sample(plain)
    effect = expected - tiny.sample(tiny.shared_model())
    assert_near(tiny.sample(model), expected, 1e-4, effect=effect)
    assert "another node" not in caplog.text


def test_composes_chain_merges_into_one_patch(loaded):
    model = tiny.shared_model()
    for i in range(10):
        model = apply(model, loaded, i, attn_mask=left_half())
    patches = model.attachments["ipadapter_regions"]
    assert len(patches) == 16
    assert all(len(patch.regions) == 10 for patch in patches.values())
    wrappers = [w for kinds in model.wrappers.values() for w in kinds["ipadapter_regions"]]
    assert len(wrappers) == 3
