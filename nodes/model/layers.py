"""The cross-attentions of a model: found by walking its UNet, never listed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ...ipadapter.base_models import Layer, base_model_name
from ...ipadapter.errors import IPAdapterError
from ..loading.adapter import LoadedAdapter


class LayerShape(NamedTuple):
    heads: int
    width: int  # heads * dim
    context: int  # width of the text tokens


def unet_of(model: Any) -> UNetModel:
    """The model's UNet; IPAdapterError for a model of another kind."""
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


def check_model(model: Any, loaded: LoadedAdapter) -> None:
    """IPAdapterError unless the adapter is for this model: said before anything is encoded."""
    check_fit(loaded, find_layers(model))


def check_fit(loaded: LoadedAdapter, layers: Mapping[Layer, LayerShape]) -> None:
    adapter = loaded.adapter
    widths, context = [s.width for s in layers.values()], next(iter(layers.values())).context
    if (adapter.widths, adapter.context) == (widths, context):
        return
    if (len(adapter.widths), adapter.context) == (len(widths), context):
        raise IPAdapterError(
            f"{loaded.file} is for another model: its layers are up to {max(adapter.widths)} wide, "
            f"the model's up to {max(widths)}"
        )
    made_for = base_model_name(len(adapter.widths), adapter.context)
    model = base_model_name(len(layers), context)
    raise IPAdapterError(
        f"{loaded.file} is for another base model: the adapter{_named(made_for)} has "
        f"{len(adapter.widths)} layers reading width {adapter.context}, the model{_named(model)} "
        f"has {len(layers)} reading width {context}; choose an adapter for "
        f"{model or 'this model'}, or another checkpoint"
    )


def _named(name: str | None) -> str:
    return f" ({name})" if name else ""
