"""What lies in the models folders, by content. A file is opened once, until it changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import folder_paths

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.header import look_into

Kind = TypeVar("Kind")
KindOf = Callable[[Any, str], Kind]

# (path, what it was looked at for) -> (its time and size then, what it is or why it is not).
_seen: dict[tuple[str, Any], tuple[tuple[int, int], Any]] = {}


def find_files(
    folder: str, kind_of: KindOf[Kind], names: Iterable[str] | None = None
) -> dict[str, Kind | IPAdapterError]:
    """Name -> kind of every file in a models folder, in subfolders and extra paths too.

    For what is no such file, the error that says what it is. ``names`` are all there, if not given.
    """
    found: dict[str, Kind | IPAdapterError] = {}
    for name in folder_paths.get_filename_list(folder) if names is None else names:
        path = folder_paths.get_full_path(folder, name)
        if path is not None:
            found[name] = _look(path, name, kind_of)
    return found


def _look(path: str, name: str, kind_of: KindOf[Kind]) -> Kind | IPAdapterError:
    try:
        stat = os.stat(path)
    except OSError as error:
        return IPAdapterError(f"{name} cannot be opened: {error.strerror}")
    stamp = stat.st_mtime_ns, stat.st_size
    seen = _seen.get((path, kind_of))
    if seen is not None and seen[0] == stamp:
        return seen[1]
    try:
        kind = kind_of(look_into(path, name), name)
    except IPAdapterError as error:
        kind = IPAdapterError(str(error))  # without the traceback, which holds the file
        if isinstance(error.__cause__, OSError):
            return kind  # of the moment, perhaps
    _seen[path, kind_of] = stamp, kind
    return kind


def where(folder: str) -> str:
    """The first folder of that name, for telling a user where to put a file."""
    return folder_paths.get_folder_paths(folder)[0]
