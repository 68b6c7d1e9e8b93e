"""The base models that IP-Adapters are published for. The only place with block numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

BLOCKS = ("input", "middle", "output")  # in the order in which a UNet runs


class Transformer(NamedTuple):
    """Address of one spatial transformer: all cross-attentions of block ``number``."""

    block: str
    number: int


class Layer(NamedTuple):
    """Address of one cross-attention: equal to ComfyUI's key for replacing it.

    ``block`` is "input", "middle" or "output", ``number`` counts within it, and ``index`` is the
    transformer block within that block's spatial transformer.
    """

    block: str
    number: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]

    @property
    def transformer(self) -> Transformer:
        return Transformer(self.block, self.number)


class BaseModel(NamedTuple):
    """A layout, and which of its spatial transformers make the picture's style and composition.

    Each transformer stands in one of the last three fields. ``composition`` says how strongly.
    """

    name: str
    layers: int  # cross-attentions
    context: int  # width of the text tokens, which image tokens share
    composition: Mapping[Transformer, float]
    style: AbstractSet[Transformer]
    others: AbstractSet[Transformer]
    plus_v1: bool = True  # FaceID Plus was published for it, and not V2 alone

    @property
    def transformers(self) -> AbstractSet[Transformer]:
        return self.composition.keys() | self.style | self.others


def _at(block: str, *numbers: int) -> AbstractSet[Transformer]:
    return {Transformer(block, number) for number in numbers}


# SDXL's roles are InstantStyle's (Wang et al. 2024, arXiv:2404.02733). For SD1.5, whose layers share
# the work more, they are those that cubiq/ComfyUI_IPAdapter_plus settled on (at 9d076a3).
SD15 = BaseModel(
    "SD1.5",
    layers=16,
    context=768,
    composition={Transformer("input", 7): 0.25, Transformer("input", 8): 1.0},
    style=_at("input", 1, 2, 4, 5) | _at("output", 5, 6, 7, 8, 9, 10, 11),
    others=_at("middle", 0) | _at("output", 3, 4),
)
SDXL = BaseModel(
    "SDXL",
    layers=70,
    context=2048,
    composition={Transformer("input", 8): 1.0},
    style=_at("output", 1),
    others=_at("input", 4, 5, 7) | _at("middle", 0) | _at("output", 0, 2, 3, 4, 5),
    plus_v1=False,
)
BASE_MODELS = [SD15, SDXL]


def base_model_name(layers: int, context: int) -> str | None:
    """``SDXL`` for 70 layers that read tokens of width 2048; None when nothing fits."""
    for base in BASE_MODELS:
        if (base.layers, base.context) == (layers, context):
            return base.name
    return None


def base_by_layers(layers: int) -> str:
    """``SDXL`` for 70 layers, whatever they read; in words for another number."""
    known = (base.name for base in BASE_MODELS if base.layers == layers)
    return next(known, f"a model of {layers} layers")


def has_plus_v1(name: str) -> bool:
    """Whether a FaceID Plus adapter for the base model of this name may be V1."""
    return all(base.plus_v1 for base in BASE_MODELS if base.name == name)


def transformers_in_order(layers: Iterable[Layer]) -> list[Transformer]:
    """The spatial transformers of these layers as the UNet runs them: input, middle, output."""
    found = {layer.transformer for layer in layers}
    return sorted(found, key=lambda at: (BLOCKS.index(at.block), at.number))


def base_model_of(layers: Iterable[Layer]) -> BaseModel | None:
    """The base model whose transformers stand where these layers' do, however wide they are."""
    found = {layer.transformer for layer in layers}
    for base in BASE_MODELS:
        if base.transformers == found:
            return base
    return None
