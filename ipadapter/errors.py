"""The one exception that a user of the pack meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Row = TypeVar("Row")


class IPAdapterError(ValueError):
    """One line in the user's words: what was given, what was expected, what to change."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


def pick(table: Mapping[str, Row], choice: str, name: str, *others: str) -> Row:
    """A row of a table by what the user chose in ``name``.

    IPAdapterError lists what there is; ``others`` is what the caller has treated itself.
    """
    if choice not in table:
        raise IPAdapterError(f"{name} {choice}: choose one of {', '.join([*others, *table])}")
    return table[choice]
