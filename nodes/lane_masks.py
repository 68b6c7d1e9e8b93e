"""Masks of the references that share a pass, on the grid of a layer, ready to multiply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ipadapter.reference import Region
from ..masks.grid import pyramid
from ..masks.layout import Area, crop_to_grid, per_latent
from .rows import Call, Lane, per_latent_lane

LEVELS = 4  # of a UNet: their masks are made before the layers run

Grid = tuple[int, int]
PerLane = list["Tensor | None"]  # None where nothing needs to be multiplied


class LaneMasks:
    """Each mask is reduced once per grid and area, each lane's tensor made once per kind of call.

    ``ranged`` are the regions with a step range. While closed, their share of the mask is 0.
    """

    def __init__(self, lanes: Sequence[Lane], ranged: Sequence[Region]):
        self._lanes, self._ranged = lanes, ranged
        self._reduced: dict[Any, Tensor] = {}
        self._ungated: dict[Any, PerLane] = {}
        self._gates: dict[Any, PerLane] = {}
        self._ready: dict[Any, dict[Grid, PerLane]] = {}

    def ready(self, call: Call, is_open: tuple[bool, ...]) -> dict[Grid, PerLane]:
        """The masks of every lane for each grid that a UNet is known to have."""
        key = (call, is_open)
        if key not in self._ready:
            gates = self.gates(call, is_open)
            grids = pyramid(*call.grid)[:LEVELS]
            self._ready[key] = {grid: self.at(grid, call, gates) for grid in grids}
        return self._ready[key]

    def gates(self, call: Call, is_open: tuple[bool, ...]) -> PerLane:
        """1 for each reference that acts at this step and 0 for each that does not, per lane."""
        key = (is_open, call.device, call.dtype)
        if key not in self._gates:
            closed = {r for r, opened in zip(self._ranged, is_open, strict=True) if not opened}
            self._gates[key] = [
                torch.tensor([float(region not in closed) for region in lane])
                .to(call.device, call.dtype)
                .view(1, 1, 1, -1, 1)
                if any(region in self._ranged for region in lane)
                else None
                for lane in self._lanes
            ]
        return self._gates[key]

    def at(self, grid: Grid, call: Call, gates: PerLane) -> PerLane:
        """[rows or 1, 1, queries, references, 1] per lane; queries may span several latents."""
        key = (call, grid)
        ungated = self._ungated.get(key)
        if ungated is None:
            ungated = [self._lane_mask(lane, grid, call) for lane in self._lanes]
            if not torch.compiler.is_compiling():
                self._ungated[key] = ungated
        return [
            mask if mask is None or gate is None else mask * gate
            for mask, gate in zip(ungated, gates, strict=True)
        ]

    def _lane_mask(self, lane: Lane, grid: Grid, call: Call) -> Tensor | None:
        if not any(region.mask is not None or region in self._ranged for region in lane):
            return None
        areas = [chunk.area for chunk in call.chunks]
        split = per_latent_lane(lane, call)
        if len(set(areas)) == 1 and not split:
            areas = areas[:1]  # the same for every chunk
        per_area = {
            area: torch.stack([self._region_mask(r, grid, call, area) for r in lane], -1)
            for area in dict.fromkeys(areas)
        }
        mask = torch.stack([per_area[area] for area in areas])  # [chunks, latents, cells, refs]
        mask = mask.flatten(0, 1) if split else mask.flatten(1, 2)
        return mask[:, None, :, :, None].to(call.device, call.dtype)

    def _region_mask(self, region: Region, grid: Grid, call: Call, area: Area | None) -> Tensor:
        """[latents, cells]"""
        if region.mask is None:
            return torch.ones(call.latents, grid[0] * grid[1])
        key = (region, grid, call.canvas, area)
        reduced = self._reduced.get(key)
        if reduced is None:
            reduced = crop_to_grid(region.mask, call.canvas, area, grid).flatten(1)
            if not torch.compiler.is_compiling():
                self._reduced[key] = reduced
        return per_latent(reduced, call.latents, call.window)
