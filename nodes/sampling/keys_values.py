"""Laying out keys and values for one UNet call: which references share a pass, a row per share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.attention import PackedKV
from ...masks.layout import per_latent
from .types import RegionKV, TokenGroup, UNetCall


def group_by_tokens(regions: Sequence[RegionKV]) -> list[list[RegionKV]]:
    """Regions that can share a pass: those of few tokens by their number, each other alone."""
    groups: dict[Any, list[RegionKV]] = {}
    for number, kv in enumerate(regions):
        groups.setdefault((kv.fused, kv.tokens if kv.fused else number), []).append(kv)
    return list(groups.values())


def splits_latents(group: TokenGroup, call: UNetCall) -> bool:
    """Whether a group's latents need keys and values of their own."""
    return call.latents > 1 and any(region.unfolded for region in group)


def pack_kv(group: Sequence[RegionKV], call: UNetCall) -> PackedKV:
    """Keys and values of a group for a call: references side by side, a row per share."""
    split = splits_latents(tuple(kv.region for kv in group), call)

    def share(x: Tensor) -> Tensor:
        if len(x) > 1:
            return per_latent(x, call.latents, call.window)
        return x.expand(call.latents if split else 1, *x.shape[1:])

    first = group[0]
    by_chunk = [[kv.of(chunk) for kv in group] for chunk in call.chunks]
    tokens = -1 if first.fused else -2  # the dimension of k that counts them
    k = torch.cat([torch.cat([share(each.k) for each in row], tokens) for row in by_chunk])
    v = torch.cat([torch.cat([share(each.v) for each in row], -2) for row in by_chunk])
    where = (call.device, call.dtype)
    return PackedKV(k.to(*where), v.to(*where), len(group), first.heads)


def frames(options: Mapping[str, Any], latents: int) -> tuple[int, ...] | None:
    """The frames that the latents of a call are, where a long clip is sampled in windows, by
    ComfyUI or by AnimateDiff-Evolved (``ad_params``); None outside of one."""
    index = (options.get("ad_params") or {}).get("sub_idxs")
    window = options.get("context_window")
    if window is not None and getattr(window, "dim", 0) == 0:
        index = window.get_tensor(torch.arange(window.total_frames), dim=0).tolist()
    return tuple(map(int, index)) if index is not None and len(index) == latents else None
