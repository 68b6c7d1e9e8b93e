"""The base models that IP-Adapters are published for. The only place with block numbers."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """Address of one cross-attention: equal to ComfyUI's key for replacing it.

    ``block`` is "input", "middle" or "output", ``number`` counts within it, and ``index`` is the
    transformer block within that block's spatial transformer.
    """

    block: str
    number: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]


class BaseModel(NamedTuple):
    name: str
    layers: int  # cross-attentions
    context: int  # width of the text tokens, which image tokens share


BASE_MODELS = [
    BaseModel("SD1.5", layers=16, context=768),
    BaseModel("SDXL", layers=70, context=2048),
]


def base_model_name(layers: int, context: int) -> str | None:
    """``SDXL`` for 70 layers that read tokens of width 2048; None when nothing fits."""
    for base in BASE_MODELS:
        if (base.layers, base.context) == (layers, context):
            return base.name
    return None
