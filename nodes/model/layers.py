"""What a loaded model has: its cross-attentions, found by walking its UNet, and Kolors' projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ...ipadapter.base_models import Layer
from ...ipadapter.errors import IPAdapterError


class LayerShape(NamedTuple):
    heads: int
    width: int  # heads * dim
    context: int  # width of the text tokens


def unet_of(model: Any) -> UNetModel:
    """The model's UNet; IPAdapterError for a model of another kind."""
    if not hasattr(model, "get_model_object"):
        raise IPAdapterError(
            f"model: a {type(model).__name__} is no model; connect Load Checkpoint"
        )
    unet = model.get_model_object("diffusion_model")
    unet = getattr(unet, "_orig_mod", unet)  # compiled as a whole
    if not isinstance(unet, UNetModel):
        raise IPAdapterError(
            f"model: {type(unet).__name__} has no UNet cross-attention, which IP-Adapters for "
            "SD1.5 and SDXL need; connect an SD1.5 or SDXL checkpoint"
        )
    return unet


def unet_blocks(unet: UNetModel) -> Iterator[tuple[str, int, str, Any]]:
    """(block, number, name in the UNet, module) of every block, in the order of adapter files."""
    for block, modules in (("input", unet.input_blocks), ("output", unet.output_blocks)):
        for number, module in enumerate(modules):
            yield block, number, f"{block}_blocks.{number}", module
    if unet.middle_block is not None:
        yield "middle", 0, "middle_block", unet.middle_block


def find_layers(model: Any) -> dict[Layer, LayerShape]:
    """Every cross-attention of the model, in the order of adapter files."""
    layers = {
        Layer(block, number, index): LayerShape(heads, width, context)
        for block, number, _, module in unet_blocks(unet_of(model))
        for index, (heads, width, context) in enumerate(_cross_attentions(module))
        if heads
    }
    if not layers:
        raise IPAdapterError("model: this UNet has no cross-attention for an IP-Adapter to join")
    return layers


def _cross_attentions(block: Any) -> Iterator[tuple[int, int, int]]:
    for _, spatial in spatial_transformers(block):
        for transformer in spatial.transformer_blocks:
            if transformer.attn2 is None:
                yield 0, 0, 0
            else:
                linear = transformer.attn2.to_k
                yield transformer.n_heads, linear.out_features, linear.in_features


def spatial_transformers(block: Any) -> Iterator[tuple[str, SpatialTransformer]]:
    """Each in a block of the UNet, by its name there."""
    for name, module in block.named_modules():
        if isinstance(module, SpatialTransformer):
            yield name, module


def encoder_hid_proj(model: Any) -> torch.nn.Module | None:
    """The module with which Kolors' UNet narrows its text, where a loader has set it."""
    try:
        return model.get_model_object("diffusion_model.encoder_hid_proj")
    except AttributeError:
        return None
