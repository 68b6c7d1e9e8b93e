"""Rule 2: patches are values. No branch of a graph changes another, nothing accumulates."""

import copy

import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, apply, left_half


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def test_values_branches_do_not_disturb_each_other(loaded):
    base = tiny.shared_model()
    without = tiny.sample(base)
    one = apply(base, loaded, 1)
    first = tiny.sample(one)
    two = apply(one, loaded, 2, attn_mask=left_half())
    apply(apply(two, loaded, 3), loaded, 4, weight=0.3)
    sibling = apply(base, loaded, 5)
    assert torch.equal(tiny.sample(base), without)
    assert torch.equal(tiny.sample(one), first)
    outputs = [without, first, tiny.sample(two), tiny.sample(sibling)]
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_values_same_graph_twice_gives_the_same_bits(loaded):
    def graph():
        model = apply(tiny.shared_model(), loaded, 1, noise=0.4, attn_mask=left_half())
        return tiny.sample(apply(model, adapter(seed=1), 2, start_at=0.2))

    assert torch.equal(graph(), graph())


def test_values_applying_does_not_touch_the_global_generator(loaded):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    apply(tiny.shared_model(), loaded, 1, noise=0.7)
    assert torch.equal(torch.rand(3), expected)


def test_values_deep_copy_of_a_patch_is_itself(loaded):
    model = apply(tiny.shared_model(), loaded, 1)
    replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
    for patch in replaced.values():
        assert copy.deepcopy(patch) is patch
        assert copy.copy(patch) is patch
        assert not isinstance(patch, (dict, list))
        with pytest.raises(AttributeError):
            patch.regions = ()


def test_values_other_packs_may_copy_the_options_of_a_run(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half()).clone()
    copies = []

    def copying(args):
        copies.append(copy.deepcopy(args["model_options"]))
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(copying)
    out = tiny.sample(model)
    assert len(copies) == 2
    assert torch.equal(
        out, tiny.sample(apply(tiny.shared_model(), loaded, 1, attn_mask=left_half()))
    )


def test_values_sampling_leaves_nothing_in_the_model(loaded):
    """What a run works out goes with the run."""

    def snapshot(value):
        if isinstance(value, dict):
            return {k: snapshot(v) for k, v in value.items()}
        return [snapshot(v) for v in value] if isinstance(value, list) else id(value)

    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(), end_at=0.5)
    patch = next(iter(model.attachments["ipadapter_regions"].values()))
    before = snapshot(model.model_options), snapshot(model.attachments), vars(patch).copy()
    tiny.sample(model)
    assert (snapshot(model.model_options), snapshot(model.attachments), vars(patch)) == before


def test_values_weight_zero_returns_the_model_itself(loaded):
    model = tiny.shared_model()
    assert apply(model, loaded, 1, weight=0.0) is model
