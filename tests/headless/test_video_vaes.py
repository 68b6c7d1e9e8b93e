"""Which frames a latent frame covers: for every video VAE of ComfyUI, and as three really encode."""

from __future__ import annotations

from typing import Any

import comfy.ldm.minimax.vae
import comfy.sd
import pytest
import torch
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE
from ipadapter_pack.masks.video import frame_groups
from ipadapter_pack.nodes.masking.latent import MaskToLatentSpace
from ipadapter_pack.nodes.masking.latent_sizes import frames_of
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.vaes import VIDEO_VAES, WAN, build


@pytest.mark.parametrize("kind", VIDEO_VAES)
def test_every_video_vae_of_comfyui(kind):
    shapes, ratio, starts = VIDEO_VAES[kind]
    vae = build(shapes)
    latents = len(starts) - 1
    assert [first for first, _ in frame_groups(frames_of(vae), latents)] == starts[:-1]
    assert vae.upscale_ratio[0](2) == frames_of(vae)(2)
    latent = {"samples": torch.zeros(1, 16, latents, 2, 2)}
    masked, preview = MaskToLatentSpace.execute(torch.ones(1, 64, 64), latent, vae).args
    assert masked["noise_mask"].shape == (1, 1, latents, 2, 2)
    assert preview.shape == (starts[-1], 2 * ratio, 2 * ratio)


def check_frames(encode: Any, vae: Any, frames: list[int]) -> None:
    """That each frame first shows in the latent frame that it is counted to."""
    groups = frame_groups(frames_of(vae), 10)
    counted = {
        f: next(n for n, (first, end) in enumerate(groups) if first <= f < end) for f in frames
    }
    length = groups[counted[max(frames)]][1]
    clip = torch.rand(1, 3, length, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = encode(clip)
    for frame in frames:
        other = clip.clone()
        other[:, :, frame] = 1 - other[:, :, frame]
        changed = (encode(other) != plain).transpose(1, 2).flatten(2).any(-1)[0]
        assert int(changed.nonzero()[0]) == counted[frame]


def test_wan_encodes_frames_into_the_latent_they_are_counted_to():
    shapes = {key: [4 if n == 96 else 16 if n == 384 else n for n in WAN[key]] for key in WAN}
    vae = comfy.sd.VAE(sd={key: torch.ones(shape) for key, shape in shapes.items()})
    tiny.randomize(vae.first_stage_model)
    check_frames(vae.first_stage_model.encode, vae, list(range(9)))


def test_ltx_encodes_frames_into_the_latent_they_are_counted_to():
    block = [["res_x", 1], ["compress_all", 1]]
    model = VideoVAE(config={
        "dims": 3, "latent_channels": 8, "blocks": block * 3, "patch_size": 4,
        "norm_layer": "pixel_norm", "latent_log_var": "uniform",
        "encoder_base_channels": 8, "decoder_base_channels": 8,
    })  # fmt: skip
    tiny.randomize(model)
    for name in ("std-of-means", "mean-of-means"):
        model.per_channel_statistics.register_buffer(name, torch.ones(8))
    check_frames(model.encode, build(VIDEO_VAES["LTXV"][0]), [0, 1, 8, 9, 16])


def test_minimax_encodes_each_clip_alone():
    vae = build(VIDEO_VAES["MiniMax H3"][0])
    with torch.device("meta"):
        model = comfy.ldm.minimax.vae.MiniMaxH3VideoVAE(ch=32, token_drop=0, tiling=False)
    for part in (model.encoder, model.quant_conv):
        part.to_empty(device="cpu").float()
        tiny.randomize(part)
    check_frames(model.encode_temporal, vae, [4, 5, 13, 16, 17, 18, 33])
