"""Remembering what the image encoder said of the last pictures."""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

Seen = TypeVar("Seen")


class FeatureCache:
    """Features of the last pictures, by their pixels and the encoder.

    Lives with the adapter's value, so that sweeping a weight, a mask or a prompt encodes nothing.
    """

    size = 64  # more than the regions of one node

    def __init__(self) -> None:
        self._pictures: OrderedDict[Any, Any] = OrderedDict()
        self._unconditional: weakref.WeakKeyDictionary[Any, Tensor] = weakref.WeakKeyDictionary()

    def picture(
        self, encoder: Any, picture: Tensor, encode: Callable[[Tensor], Seen], *how: object
    ) -> Seen:
        """What an encoder sees in one picture [H, W, channels], asked only if it is not known.

        ``how`` is what else the answer depends on.
        """
        reference = reference_to(encoder)
        if reference is None:
            return encode(picture)
        key = (reference, fingerprint(picture), *how)
        if key not in self._pictures:
            self._pictures[key] = encode(picture)
        self._pictures.move_to_end(key)
        while len(self._pictures) > self.size:
            self._pictures.popitem(last=False)
        return self._pictures[key]

    def unconditional(self, encoder: Any, encode: Callable[[], Tensor]) -> Tensor:
        """The features of "no picture": one per encoder, kept beside the pictures."""
        reference = reference_to(encoder)
        if reference is None:
            return encode()
        if encoder not in self._unconditional:
            self._unconditional[encoder] = encode()
        return self._unconditional[encoder]


def reference_to(encoder: Any) -> weakref.ref[Any] | None:
    """None for an encoder of another pack that cannot be remembered: not weakly, or not hashable."""
    try:
        reference = weakref.ref(encoder)
        hash(reference)
    except TypeError:
        return None
    return reference


def fingerprint(picture: Tensor) -> str:
    """A digest of the shape and the pixels of a picture [H, W, channels]."""
    pixels = picture.detach().cpu().contiguous().float().numpy()
    return hashlib.blake2b(pixels.tobytes(), person=repr(pixels.shape).encode()[:16]).hexdigest()
