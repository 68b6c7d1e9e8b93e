"""Beside nodes that replace the attention of layers, or wrap the UNet, in their own ways."""

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, adapter_for, apply, left_half

LAYERS = [("input", n, 0) for n in (1, 2, 4, 5)] + [("middle", 0, 0), ("output", 3, 0)]
SAID = "in {} of the 16 layers with references, another node replaces the attention"


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


def test_layers_called_without_their_size_are_said_once(loaded, caplog):
    def bare(found):
        def replacement(q, k, v, options):
            known = {name: o for name, o in options.items() if name != "activations_shape"}
            return found(q, k, v, known)

        return replacement

    model = apply(tiny.shared_model(), loaded, 1)
    for layer, found in model.model_options["transformer_options"]["patches_replace"][
        "attn2"
    ].items():
        model.set_model_attn2_replace(bare(found), *layer)
    assert torch.equal(tiny.sample(model), tiny.sample(tiny.shared_model()))
    assert caplog.text.count("without ComfyUI's activations_shape") == 1


def unet(executor, x, timesteps, context, y, control, transformer_options):
    return executor(x, timesteps, context, y, control, transformer_options)


def whole(executor, x, t, c_concat, c_crossattn, control, transformer_options):
    return executor(x, t, c_concat, c_crossattn, control, transformer_options)


@pytest.mark.parametrize(
    ("kind", "wrapper"), [(WrappersMP.DIFFUSION_MODEL, unet), (WrappersMP.APPLY_MODEL, whole)]
)
def test_wrappers_that_take_exactly_what_core_gives(loaded, kind, wrapper, caplog):
    applied = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    model = applied.clone()
    model.add_wrapper_with_key(kind, "exact", wrapper)
    assert torch.equal(tiny.sample(model), tiny.sample(applied))
    assert not caplog.text


def test_such_a_wrapper_of_a_compiled_model_is_said(loaded, caplog):
    model = tiny.model(**tiny.FEW_LAYERS)
    model = apply(model, adapter_for(model), 1)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "exact", unet)
    set_torch_compile_wrapper(model, backend="eager")
    tiny.sample(model)
    assert caplog.text.count("may keep using old references") == 1
