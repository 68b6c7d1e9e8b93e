"""What travels on an EMBEDS socket: CLIP's features of pictures, not yet projected.

Version 2's are [images, width] or [images, tokens, width], for the positive or the negative prompt;
version 1's hold both, [2, images, ...].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.encoders import encoder_that_gives
from ...ipadapter.errors import IPAdapterError
from ..loading.adapter import LoadedAdapter
from .sockets import Embeds, Socket


def embeds_input(name: str, tooltip: str) -> Socket:
    return partial(Embeds.Input, name, tooltip=tooltip)


def embeds_output(name: str, tooltip: str) -> Any:
    return Embeds.Output(display_name=name, tooltip=tooltip)


def check_embeds(value: object, name: str) -> Tensor:
    """The features as float32 on the CPU; IPAdapterError for what no encoder gives."""
    if value is None:
        raise IPAdapterError(f"{name} is not connected: add IPAdapter Encoder")
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise IPAdapterError(f"{name}: {what} is no EMBEDS; connect IPAdapter Encoder")
    if value.ndim not in (2, 3, 4) or 0 in value.shape:
        raise IPAdapterError(
            f"{name} has the shape {list(value.shape)}: EMBEDS are [images, width], or [images, "
            "tokens, width]; encode the pictures again"
        )
    if not torch.isfinite(value).all():
        raise IPAdapterError(
            f"{name} contains infinity or NaN (not a number): encode the pictures again"
        )
    return value.detach().float().cpu()


def check_together(embeds: Mapping[str, Tensor], own: int) -> None:
    """IPAdapterError, with the names of two, unless all have equal sizes after the first ``own``."""
    first, *others = embeds
    for other in others:
        one, two = (list(embeds[name].shape) for name in (first, other))
        if len(one) != len(two) or one[own:] != two[own:]:
            raise IPAdapterError(
                f"{first} and {other} do not go together: {first} has the shape {one}, {other} "
                f"{two}; encode both with the same encoder, for the same adapter"
            )


def fits(embeds: Tensor, loaded: LoadedAdapter, stacked: bool = False) -> bool:
    """Whether the adapter reads such features, [images, ...]; ``stacked``: as version 1 has them,
    [2, images, ...]."""
    dimensions = len(_layout(loaded, stacked))
    both = not stacked or len(embeds) == 2
    return both and embeds.ndim == dimensions and embeds.shape[-1] == loaded.projection.width


def refusal(
    embeds: Tensor, name: str, loaded: LoadedAdapter, advice: str, stacked: bool = False
) -> IPAdapterError:
    """Of features [images, ...] that do not fit; ``advice`` is which node makes what does."""
    projection = loaded.projection
    layout = ", ".join(_layout(loaded, stacked))
    encoder = encoder_that_gives(projection.feature, projection.width)
    return IPAdapterError(
        f"{name} has the shape {list(embeds.shape)}; {loaded.file} ({projection.name}) reads "
        f"[{layout}], the {projection.feature} of {encoder.name if encoder else 'its encoder'}: {advice}"
    )


def _layout(loaded: LoadedAdapter, stacked: bool) -> list[str]:
    tokens = [] if loaded.projection.feature == "image_embeds" else ["tokens"]
    return [*(["2"] if stacked else []), "images", *tokens, str(loaded.projection.width)]
