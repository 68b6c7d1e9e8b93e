"""What a reference is, once encoded, and where it acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

T = TypeVar("T")

Weight = float | Tensor  # for all pictures, or [images, 1, 1]
# How the weight enters attention: (K, V, weight) -> (K, V), each [images, tokens, channels]
WeightType = Callable[[Tensor, Tensor, Weight], tuple[Tensor, Tensor]]
# How a mask is fitted to a layer: (mask [masks, H, W], height and width of what the UNet is given,
# height and width of the layer's grid) -> float32 [masks, cells], on the CPU
MaskFit = Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor]


@dataclass(frozen=True, eq=False)
class PromptPair(Generic[T]):
    """What belongs to the positive prompt, and what to the negative."""

    positive: T
    negative: T

    def __iter__(self) -> Iterator[T]:
        yield self.positive
        yield self.negative


@dataclass(frozen=True, eq=False)
class Features:
    """What encoders saw in pictures, a row per picture or face; float32, on the CPU."""

    clip: Tensor | None = None  # [images, width] or [images, clip tokens, width]
    face: Tensor | None = None  # [images, 512]
    shortcut_scale: float | None = None  # FaceID Plus V2: the weight of CLIP's view; None is V1


class AdapterId(NamedTuple):
    """The adapter that a reference was encoded with."""

    family: str
    file: str
    digest: str  # of its projection's tensors


@dataclass(frozen=True, eq=False)
class EncodedReference:
    """Image tokens of one or more pictures, float32 [images, tokens, channels]."""

    positive: Tensor
    negative: Tensor  # what the negative prompt sees instead
    features: PromptPair[Features] | None = None  # what both were projected from
    adapter: AdapterId | None = None  # None: it is used only where it was made

    def bare(self) -> EncodedReference:
        """The tokens alone, which are all that sampling needs."""
        return EncodedReference(self.positive, self.negative)


class LayerSchedule(NamedTuple):
    """How the weight is spread over the layers, see weight_types/layers.py."""

    name: str = "even"
    second: float | None = None  # weight of the other part, in schedules that have two
    layer_weights: str = ""
    without: tuple[str, ...] = ()  # blocks that are left as they are


EVENLY = LayerSchedule()


@dataclass(frozen=True, eq=False)
class OverTime:
    """What varies over the frames of a clip and the steps of a run: factors of what a region adds."""

    frame_weights: tuple[float, ...] = ()  # of latent i; the last is for all that follow
    # (fraction of the noise schedule, factor), rising, straight lines between; see
    # weight_types/steps.py
    step_weights: tuple[tuple[float, float], ...] = ()
    # [masks, height, width] each, in place of the region's mask: as many equal parts of the schedule
    step_masks: tuple[Tensor, ...] = ()


ALWAYS = OverTime()


@dataclass(frozen=True, eq=False)
class RegionSettings:
    """Where a reference acts, how strongly and when."""

    mask: Tensor | None  # [masks, height, width], 0 to 1; None acts everywhere
    weight: float | Tensor  # [images]: of picture i, which unfold_batch gives to latent i
    weight_type: WeightType
    start_at: float = 0.0  # fractions of the noise schedule
    end_at: float = 1.0
    unfold_batch: bool = False  # picture i goes to latent i, instead of all pictures to each
    schedule: LayerSchedule = EVENLY
    over_time: OverTime = ALWAYS
    mask_fit: MaskFit | None = None  # None: a cell is the mean of what it covers, masks/grid.py

    @property
    def timed(self) -> bool:
        """Whether a reference acts otherwise at one step than at another."""
        ranged = self.start_at > 0.0 or self.end_at < 1.0
        return ranged or bool(self.over_time.step_weights or self.over_time.step_masks)

    @property
    def masks(self) -> tuple[Tensor | None, ...]:
        """Each [masks, height, width], for equal parts of the noise schedule; one for all of it."""
        return self.over_time.step_masks or (self.mask,)

    @property
    def everywhere(self) -> bool:
        """Whether nothing but the step decides how strongly a reference acts."""
        return self.mask is None and not (self.over_time.step_masks or self.over_time.frame_weights)

    def with_masks(self, change: Callable[[Tensor], Tensor]) -> RegionSettings:
        """A copy whose masks are changed; what acts everywhere still does."""
        mask = None if self.mask is None else change(self.mask)
        step_masks = tuple(change(mask) for mask in self.over_time.step_masks)
        return replace(self, mask=mask, over_time=replace(self.over_time, step_masks=step_masks))


@dataclass(frozen=True, eq=False)
class Region:
    """A reference that acts in a model."""

    reference: EncodedReference
    settings: RegionSettings
    number: int = 0  # its place among the regions of the model

    @property
    def unfolded(self) -> bool:
        """Whether the latents of a batch see pictures of their own."""
        return self.settings.unfold_batch and len(self.reference.positive) > 1

    @property
    def per_frame(self) -> bool:
        """Whether the latents of a batch see something of their own."""
        masked = any(mask is not None and len(mask) > 1 for mask in self.settings.masks)
        return self.unfolded or masked or len(self.settings.over_time.frame_weights) > 1
