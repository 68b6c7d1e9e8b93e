"""IPADAPTER values, as other packs read them: as the dictionaries that version 2's loaders gave."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any


class AsDictionary(Mapping[str, Any]):
    """A value of ours that can also be read as a dictionary, and not written to."""

    @property
    @abstractmethod
    def dictionary(self) -> Mapping[str, Any]:
        """What version 2's loader gave in its place."""

    def __getitem__(self, key: str) -> Any:
        return self.dictionary[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.dictionary)

    def __len__(self) -> int:
        return len(self.dictionary)

    def __eq__(self, other: object) -> bool:
        """Unlike dictionaries, two adapters of equal contents are two."""
        return self is other

    def __hash__(self) -> int:
        return id(self)
