"""Packs that add to the replacement they find at a layer: InstantID, PuLID, ComfyUI_IPAdapter_plus.

The stand-in does what they do: a replacement of its own where there is none, and where there is one,
``add`` on it, whoever's it is.
"""

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, apply, left_half


class Attn2Replace:
    """The text's attention, and what each callback adds to it."""

    def __init__(self, callback, **settings):
        self.callbacks = [(callback, settings)]

    def add(self, callback, **settings):
        self.callbacks.append((callback, settings))

    def __call__(self, q, k, v, extra_options):
        out = optimized_attention(q, k, v, extra_options["n_heads"])
        return out + sum(callback(q, **settings) for callback, settings in self.callbacks)


def brighter(q, weight):
    return weight * torch.ones_like(q)


def instantid(model, weight=0.1):
    model = model.clone()
    options = model.model_options["transformer_options"]
    replaced = dict(options.get("patches_replace", {}).get("attn2", {}))
    for number in (1, 2, 4, 5):
        key = ("input", number, 0)
        if key in replaced:
            replaced[key].add(brighter, weight=weight)
        else:
            replaced[key] = Attn2Replace(brighter, weight=weight)
    options["patches_replace"] = {**options.get("patches_replace", {}), "attn2": replaced}
    return model


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def test_before_ours_they_act_and_so_do_references(loaded):
    plain = tiny.shared_model()
    both = tiny.sample(apply(instantid(plain), loaded, 1, attn_mask=left_half()), steps=1)
    for one in (plain, instantid(plain), apply(plain, loaded, 1, attn_mask=left_half())):
        assert (both - tiny.sample(one, steps=1)).norm() > 0.01 * both.norm()


def test_after_ours_they_are_told_the_order(loaded):
    model = apply(tiny.shared_model(), loaded, 1)
    expected = tiny.sample(model, steps=1)
    with pytest.raises(IPAdapterError) as caught:
        instantid(model)
    message = str(caught.value)
    assert message.count(".") == 0
    assert "\n" not in message
    for word in ("InstantID", "PuLID", "ComfyUI_IPAdapter_plus", "Apply IPAdapter", "before"):
        assert word in message
    assert torch.equal(tiny.sample(model, steps=1), expected)
