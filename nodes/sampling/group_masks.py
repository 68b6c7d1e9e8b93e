"""Masks of the references that share a pass, on the grid of a layer, ready to multiply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...ipadapter.reference import Region
from ...masks.grid import pyramid
from ...masks.layout import Area, crop_to_grid, per_latent
from .keys_values import per_latent_lane
from .step_schedule import Moment
from .types import Call, Grid, Lane

LEVELS = 4  # of a UNet: their masks are made before the layers run
KEPT = 32  # kinds of call whose masks stay: a long clip has another for each of its windows

Moments = tuple[Moment, ...]
PerLane = list["Tensor | None"]  # None where nothing needs to be multiplied


class Now(NamedTuple):
    """What a moment means for the masks."""

    parts: tuple[int, ...]  # which of its masks each timed region has
    gates: PerLane  # how strongly the references of each lane act


class LaneMasks:
    """Each mask is reduced once per grid and area, each lane's tensor made once per kind of call.

    ``timed`` are the regions that act otherwise at one step than at another: their share of the
    mask is multiplied by what the moment says, by 0 outside of their range.
    """

    def __init__(self, lanes: Sequence[Lane], timed: Sequence[Region]):
        self._lanes, self._timed = lanes, timed
        self._reduced: dict[Any, Tensor] = {}
        self._ungated: dict[Any, PerLane] = {}
        self._gates: dict[Any, PerLane] = {}
        self._ready: dict[Call, tuple[Moments, dict[Grid, PerLane]]] = {}  # the latest moment's

    def ready(self, call: Call, moments: Moments) -> dict[Grid, PerLane]:
        """The masks of every lane for each grid that a UNet is known to have."""
        found, ready = self._ready.get(call, (None, {}))
        if found != moments:
            now, grids = self.now(call, moments), pyramid(*call.grid)[:LEVELS]
            ready = {grid: self.at(grid, call, now) for grid in grids}
            self._ready[call] = moments, ready
            if len(self._ready) > KEPT:
                self._forget(next(iter(self._ready)))
        return ready

    def _forget(self, call: Call) -> None:
        del self._ready[call]
        self._ungated = {key: masks for key, masks in self._ungated.items() if key[0] != call}

    def at(self, grid: Grid, call: Call, now: Now) -> PerLane:
        """[rows or 1, 1, queries, references, 1] per lane; queries may span several latents."""
        key = (call, grid, now.parts)
        ungated = self._ungated.get(key)
        if ungated is None:
            part_of = dict(zip(self._timed, now.parts, strict=True))
            ungated = [self._lane_mask(lane, grid, call, part_of) for lane in self._lanes]
            if not torch.compiler.is_compiling():
                self._ungated[key] = ungated
        return [
            mask if mask is None or gate is None else mask * gate
            for mask, gate in zip(ungated, now.gates, strict=True)
        ]

    def now(self, call: Call, moments: Moments) -> Now:
        """What a moment means for the masks of a call."""
        key = (tuple(moment.factor for moment in moments), call.device, call.dtype)
        if key not in self._gates:
            moment_of = dict(zip(self._timed, moments, strict=True))
            self._gates[key] = [self._gate(lane, call, moment_of) for lane in self._lanes]
        return Now(tuple(moment.part for moment in moments), self._gates[key])

    def _gate(self, lane: Lane, call: Call, moments: Mapping[Region, Moment]) -> Tensor | None:
        if not any(region in moments for region in lane):
            return None
        factors = [moments[region].factor if region in moments else 1.0 for region in lane]
        # Filled in on the device: a copy from the CPU would wait for it.
        like = {"dtype": call.dtype, "device": call.device}
        return torch.cat([torch.full((1,), f, **like) for f in factors]).view(1, 1, 1, -1, 1)

    def _lane_mask(
        self, lane: Lane, grid: Grid, call: Call, parts: Mapping[Region, int]
    ) -> Tensor | None:
        if all(region.settings.everywhere and region not in parts for region in lane):
            return None
        areas = [chunk.area for chunk in call.chunks]
        split = per_latent_lane(lane, call)
        if len(set(areas)) == 1 and not split:
            areas = areas[:1]  # the same for every chunk
        per_area = {
            area: torch.stack(
                [self._region_mask(r, parts.get(r, 0), grid, call, area) for r in lane], -1
            )
            for area in dict.fromkeys(areas)
        }
        mask = torch.stack([per_area[area] for area in areas])  # [chunks, latents, cells, refs]
        mask = mask.flatten(0, 1) if split else mask.flatten(1, 2)
        return mask[:, None, :, :, None].to(call.device, call.dtype)

    def _region_mask(
        self, region: Region, part: int, grid: Grid, call: Call, area: Area | None
    ) -> Tensor:
        """[latents, cells]"""
        mask = region.settings.masks[part]
        if mask is None:
            shares = torch.ones(call.latents, grid[0] * grid[1])
        else:
            reduced = self._fitted(region, mask, grid, call, area)
            shares = per_latent(reduced, call.latents, call.window)
        weights = region.settings.over_time.frame_weights
        if weights:
            shares = shares * per_latent(torch.tensor(weights), call.latents, call.window)[:, None]
        return shares

    def _fitted(
        self, region: Region, mask: Tensor, grid: Grid, call: Call, area: Area | None
    ) -> Tensor:
        """[masks, cells]"""
        mask_fit = region.settings.mask_fit
        if mask_fit is None:
            return self._reduce(mask, grid, call, area)
        key = (mask_fit, id(mask), grid, call.grid)
        fitted = self._reduced.get(key)
        if fitted is None:
            fitted = mask_fit(mask, call.grid, grid)
            if not torch.compiler.is_compiling():
                self._reduced[key] = fitted
        return fitted

    def _reduce(self, mask: Tensor, grid: Grid, call: Call, area: Area | None) -> Tensor:
        """[masks, cells]"""
        key = (id(mask), grid, call.canvas, area)
        reduced = self._reduced.get(key)
        if reduced is None:
            if area is not None:  # the canvas is the same for every area and grid
                mask = self._reduce(mask, call.canvas, call, None).unflatten(1, call.canvas)
            reduced = crop_to_grid(mask, call.canvas, area, grid).flatten(1)
            if not torch.compiler.is_compiling():
                self._reduced[key] = reduced
        return reduced
