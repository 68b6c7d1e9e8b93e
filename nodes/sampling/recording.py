"""What a sampling run's layers saw of each reference, added up on the device, read at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ...ipadapter.attention import AttentionProbe, PackedKV, value_norms
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import Region
from ...masks.grid import to_grid
from ...masks.layout import Area
from ..shared.notices import warn
from .patching import regions_of
from .types import CondChunk, Size, TokenGroup, UNetCall
from .wrappers import record_in

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
        """The wrapper that records a run on noise [latents, channels, H, W]."""
        guider = executor.class_obj
        recording = Recording(regions_of(guider.model_patcher))
        record_in(guider, recording)
        samples = executor(noise, *args, **kwargs)
        maps = recording.maps(noise.shape[0], (noise.shape[-2], noise.shape[-1]))
        cell = guider.model_patcher.model.latent_format.spacial_downscale_ratio
        self._runs.append(RecordedRun(samples.cpu(), maps, cell, recording.seen))
        if recording.regions and not recording.seen:
            warn(NOT_SEEN)
        return samples

    def find(self, samples: Tensor) -> RecordedRun:
        """The run that gave this latent [latents, channels, H, W]; else, where a node has changed it since,
        the last one of its size."""
        if not self._runs:
            raise IPAdapterError(NO_RUN)
        samples = samples.cpu()
        same_size = [run for run in reversed(self._runs) if run.samples.shape == samples.shape]
        same = [run for run in same_size if torch.equal(run.samples.to(samples.dtype), samples)]
        if not same_size:
            size = f"{samples.shape[-1]} x {samples.shape[-2]} cells, a batch of {len(samples)}"
            raise IPAdapterError(OTHER_RUN.format(size))
        if not same:
            warn(OTHER_LATENT)
        run = next((run for run in same or same_size if len(run.maps)), (same or same_size)[0])
        if not len(run.maps):
            raise IPAdapterError(NO_REFERENCES)
        if not run.seen:
            raise IPAdapterError(f"record: {NOT_SEEN}")
        return run

    def __deepcopy__(self, memo: object) -> Record:
        return self


NO_RUN = (
    "record: nothing is recorded yet: sample with the model from Record Attention; if the sampler "
    "reused its cached result, change its seed"
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
        self._accumulators: dict[tuple[UNetCall, tuple[int, ...] | None], AttentionAccumulator] = {}
        self._norms = Norms()

    @property
    def seen(self) -> bool:
        return any(recorder.sums for recorder in self._accumulators.values())

    def record_call(
        self, call: UNetCall, window: tuple[int, ...] | None
    ) -> AttentionAccumulator | None:
        """What measures a UNet call, its latents being these frames; None for negatives alone."""
        if not any(chunk.positive for chunk in call.chunks):
            return None
        recorder = self._accumulators.setdefault((call, window), AttentionAccumulator(self._norms))
        recorder.calls += 1
        return recorder

    def maps(self, latents: int, size: Size) -> Tensor:
        """float32 [references, latents, *size]: the mean over layers and UNet calls, but for a
        factor that all have in common, of what positive conditionings saw."""
        total = torch.zeros(len(self.regions), latents, *size)
        times = torch.zeros(latents, *size)
        for (call, window), recorder in self._accumulators.items():
            frames = [min(frame, latents - 1) for frame in window or range(call.latents)]
            positive = [(i, chunk) for i, chunk in enumerate(call.chunks) if chunk.positive]
            for _, chunk in positive:
                here = on_latent(torch.full(call.input_size, 1.0), call, chunk, size)
                times[frames] += recorder.calls * here
            for (group, layer_size), sums in recorder.sums.items():
                chunks = rearrange(
                    sums.cpu().flatten(0, 1),
                    "(chunks latents h w) references -> chunks references latents h w",
                    chunks=len(call.chunks),
                    latents=call.latents,
                    h=layer_size[0],
                )
                for number, chunk in positive:
                    seen = on_latent(chunks[number], call, chunk, size)
                    for region, one in zip(group, seen, strict=True):
                        total[self.regions.index(region), frames] += one
        return total / times.clamp(min=1)

    def __deepcopy__(self, memo: object) -> Recording:
        return self


class AttentionAccumulator:
    """One kind of UNet call: what its layers saw, in all calls together."""

    def __init__(self, norms: Norms):
        self.calls = 0
        # [rows, latents * queries, references] per group and layer size, on the device
        self.sums: dict[tuple[TokenGroup, Size], Tensor] = {}
        self._norms = norms

    def probe(self, group: TokenGroup, kv: PackedKV, layer_size: Size) -> AttentionProbe:
        if kv.v not in self._norms:
            self._norms[kv.v] = value_norms(kv)

        def add(seen: Tensor) -> None:
            if (group, layer_size) in self.sums:
                self.sums[group, layer_size].add_(seen)
            else:
                self.sums[group, layer_size] = seen

        return AttentionProbe(self._norms[kv.v], add)


def on_latent(seen: Tensor, call: UNetCall, chunk: CondChunk, size: Size) -> Tensor:
    """[..., height, width] of a call's input -> [..., *size]; 0 outside of the chunk's area."""
    area = chunk.area or Area(0, 0, *call.latent_size)
    whole = torch.zeros(*seen.shape[:-2], *call.latent_size)
    part = to_grid(seen, area.height, area.width)
    whole[..., area.y : area.y + area.height, area.x : area.x + area.width] = part
    return to_grid(whole, *size)
