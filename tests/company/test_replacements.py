"""Beside nodes that replace the attention of single layers, after references are applied."""

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.torch_helpers import set_torch_compile_wrapper
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, adapter_for, apply, left_half

LAYERS = [("input", n, 0) for n in (1, 2, 4, 5)] + [("middle", 0, 0), ("output", 3, 0)]
SAID = "in {} of the 16 layers with references another node replaces the attention"


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def replaced(model, layers):
    """Plain attention of another pack, that calls nothing it found."""

    def replacement(q, k, v, extra_options):
        return optimized_attention(q, k, v, extra_options["n_heads"])

    model = model.clone()
    for layer in layers:
        model.set_model_attn2_replace(replacement, *layer)
    return model


def test_how_many_layers_are_lost_is_said_once(loaded, caplog):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    found = tiny.sample(replaced(model, LAYERS))
    assert caplog.text.count(SAID.format(len(LAYERS))) == 1
    assert not torch.equal(found, tiny.sample(tiny.shared_model()))


def test_all_layers_lost_are_said(loaded, caplog):
    model = apply(tiny.shared_model(), loaded, 1)
    every = [tuple(layer) for layer, _ in model.attachments["ipadapter_regions"]]
    found = tiny.sample(replaced(model, every))
    assert caplog.text.count(SAID.format(16)) == 1
    assert torch.equal(found, tiny.sample(replaced(tiny.shared_model(), every)))


def test_nothing_is_said_where_nothing_is_lost(loaded, caplog):
    before = replaced(tiny.shared_model(), LAYERS)
    tiny.sample(apply(before, loaded, 1, attn_mask=left_half(), start_at=0.5))
    assert "another node" not in caplog.text


def test_nothing_is_said_of_layers_that_are_compiled(loaded, caplog):
    """They do not say that they were called; some of a model's blocks alone may be compiled."""
    model = tiny.model(**tiny.FEW_LAYERS)
    model = apply(model, adapter_for(model), 1)
    set_torch_compile_wrapper(
        model, backend="eager", keys=["diffusion_model.middle_block.1.transformer_blocks.0"]
    )
    tiny.sample(model)
    assert "another node" not in caplog.text
