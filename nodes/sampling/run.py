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

from ...ipadapter.attention import Gauge, Rows
from ...ipadapter.reference import Region
from ...masks.layout import same_shape
from ..shared.notices import say
from .conds import chunks_of_call, resolve
from .group_masks import LaneMasks, Moments
from .keys_values import frames, group_by_tokens, lay_out, per_latent_lane
from .step_schedule import Timetable
from .types import (
    CHUNKS_KEY,
    KEY,
    RECORDING_KEY,
    RUN_KEY,
    Acting,
    Call,
    CallRecorder,
    Lane,
    RegionKV,
    RunRecorder,
    Slot,
)

KEPT = 8  # layouts of keys and values: a long clip needs another for each of its windows

SlotRows = dict[Slot, list[tuple[int, Rows]]]  # by lane


def record_in(guider: Any, recording: RunRecorder) -> None:
    """Have the run that a guider is about to start recorded."""
    guider.model_options["transformer_options"][RECORDING_KEY] = recording  # this run's own copy


def wrappers(acting: Acting) -> dict[str, Callable[..., Any]]:
    """The three wrappers of a model in which these regions act."""

    def outer_sample(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        run = Run(acting, guider)
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
                inputs.meter = recording.meter(inputs.call, frames(options, inputs.call.latents))
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

    def __init__(self, run: Run, call: Call, moments: Moments):
        self.rows, rows = run.rows(call)
        self.call = call
        self._run, self._now = run, run.masks.now(call, moments)
        self._masks = run.masks.ready(call, moments)
        self.over_time = False  # whether the model's layers also attend over time
        self.meter: CallRecorder | None = None  # where attention is recorded
        self._fitted: set[Slot] = set()
        masks = [None if m is None else len(m) for m in self._masks[call.grid]]
        # A name for everything about the call that is not the contents of a tensor.
        self.structure = hashlib.blake2s(f"{rows} {masks}".encode(), digest_size=8).hexdigest()

    def fit(self, slot: Slot, q: Tensor, grid: Sequence[int]) -> bool:
        """Whether a layer's queries are this call's: one per cell of its grid and latent."""
        if len(grid) != 2 or q.shape[1] != grid[0] * grid[1]:
            return False  # a video model's attention over time comes by here too
        if q.shape[0] != len(self.call.chunks) * self.call.latents:
            if not torch.compiler.is_compiling():
                self._run.say_once(OTHER_BATCH)
            return False
        if self.over_time:
            # With as many frames as cells, attention over time looks the same, but comes second.
            first = slot not in self._fitted
            self._fitted.add(slot)
            return first
        return True

    def mask(self, lane: int, height: int, width: int) -> Tensor | None:
        """The mask of a lane on a layer's grid, [rows, 1, queries, references, 1]."""
        masks = self._masks.get((height, width))
        if masks is None:  # a grid that only the layer knows: deep shrink and its like
            masks = self._run.masks.at((height, width), self.call, self._now)
            if not torch.compiler.is_compiling():
                self._masks[height, width] = masks
        return masks[lane]

    def gauge(self, lane: int, rows: Rows, grid: Sequence[int]) -> Gauge | None:
        """What measures the references of a lane in a layer, where attention is recorded."""
        if self.meter is None or torch.compiler.is_compiling():
            return None
        return self.meter.gauge(self._run.lanes[lane], rows, (grid[0], grid[1]))

    def __deepcopy__(self, memo: object) -> CallInputs:
        return self


OTHER_BATCH = (
    "another node changes the batch inside the model (attention couple, say): references are "
    "left out where it does"
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
        lanes: dict[Lane, int] = {}
        self._lanes_of: dict[Slot, list[tuple[int, list[RegionKV]]]] = {
            slot: [
                (lanes.setdefault(tuple(kv.region for kv in group), len(lanes)), group)
                for group in group_by_tokens(regions)
            ]
            for slot, regions in acting.items()
        }
        self.lanes = list(lanes)
        self._regions = list(dict.fromkeys(region for lane in lanes for region in lane))
        self._per_frame = any(region.per_frame for region in self._regions)
        timed = [region for region in self._regions if region.settings.timed]
        self._timetable = Timetable(timed, guider.model_patcher) if timed else None
        self.masks = LaneMasks(self.lanes, timed)
        self._rows: dict[Any, tuple[SlotRows, str]] = {}
        self._moved: dict[Any, list[RegionKV]] = {}
        self._said: set[str] = set()

    def __deepcopy__(self, memo: object) -> Run:
        return self

    def say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)

    def tell(self, noise: Tensor) -> None:
        """Say what only now is known not to fit: mask shapes and numbers of pictures."""
        latents, (height, width) = noise.shape[0], noise.shape[-2:]
        scale = self.guider.model_patcher.model.latent_format.spacial_downscale_ratio
        picture = f"{width * scale} x {height * scale}"
        for region in self._regions:
            for mask in region.settings.masks:
                if mask is not None and not same_shape(mask.shape[-2:], (height, width)):
                    size = f"{mask.shape[-1]} x {mask.shape[-2]}"
                    self.say_once(
                        f"attn_mask is {size}, the picture {picture}: the mask is stretched"
                    )
            for name, count in counts(region).items():
                if count > latents:
                    self.say_once(
                        f"{count} {name} for {plural(latents, 'latent')}: the last are not used"
                    )

    def inputs(
        self, x: Tensor, t: Tensor, options: Mapping[str, Any], dtype: torch.dtype
    ) -> CallInputs | None:
        """What the layers need for a UNet call on x [chunks * latents, channels, H, W].

        None where another pack has cut x so that its conditionings cannot be told.
        """
        grid = (x.shape[-2], x.shape[-1])
        canvas, known = options.get(CHUNKS_KEY, (grid, {}))
        chunks = chunks_of_call(options, known)
        latents, rest = divmod(x.shape[0], len(chunks))
        if rest or not latents:
            self.say_once(OTHER_BATCH)
            return None
        window = frames(options, latents) if self._per_frame else None
        call = Call(chunks, latents, canvas, grid, window, x.device, dtype)
        moments: Moments = ()
        if self._timetable:
            moments = self._timetable.moments(float(t.flatten()[0]))  # the call's one read
        return CallInputs(self, call, moments)

    def rows(self, call: Call) -> tuple[SlotRows, str]:
        """Keys and values of every slot, laid out for a call, and their structure."""
        split = any(per_latent_lane(lane, call) for lane in self.lanes)
        roles = tuple(chunk.positive for chunk in call.chunks)
        own = (call.latents, call.window) if split else None
        key = (roles, own, call.device, call.dtype)
        if key not in self._rows:
            if len(self._rows) == KEPT:
                del self._rows[next(iter(self._rows))]
            rows = {
                slot: [(lane, lay_out(self._near(group, call), call)) for lane, group in lanes]
                for slot, lanes in self._lanes_of.items()
            }
            shapes = [(slot, [(n, r.k.shape) for n, r in laid]) for slot, laid in rows.items()]
            self._rows[key] = rows, repr(shapes)
        return self._rows[key]

    def _near(self, group: list[RegionKV], call: Call) -> list[RegionKV]:
        """The group on the call's device, where each window of a clip takes its frames from."""
        if call.window is None or not per_latent_lane(tuple(kv.region for kv in group), call):
            return group
        key = (id(group), call.device, call.dtype)
        if key not in self._moved:
            self._moved[key] = [kv.to(call.device, call.dtype) for kv in group]
        return self._moved[key]
