"""Loops over pictures that show how far they are, and that a user can interrupt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

import comfy.model_management
import comfy.utils

Item = TypeVar("Item", covariant=True)


class Items(Sized, Iterable[Item], Protocol[Item]):
    """A batch, a list."""


def one_by_one(items: Items[Item]) -> Iterator[Item]:
    """The items in turn, with a progress bar on the node that is running."""
    bar = comfy.utils.ProgressBar(len(items))
    for item in items:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield item
        bar.update(1)
