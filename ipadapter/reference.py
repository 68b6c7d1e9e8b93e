"""What a reference is, once encoded, and where it acts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncodedReference:
    """Image tokens of one or more pictures, float32 [images, tokens, channels]."""

    positive: Tensor
    negative: Tensor  # what the negative prompt sees instead


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

    @property
    def has_range(self) -> bool:
        return self.start_at > 0.0 or self.end_at < 1.0
