"""The texts of regions: core's conditioning masks, beside a base text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import node_helpers
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...masks.layout import per_latent
from ...masks.overlap import same_size
from ..shared.notices import warn

FRAMES_KEY = "ipadapter_regions_frames"  # marks a text whose mask has one for each latent

Conditioning = list[Any]  # ComfyUI's: [text, options] pairs


def joined_text(
    base: Conditioning | None,
    own: Sequence[tuple[Conditioning | None, Tensor | None]],
    which: str,
) -> Conditioning | ExecutionBlocker:
    """The base text and each region's, which counts in the region's mask [masks, H, W] alone.

    Where there is none at all, what stops whatever is connected to it, with a message.
    """
    masked = [(text, mask) for text, mask in own if text is not None]
    joined = [*(base or []), *(pair for text, mask in masked for pair in in_mask(text, mask))]
    if not joined:
        return ExecutionBlocker(
            f"Apply IPAdapter Regions: its {which} is empty; connect a {which} text to it or to "
            "one of its regions, or give the sampler a text from elsewhere"
        )
    if base is None:
        bare = share_without([mask for _, mask in masked])
        if bare > 0:
            warn(
                f"{bare:.1%} of the picture has no {which} text at all: connect a base {which}, or "
                "give the background a text"
            )
    return joined


def share_without(masks: Sequence[Tensor | None]) -> float:
    """The share of the picture in which all masks [masks, H, W] are black."""
    return sum(same_size(masks), torch.zeros(())).eq(0).float().mean().item()


def in_mask(text: Conditioning, mask: Tensor | None, strength: float = 1.0) -> Conditioning:
    """As core's Conditioning (Set Mask) does it, with a mask [masks, H, W]."""
    if mask is None:
        return text
    if mask.eq(mask[:1]).all():
        mask = mask[:1]
    values: dict[str, Any] = {"mask": mask, "set_area_to_bounds": False, "mask_strength": strength}
    if len(mask) > 1:
        values[FRAMES_KEY] = True
    return node_helpers.conditioning_set_values(text, values)


def with_frames(model: Any, *texts: Conditioning | ExecutionBlocker) -> Any:
    """A clone that brings the texts' masks to the number of latents; the model if none needs it.

    Core repeats a batch of conditioning masks from its beginning, and fails where that does not
    come out even. Regions repeat their last.
    """
    given = [text for text in texts if isinstance(text, list)]
    if not any(options.get(FRAMES_KEY) for text in given for _, options in text):
        return model
    return evened_out(model)


def with_frames_of(model: Any, masks: Sequence[Tensor | None]) -> Any:
    """The same where the texts go another way than the model: by the masks [masks, H, W] that they were
    given."""
    if not any(mask is not None and len(mask) > 1 for mask in masks):
        return model
    return evened_out(model)


def evened_out(model: Any) -> Any:
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, FRAMES_KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, FRAMES_KEY, outer_sample)
    return model


def outer_sample(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Before a run on noise [latents, ...], in its own copies of the conditionings."""
    for conds in executor.class_obj.conds.values():
        for cond in conds:
            if cond.get(FRAMES_KEY) and "mask" in cond:
                cond["mask"] = per_latent(cond["mask"], len(noise))
    return executor(noise, *args, **kwargs)
