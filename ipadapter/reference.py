"""What a reference is, once encoded, and where it acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Features:
    """What encoders saw in pictures, a row per picture or face; float32, on the CPU."""

    clip: Tensor | None = None  # [images, width] or [images, clip tokens, width]
    face: Tensor | None = None  # [images, 512]
    structure: float | None = None  # FaceID Plus V2: the weight of CLIP's view; None is V1


class MadeWith(NamedTuple):
    """The adapter that a reference was encoded with."""

    family: str
    file: str
    digest: str  # of its projection's tensors


@dataclass(frozen=True, eq=False)
class EncodedReference:
    """Image tokens of one or more pictures, float32 [images, tokens, channels]."""

    positive: Tensor
    negative: Tensor  # what the negative prompt sees instead
    features: tuple[Features, Features] | None = None  # what both were projected from
    adapter: MadeWith | None = None  # None: it is used only where it was made


class LayerSchedule(NamedTuple):
    """How the weight is spread over the layers, see weight_types/layers.py."""

    name: str = "linear"
    second: float | None = None  # weight of the other part, in schedules that have two
    layer_weights: str = ""


EVENLY = LayerSchedule()


@dataclass(frozen=True, eq=False)
class Region:
    """A reference, where it acts, how strongly and when."""

    reference: EncodedReference
    mask: Tensor | None  # [masks, height, width], 0 to 1; None acts everywhere
    weight: float
    weight_type: str
    start_at: float = 0.0  # fractions of the noise schedule
    end_at: float = 1.0
    unfold_batch: bool = False  # picture i goes to latent i, instead of all pictures to each
    schedule: LayerSchedule = EVENLY

    @property
    def has_range(self) -> bool:
        return self.start_at > 0.0 or self.end_at < 1.0
