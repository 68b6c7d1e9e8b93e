"""Which adapter a reference was made with: its tokens mean nothing to another."""

from __future__ import annotations

from dataclasses import replace

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import AdapterId, EncodedReference
from ..loading.adapter import LoadedAdapter


def made_with(reference: EncodedReference, loaded: LoadedAdapter) -> EncodedReference:
    """The reference, marked as this adapter's, for nodes that hand it on."""
    adapter = AdapterId(loaded.projection.name, loaded.file, loaded.digest)
    return replace(reference, adapter=adapter)


def check_adapter(
    reference: object, loaded: LoadedAdapter, name: str = "reference"
) -> EncodedReference:
    """The reference. IPAdapterError, naming the input, unless it was encoded with this adapter."""
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
    return reference
