"""Masks of the references that share a pass, on the grid of a layer, ready to multiply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...ipadapter.reference import Region
from ...masks.grid import pyramid
from ...masks.layout import Area, crop_to_grid, per_latent
from .keys_values import splits_latents
from .step_schedule import StepState
from .types import Size, TokenGroup, UNetCall

LEVELS = 4  # of a UNet: their masks are made before the layers run
KEPT = 32  # kinds of call whose masks stay: a long clip has another for each of its windows

StepStates = tuple[StepState, ...]
PerGroup = list["Tensor | None"]  # None where nothing needs to be multiplied


class MaskState(NamedTuple):
    """What the masks are at one step."""

    which: tuple[int, ...]  # which of its masks each timed region has
    factors: PerGroup  # of the references of each group, [1, 1, 1, references, 1]


class GroupMasks:
    """Each mask is reduced once per grid and area, each group's tensor made once per kind of call.

    ``timed`` are the regions that act otherwise at one step than at another: their share of the
    mask is multiplied by the factor of the step, by 0 outside of their range.
    """

    def __init__(self, groups: Sequence[TokenGroup], timed: Sequence[Region]):
        self._groups, self._timed = groups, timed
        self._reduced: dict[Any, Tensor] = {}
        self._masks: dict[Any, PerGroup] = {}
        self._factors: dict[Any, PerGroup] = {}
        self._ready: dict[
            UNetCall, tuple[StepStates, dict[Size, PerGroup]]
        ] = {}  # the latest step's

    def ready(self, call: UNetCall, states: StepStates) -> dict[Size, PerGroup]:
        """The masks of every group for each grid that a UNet is known to have."""
        found, ready = self._ready.get(call, (None, {}))
        if found != states:
            mask_state, layer_sizes = self.at_step(call, states), pyramid(*call.input_size)[:LEVELS]
            ready = {
                layer_size: self.at(layer_size, call, mask_state) for layer_size in layer_sizes
            }
            self._ready[call] = states, ready
            if len(self._ready) > KEPT:
                self._forget(next(iter(self._ready)))
        return ready

    def _forget(self, call: UNetCall) -> None:
        del self._ready[call]
        self._masks = {key: masks for key, masks in self._masks.items() if key[0] != call}

    def at(self, layer_size: Size, call: UNetCall, mask_state: MaskState) -> PerGroup:
        """[rows or 1, 1, queries, references, 1] per group; queries may span several latents."""
        key = (call, layer_size, mask_state.which)
        masks = self._masks.get(key)
        if masks is None:
            which_of = dict(zip(self._timed, mask_state.which, strict=True))
            masks = [self._group_mask(group, layer_size, call, which_of) for group in self._groups]
            if not torch.compiler.is_compiling():
                self._masks[key] = masks
        return [
            mask if mask is None or factor is None else mask * factor
            for mask, factor in zip(masks, mask_state.factors, strict=True)
        ]

    def at_step(self, call: UNetCall, states: StepStates) -> MaskState:
        """What the masks of a call are at one step."""
        key = (tuple(state.factor for state in states), call.device, call.dtype)
        if key not in self._factors:
            state_of = dict(zip(self._timed, states, strict=True))
            self._factors[key] = [
                self._group_factors(group, call, state_of) for group in self._groups
            ]
        return MaskState(tuple(state.part for state in states), self._factors[key])

    def _group_factors(
        self, group: TokenGroup, call: UNetCall, states: Mapping[Region, StepState]
    ) -> Tensor | None:
        if not any(region in states for region in group):
            return None
        factors = [states[region].factor if region in states else 1.0 for region in group]
        # Filled in on the device: a copy from the CPU would wait for it.
        like = {"dtype": call.dtype, "device": call.device}
        return torch.cat([torch.full((1,), f, **like) for f in factors]).view(1, 1, 1, -1, 1)

    def _group_mask(
        self, group: TokenGroup, layer_size: Size, call: UNetCall, which: Mapping[Region, int]
    ) -> Tensor | None:
        if all(region.settings.everywhere and region not in which for region in group):
            return None
        areas = [chunk.area for chunk in call.chunks]
        split = splits_latents(group, call)
        if len(set(areas)) == 1 and not split:
            areas = areas[:1]  # the same for every chunk
        per_area = {
            area: torch.stack(
                [self._region_mask(r, which.get(r, 0), layer_size, call, area) for r in group], -1
            )
            for area in dict.fromkeys(areas)
        }
        mask = torch.stack([per_area[area] for area in areas])  # [chunks, latents, cells, refs]
        mask = mask.flatten(0, 1) if split else mask.flatten(1, 2)
        return mask[:, None, :, :, None].to(call.device, call.dtype)

    def _region_mask(
        self, region: Region, part: int, layer_size: Size, call: UNetCall, area: Area | None
    ) -> Tensor:
        """[latents, cells]"""
        mask = region.settings.masks[part]
        if mask is None:
            shares = torch.ones(call.latents, layer_size[0] * layer_size[1])
        else:
            reduced = self._fitted(region, mask, layer_size, call, area)
            shares = per_latent(reduced, call.latents, call.window)
        weights = region.settings.over_time.frame_weights
        if weights:
            shares = shares * per_latent(torch.tensor(weights), call.latents, call.window)[:, None]
        return shares

    def _fitted(
        self, region: Region, mask: Tensor, layer_size: Size, call: UNetCall, area: Area | None
    ) -> Tensor:
        """[masks, cells]"""
        mask_fit = region.settings.mask_fit
        if mask_fit is None:
            return self._reduce(mask, layer_size, call, area)
        key = (mask_fit, id(mask), layer_size, call.input_size)
        fitted = self._reduced.get(key)
        if fitted is None:
            fitted = mask_fit(mask, call.input_size, layer_size)
            if not torch.compiler.is_compiling():
                self._reduced[key] = fitted
        return fitted

    def _reduce(self, mask: Tensor, layer_size: Size, call: UNetCall, area: Area | None) -> Tensor:
        """[masks, cells]"""
        key = (id(mask), layer_size, call.latent_size, area)
        reduced = self._reduced.get(key)
        if reduced is None:
            if area is not None:  # the latent_size is the same for every area and layer_size
                mask = self._reduce(mask, call.latent_size, call, None).unflatten(
                    1, call.latent_size
                )
            reduced = crop_to_grid(mask, call.latent_size, area, layer_size).flatten(1)
            if not torch.compiler.is_compiling():
                self._reduced[key] = reduced
        return reduced
