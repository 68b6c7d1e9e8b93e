"""How a weight enters attention in ComfyUI_IPAdapter_plus, by the names of its version 2."""

from __future__ import annotations

from torch import Tensor

from ....ipadapter.reference import Weight, WeightType
from ....weight_types.attention import channel_penalty, find_weight_type, linear, original


def linear_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """As ``linear``, with less weight in narrow layers: k and v [images, tokens, channels], the weight
    times channels / 1280."""
    return linear(k, v, weight * (v.shape[-1] / 1280))


EMBEDS_SCALING: dict[str, WeightType] = {
    "V only": original,
    "K+V": linear,
    "K+V w/ C penalty": linear_penalty,
    "K+mean(V) w/ C penalty": channel_penalty,
}


def embeds_scaling(name: str) -> WeightType:
    """By version 2's name, or version 1's, which is ours. IPAdapterError for any other."""
    return EMBEDS_SCALING.get(name) or find_weight_type(name)
