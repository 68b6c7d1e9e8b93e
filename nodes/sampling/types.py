"""What the files of the sampling path hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...ipadapter.attention import AttentionProbe, PackedKV
from ...ipadapter.base_models import Layer
from ...ipadapter.reference import PromptPair, Region
from ...masks.layout import Area

# In a model's options, where each part of a run finds the others' work.
KEY = "ipadapter_regions"
RUN_KEY = "ipadapter_regions_run"
BATCH_KEY = "ipadapter_regions_batch"
WHOLE_KEY = "ipadapter_regions_whole"
RECORDING_KEY = "ipadapter_regions_recording"

Size = tuple[int, int]  # height and width in cells: of a latent, or of a layer
TokenGroup = tuple[Region, ...]  # references of one token count, which share a pass


class PatchKey(NamedTuple):
    """One patch of ours: a layer, and which of our patches there (see ``add_region``)."""

    layer: Layer
    nesting: int  # how many patches of ours lie below it


class CondChunk(NamedTuple):
    """One conditioning in a UNet call."""

    positive: bool
    area: Area | None  # None covers everything


class CondBatch(NamedTuple):
    """The conditionings that ComfyUI evaluates together, by uuid and index."""

    latent_size: Size  # of the whole latent
    chunks: Mapping[tuple[Any, int], CondChunk]


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

    def of(self, chunk: CondChunk) -> KeyValue:
        return self.seen.positive if chunk.positive else self.seen.negative

    def to(self, device: torch.device, dtype: torch.dtype) -> RegionKV:
        return self._replace(seen=PromptPair(*(each.to(device, dtype) for each in self.seen)))


Acting = Mapping[PatchKey, Sequence[RegionKV]]  # what acts in each layer of a model


class UNetCall(NamedTuple):
    """What tells one UNet call of a run from another."""

    chunks: tuple[CondChunk, ...]  # conditionings that share this call
    latents: int  # per chunk
    latent_size: Size  # of the whole latent
    input_size: Size  # of what the UNet is given: the whole latent, or an area of it
    window: tuple[int, ...] | None  # which frames the latents are
    device: torch.device
    dtype: torch.dtype


class CallRecorder(Protocol):
    """Measures the references in the layers of one UNet call."""

    def probe(self, group: TokenGroup, kv: PackedKV, layer_size: Size) -> AttentionProbe: ...


class RunRecorder(Protocol):
    """Gives each UNet call of a run its recorder; None where nothing of it is recorded."""

    def record_call(
        self, call: UNetCall, window: tuple[int, ...] | None
    ) -> CallRecorder | None: ...
