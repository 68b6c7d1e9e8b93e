"""diffusers' IP-Adapter on the same weights, as an independent source of numbers."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import comfy.utils
import torch
from diffusers import UNet2DConditionModel
from ipadapter_pack.tests import tiny
from torch import Tensor

BLOCKS = {
    "SD1.5": {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "block_out_channels": [32, 64, 128, 128],
        "attention_head_dim": 8,
    },
    "SDXL": {
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        "block_out_channels": [32, 64, 128],
        "attention_head_dim": [1, 1, 2],
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def diffusers_unet(model: Any, layout: str) -> UNet2DConditionModel:
    """diffusers' UNet with the weights of ComfyUI's: nothing missing, nothing left over."""
    config = BLOCKS[layout]
    unet = UNet2DConditionModel(
        sample_size=8, cross_attention_dim=tiny.CONTEXT, layers_per_block=2, **config
    )
    weights = model.model.diffusion_model.state_dict()
    names = comfy.utils.unet_to_diffusers(tiny.LAYOUTS[layout][1])
    # The map names some layers that this layout has not.
    known = unet.state_dict().keys()
    unet.load_state_dict({d: weights[c] for d, c in names.items() if d in known and c in weights})
    assert len(known) == len(weights)
    return unet.eval()


def one_call(model: Any, layout: str, cfg: float, timestep: int) -> tuple[Tensor, Tensor, float]:
    """One model evaluation through ComfyUI's sampling: (x, predicted noise, sigma)."""
    seen: dict[str, Tensor] = {}

    def evaluate(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ):
        seen["x"], seen["denoised"] = x, model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)
        return seen["denoised"]

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning(1, layout), tiny.conditioning(2, layout))
    guider.set_cfg(cfg)
    sigma = model.model.model_sampling.sigmas[timestep]
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    sigmas = torch.stack([sigma, torch.zeros(())])
    guider.sample(noise, torch.zeros_like(noise), comfy.samplers.KSAMPLER(evaluate), sigmas)
    return seen["x"], (seen["x"] - seen["denoised"]) / sigma, float(sigma)


def diffusers_noise(
    unet: UNet2DConditionModel,
    layout: str,
    x: Tensor,
    sigma: float,
    timestep: int,
    cfg: float,
    features: list[tuple[Tensor, Tensor]],
) -> Tensor:
    """diffusers' prediction with guidance; ``features`` are each adapter's (positive, negative)."""

    call = (unet, layout, x, sigma, timestep)
    positive = predicted_noise(*call, True, [p for p, _ in features])
    if cfg == 1.0:
        return positive
    negative = predicted_noise(*call, False, [n for _, n in features])
    return negative + cfg * (positive - negative)


def predicted_noise(
    unet: UNet2DConditionModel,
    layout: str,
    x: Tensor,
    sigma: float,
    timestep: int,
    positive: bool,
    embeds: list[Tensor],
) -> Tensor:
    """diffusers' prediction for one prompt; ``embeds`` are each adapter's."""
    text, extra = tiny.conditioning(1 if positive else 2, layout)[0]
    added: dict[str, Any] = {"image_embeds": [e[None] for e in embeds]} if embeds else {}
    if layout == "SDXL":
        added["text_embeds"] = extra["pooled_output"]
        added["time_ids"] = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])
    scaled = x / (sigma**2 + 1) ** 0.5
    return unet(scaled, timestep, text, added_cond_kwargs=added).sample
