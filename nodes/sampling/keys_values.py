"""Laying out keys and values for one UNet call: which references share a pass, a row per share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.attention import Rows
from ...masks.layout import per_latent
from .types import Call, Lane, RegionKV


def group_by_tokens(regions: Sequence[RegionKV]) -> list[list[RegionKV]]:
    """Regions that can share a pass: those of few tokens by their number, each other alone."""
    groups: dict[Any, list[RegionKV]] = {}
    for number, kv in enumerate(regions):
        groups.setdefault((kv.fused, kv.tokens if kv.fused else number), []).append(kv)
    return list(groups.values())


def per_latent_lane(lane: Lane, call: Call) -> bool:
    """Whether a lane's latents need keys and values of their own."""
    return call.latents > 1 and any(
        region.unfold_batch and len(region.reference.positive) > 1 for region in lane
    )


def lay_out(group: Sequence[RegionKV], call: Call) -> Rows:
    """Keys and values of a group for a call: references side by side, a row per share."""
    split = per_latent_lane(tuple(kv.region for kv in group), call)

    def share(x: Tensor, positive: bool) -> Tensor:
        x = x[int(positive)]
        if len(x) > 1:
            return per_latent(x, call.latents, call.window)
        return x.expand(call.latents if split else 1, *x.shape[1:])

    def side_by_side(tensors: Sequence[Tensor], positive: bool, dim: int) -> Tensor:
        return torch.cat([share(x, positive) for x in tensors], dim)

    fused = group[0].fused
    k, v = (
        torch.cat([side_by_side(tensors, chunk.positive, dim) for chunk in call.chunks])
        for tensors, dim in (
            ([kv.k for kv in group], -1 if fused else -2),
            ([kv.v for kv in group], -2),
        )
    )
    return Rows(k.to(call.device, call.dtype), v.to(call.device, call.dtype), len(group))


def frames(options: Mapping[str, Any], latents: int) -> tuple[int, ...] | None:
    """The frames that the latents of a call are, where a long clip is sampled in windows, by
    ComfyUI or by AnimateDiff-Evolved (``ad_params``); None outside of one."""
    index = (options.get("ad_params") or {}).get("sub_idxs")
    window = options.get("context_window")
    if window is not None and getattr(window, "dim", 0) == 0:
        index = window.get_tensor(torch.arange(window.total_frames), dim=0).tolist()
    return tuple(map(int, index)) if index is not None and len(index) == latents else None
