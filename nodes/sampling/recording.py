"""What a sampling run's layers saw of each reference, added up on the device, read at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ...ipadapter.attention import Gauge, Rows, value_norms
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import Region
from ...masks.grid import to_grid
from ...masks.layout import Area
from ..shared.notices import say
from .patching import regions_of
from .run import record_in
from .types import Call, Chunk, Grid, Lane

RECORD_KEY = "ipadapter_regions_record"
KEPT = 4  # runs of a record: a picture is often sampled in two or three

Norms = WeakTensorKeyDictionary  # of values that are still laid out


class RecordedRun(NamedTuple):
    """What is left of a sampling run, on the CPU."""

    samples: Tensor  # what came out of it, by which it is found again
    maps: Tensor  # [references, latents, height, width], in latent cells
    cell: int  # pixels per latent cell, along a side
    seen: bool  # whether any layer could be recorded


class Record:
    """The last sampling runs of a model, each with what its references did."""

    def __init__(self) -> None:
        self._runs: deque[RecordedRun] = deque(maxlen=KEPT)

    def outer_sample(self, executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The wrapper that records a run."""
        guider = executor.class_obj
        recording = Recording(regions_of(guider.model_patcher))
        record_in(guider, recording)
        samples = executor(noise, *args, **kwargs)
        maps = recording.maps(noise.shape[0], (noise.shape[-2], noise.shape[-1]))
        cell = guider.model_patcher.model.latent_format.spacial_downscale_ratio
        self._runs.append(RecordedRun(samples.cpu(), maps, cell, recording.seen))
        if recording.regions and not recording.seen:
            say(NOT_SEEN)
        return samples

    def find(self, samples: Tensor) -> RecordedRun:
        """The run that gave this latent; else, where a node has changed it since, the last one of
        its size."""
        if not self._runs:
            raise IPAdapterError(NO_RUN)
        samples = samples.cpu()
        same_size = [run for run in reversed(self._runs) if run.samples.shape == samples.shape]
        same = [run for run in same_size if torch.equal(run.samples.to(samples.dtype), samples)]
        if not same_size:
            size = f"{samples.shape[-1]} x {samples.shape[-2]} cells, a batch of {len(samples)}"
            raise IPAdapterError(OTHER_RUN.format(size))
        if not same:
            say(OTHER_LATENT)
        run = next((run for run in same or same_size if len(run.maps)), (same or same_size)[0])
        if not len(run.maps):
            raise IPAdapterError(NO_REFERENCES)
        if not run.seen:
            raise IPAdapterError(f"record: {NOT_SEEN}")
        return run

    def __deepcopy__(self, memo: object) -> Record:
        return self


NO_RUN = (
    "record: nothing is recorded yet: sample with the model that came out of Record Attention, and "
    "if the sampler has kept its result from before, change its seed"
)
OTHER_LATENT = (
    "no recorded run gave exactly this latent (a node changed it, or there were too many runs since):"
    " the last run of its size is drawn"
)
OTHER_RUN = (
    "latent: no sampling run of the recorded model gave this latent ({}): connect the latent of "
    "the sampler that used it"
)
NO_REFERENCES = (
    "record: the recorded model has no references: connect the model that goes into the sampler "
    "through an Apply node, before or after Record Attention"
)
NOT_SEEN = (
    "attention could not be recorded: the model is compiled, or another node replaces its layers "
    "or changes their batch; leave that node out while you look at maps"
)


class Recording:
    """One sampling run, while it goes on."""

    def __init__(self, regions: Sequence[Region]):
        self.regions = regions
        self._meters: dict[tuple[Call, tuple[int, ...] | None], Meter] = {}
        self._norms = Norms()

    @property
    def seen(self) -> bool:
        return any(meter.sums for meter in self._meters.values())

    def meter(self, call: Call, window: tuple[int, ...] | None) -> Meter | None:
        """What measures a UNet call, its latents being these frames; None for negatives alone."""
        if not any(chunk.positive for chunk in call.chunks):
            return None
        meter = self._meters.setdefault((call, window), Meter(self._norms))
        meter.calls += 1
        return meter

    def maps(self, latents: int, size: Grid) -> Tensor:
        """float32 [references, latents, *size]: the mean over layers and UNet calls, but for a
        factor that all have in common, of what positive conditionings saw."""
        total = torch.zeros(len(self.regions), latents, *size)
        times = torch.zeros(latents, *size)
        for (call, window), meter in self._meters.items():
            frames = [min(frame, latents - 1) for frame in window or range(call.latents)]
            positive = [(i, chunk) for i, chunk in enumerate(call.chunks) if chunk.positive]
            for _, chunk in positive:
                here = on_canvas(torch.full(call.grid, 1.0), call, chunk, size)
                times[frames] += meter.calls * here
            for (lane, grid), sums in meter.sums.items():
                chunks = sums.cpu().view(len(call.chunks), call.latents, *grid, len(lane))
                for number, chunk in positive:
                    seen = on_canvas(chunks[number].movedim(-1, 0), call, chunk, size)
                    for region, one in zip(lane, seen, strict=True):
                        total[self.regions.index(region), frames] += one
        return total / times.clamp(min=1)

    def __deepcopy__(self, memo: object) -> Recording:
        return self


class Meter:
    """One kind of UNet call: what its layers saw, in all calls together."""

    def __init__(self, norms: Norms):
        self.calls = 0
        # [rows, latents * queries, references] per lane and grid, on the device
        self.sums: dict[tuple[Lane, Grid], Tensor] = {}
        self._norms = norms

    def gauge(self, lane: Lane, rows: Rows, grid: Grid) -> Gauge:
        if rows.v not in self._norms:
            self._norms[rows.v] = value_norms(rows)

        def add(seen: Tensor) -> None:
            if (lane, grid) in self.sums:
                self.sums[lane, grid].add_(seen)
            else:
                self.sums[lane, grid] = seen

        return Gauge(self._norms[rows.v], add)


def on_canvas(seen: Tensor, call: Call, chunk: Chunk, size: Grid) -> Tensor:
    """[..., height, width] of a call's grid -> [..., *size]; 0 outside of the chunk's area."""
    area = chunk.area or Area(0, 0, *call.canvas)
    whole = torch.zeros(*seen.shape[:-2], *call.canvas)
    part = to_grid(seen, area.height, area.width)
    whole[..., area.y : area.y + area.height, area.x : area.x + area.width] = part
    return to_grid(whole, *size)
