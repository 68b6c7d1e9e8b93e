"""Models, encoders and adapters to measure with: ComfyUI's own classes with random weights.

The small size has the real layouts (16 and 70 cross-attentions) with narrow layers, for a CPU; the
published size has the real widths too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import torch
from ipadapter_pack.tests import tiny
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


class Layout(NamedTuple):
    context: int  # width of the text tokens
    resampler: int  # width of the Plus adapter's
    latent: int  # side of the square latent, in cells


class Size(NamedTuple):
    name: str
    dtype: torch.dtype
    channels: int  # of the UNet's first level
    layouts: dict[str, Layout]
    encoder: dict[str, int]


SMALL = Size(
    "small",
    torch.float32,
    32,
    {"SD1.5": Layout(64, 128, 16), "SDXL": Layout(64, 128, 16)},
    {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 56,
        "projection_dim": 32,
    },
)
PUBLISHED = Size(
    "published",
    torch.float16,
    320,
    {"SD1.5": Layout(768, 768, 64), "SDXL": Layout(2048, 1280, 128)},
    {  # CLIP ViT-H
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "image_size": 224,
        "projection_dim": 1024,
    },
)
SIZES = {size.name: size for size in (SMALL, PUBLISHED)}


def unet(name: str, size: Size, device: Any) -> Any:
    """A diffusion model with its weights on the device, or none on "meta"."""
    kind, config = tiny.LAYOUTS[name]
    changes = {"model_channels": size.channels, "context_dim": size.layouts[name].context}
    config = kind({**config, **changes})
    config.set_inference_dtype(size.dtype, None)
    base = config.get_model({}, "", device=device)
    randomize(base.diffusion_model, size.dtype, device)
    return comfy.model_patcher.CoreModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def clip_vision(size: Size) -> Any:
    config = {"model_type": "clip_vision_model", "hidden_act": "gelu", "num_channels": 3}
    encoder = comfy.clip_vision.ClipVisionModel({**config, "patch_size": 14, **size.encoder})
    randomize(encoder.model, encoder.dtype, encoder.patcher.offload_device)
    return encoder


def randomize(module: torch.nn.Module, dtype: torch.dtype, device: Any) -> None:
    """Weights that keep activations of order one, made where they are to lie."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            noise = torch.randn(parameter.shape, dtype=dtype, device=device)
            noise *= parameter[0].numel() ** -0.5
        else:
            one = float(name.endswith("weight"))
            noise = torch.full(parameter.shape, one, dtype=dtype, device=device)
        parameter.data = noise


def adapter_file(kind: str, layout: str, widths: list[int], size: Size) -> dict[str, Tensor]:
    """What an adapter file holds, flat as in a .safetensors, in float16 as published."""
    generator = torch.Generator().manual_seed(0)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 1:
            return torch.full(shape, float(name.endswith("weight")))
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    shapes = adapter_shapes(kind, layout, widths, size)
    return {name: tensor(name, shape).half() for name, shape in shapes.items()}


def adapter_shapes(kind: str, layout: str, widths: list[int], size: Size) -> Shapes:
    context = size.layouts[layout].context
    shapes = PROJECTIONS[kind](size.layouts[layout], size.encoder)
    layers = {
        f"ip_adapter.{2 * i + 1}.{name}.weight": (width, context)
        for i, width in enumerate(widths)
        for name in ("to_k_ip", "to_v_ip")
    }
    return {f"image_proj.{name}": shape for name, shape in shapes.items()} | layers


TOKENS = {"base": 4, "Plus": 16}


def base_projection(layout: Layout, encoder: dict[str, int]) -> Shapes:
    context, tokens = layout.context, TOKENS["base"]
    return {
        "proj.weight": (tokens * context, encoder["projection_dim"]),
        "proj.bias": (tokens * context,),
        "norm.weight": (context,),
        "norm.bias": (context,),
    }


def plus_projection(layout: Layout, encoder: dict[str, int]) -> Shapes:
    context, dim = layout.context, layout.resampler
    shapes: Shapes = {
        "latents": (1, TOKENS["Plus"], dim),
        "proj_in.weight": (dim, encoder["hidden_size"]),
        "proj_in.bias": (dim,),
        "proj_out.weight": (context, dim),
        "proj_out.bias": (context,),
        "norm_out.weight": (context,),
        "norm_out.bias": (context,),
    }
    for i in range(4):  # blocks
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"layers.{i}.{norm}.{part}": (dim,) for part in ("weight", "bias")}
        shapes[f"layers.{i}.0.to_q.weight"] = (dim, dim)
        shapes[f"layers.{i}.0.to_kv.weight"] = (2 * dim, dim)
        shapes[f"layers.{i}.0.to_out.weight"] = (dim, dim)
        shapes[f"layers.{i}.1.1.weight"] = (4 * dim, dim)
        shapes[f"layers.{i}.1.3.weight"] = (dim, 4 * dim)
    return shapes


PROJECTIONS = {"base": base_projection, "Plus": plus_projection}
