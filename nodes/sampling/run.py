"""What one sampling run works out, and the three places where it looks in.

A run starts in OUTER_SAMPLE. Each step's CALC_COND_BATCH notes which conditionings are positive and
which rectangle each covers; each UNet call's APPLY_MODEL hands the layers their keys, values and
masks, ready to multiply. Only this file and patching.py read ``transformer_options``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...ipadapter.attention import AttentionProbe, PackedKV
from ...ipadapter.reference import Region
from ...masks.layout import same_shape
from ..shared.notices import warn
from .conds import chunks_of_call, resolve
from .group_masks import GroupMasks, StepStates
from .keys_values import frames, group_by_tokens, pack_kv, splits_latents
from .row_map import RowMap, mean_of_copies, row_maps, take_rows, told_by_contents
from .step_schedule import StepSchedule
from .types import (
    CHUNKS_KEY,
    KEY,
    RECORDING_KEY,
    RUN_KEY,
    Acting,
    CallRecorder,
    PatchKey,
    RegionKV,
    RunRecorder,
    TokenGroup,
    UNetCall,
)

KEPT = 8  # packings of keys and values: a long clip needs another for each of its windows

KVByKey = dict[PatchKey, list[tuple[int, PackedKV]]]  # by group
CopiedKV = dict[tuple[PatchKey, RowMap], list[tuple[int, PackedKV]]]


def record_in(guider: Any, recording: RunRecorder) -> None:
    """Have the run that a guider is about to start recorded."""
    guider.model_options["transformer_options"][RECORDING_KEY] = recording  # this run's own copy


def wrappers(acting: Acting) -> dict[str, Callable[..., Any]]:
    """The three wrappers of a model in which these regions act."""

    def outer_sample(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        run = Run(acting, guider)
        run.warn_about_sizes(noise)
        guider.model_options["transformer_options"][RUN_KEY] = run  # this run's own copy
        return executor(noise, *args, **kwargs)

    def calc_cond_batch(
        executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Any, model_options: Any
    ) -> Any:
        options = model_options.get("transformer_options", {})
        run: Run | None = options.get(RUN_KEY)
        if run is not None:
            latent_size = (x_in.shape[-2], x_in.shape[-1])
            chunks = resolve(conds, run.guider.conds, latent_size)
            options = {**options, CHUNKS_KEY: (latent_size, chunks)}
            model_options = {**model_options, "transformer_options": options}
        return executor(model, conds, x_in, timestep, model_options)

    def apply_model(  # noqa: PLR0913
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
        inputs = run and run.inputs(x, t, options, executor.class_obj.get_dtype_inference())
        if inputs:
            inputs.over_time = "num_video_frames" in kwargs
            recording: RunRecorder | None = options.get(RECORDING_KEY)
            if recording is not None:
                inputs.recorder = recording.record_call(
                    inputs.call, frames(options, inputs.call.latents)
                )
            options = {**options, KEY: inputs}
            # torch.compile guards on the names of a UNet's arguments, not on these options.
            kwargs[f"{KEY}_{inputs.structure}"] = True
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    return {
        WrappersMP.OUTER_SAMPLE: outer_sample,
        WrappersMP.CALC_COND_BATCH: calc_cond_batch,
        WrappersMP.APPLY_MODEL: apply_model,
    }


class LayerInputs:
    """What the layers of one UNet call read: tensors, and how to find them."""

    def __init__(
        self, run: Run, call: UNetCall, states: StepStates, cond_or_uncond: tuple[int, ...]
    ):
        self._kv, self._copied_kv, shapes = run.packed_kv(call)
        self.call = call
        self._cond_or_uncond = cond_or_uncond
        self._own_rows = tuple(range(len(call.chunks)))
        self._run, self._mask_state = run, run.masks.at_step(call, states)
        self._masks = run.masks.ready(call, states)
        self.over_time = False  # whether the model's layers also attend over time
        self.recorder: CallRecorder | None = None  # where attention is recorded
        self._fitted: set[PatchKey] = set()
        masks = [None if m is None else len(m) for m in self._masks[call.input_size]]
        # A name for everything about the call that is not the contents of a tensor.
        self.structure = hashlib.blake2s(f"{shapes} {masks}".encode(), digest_size=8).hexdigest()

    def row_map(
        self, patch_key: PatchKey, q: Tensor, k: Tensor, options: Mapping[str, Any]
    ) -> RowMap | None:
        """Which conditionings a layer's queries [batch, queries, heads * dim] belong to; None where
        they are not this call's, one per cell of the layer and latent. ``k``: the text's keys."""
        layer_size = options["activations_shape"][2:]
        if len(layer_size) != 2 or q.shape[1] != layer_size[0] * layer_size[1]:
            return None  # a video model's attention over time comes by here too
        blocks, rest = divmod(q.shape[0], self.call.latents)
        rows = self._own_rows
        if rest or blocks != len(rows):
            now = tuple(options.get("cond_or_uncond") or ())
            rows = None if rest else self._run.row_map(q, k, (blocks, self._cond_or_uncond, now))
            if rows is None and not torch.compiler.is_compiling():
                self._run.warn_once(OTHER_BATCH)
        if rows and self.over_time:
            # With as many frames as cells, attention over time looks the same, but comes second.
            first = patch_key not in self._fitted
            self._fitted.add(patch_key)
            return rows if first else None
        return rows

    def kv(self, patch_key: PatchKey, rows: RowMap) -> Sequence[tuple[int, PackedKV]]:
        """Keys and values of a layer's groups, by their numbers, for queries of these rows."""
        packed = self._kv.get(patch_key, ())
        if rows == self._own_rows:
            return packed
        copied = self._copied_kv.get((patch_key, rows))
        if copied is None:
            conds = len(self.call.chunks)
            copied = [
                (group, kv._replace(k=take_rows(kv.k, rows, conds), v=take_rows(kv.v, rows, conds)))
                for group, kv in packed
            ]
            if not torch.compiler.is_compiling():
                self._copied_kv[patch_key, rows] = copied
        return copied

    def mask(
        self, group: int, height: int, width: int, rows: RowMap | None = None
    ) -> Tensor | None:
        """The mask of a group on a layer's grid, [rows or 1, 1, queries, references, 1]."""
        masks = self._masks.get((height, width))
        if masks is None:  # a grid that only the layer knows: deep shrink and its like
            masks = self._run.masks.at((height, width), self.call, self._mask_state)
            if not torch.compiler.is_compiling():
                self._masks[height, width] = masks
        mask = masks[group]
        if mask is None or len(mask) == 1 or rows in (None, self._own_rows):
            return mask
        return take_rows(mask, rows, len(self.call.chunks))

    def probe(
        self, group: int, kv: PackedKV, layer_size: Sequence[int], rows: RowMap
    ) -> AttentionProbe | None:
        """What measures the references of a group in a layer, where attention is recorded."""
        if self.recorder is None or torch.compiler.is_compiling():
            return None
        size = (layer_size[0], layer_size[1])
        probe = self.recorder.probe(self._run.groups[group], kv, size)
        if rows == self._own_rows:
            return probe
        conds = len(self.call.chunks)
        return probe._replace(add=lambda seen: probe.add(mean_of_copies(seen, rows, conds)))

    def __deepcopy__(self, memo: object) -> LayerInputs:
        return self


OTHER_BATCH = (
    "another node changes the batch inside the model in a way that cannot be followed: references "
    "are left out where it does"
)


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def counts(region: Region) -> dict[str, int]:
    """How many of each thing there are of which each latent gets its own."""
    pictures = len(region.reference.positive) if region.unfolded else 1
    masks = max(1 if mask is None else len(mask) for mask in region.settings.masks)
    weights = len(region.settings.over_time.frame_weights)
    return {"pictures": pictures, "masks": masks, "frame_weights": weights}


class Run:
    """One sampling run: what is worked out once, and kept until its end."""

    def __init__(self, acting: Acting, guider: Any):
        self.guider = guider
        groups: dict[TokenGroup, int] = {}
        self._entries: dict[PatchKey, list[tuple[int, list[RegionKV]]]] = {
            patch_key: [
                (groups.setdefault(tuple(kv.region for kv in entries), len(groups)), entries)
                for entries in group_by_tokens(regions)
            ]
            for patch_key, regions in acting.items()
        }
        self.groups = list(groups)
        self._regions = list(dict.fromkeys(region for group in groups for region in group))
        self._per_frame = any(region.per_frame for region in self._regions)
        timed = [region for region in self._regions if region.settings.timed]
        self._schedule = StepSchedule(timed, guider.model_patcher) if timed else None
        self.masks = GroupMasks(self.groups, timed)
        self._packed: dict[Any, tuple[KVByKey, CopiedKV, str]] = {}
        self._moved: dict[Any, list[RegionKV]] = {}
        self._row_maps: dict[Any, list[RowMap]] = {}
        self._said: set[str] = set()

    def __deepcopy__(self, memo: object) -> Run:
        return self

    def warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def warn_about_sizes(self, noise: Tensor) -> None:
        """Say what only now is known not to fit noise [latents, channels, H, W]: mask shapes and numbers of
        pictures."""
        latents, (height, width) = noise.shape[0], noise.shape[-2:]
        scale = self.guider.model_patcher.model.latent_format.spacial_downscale_ratio
        picture = f"{width * scale} x {height * scale}"
        for region in self._regions:
            for mask in region.settings.masks:
                if mask is not None and not same_shape(mask.shape[-2:], (height, width)):
                    size = f"{mask.shape[-1]} x {mask.shape[-2]}"
                    self.warn_once(
                        f"attn_mask is {size}, the picture {picture}: the mask is stretched"
                    )
            for name, count in counts(region).items():
                if count > latents:
                    self.warn_once(
                        f"{count} {name} for {plural(latents, 'latent')}: the last are not used"
                    )

    def inputs(
        self, x: Tensor, t: Tensor, options: Mapping[str, Any], dtype: torch.dtype
    ) -> LayerInputs | None:
        """What the layers need for a UNet call on x [chunks * latents, channels, H, W].

        None where another pack has cut x so that its conditionings cannot be told.
        """
        input_size = (x.shape[-2], x.shape[-1])
        latent_size, known = options.get(CHUNKS_KEY, (input_size, {}))
        chunks = chunks_of_call(options, known)
        latents, rest = divmod(x.shape[0], len(chunks))
        if rest or not latents:
            self.warn_once(OTHER_BATCH)
            return None
        window = frames(options, latents) if self._per_frame else None
        call = UNetCall(chunks, latents, latent_size, input_size, window, x.device, dtype)
        states: StepStates = ()
        if self._schedule:
            states = self._schedule.states(float(t.flatten()[0]))  # the call's one read
        return LayerInputs(self, call, states, tuple(options.get("cond_or_uncond") or (0,)))

    def packed_kv(self, call: UNetCall) -> tuple[KVByKey, CopiedKV, str]:
        """Keys and values of every patch, packed for a call; where layers keep those for rows that
        are repeated; their shapes in words."""
        split = any(splits_latents(group, call) for group in self.groups)
        roles = tuple(chunk.positive for chunk in call.chunks)
        own = (call.latents, call.window) if split else None
        key = (roles, own, call.device, call.dtype)
        if key not in self._packed:
            if len(self._packed) == KEPT:
                del self._packed[next(iter(self._packed))]
            packed = {
                patch_key: [
                    (group, pack_kv(self._on_device(entries, call), call))
                    for group, entries in groups
                ]
                for patch_key, groups in self._entries.items()
            }
            shapes = [
                (patch_key, [(group, kv.k.shape) for group, kv in groups])
                for patch_key, groups in packed.items()
            ]
            self._packed[key] = packed, {}, repr(shapes)
        return self._packed[key]

    def row_map(
        self, q: Tensor, k: Tensor, repeated: tuple[int, Sequence[int], Sequence[int]]
    ) -> RowMap | None:
        """Whose copies queries [batch, queries, heads * dim] are, see ``row_maps``. Where more than
        one way is possible, they and the text's keys are looked at, once in a run."""
        if repeated not in self._row_maps:
            maps = row_maps(*repeated)
            if len(maps) > 1 and not torch.compiler.is_compiling():
                maps = told_by_contents(maps, q, k)
            self._row_maps[repeated] = maps
        return next(iter(self._row_maps[repeated]), None)

    def _on_device(self, entries: list[RegionKV], call: UNetCall) -> list[RegionKV]:
        """The entries on the call's device, where each window of a clip takes its frames from."""
        if call.window is None or not splits_latents(tuple(kv.region for kv in entries), call):
            return entries
        key = (id(entries), call.device, call.dtype)
        if key not in self._moved:
            self._moved[key] = [kv.to(call.device, call.dtype) for kv in entries]
        return self._moved[key]
