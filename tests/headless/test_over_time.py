"""What varies over frames and steps: weights, masks, pictures; windows of a clip."""

import comfy.samplers
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.sampling import group_masks as group_masks
from ipadapter_pack.nodes.sampling import run, wrappers
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import Layers, adapter, apply, in_windows, left_half
from ipadapter_pack.tests.kernels import per_step
from ipadapter_pack.tests.near import assert_near


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def added(layers):
    """What references add in each recorded call, [rows, queries, channels]."""
    return [out - without for _, _, out, without in layers.calls]


def in_one_call(loaded, q, **inputs):
    """What the first layer adds to given queries [rows, 64, 32]."""
    model = apply(tiny.shared_model(), loaded, 1, **inputs)
    out = []

    def wrap(patch):
        def replacement(_, k, v, extra_options):
            bare = {n: o for n, o in extra_options.items() if n != "ipadapter_regions"}
            out.append(patch(q, k, v, extra_options) - patch(q, k, v, bare))
            return out[-1]

        return replacement

    replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
    model.set_model_attn2_replace(wrap(replaced["input", 1, 0]), "input", 1, 0)
    tiny.sample(model, batch=len(q) // 2, steps=4)
    return out


def queries(rows):
    return torch.randn(rows, 64, 32, generator=torch.Generator().manual_seed(3))


def test_frame_weights_are_factors_of_what_is_added(loaded):
    q = queries(6)
    plain = in_one_call(loaded, q)[0].unflatten(0, (2, 3))
    weighted = in_one_call(loaded, q, frame_weights="1, 0, -0.5")[0].unflatten(0, (2, 3))
    for frame, factor in enumerate((1, 0, -0.5)):
        assert_near(weighted[:, frame], plain[:, frame] * factor, 1e-5)
    assert not weighted[:, 1].any()


def test_the_last_frame_weight_is_for_all_that_follow(loaded):
    def sampled(weights):
        return tiny.sample(apply(tiny.shared_model(), loaded, 1, frame_weights=weights), batch=3)

    assert torch.equal(sampled("1, 0.5"), sampled("1, 0.5, 0.5"))
    assert not torch.equal(sampled("1, 0.5"), sampled("1, 0.5, 0.4"))


def test_a_frame_weight_for_all_is_the_weight_in_effect(loaded):
    q = queries(2)
    plain, half = in_one_call(loaded, q), in_one_call(loaded, q, frame_weights="0.5")
    assert_near(half[0], plain[0] * 0.5, 1e-5)


def test_step_weights_are_factors_along_the_noise_schedule(loaded):
    """KSampler's "normal" schedule of 4 steps stands at 0, 1/3, 2/3 and 1 of it."""
    q = queries(2)
    plain = in_one_call(loaded, q)
    curved = in_one_call(loaded, q, step_weights="0: 1, 0.5: 0.25, 1: 0")
    factors = [1, 1 - 0.75 * 2 / 3, 0.25 - 0.25 / 3, 0]
    assert len(plain) == 4
    for a, b, factor in zip(plain, curved, factors, strict=True):
        assert_near(b, a * factor, 1e-3)
    assert not curved[3].any()


def test_step_weights_end_with_the_range(loaded):
    q = queries(2)
    steps = in_one_call(loaded, q, step_weights="0.5", start_at=0.3, end_at=0.7)
    assert [bool(step.any()) for step in steps] == [False, True, True, False]


def test_step_masks_take_turns(loaded):
    q = queries(2)
    masks = torch.cat([left_half(), left_half().flip(-1), torch.zeros(1, 64, 64)])
    steps = [s.unflatten(1, (8, 8)) for s in in_one_call(loaded, q, step_masks=masks)]
    acts = [(bool(s[:, :, :4].any()), bool(s[:, :, 4:].any())) for s in steps]
    assert acts == [(True, False), (False, True), (False, False), (False, False)]


def test_step_masks_of_another_shape_than_the_mask_are_told(loaded, caplog):
    apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(), step_masks=torch.ones(2, 8, 16))
    assert "a mask is 16 x 8, another 64 x 64: the first is stretched to that" in caplog.text


def test_step_masks_stay_within_the_mask(loaded):
    q = queries(2)
    masks = torch.cat([left_half(128, 128), torch.ones(1, 128, 128)])
    top = left_half(128, 128).mT
    steps = in_one_call(loaded, q, step_masks=masks, attn_mask=top)
    expected = (top * left_half(128, 128), top)
    for step, mask in zip((steps[0], steps[3]), expected, strict=True):
        alone = in_one_call(loaded, q, attn_mask=mask)
        assert any(torch.equal(step, other) for other in alone)


def test_what_does_not_vary_is_bit_equal_to_nothing_said(loaded):
    model = tiny.shared_model()
    plain = tiny.sample(apply(model, loaded, 1, attn_mask=left_half()), batch=2)
    same = {"frame_weights": "1", "step_weights": "1, 1", "step_masks": torch.ones(2, 64, 64)}
    for name, value in same.items():
        varied = apply(model, loaded, 1, attn_mask=left_half(), **{name: value})
        assert torch.equal(tiny.sample(varied, batch=2), plain), name


def test_cheap_and_constant_over_time(loaded):
    """A curve costs nothing per layer: one small tensor per call is multiplied."""
    model = tiny.shared_model()
    for i in range(3):
        model = apply(
            model, loaded, i, attn_mask=left_half(), step_weights="1, 0.2", frame_weights="1, 0.5"
        )

    def kernels(model):
        return per_step(lambda steps: tiny.sample(model, steps=steps, batch=2)).total()

    assert (kernels(model) - kernels(tiny.shared_model())) / 16 <= 8


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_two_samplings_in_a_row_follow_one_schedule(loaded, sampler):
    """As KSampler (Advanced) does: the curve goes on where the first one stopped."""
    model = apply(tiny.shared_model(), loaded, 1, step_weights="0: 1, 1: 0", attn_mask=left_half())
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    ks = comfy.samplers.KSampler(model, 4, model.load_device, sampler, "normal", 1.0)
    conds = (tiny.conditioning(1), tiny.conditioning(2))
    whole = ks.sample(noise, *conds, cfg=1.0, latent_image=torch.zeros_like(noise))
    half = ks.sample(
        noise, *conds, cfg=1.0, latent_image=torch.zeros_like(noise), last_step=2,
        force_full_denoise=False,
    )  # fmt: skip
    again = ks.sample(torch.zeros_like(noise), *conds, cfg=1.0, latent_image=half, start_step=2)
    assert_near(again, whole, 1e-4)


def test_windows_of_animatediff_take_their_frames(loaded):
    """AnimateDiff-Evolved says in ad_params which frames of the clip a call samples."""
    masks = torch.stack([left_half(8, 8)[0] * (i + 1) / 8 for i in range(8)])
    pictures = torch.cat([tiny.picture(i) for i in range(8)])
    weights = ", ".join(str(1 - i / 10) for i in range(8))
    index = [2, 5, 7]

    def model(select):
        picked = [i for i in range(8) if i in index] if select else list(range(8))
        return apply(
            tiny.shared_model(), loaded, pictures[picked], unfold_batch=True,
            attn_mask=masks[picked],
            frame_weights=", ".join(weights.split(", ")[i] for i in picked),
        )  # fmt: skip

    clip = model(select=False).clone()
    clip.model_options["transformer_options"]["ad_params"] = {"sub_idxs": index, "full_length": 8}
    alone = tiny.sample(model(select=True), batch=3)
    effect = alone - tiny.sample(tiny.shared_model(), batch=3)
    assert_near(tiny.sample(clip, batch=3), alone, 1e-4, effect)
    for same in (torch.tensor(index), tuple(index)):
        clip.model_options["transformer_options"]["ad_params"]["sub_idxs"] = same
        assert_near(tiny.sample(clip, batch=3), alone, 1e-4, effect)
    outside = model(select=False).clone()
    outside.model_options["transformer_options"]["ad_params"] = {"sub_idxs": None, "full_length": 3}
    assert torch.equal(tiny.sample(outside, batch=3), tiny.sample(model(select=False), batch=3))


def test_long_clips_keep_few_layouts(loaded, monkeypatch):
    """Each window has keys and values of its own; those of the last windows stay, not of all."""
    runs = []
    monkeypatch.setattr(wrappers, "Run", lambda *a, run=run.Run: runs.append(run(*a)) or runs[-1])
    pictures = torch.cat([tiny.picture(i) for i in range(24)])
    model = apply(tiny.shared_model(), loaded, pictures, unfold_batch=True)
    monkeypatch.setattr(group_masks, "KEPT", 3)
    model = apply(model, loaded, 1, attn_mask=left_half())
    tiny.sample(in_windows(model, 2, 0), batch=24, steps=2)
    (only,) = runs
    assert len(only._packed) == run.KEPT < 12
    assert len(only.masks._masks) == 3 * group_masks.LEVELS
    few = apply(tiny.shared_model(), loaded, pictures[:14], unfold_batch=True)
    expected = tiny.sample(in_windows(few, 2, 0), batch=14, steps=2)
    monkeypatch.setattr(run, "KEPT", 1)
    assert torch.equal(tiny.sample(in_windows(few, 2, 0), batch=14, steps=2), expected)


def test_windows_of_core_take_frame_weights(loaded):
    """In windows, every frame has its own factor, whichever window it is in."""
    model = apply(tiny.shared_model(), loaded, 1, frame_weights="1, 0, 1, 0, 1, 0, 1, 0")
    layers = Layers(model)
    tiny.sample(in_windows(model, 4, 2), batch=8, steps=1)
    for (_, options, *_), delta in zip(layers.calls, added(layers), strict=True):
        index = options["context_window"].get_tensor(torch.arange(8), dim=0).tolist()
        rows = delta.unflatten(0, (-1, len(index)))
        assert [bool(rows[:, i].any()) for i in range(len(index))] == [f % 2 == 0 for f in index]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"frame_weights": "1, 1, 1"}, "3 frame_weights for 2 latents: the last are not used"),
        ({"attn_mask": torch.ones(3, 8, 8)}, "3 masks for 2 latents: the last are not used"),
        ({"attn_mask": torch.ones(2, 8, 8)}, ""),
    ],
)
def test_numbers_that_do_not_match_the_latents_are_told(loaded, caplog, inputs, said):
    tiny.sample(apply(tiny.shared_model(), loaded, 1, **inputs), batch=2)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_unreadable_weights_are_refused_by_name(loaded):
    for name in ("frame_weights", "step_weights"):
        with pytest.raises(IPAdapterError, match=f"{name}: 'much' is not a number"):
            apply(tiny.shared_model(), loaded, 1, **{name: "1, much"})


# SVD


def video_model():
    import comfy.supported_models

    config = comfy.supported_models.SVD_img2vid(
        {
            **tiny.SD15, "in_channels": 8, "use_linear_in_transformer": True,
            "use_temporal_attention": True, "use_temporal_resblock": True,
            "video_kernel_size": [3, 1, 1], "extra_ff_mix_layer": True,
            "use_spatial_context": True, "merge_strategy": "learned_with_images",
            "merge_factor": 0.0,
            "num_classes": "sequential", "adm_in_channels": 768,
        }
    )  # fmt: skip
    config.unet_config["num_head_channels"] = 8
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "")
    tiny.randomize(base.diffusion_model)
    return tiny.patcher(base)


@pytest.mark.parametrize("frames", [3, 4, 16])
def test_attention_over_time_is_left_alone(loaded, frames):
    """SVD's temporal attention comes by the same patch. With 4 or 16 frames, its queries have the
    shape of the picture's, in the layers of 2 x 2 or 4 x 4 cells."""
    model = video_model()
    conds = [
        [[torch.randn(1, 1, tiny.CONTEXT), {
            "pooled_output": None, "concat_latent_image": torch.zeros(1, 4, 8, 8),
        }]]
        for _ in range(2)
    ]  # fmt: skip
    layers = Layers(applied := apply(model, loaded, 1))
    noise = torch.randn(frames, 4, 8, 8)
    comfy.samplers.KSampler(applied, 1, applied.load_device, "euler", "karras", 1.0).sample(
        noise, *conds, cfg=2.0, latent_image=torch.zeros_like(noise)
    )
    assert len(layers.calls) % 32 == 0  # each layer twice: over space, over time
    turns = {}
    for (key, *_), delta in zip(layers.calls, added(layers), strict=True):
        turns.setdefault(key, []).append(bool(delta.any()))
    assert all(t == [True, False] * (len(t) // 2) for t in turns.values()), turns
