"""What one sampling run works out, and what the layers of a UNet call read of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.attention import AttentionProbe, PackedKV
from ...ipadapter.reference import Region
from ...masks.layout import same_shape
from ..shared.notices import warn
from .conds import Conds, chunks_of_call, resolve
from .group_masks import GroupMasks, StepStates
from .keys_values import frames, group_by_tokens, pack_kv, splits_latents
from .pieces import Piece, Pieces, WholeCall, part_of
from .row_map import RowMap, mean_of_copies, row_maps, take_rows, told_by_contents
from .step_schedule import StepSchedule
from .types import (
    BATCH_KEY,
    WHOLE_KEY,
    Acting,
    CallRecorder,
    CondBatch,
    CondChunk,
    PatchKey,
    RegionKV,
    Size,
    TokenGroup,
    UNetCall,
)

KEPT = 8  # packings of keys and values: a long clip needs another for each of its windows

KVByKey = dict[PatchKey, list[tuple[int, PackedKV]]]  # by group
CopiedKV = dict[tuple[PatchKey, RowMap], list[tuple[int, PackedKV]]]


class LayerInputs:
    """What the layers of one UNet call read: tensors, and how to find them."""

    def __init__(self, run: Run, call: UNetCall, states: StepStates, piece: Piece):
        self._kv, self._copied_kv, shapes = run.packed_kv(call)
        self.call = call
        self.frames, self._cond_or_uncond = piece.frames, piece.indices
        self._own_rows = tuple(range(len(call.chunks)))
        self._run, self._mask_state = run, run.masks.at_step(call, states)
        self._masks = run.masks.ready(call, states)
        self.over_time = False  # whether the model's layers also attend over time
        self.recorder: CallRecorder | None = None  # where attention is recorded
        self.asked: set[PatchKey] = set()  # which patches were called, unless compiled
        self._fitted: set[PatchKey] = set()
        masks = [None if m is None else len(m) for m in self._masks[call.input_size]]
        # A name for everything about the call that is not the contents of a tensor.
        self.structure = hashlib.blake2s(f"{shapes} {masks}".encode(), digest_size=8).hexdigest()

    def row_map(
        self, patch_key: PatchKey, q: Tensor, k: Tensor, options: Mapping[str, Any]
    ) -> RowMap | None:
        """Which conditionings a layer's queries [batch, queries, heads * dim] belong to; None where
        they are not this call's, one per cell of the layer and latent. ``k``: the text's keys."""
        if not torch.compiler.is_compiling():
            self.asked.add(patch_key)
        if "activations_shape" not in options:
            self._run.warn_once(NO_SIZE)
            return None
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


OTHER_PIECES = (
    "another node gives the model tiles whose place in the picture is unknown: references are left "
    "out of them"
)
OTHER_BATCH = (
    "another node changes the batch inside the model in an unknown way: references are left out "
    "there"
)
NO_SIZE = (
    "another node calls layers without ComfyUI's activations_shape, which masks need: references "
    "are left out there"
)
LOST_LAYERS = (
    "in {} of the {} layers with references, another node replaces the attention and does not call "
    "ours: references are left out there; put that node before Apply IPAdapter"
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

    def __init__(self, acting: Acting, guider: Any, latent_size: Size):
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
        self._latent_size = latent_size
        self._pieces = Pieces()
        self._canvas: Tensor | None = None
        self.layers_unchecked = True
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

    def warn_about_layers(self, asked: set[PatchKey]) -> None:
        """Say in how many layers another node has taken our patches' place: those it did not ask."""
        layers = {patch_key.layer for patch_key in self._entries}
        lost = {patch_key.layer for patch_key in self._entries.keys() - asked}
        if lost:
            self.warn_once(LOST_LAYERS.format(len(lost), len(layers)))

    def cond_batch(self, conds: Sequence[Conds | None], x: Tensor) -> CondBatch | None:
        """The conditionings that are evaluated on x [latents, channels, H, W].

        x is the whole latent, or a window of it, which some nodes evaluate once more, or it at
        another size. None where it is neither: its shape then is not the latent's.
        """
        size = (x.shape[-2], x.shape[-1])
        chunks = resolve(conds, self.guider.conds, size)
        if size == self._latent_size:
            self._canvas = x
            return CondBatch(size, chunks)
        corner = self._window_corner(x)
        if corner is None:
            return CondBatch(size, chunks) if same_shape(size, self._latent_size) else None
        for key, chunk in chunks.items():
            area_size = chunk.area[2:] if chunk.area else size
            area = part_of(chunk.area, *corner, area_size, self._latent_size)
            chunks[key] = chunk._replace(area=area)
        return CondBatch(self._latent_size, chunks)

    def _window_corner(self, x: Tensor) -> tuple[int, int] | None:
        """Where (y, x) a window [latents, channels, h, w] of the latent begins."""
        if self._canvas is None:
            return None
        canvas = WholeCall(self._canvas, None, (CondChunk(True, None),), (0,))
        window = self._pieces.find(canvas, x, None, self._latent_size)
        if window is None or window.frames is not None:
            return None
        (chunk,) = window.chunks
        return chunk.area[:2] if chunk.area else (0, 0)

    def inputs(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None,
        options: Mapping[str, Any],
        dtype: torch.dtype,
    ) -> LayerInputs | None:
        """What the layers need for a UNet call on x [chunks * latents, channels, H, W] with texts
        [chunks * latents, tokens, dim].

        None where another pack has cut x so that it cannot be told what it is.
        """
        input_size = (x.shape[-2], x.shape[-1])
        batch: CondBatch | None = options.get(BATCH_KEY, CondBatch(input_size, {}))
        piece = batch and self._piece(x, context, options, batch)
        if batch is None or piece is None:
            self.warn_once(OTHER_PIECES)
            return None
        window = piece.frames if self._per_frame else None
        where = (batch.latent_size, input_size)
        call = UNetCall(piece.chunks, piece.latents, *where, window, x.device, dtype)
        states: StepStates = ()
        if self._schedule:
            states = self._schedule.states(float(t.flatten()[0]))  # the call's one read
        return LayerInputs(self, call, states, piece)

    def _piece(
        self, x: Tensor, context: Tensor | None, options: Mapping[str, Any], batch: CondBatch
    ) -> Piece | None:
        """What a UNet call on x [rows, channels, H, W] is of what ComfyUI meant to call it on."""
        chunks = chunks_of_call(options)
        whole: WholeCall | None = options.get(WHOLE_KEY)
        if whole is not None and not whole.is_whole(x, len(chunks)):
            piece = self._pieces.find(whole, x, context, batch.latent_size)
            return piece and piece.with_frames(frames(options, whole.latents))
        latents, rest = divmod(len(x), len(chunks))
        if rest or not latents:
            return None
        indices = tuple(options.get("cond_or_uncond") or (0,))
        return Piece(chunks, indices, latents, frames(options, latents))

    def packed_kv(self, call: UNetCall) -> tuple[KVByKey, CopiedKV, str]:
        """Keys and values of every patch, packed for a call; where layers keep those for rows that
        are repeated; their shapes in words."""
        roles = tuple(chunk.positive for chunk in call.chunks)
        unfolded = any(region.unfolded for region in self._regions)
        own = (call.latents, call.window) if unfolded else None
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
