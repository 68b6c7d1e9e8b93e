"""What the files of the sampling path hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...ipadapter.attention import Gauge, Rows
from ...ipadapter.base_models import Layer
from ...ipadapter.reference import Region
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


class RegionKV(NamedTuple):
    """Keys and values of a region in one layer, weight folded in, on the CPU.

    Index 0 of the first dimension is the negative's, 1 the positive's; ``images`` is 1 unless
    picture i goes to latent i. With few tokens k is [2, images, heads, dim, tokens], with the scale
    1 / sqrt(dim) folded in, and v [2, images, heads, tokens, dim]; with many, both are
    [2, images, tokens, heads * dim].
    """

    region: Region
    k: Tensor
    v: Tensor

    @property
    def fused(self) -> bool:
        return self.k.ndim == 5

    @property
    def tokens(self) -> int:
        return self.v.shape[-2]


Acting = Mapping[Slot, Sequence[RegionKV]]  # what acts in each layer of a model


class Chunk(NamedTuple):
    """One conditioning in a UNet call."""

    positive: bool
    area: Area | None  # None covers everything


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

    def gauge(self, lane: Lane, rows: Rows, grid: Grid, heads: int) -> Gauge: ...


class RunRecorder(Protocol):
    """Gives each UNet call of a run its recorder; None where nothing of it is recorded."""

    def meter(self, call: Call, window: tuple[int, ...] | None) -> CallRecorder | None: ...
