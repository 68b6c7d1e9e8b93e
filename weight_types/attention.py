"""How a reference's weight enters attention: by changing its keys and values, once.

Adding a weight type is one function and one row of WEIGHT_TYPES.
"""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.errors import pick
from ..ipadapter.options import Option
from ..ipadapter.reference import Weight, WeightType


def original(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The paper's: the reference's attention is scaled (Ye et al. 2023, arXiv:2308.06721, eq. 5).

    k, v: [images, tokens, channels], here and below.
    """
    return k, v * weight


def linear(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Scaling the keys [images, tokens, channels] too evens out which tokens are looked at: the prompt
    keeps more say."""
    return k * weight, v * weight


def channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Narrow layers get less weight, and only the mean of v [images, tokens, channels] over the tokens is
    scaled.

    After Lvmin Zhang's formula in lllyasviel/Fooocus, extras/ip_adapter.py.
    """
    weight = weight * v.shape[-1] / 1280
    mean = v.mean(dim=1, keepdim=True)
    return k * weight, (v - mean) + weight * mean


WEIGHT_TYPES: dict[str, Option[WeightType]] = {
    "original": Option(
        original, "scales what the reference adds, as in the paper; the first choice"
    ),
    "linear": Option(
        linear,
        "also spreads attention more evenly over the reference, so that the prompt keeps more say, "
        "best at 0.4 to 0.8; at 1 the same as original",
    ),
    "channel penalty": Option(
        channel_penalty,
        "less weight in the layers with few channels, which draw details, and full contrast "
        "between the reference's parts; for pictures that come out flat or soft",
    ),
}


def find_weight_type(name: str) -> WeightType:
    """IPAdapterError for a name that is none."""
    return pick(WEIGHT_TYPES, name, "weight_type").value
