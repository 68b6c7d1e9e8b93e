"""Mask To Latent Space inside a real ComfyUI: its VAEs, its samplers' reading of a noise mask."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import comfy.sample
import comfy.sampler_helpers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.masks.video import SPATIAL
from ipadapter_pack.nodes.masking import latent as latent_masks
from ipadapter_pack.nodes.masking.latent import MaskToLatentSpace
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import (
    BAD_MASKS,
    PROPERTIES,
    any_mask,
    check_mask_output,
    refuses,
    run,
)
from ipadapter_pack.tests.headless.vaes import PICTURES, SOUND, WAN, build, pictures_vae, wan
from torch import Tensor


def result(**inputs: Any) -> tuple[Any, Tensor]:
    """(noise mask, preview); fails where an input was written to, or more was changed."""
    latent = inputs["latent"]
    before, samples = dict(latent), latent["samples"].clone()
    masked, preview = run(MaskToLatentSpace, **inputs)
    assert latent == before
    assert torch.equal(latent["samples"], samples)
    noise_mask = masked.pop("noise_mask")
    assert masked == {key: value for key, value in before.items() if key != "noise_mask"}
    return noise_mask, preview


def video(frames: int, height: int = 4, width: int = 6, batch: int = 1, channels: int = 16) -> Any:
    return {"samples": torch.zeros(batch, channels, frames, height, width)}


def picture(batch: int = 1, height: int = 8, width: int = 12) -> Any:
    return {"samples": torch.zeros(batch, 4, height, width)}


def texts(caplog: Any) -> list[str]:
    """What the node has said, not ComfyUI about the VAE."""
    ours = "IPAdapter Regions: "
    return [line.removeprefix(ours) for line in caplog.messages if line.startswith(ours)]


def at_the_sampler(noise_mask: Tensor, samples: Tensor) -> Tensor:
    return comfy.sampler_helpers.prepare_mask(noise_mask, samples.shape, "cpu")


# Names and words that saved graphs and users depend on


def test_ids_choices_and_words():
    schema = MaskToLatentSpace.GET_SCHEMA()
    assert schema.node_id == "IPAdapterMaskToLatentSpace"
    assert [i.id for i in schema.inputs] == ["mask", "latent", "vae", "spatial", "temporal"]
    for combo in schema.inputs[3:]:
        assert combo.options == ["max", "min", "mean", "first", "last"]
        assert combo.default == "max"
    page = Path(latent_masks.__file__).parents[1] / "web" / "docs" / f"{schema.node_id}.md"
    text = page.read_text()
    assert text.startswith(f"# {schema.display_name}\n")
    for socket in [*schema.inputs, *schema.outputs]:
        assert socket.tooltip
    assert all(f"| {i.id} |" in text for i in schema.inputs)


# Frames


def test_a_moving_mask_keeps_its_union_over_four_frames():
    mask = torch.zeros(5, 64, 64 * 5)
    for frame in range(5):
        mask[frame, :, frame * 64 : (frame + 1) * 64] = 1
    inputs = {"mask": mask, "latent": video(2, 8, 40), "vae": wan()}
    union, _ = result(**inputs, temporal="max")
    mean, _ = result(**inputs, temporal="mean")
    wanted = torch.zeros(2, 8, 40)
    wanted[0, :, :8] = 1
    wanted[1, :, 8:] = 1
    assert torch.equal(union[0, 0], wanted)
    assert torch.equal(mean[0, 0], wanted / torch.tensor([1, 4])[:, None, None])


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (1, ""),
        (9, ""),
        (4, "4 masks for 9 frames: the last one is repeated"),
        (12, "12 masks for 9 frames: the last ones are not used"),
    ],
)
def test_masks_for_another_number_of_frames(masks, said, caplog):
    mask = torch.rand(masks, 32, 48)
    with caplog.at_level(logging.WARNING):
        noise_mask, _ = result(mask=mask, latent=video(3), vae=wan())
    assert texts(caplog) == [said] * bool(said)
    nine = torch.cat([mask, mask[-1:].expand(9, -1, -1)])[:9]
    assert torch.equal(noise_mask, result(mask=nine, latent=video(3), vae=wan())[0])


def test_videos_of_a_batch_share_masks_or_have_their_own():
    mask = torch.rand(10, 32, 48)
    shared, _ = result(mask=mask[:5], latent=video(2, batch=2), vae=wan())
    assert shared.shape == (1, 1, 2, 4, 6)
    own, preview = result(mask=mask, latent=video(2, batch=2), vae=wan())
    assert own.shape == (2, 1, 2, 4, 6)
    assert torch.equal(own[:1], shared)
    assert torch.equal(own[1:], result(mask=mask[5:], latent=video(2), vae=wan())[0])
    assert preview.shape == (10, 32, 48)


# What a sampler gets


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("masks", [1, 3])
def test_a_sampler_gets_a_pictures_noise_mask_unchanged(batch, masks):
    latent = picture(batch)
    noise_mask, _ = result(mask=torch.rand(masks, 64, 96), latent=latent, vae=pictures_vae())
    expected = noise_mask.expand(batch, 4, -1, -1)
    assert torch.equal(at_the_sampler(noise_mask, latent["samples"]), expected)
    if masks == batch == 3:
        assert not torch.equal(noise_mask[0], noise_mask[2])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("masks", [1, 9, 18])
def test_a_sampler_gets_a_videos_noise_mask_unchanged(batch, masks):
    latent = video(3, batch=batch)
    noise_mask, _ = result(mask=torch.rand(masks, 32, 48), latent=latent, vae=wan())
    expected = noise_mask.expand(batch, 16, -1, -1, -1)
    assert torch.equal(at_the_sampler(noise_mask, latent["samples"]), expected)


def test_pictures_of_a_video_model_keep_their_own_masks():
    """ComfyUI makes frames of a flat latent's pictures: each is a video of one frame."""
    latent = {"samples": torch.zeros(3, 16, 4, 6)}
    noise_mask, preview = result(mask=torch.rand(3, 32, 48), latent=latent, vae=wan())
    at_five = at_the_sampler(noise_mask, latent["samples"][:, :, None])
    assert torch.equal(at_five, noise_mask.expand(3, 16, 1, 4, 6))
    assert preview.shape == (3, 32, 48)


def test_sampling_changes_only_what_is_white():
    model = tiny.shared_model()
    mask = torch.zeros(1, 64, 64)
    mask[:, 13:40, 20:50] = 1
    samples = torch.rand(1, 4, 8, 8)
    noise_mask, _ = result(mask=mask, latent={"samples": samples}, vae=pictures_vae())
    conditioning = tiny.conditioning(0)
    out = comfy.sample.sample(
        model, torch.randn(1, 4, 8, 8), 2, 3.0, "euler", "normal", conditioning, conditioning,
        samples, noise_mask=noise_mask, disable_pbar=True, seed=0,
    )  # fmt: skip
    changed = ((out - samples).abs() > 1e-4).any(1)
    assert torch.equal(changed, noise_mask[:, 0] == 1)


def test_an_empty_latent_is_masked_at_the_size_a_sampler_will_give_it():
    latent = {"samples": torch.zeros(1, 4, 16, 24), "downscale_ratio_spacial": 16}
    model = tiny.shared_model()
    resized = comfy.sample.fix_empty_latent_channels(model, latent["samples"], 16)
    noise_mask, preview = result(mask=torch.rand(1, 256, 384), latent=latent, vae=pictures_vae())
    assert noise_mask.shape[-2:] == resized.shape[-2:] == (32, 48)
    assert preview.shape == (1, 256, 384)
    full = {"samples": torch.ones(1, 4, 16, 24), "downscale_ratio_spacial": 16}
    assert result(mask=torch.ones(1, 8, 12), latent=full, vae=pictures_vae())[0].shape[-2:] == (
        16,
        24,
    )


def test_sound_beside_a_video_keeps_its_mask():
    film, sound = video(2)["samples"], torch.zeros(1, 8, 10, 16)
    latent = {"samples": NestedTensor([film, sound])}
    masked, _ = MaskToLatentSpace.execute(mask=torch.rand(5, 32, 48), latent=latent, vae=wan()).args
    ours, theirs = masked["noise_mask"].unbind()
    assert ours.shape == (1, 1, 2, 4, 6)
    assert torch.equal(theirs, torch.ones_like(sound))
    again = {**masked, "noise_mask": NestedTensor([ours, theirs / 2])}
    masked, _ = MaskToLatentSpace.execute(mask=torch.rand(5, 32, 48), latent=again, vae=wan()).args
    assert torch.equal(masked["noise_mask"].unbind()[1], theirs / 2)
    assert "noise_mask" not in latent


# Sizes


@pytest.mark.parametrize("height", [64, 67, 71])
@pytest.mark.parametrize("width", [96, 99])
def test_a_mask_loses_the_pixels_that_the_encoder_cut_off(height, width):
    mask = torch.rand(1, height, width)
    cut = pictures_vae().vae_encode_crop_pixels(mask[..., None].expand(-1, -1, -1, 3))[..., 0]
    for spatial in SPATIAL:
        expected, _ = result(mask=cut, latent=picture(), vae=pictures_vae(), spatial=spatial)
        found, _ = result(mask=mask, latent=picture(), vae=pictures_vae(), spatial=spatial)
        assert torch.equal(found, expected)


def test_a_mask_of_another_size_is_silent_and_of_another_shape_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        result(mask=torch.ones(1, 640, 960), latent=picture(), vae=pictures_vae())
        assert not texts(caplog)
        result(mask=torch.ones(1, 100, 100), latent=picture(), vae=pictures_vae())
    (line,) = texts(caplog)
    assert "mask is 100x100 and the picture 96x64, another aspect ratio" in line


def test_a_mask_in_latent_space_is_used_as_it_is_and_said(caplog):
    mask = torch.rand(3, 4, 6)
    with caplog.at_level(logging.WARNING):
        noise_mask, preview = result(mask=mask, latent=video(3), vae=wan())
    assert torch.equal(noise_mask[0, 0], mask)
    assert preview.shape == (9, 32, 48)
    (line,) = texts(caplog)
    assert "mask is 6x4, the size of the latent and not of its picture (48x32)" in line


# Any input


@PROPERTIES
@given(
    mask=any_mask(),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    frames=st.integers(0, 4),
    batch=st.integers(1, 3),
    spatial=st.sampled_from(list(SPATIAL)),
    temporal=st.sampled_from(list(SPATIAL)),
)
def test_any_mask_on_any_latent(mask, height, width, frames, batch, spatial, temporal):
    latent = video(frames, height, width, batch) if frames else picture(batch, height, width)
    vae = wan() if frames else pictures_vae()
    choices = {"spatial": spatial, "temporal": temporal}
    noise_mask, preview = result(mask=mask, latent=latent, vae=vae, **choices)
    samples = latent["samples"]
    arrived = at_the_sampler(noise_mask, samples)
    assert torch.equal(arrived, noise_mask.expand(samples.shape))
    check_mask_output(preview)
    again, same = result(mask=preview, latent=latent, vae=vae, **choices)
    torch.testing.assert_close(again, noise_mask)
    torch.testing.assert_close(same, preview)


@pytest.mark.parametrize("size", [(4, 1024, 1024), (1, 2048, 2049), (1, 1, 1_000_000)])
@pytest.mark.parametrize("spatial", SPATIAL)
def test_large_masks(size, spatial):
    noise_mask, _ = result(mask=torch.ones(size), latent=video(2), vae=wan(), spatial=spatial)
    assert torch.equal(noise_mask, torch.ones(1, 1, 2, 4, 6))


@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_an_unusable_mask_is_refused(mask, problem):
    refuses(MaskToLatentSpace, "mask", problem, mask=mask, latent=picture(), vae=pictures_vae())


@pytest.mark.parametrize(
    ("latent", "shapes", "problem"),
    [
        ({}, PICTURES, "latent has no samples"),
        ({"samples": torch.zeros(1, 64, 128)}, SOUND, "latent has the shape [1, 64, 128] and is"),
        ({"samples": torch.zeros(1, 8, 16, 128), "type": "audio"}, WAN, "latent has the shape"),
        ({"samples": torch.zeros(0, 4, 8, 8)}, PICTURES, "latent has the shape [0, 4, 8, 8] and"),
        (video(5), PICTURES, "latent is a video of 5 latent frames, but vae is made for pictures"),
        (picture(), SOUND, "vae is not for pictures or videos but for sound or shapes"),
        (picture(), {"none of a VAE's keys": (1,)}, "vae does not say how many pixels"),
    ],
)
def test_what_has_no_cells_is_refused_in_one_line(latent, shapes, problem):
    with pytest.raises(IPAdapterError) as caught:
        MaskToLatentSpace.execute(mask=torch.ones(1, 8, 8), latent=latent, vae=build(shapes))
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["spatial", "temporal"])
def test_a_way_that_does_not_exist_is_refused(name):
    with pytest.raises(IPAdapterError, match=f"{name} median: choose one of max, min, mean"):
        MaskToLatentSpace.execute(torch.ones(1, 8, 8), {}, None, **{name: "median"})
