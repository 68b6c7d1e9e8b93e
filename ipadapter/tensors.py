"""What a loader lets through but would hurt later."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import IPAdapterError


def check_stored(key: str, tensor: object, file: str) -> Tensor:
    """The tensor; IPAdapterError, naming the file, unless it is dense and all there."""
    if not isinstance(tensor, Tensor):
        why = f"is a {type(tensor).__name__}, not a tensor"
    elif tensor.layout is not torch.strided:
        why = f"is {tensor.layout}"
    elif not tensor.is_contiguous() or _stored(tensor) < tensor.numel() * tensor.element_size():
        why = "is not stored in one piece"
    else:
        return tensor
    raise damaged(key, why, file)


def _stored(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def damaged(key: str, why: str, file: str) -> IPAdapterError:
    return IPAdapterError(f"{file} is damaged: {key} {why}; download it again")
