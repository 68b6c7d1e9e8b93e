"""Model files: where they lie, what they hold, and one copy of what is in use."""

from __future__ import annotations

import copy
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import comfy.utils
import folder_paths
from safetensors import SafetensorError

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.header import check_file
from ...ipadapter.wrong_files import is_safetensors

Loaded = TypeVar("Loaded")


def full_path(folder: str, name: str) -> str:
    """Where a file of a models folder lies; IPAdapterError if it is gone."""
    path = folder_paths.get_full_path(folder, as_here(name))
    if path is None:
        raise IPAdapterError(NOT_THERE.format(name, folder))
    return path


def check_listed(folder: str, name: str | None) -> bool | str:
    """Whether a menu of a models folder has the name, with either kind of slashes, or what to say.
    None where another node is connected."""
    there = name is None or as_here(name) in folder_paths.get_filename_list(folder)
    return there or NOT_THERE.format(name, folder)


def as_here(name: str) -> str:
    """With the slashes of this system, in place of those where a prompt was written."""
    return name.replace("\\", os.sep).replace("/", os.sep)


NOT_THERE = "{} is not in models/{} (any more)"


def read_file(path: str) -> object:
    """What a file holds; nothing in it is executed, and nothing hostile allocated."""
    check_file(path)
    file = os.path.basename(path)
    try:
        return comfy.utils.load_torch_file(path, safe_load=True)
    except UNREADABLE as error:
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no model file; download it again"
        ) from error


def read_into_memory(path: str) -> object:
    """The same, independent of the file, which may be rewritten or cut short while in use."""
    content = read_file(path)
    is_mapped = is_safetensors(path) or comfy.utils.MMAP_TORCH_FILES
    return copy.deepcopy(content) if is_mapped else content


# What reading can still raise after that check.
UNREADABLE = (
    SafetensorError, RuntimeError, ValueError, EOFError, OSError, LookupError, AttributeError,
    TypeError, pickle.UnpicklingError,
)  # fmt: skip


class InUse(Generic[Loaded]):
    """One file in use is one copy in memory, however many nodes load it."""

    def __init__(self) -> None:
        self._loaded: weakref.WeakValueDictionary[tuple[str, int, int], Loaded] = (
            weakref.WeakValueDictionary()
        )

    def get(self, path: str, load: Callable[[str], Loaded]) -> Loaded:
        """What the file was loaded as, as long as that is in use and the file has not changed."""
        stat = os.stat(path)
        key = (os.path.realpath(path), stat.st_mtime_ns, stat.st_size)
        loaded = self._loaded.get(key)
        if loaded is None:
            loaded = self._loaded[key] = load(path)
        return loaded
