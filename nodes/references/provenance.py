"""Which adapter a reference was made with: its tokens mean nothing to another."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import EncodedReference, MadeWith

if TYPE_CHECKING:
    from ..loading.adapter import LoadedAdapter


def projection_digest(projection: nn.Module) -> str:
    """A digest of the names, shapes and contents of a projection's tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(projection.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(
            memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        )
    return digest.hexdigest()


def made_with(reference: EncodedReference, loaded: LoadedAdapter) -> EncodedReference:
    """The reference, marked as this adapter's, for nodes that hand it on."""
    adapter = MadeWith(loaded.projection.name, loaded.file, loaded.digest)
    return replace(reference, adapter=adapter)


def check_origin(reference: Any, loaded: LoadedAdapter, name: str = "reference") -> None:
    """IPAdapterError, naming the input, unless the reference was encoded with this adapter."""
    if not isinstance(reference, EncodedReference):
        raise IPAdapterError(
            f"{name}: a {type(reference).__name__} is no reference; connect Encode Reference, "
            "Encode FaceID or Load Reference"
        )
    theirs = reference.adapter
    if theirs and theirs.digest != loaded.digest:
        raise IPAdapterError(
            f"{name}: it was made with {theirs.file} ({theirs.family}), not with "
            f"{loaded.file} ({loaded.projection.name}); connect that adapter, or encode again"
        )
