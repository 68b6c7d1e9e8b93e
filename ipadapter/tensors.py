"""What a loader lets through but would hurt later."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import IPAdapterError


def check_stored(key: str, tensor: object, file: str) -> Tensor:
    """The tensor, in one piece; IPAdapterError, naming the file, unless it is dense and all there."""
    if not isinstance(tensor, Tensor):
        why = f"is a {type(tensor).__name__}, not a tensor"
    elif tensor.layout is not torch.strided:
        why = f"is {tensor.layout}"
    elif tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        why = "claims more numbers than it holds"
    else:
        return tensor.contiguous()
    raise damaged(key, why, file)


def not_finite(tensor: Tensor) -> str | None:
    """What a tensor [...] of some numbers has that is none, in words; None where all are finite.

    In one pass, without a copy: NaN spreads to both ends, infinity is one of them.
    """
    ends = torch.stack(torch.aminmax(tensor))
    if ends.isfinite().all():
        return None
    return "NaN (not a number)" if ends.isnan().any() else "infinity"


def damaged(key: str, why: str, file: str) -> IPAdapterError:
    return IPAdapterError(f"{file} is damaged: {key[:80]} {why}; download it again")
