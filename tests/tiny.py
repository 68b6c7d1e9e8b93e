"""Real models at tiny size: ComfyUI's own classes with random weights, made in code."""

from __future__ import annotations

import functools
import json
import tempfile
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models as supported
import torch
from ipadapter_pack.tests.tiny_adapters import adapter_file as adapter_file
from torch import Tensor

CONTEXT = 64  # width of the text tokens
CLIP = {"width": 48, "embed": 32}  # of the tiny image encoder

COMMON = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "context_dim": CONTEXT,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}
SD15 = {
    **COMMON,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
SDXL = {
    **COMMON,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
}
# Of SD1.5, seven cross-attentions on two grids, for a compiler: its time goes with their number.
FEW_LAYERS = {
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
}
LAYOUTS: dict[str, Any] = {"SD1.5": (supported.SD15, SD15), "SDXL": (supported.SDXL, SDXL)}


def model(
    layout: str = "SD1.5",
    dtype: torch.dtype = torch.float32,
    compute: torch.dtype | None = None,
    state_dict: dict[str, Tensor] | None = None,
    **changes: Any,
) -> Any:
    """A diffusion model of the real layout (16 or 70 cross-attentions) with narrow layers."""
    kind, config = LAYOUTS[layout]
    config = kind({**config, **changes})
    config.set_inference_dtype(dtype, compute)
    base = config.get_model(state_dict or {}, "")
    randomize(base.diffusion_model)
    base.diffusion_model.to(dtype)
    return patcher(base)


def patcher(base: Any) -> Any:
    device = comfy.model_management.get_torch_device()
    offload = comfy.model_management.unet_offload_device()
    return comfy.model_patcher.CoreModelPatcher(base, load_device=device, offload_device=offload)


@functools.cache
def shared_model(layout: str = "SD1.5") -> Any:
    """One model for all tests that, as they should, do not change it."""
    return model(layout)


def randomize(module: torch.nn.Module, seed: int = 0) -> None:
    """Weights that keep activations of order one through the whole network."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            noise *= parameter[0].numel() ** -0.5
        else:
            noise = noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        parameter.data = noise.to(parameter.dtype)


def conditioning(seed: int, layout: str = "SD1.5", tokens: int = 77) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, tokens, CONTEXT, generator=generator)
    pooled = torch.randn(1, 1280, generator=generator)
    return [[text, {"pooled_output": pooled} if layout == "SDXL" else {}]]


def sample(
    model: Any,
    positive: list[Any] | None = None,
    negative: list[Any] | None = None,
    *,
    layout: str = "SD1.5",
    size: tuple[int, int] = (8, 8),
    batch: int = 1,
    steps: int = 2,
    cfg: float = 5.0,
    sampler: str = "euler",
) -> Tensor:
    """A KSampler run with fixed noise: [batch, 4, height, width]."""
    noise = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(7))
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "normal",
        positive or conditioning(1, layout), negative or conditioning(2, layout),
        torch.zeros_like(noise), disable_pbar=True, seed=7,
    )  # fmt: skip


def clip_vision(
    seed: int = 0,
    width: int = CLIP["width"],
    embed: int = CLIP["embed"],
    image_size: int = 56,  # 17 tokens; 224 gives the real 257
) -> Any:
    config = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "hidden_act": "gelu",
        "num_channels": 3,
        "patch_size": 14,
        "image_size": image_size,
        "projection_dim": embed,
    }
    encoder = core_encoder(config)
    randomize(encoder.model, seed)
    return encoder


def core_encoder(config: dict[str, Any]) -> Any:
    """ComfyUI's image encoder of any sizes, in float32, its weights not yet set."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # older versions read a file
        json.dump(config, file)
        file.flush()
        encoder = comfy.clip_vision.ClipVisionModel(file.name)
    encoder.model.float()
    encoder.dtype = torch.float32
    return encoder


def widths(model: Any) -> list[int]:
    """Of the model's cross-attentions, in the order of adapter files."""
    from ipadapter_pack.nodes.model.layers import find_layers

    return [shape.width for shape in find_layers(model).values()]


def picture(seed: int, height: int = 64, width: int = 64, batch: int = 1) -> Tensor:
    """Smooth random colors, [batch, height, width, 3]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return fine.movedim(1, -1)
