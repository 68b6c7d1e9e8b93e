"""ComfyUI's own VAEs, told by the keys and shapes that it tells them by."""

from __future__ import annotations

from typing import Any

import comfy.sd
import torch

WAN = {
    "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1),
    "decoder.head.0.gamma": (96, 1, 1, 1),
    "encoder.conv1.weight": (96, 3, 3, 3, 3),
    "decoder.head.2.weight": (3, 96, 3, 3, 3),
}
HUNYUAN = {
    "decoder.conv_in.conv.weight": (512, 16, 3, 3, 3),
    "post_quant_conv.weight": (16, 16, 1, 1, 1),
}
PICTURES = {
    "decoder.conv_in.weight": (512, 4, 3, 3),
    "encoder.down.2.downsample.conv.weight": (512, 512, 3, 3),
}
SOUND = {"decoder.layers.1.layers.0.beta": (2048,)}
COSMOS = {"decoder.unpatcher3d.wavelets": (2,)}
ONE_THEN = {frames: [0, 1, 1 + frames, 1 + 2 * frames, 1 + 3 * frames] for frames in (4, 6, 8)}
CLIPS = [0, 1, 5, 9, 13, 17, 18, 22, 26]

# What ComfyUI tells each video VAE by: keys and shapes, pixels per cell, frames before each latent.
VIDEO_VAES: dict[str, tuple[dict[str, Any], int, list[int]]] = {
    "Wan 2.1": (WAN, 8, ONE_THEN[4]),
    "Wan 2.2": (
        {
            "decoder.middle.0.residual.0.gamma": (1024, 1, 1, 1),
            "decoder.upsamples.0.upsamples.0.residual.2.weight": (1024, 1024, 3, 3, 3),
        },
        16,
        ONE_THEN[4],
    ),
    "HunyuanVideo": (HUNYUAN, 8, ONE_THEN[4]),
    "HunyuanVideo 1.5": ({"decoder.conv_in.conv.weight": (1024, 32, 3, 3, 3)}, 16, ONE_THEN[4]),
    "HunyuanImage refiner": ({"decoder.conv_in.weight": (1024, 32, 3, 3, 3)}, 16, ONE_THEN[4]),
    "CogVideoX": (
        {
            "decoder.conv_in.conv.weight": (512, 16, 3, 3, 3),
            "decoder.mid_block.resnets.0.norm1.norm_layer.weight": (512,),
            "encoder.conv_out.conv.weight": (32, 512, 3, 3, 3),
        },
        8,
        ONE_THEN[4],
    ),
    "Mochi": ({"decoder.blocks.2.blocks.3.stack.5.weight": (512, 512, 3, 3, 3)}, 8, ONE_THEN[6]),
    "LTXV": (
        {"decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (512, 512, 3, 3, 3)},
        32,
        ONE_THEN[8],
    ),
    "SeedVR2": (
        {"decoder.up_blocks.2.upsamplers.0.upscale_conv.weight": (1024, 256, 1, 1, 1)},
        8,
        ONE_THEN[4],
    ),
    "TAEHV": ({"decoder.22.bias": (3,), "decoder.1.weight": (256, 16, 3, 3)}, 8, ONE_THEN[4]),
    "MiniMax H3": (
        {
            "decoder.transformer_blocks.0.scale1": (2048,),
            "encoder.down.5.block.0.conv1.weight": (1024, 512, 3, 3, 3),
        },
        16,
        CLIPS,
    ),
    "Cosmos": (COSMOS, 8, ONE_THEN[8]),
}


def build(shapes: dict[str, tuple[int, ...]]) -> Any:
    """ComfyUI's own VAE of that kind, at full size; its weights are never touched."""
    with torch.device("cpu" if shapes is COSMOS else "meta"):  # that one reads a tensor of its own
        return comfy.sd.VAE(sd={key: torch.empty(shape) for key, shape in shapes.items()})


def wan() -> Any:
    return build(WAN)


def pictures_vae() -> Any:
    return build(PICTURES)
