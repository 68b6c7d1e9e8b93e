"""Rule 6: no layer waits for a tensor's contents, and compiled models stay right."""

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict
from ipadapter_pack.nodes.regions.change import CropRegions, RemoveReferences
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, adapter_for, apply, left_half
from ipadapter_pack.tests.kernels import SYNCS, per_step
from ipadapter_pack.tests.near import assert_near


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def extra_syncs(model):
    def syncs(model):
        names = per_step(lambda steps: tiny.sample(model, steps=steps))
        return sum(n for name, n in names.items() if name in SYNCS)

    return syncs(model) - syncs(tiny.shared_model())


def test_nosync_in_layers(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    assert extra_syncs(apply(model, loaded, 2)) == 0


def test_nosync_one_read_per_call_with_a_range(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(), end_at=0.5)
    assert extra_syncs(apply(model, loaded, 2, start_at=0.3)) == 1


def test_nosync_one_read_per_call_with_curves(loaded):
    parts = torch.cat([left_half(), 1 - left_half()])
    model = apply(tiny.shared_model(), loaded, 1, step_weights="1, 0.2", step_masks=parts)
    assert extra_syncs(apply(model, loaded, 2, frame_weights="1, 0.5")) == 1


@pytest.fixture(scope="module")
def eager():
    return tiny.model(**tiny.FEW_LAYERS)


@pytest.fixture(scope="module")
def compiled():
    """As TorchCompileModel does it, with a backend that needs no compiler."""
    torch._dynamo.reset()
    model = tiny.model(**tiny.FEW_LAYERS)
    options = {"guard_filter_fn": skip_torch_compile_dict}
    set_torch_compile_wrapper(model, backend="eager", options=options)
    return model


def test_nosync_names_every_structure(loaded):
    """Calls whose tensors differ in shape have different names, which compiled graphs guard on."""

    def names(model, positive, **settings):
        layers = Layers(model)
        tiny.sample(model, positive, steps=1, cfg=1.0, **settings)
        return {
            (inputs.structure, inputs.mask(0, *inputs.call.input_size).shape)
            for inputs in (call[1]["ipadapter_regions"] for call in layers.calls)
        }

    def area(seed, x):
        cond = tiny.conditioning(seed)
        cond[0][1] |= {"area": (8, 4, 0, x), "strength": 1.0}
        return cond

    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    two_texts = names(model, tiny.conditioning(1) + tiny.conditioning(3), size=(8, 4))
    two_areas = names(model, area(1, 0) + area(3, 4), size=(8, 8))
    found = two_texts | two_areas
    assert len({shape for _, shape in found}) == len({name for name, _ in found}) == 2


PARTS = torch.cat([left_half(), 1 - left_half()])
CROP = {"x": 0, "y": 0, "width": 64, "height": 32}
# What is changed about the references of one compiled model, one after the other.
CHANGES = [
    lambda m, a, b: apply(m, a, 1),
    lambda m, a, b: apply(m, a, 2, weight=0.5),
    lambda m, a, b: apply(m, a, 1, attn_mask=left_half(), end_at=0.5),
    lambda m, a, b: apply(apply(m, a, 1, attn_mask=left_half()), b, 2, weight_type="linear"),
    lambda m, a, b: apply(m, a, 1, step_weights="0.2, 1", step_masks=PARTS),
    lambda m, a, b: CropRegions.execute(apply(m, a, 1, attn_mask=left_half()), **CROP)[0],
    lambda m, a, b: RemoveReferences.execute(apply(m, a, 1))[0],
    lambda m, a, b: m,
    lambda m, a, b: apply(m, a, 1, weight=0.5),
    lambda m, a, b: apply(m, a, 2),
    lambda m, a, b: apply(m, a, 1, attn_mask=left_half()),
    lambda m, a, b: apply(m, a, 1, attn_mask=1 - left_half()),
    lambda m, a, b: apply(apply(m, a, 1, attn_mask=left_half()), a, 2),
    lambda m, a, b: apply(apply(m, a, 1), b, 2, weight_type="linear"),
    lambda m, a, b: apply(apply(m, a, 1, start_at=0.4), a, 2, end_at=0.4),
    lambda m, a, b: apply(m, a, 1, step_weights="1, 0.2"),
    lambda m, a, b: apply(m, b, 1),
]


@pytest.mark.parametrize("count", [8, pytest.param(len(CHANGES), marks=pytest.mark.release)])
def test_nosync_right_under_torch_compile(eager, compiled, count):
    """One compiled model, everything about the references changed, each result as eager's."""
    loaded, other = (adapter_for(eager, kind, seed) for kind, seed in (("base", 0), ("plus", 3)))
    effect = tiny.sample(apply(eager, loaded, 1)) - tiny.sample(eager)
    for change in CHANGES[:count]:
        found, expected = (tiny.sample(change(m, loaded, other)) for m in (compiled, eager))
        assert_near(found, expected, 1e-4, effect)
