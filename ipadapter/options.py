"""Rows of the tables that users choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Option(Generic[T]):
    """What a name in a menu stands for.

    ``description`` says it in one sentence, without a capital and a full stop: nodes and help pages
    write it behind the name.
    """

    value: T
    description: str
