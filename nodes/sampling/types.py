"""What the files of the sampling path hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...ipadapter.attention import Gauge, Rows
from ...ipadapter.base_models import Layer
from ...ipadapter.reference import PromptPair, Region
from ...masks.layout import Area

# In a model's options, where each part of a run finds the others' work.
KEY = "ipadapter_regions"
RUN_KEY = "ipadapter_regions_run"
CHUNKS_KEY = "ipadapter_regions_chunks"
RECORDING_KEY = "ipadapter_regions_recording"

Grid = tuple[int, int]
Lane = tuple[Region, ...]  # references of one token count, which share a pass


class Slot(NamedTuple):
    """One patch of ours: a layer, and which of our patches there (see ``add_region``)."""

    layer: Layer
    depth: int


class Chunk(NamedTuple):
    """One conditioning in a UNet call."""

    positive: bool
    area: Area | None  # None covers everything


class KeyValue(NamedTuple):
    """Keys and values of a reference in one layer; ``images`` is 1 unless picture i goes to latent i.

    With few tokens k is [images, heads, dim, tokens], with the scale 1 / sqrt(dim) folded in, and v
    [images, heads, tokens, dim]; with many, both are [images, tokens, heads * dim].
    """

    k: Tensor
    v: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> KeyValue:
        return KeyValue(self.k.to(device, dtype), self.v.to(device, dtype))


class RegionKV(NamedTuple):
    """What a region adds in one layer, weight folded in, on the CPU."""

    region: Region
    seen: PromptPair[KeyValue]
    heads: int

    @property
    def fused(self) -> bool:
        return self.seen.positive.k.ndim == 4

    @property
    def tokens(self) -> int:
        return self.seen.positive.v.shape[-2]

    def of(self, chunk: Chunk) -> KeyValue:
        return self.seen.positive if chunk.positive else self.seen.negative

    def to(self, device: torch.device, dtype: torch.dtype) -> RegionKV:
        return self._replace(seen=PromptPair(*(each.to(device, dtype) for each in self.seen)))


Acting = Mapping[Slot, Sequence[RegionKV]]  # what acts in each layer of a model


class Call(NamedTuple):
    """What tells one UNet call of a run from another."""

    chunks: tuple[Chunk, ...]  # conditionings that share this call
    latents: int  # per chunk
    canvas: tuple[int, int]  # of the whole latent, in cells
    grid: tuple[int, int]  # of what the UNet is given: the canvas, or an area of it
    window: tuple[int, ...] | None  # which frames the latents are
    device: torch.device
    dtype: torch.dtype


class CallRecorder(Protocol):
    """Measures the references in the layers of one UNet call."""

    def gauge(self, lane: Lane, rows: Rows, grid: Grid) -> Gauge: ...


class RunRecorder(Protocol):
    """Gives each UNet call of a run its recorder; None where nothing of it is recorded."""

    def meter(self, call: Call, window: tuple[int, ...] | None) -> CallRecorder | None: ...
