"""What one sampling run works out, and the three places where it looks in.

A run starts in OUTER_SAMPLE. Each step's CALC_COND_BATCH notes which conditionings are positive and
which rectangle each covers; each UNet call's APPLY_MODEL hands the layers their keys, values and
masks, ready to multiply. Only this file and patching.py read ``transformer_options``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..ipadapter.attention import Rows
from ..ipadapter.reference import Region
from ..masks.grid import pyramid
from ..masks.layout import Area, crop_to_grid, per_latent, same_shape
from .notices import say
from .roles import chunks_of_call, resolve
from .rows import Call, Lane, frames, group_by_tokens, lay_out, per_latent_lane

if TYPE_CHECKING:
    from .patching import Patches, RegionKV, Slot

KEY = "ipadapter_regions"
RUN_KEY = "ipadapter_regions_run"
CHUNKS_KEY = "ipadapter_regions_chunks"

SlotRows: TypeAlias = "dict[Slot, list[tuple[int, Rows]]]"  # by lane
LEVELS = 4  # of a UNet: their masks are made before the layers run


def wrappers(patches: Patches) -> dict[str, Callable[..., Any]]:
    """The three wrappers of a model with these patches."""

    def outer_sample(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        run = Run(patches, guider)
        run.tell(noise)
        guider.model_options["transformer_options"][RUN_KEY] = run  # this run's own copy
        return executor(noise, *args, **kwargs)

    def calc_cond_batch(
        executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Any, model_options: Any
    ) -> Any:
        options = model_options.get("transformer_options", {})
        run: Run | None = options.get(RUN_KEY)
        if run is not None:
            canvas = (x_in.shape[-2], x_in.shape[-1])
            chunks = resolve(conds, run.guider.conds, canvas)
            options = {**options, CHUNKS_KEY: (canvas, chunks)}
            model_options = {**model_options, "transformer_options": options}
        return executor(model, conds, x_in, timestep, model_options)

    def apply_model(
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        options = transformer_options or {}
        run: Run | None = options.get(RUN_KEY)
        if run is not None:
            inputs = run.inputs(x, t, options, executor.class_obj.get_dtype_inference())
            options = {**options, KEY: inputs}
            # torch.compile guards on the names of a UNet's arguments, not on these options.
            kwargs[f"{KEY}_{inputs.structure}"] = True
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    return {
        WrappersMP.OUTER_SAMPLE: outer_sample,
        WrappersMP.CALC_COND_BATCH: calc_cond_batch,
        WrappersMP.APPLY_MODEL: apply_model,
    }


class CallInputs:
    """What the layers of one UNet call read: tensors, and how to find them."""

    def __init__(self, run: Run, call: Call, gates: tuple[bool, ...]):
        self.rows, self.structure = run.rows(call)
        self.call = call
        self._run, self._gates = run, gates
        self._masks = run.masks(call, gates)

    def mask(self, lane: int, height: int, width: int) -> Tensor | None:
        """The mask of a lane on a layer's grid, [rows, 1, queries, references, 1]."""
        masks = self._masks.get((height, width))
        if masks is None:  # a grid that only the layer knows: deep shrink and its like
            masks = self._run.masks_at((height, width), self.call, self._gates)
            if not torch.compiler.is_compiling():
                self._masks[height, width] = masks
        return masks[lane]


class Run:
    """One sampling run: what is worked out once, and kept until its end."""

    def __init__(self, patches: Patches, guider: Any):
        self.guider = guider
        self._patches = patches
        self._lanes: dict[Lane, int] = {}
        self._lanes_of: dict[Slot, list[tuple[int, list[RegionKV]]]] = {
            slot: [(self._lane(group), group) for group in group_by_tokens(patch.regions)]
            for slot, patch in patches.items()
        }
        self._regions = list(dict.fromkeys(region for lane in self._lanes for region in lane))
        self._ranges = {r: self._sigmas(r) for r in self._regions if r.has_range}
        self._rows: dict[Any, tuple[SlotRows, str]] = {}
        self._reduced: dict[Any, Tensor] = {}
        self._masks: dict[Any, dict[tuple[int, int], list[Tensor | None]]] = {}

    def _lane(self, group: Sequence[RegionKV]) -> int:
        return self._lanes.setdefault(tuple(kv.region for kv in group), len(self._lanes))

    def _sigmas(self, region: Region) -> tuple[float, float]:
        sampling = self.guider.model_patcher.get_model_object("model_sampling")
        ends = (region.start_at, region.end_at)
        start, end = (float(sampling.percent_to_sigma(at)) for at in ends)
        return start, end

    def tell(self, noise: Tensor) -> None:
        """Say what only now is known not to fit: mask shapes and numbers of pictures."""
        latents, (height, width) = noise.shape[0], noise.shape[-2:]
        scale = self.guider.model_patcher.model.latent_format.spacial_downscale_ratio
        notes: dict[str, None] = {}  # in order, each once
        for region in self._regions:
            if region.mask is not None and not same_shape(region.mask.shape[-2:], (height, width)):
                mask = f"{region.mask.shape[-1]} x {region.mask.shape[-2]}"
                picture = f"{width * scale} x {height * scale}"
                notes[f"attn_mask is {mask}, the picture {picture}: the mask is stretched"] = None
            images = len(region.reference.positive)
            if region.unfold_batch and images > latents:
                notes[f"{images} pictures for {latents} latents: the last are not used"] = None
        for note in notes:
            say(note)

    def inputs(
        self, x: Tensor, t: Tensor, options: Mapping[str, Any], dtype: torch.dtype
    ) -> CallInputs:
        """What the layers need for a UNet call on x [chunks * latents, channels, H, W]."""
        grid = (x.shape[-2], x.shape[-1])
        canvas, known = options.get(CHUNKS_KEY, (grid, {}))
        chunks = chunks_of_call(options, known)
        latents = x.shape[0] // len(chunks)
        window = frames(options.get("context_window"), latents)
        call = Call(chunks, latents, canvas, grid, window, x.device, dtype)
        gates: tuple[bool, ...] = ()
        if self._ranges:
            sigma = float(t.flatten()[0])  # the one read of a tensor per call
            gates = tuple(end <= sigma <= start for start, end in self._ranges.values())
        return CallInputs(self, call, gates)

    def rows(self, call: Call) -> tuple[SlotRows, str]:
        """Keys and values of every slot, laid out for a call, and a name for their structure."""
        split = any(per_latent_lane(lane, call) for lane in self._lanes)
        roles = tuple(chunk.positive for chunk in call.chunks)
        key = (roles, call.latents if split else 1, call.window, call.device, call.dtype)
        if key not in self._rows:
            rows = {
                slot: [(lane, lay_out(group, call)) for lane, group in lanes]
                for slot, lanes in self._lanes_of.items()
            }
            self._rows[key] = rows, self._structure(rows)
        return self._rows[key]

    def _structure(self, rows: SlotRows) -> str:
        """A name for everything about a call's references that is not the contents of a tensor."""
        masked = [self._masked(lane) for lane in self._lanes]
        shapes = [(slot, [(lane, r.k.shape) for lane, r in laid]) for slot, laid in rows.items()]
        return hashlib.blake2s(repr((masked, shapes)).encode(), digest_size=8).hexdigest()

    def _masked(self, lane: Lane) -> bool:
        return any(region.mask is not None or region in self._ranges for region in lane)

    def masks(
        self, call: Call, gates: tuple[bool, ...]
    ) -> dict[tuple[int, int], list[Tensor | None]]:
        """Masks of every lane for each of the UNet's grids."""
        key = (call, gates)
        if key not in self._masks:
            self._masks[key] = {
                grid: self.masks_at(grid, call, gates) for grid in pyramid(*call.grid)[:LEVELS]
            }
        return self._masks[key]

    def masks_at(
        self, grid: tuple[int, int], call: Call, gates: tuple[bool, ...]
    ) -> list[Tensor | None]:
        return [
            self._lane_mask(lane, grid, call, gates) if self._masked(lane) else None
            for lane in self._lanes
        ]

    def _lane_mask(
        self, lane: Lane, grid: tuple[int, int], call: Call, gates: tuple[bool, ...]
    ) -> Tensor:
        """[rows or 1, 1, queries, references, 1], where queries may span several latents."""
        areas = [chunk.area for chunk in call.chunks]
        split = per_latent_lane(lane, call)
        if len(set(areas)) == 1 and not split:
            areas = areas[:1]  # the same for every chunk
        closed = {r for r, is_open in zip(self._ranges, gates, strict=False) if not is_open}
        per_area = {
            area: torch.stack(
                [self._region_mask(r, grid, call, area) * (r not in closed) for r in lane], -1
            )
            for area in dict.fromkeys(areas)
        }
        mask = torch.stack([per_area[area] for area in areas])  # [chunks, latents, cells, refs]
        mask = mask.flatten(0, 1) if split else mask.flatten(1, 2)
        return mask[:, None, :, :, None].to(call.device, call.dtype)

    def _region_mask(
        self, region: Region, grid: tuple[int, int], call: Call, area: Area | None
    ) -> Tensor:
        """[latents, cells]"""
        if region.mask is None:
            return torch.ones(call.latents, grid[0] * grid[1])
        key = (region, grid, call.canvas, area)
        if key not in self._reduced:
            self._reduced[key] = crop_to_grid(region.mask, call.canvas, area, grid).flatten(1)
        return per_latent(self._reduced[key], call.latents, call.window)
