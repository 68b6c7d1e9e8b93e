"""Rule 10: any precision, and every kind of mask batch, picture batch and latent batch."""

import comfy.model_base
import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, in_windows, left_half
from ipadapter_pack.tests.near import assert_near


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.mark.parametrize("kind", ["base", "plus"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-2), (torch.bfloat16, 0.1)])
def test_everywhere_half_precision_is_near_full(kind, dtype, tolerance):
    """One layer's contribution, so that the random network does not amplify the difference."""

    def contribution(dtype):
        model = apply(tiny.model(dtype=dtype), adapter(kind=kind), 1)
        layers = Layers(model)
        tiny.sample(model, steps=1)
        _, _, out, without = layers.calls[0]
        return out.float() - without.float()

    full, half = contribution(torch.float32), contribution(dtype)
    assert_near(half, full, tolerance)


def test_everywhere_model_stored_in_fp8():
    """Weights in fp8, computing in float32: keys and values are of the computing precision."""
    model = tiny.model(dtype=torch.float8_e4m3fn, compute=torch.float32)
    applied = apply(model, adapter(), 1, attn_mask=left_half())
    patch = next(iter(applied.attachments["ipadapter_regions"].values()))
    assert patch.regions[0].seen.positive.k.dtype == torch.float32
    out = tiny.sample(applied)
    assert torch.isfinite(out).all()
    assert not torch.equal(out, tiny.sample(model))


def test_everywhere_v_prediction():
    model = tiny.model("SDXL", state_dict={"v_pred": torch.empty(0)})
    assert model.model.model_type is comfy.model_base.ModelType.V_PREDICTION
    applied = apply(model, adapter("SDXL"), 1, attn_mask=left_half())
    assert not torch.equal(tiny.sample(applied, layout="SDXL"), tiny.sample(model, layout="SDXL"))


def test_everywhere_pictures_side_by_side_are_one_reference(loaded):
    """unfold_batch off: N pictures are N * T tokens, so two equal ones act as one."""
    twice = torch.cat([tiny.picture(1)] * 2)
    model = tiny.shared_model()
    one = tiny.sample(apply(model, loaded, 1))
    two = tiny.sample(apply(model, loaded, twice))
    assert_near(two, one, 1e-4, effect=one - tiny.sample(model))
    both = apply(model, loaded, torch.cat([tiny.picture(1), tiny.picture(2)]))
    patch = next(iter(both.attachments["ipadapter_regions"].values()))
    assert patch.regions[0].tokens == 2 * 4


@pytest.mark.parametrize(("pictures", "seen"), [(3, [0, 1, 2]), (2, [0, 1, 1]), (4, [0, 1, 2])])
def test_everywhere_picture_i_goes_to_latent_i(loaded, caplog, pictures, seen):
    model = tiny.shared_model()
    plain = tiny.sample(model, batch=3)
    batch = torch.cat([tiny.picture(i) for i in range(pictures)])
    unfolded = tiny.sample(apply(model, loaded, batch, unfold_batch=True), batch=3)
    for latent, picture in enumerate(seen):
        alone = tiny.sample(apply(model, loaded, picture), batch=3)[latent]
        assert_near(unfolded[latent], alone, 1e-4, effect=alone - plain[latent])
    said = "4 pictures for 3 latents: the last are not used" in caplog.text
    assert said == (pictures == 4)


def test_everywhere_mask_i_goes_to_latent_i(loaded):
    model = tiny.shared_model()
    masks = torch.cat([left_half(), 1 - left_half(), torch.zeros(1, 64, 64)])
    plain = tiny.sample(model, batch=4)
    whole = tiny.sample(apply(model, loaded, 1), batch=4)
    together = tiny.sample(apply(model, loaded, 1, attn_mask=masks), batch=4)
    for latent, mask in enumerate([0, 1, 2, 2]):
        alone = apply(model, loaded, 1, attn_mask=masks[mask : mask + 1])
        expected = tiny.sample(alone, batch=4)[latent]
        assert_near(together[latent], expected, 1e-4, effect=(whole - plain)[latent])


def test_everywhere_context_windows_keep_their_frames(loaded):
    """A long batch sampled in windows: each frame sees its own picture and mask."""
    model = tiny.shared_model()
    pictures = torch.cat([tiny.picture(i) for i in range(6)])
    masks = torch.linspace(0, 1, 6)[:, None, None].expand(6, 64, 64)
    model = apply(model, loaded, pictures, unfold_batch=True, attn_mask=masks)
    model = in_windows(model, length=3, overlap=1)
    layers = Layers(model)
    tiny.sample(model, batch=6, steps=1)
    windows = {c[1]["ipadapter_regions"].call.window for c in layers.calls}
    assert {frame for window in windows for frame in window} == set(range(6))
    for _, options, _, _ in layers.calls:
        inputs = options["ipadapter_regions"]
        height, width = options["activations_shape"][-2:]
        per_frame = inputs.mask(0, height, width)[:, 0, 0, 0, 0]
        expected = torch.tensor([i / 5 for i in inputs.call.window]).repeat(len(inputs.call.chunks))
        torch.testing.assert_close(per_frame, expected)


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
def test_everywhere_weight_types_differ(loaded, weight_type):
    model = tiny.shared_model()
    out = tiny.sample(apply(model, loaded, 1, weight=0.6, weight_type=weight_type))
    others = {"original", "linear", "channel penalty"} - {weight_type}
    for other in others:
        assert not torch.equal(
            out, tiny.sample(apply(model, loaded, 1, weight=0.6, weight_type=other))
        )


def test_everywhere_says_when_the_aspect_ratio_differs(loaded, caplog):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=torch.ones(1, 64, 128))
    tiny.sample(model, size=(16, 16))
    said = "attn_mask is 128 x 64, the picture 128 x 128: the mask is stretched"
    assert caplog.text.count(said) == 1
    caplog.clear()
    tiny.sample(apply(tiny.shared_model(), loaded, 1, attn_mask=left_half()), size=(16, 16))
    assert "attn_mask" not in caplog.text
