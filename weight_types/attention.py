"""How a reference's weight enters attention: by changing its keys and values, once.

Adding a weight type is one function and one row of WEIGHT_TYPES.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..ipadapter.errors import pick

Weight = float | Tensor  # for all pictures, or [images, 1, 1]

# (K, V, weight) -> (K, V), each [images, tokens, channels]
WeightType = Callable[[Tensor, Tensor, Weight], tuple[Tensor, Tensor]]


def original(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The paper's: the reference's attention is scaled (Ye et al. 2023, arXiv:2308.06721, eq. 5)."""
    return k, v * weight


def linear(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Scaling the keys too evens out which tokens are looked at: the prompt keeps more say."""
    return k * weight, v * weight


def linear_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """As ``linear``, with less weight in narrow layers."""
    return linear(k, v, weight * (v.shape[-1] / 1280))


def channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Narrow layers get less weight, and only the values' mean over the tokens is scaled.

    After Lvmin Zhang's formula in lllyasviel/Fooocus, extras/ip_adapter.py.
    """
    weight = weight * v.shape[-1] / 1280
    mean = v.mean(dim=1, keepdim=True)
    return k * weight, (v - mean) + weight * mean


WEIGHT_TYPES: dict[str, WeightType] = {
    "original": original,
    "linear": linear,
    "channel penalty": channel_penalty,
}

# What ComfyUI_IPAdapter_plus, version 2, calls them; its graphs have four.
EMBEDS_SCALING: dict[str, WeightType] = {
    "V only": original,
    "K+V": linear,
    "K+V w/ C penalty": linear_penalty,
    "K+mean(V) w/ C penalty": channel_penalty,
}


def weight_type(name: str) -> WeightType:
    """By either name. IPAdapterError for any other."""
    return EMBEDS_SCALING.get(name) or pick(WEIGHT_TYPES, name, "weight_type")
