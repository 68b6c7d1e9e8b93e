"""The structure of a pickled model file (.bin, .pt): names, types and shapes, no numbers.

PyTorch's restricted unpickler reads it, which runs nothing. The tensors' sizes are the file's own
word, so they are compared with its size before anything is allocated.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from .errors import IPAdapterError
from .wrong_files import refuse_wrong_file


def read_pickled(path: str, file: str) -> Mapping[Any, Any]:
    """What a file holds, its tensors on the meta device. IPAdapterError calls it ``file``."""
    refuse_wrong_file(path, file)
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"  # as PyTorch decides it
    if is_zip:
        check_archive(path, size, file)
    try:
        refuse_memory_eaters(path, is_zip, file)
        content: object = torch.load(path, weights_only=True, mmap=is_zip, map_location="meta")
    except MemoryEaterError:
        raise IPAdapterError(f"{file} is refused: it asks for memory beyond its contents") from None
    except pickle.UnpicklingError as error:
        raise IPAdapterError(
            f"{file} is refused: it holds code or is no plain checkpoint; get the .safetensors"
        ) from error
    except Exception as error:  # a hostile file chooses what it makes the reader raise
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no model file; download it again"
        ) from error
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise IPAdapterError(f"{file} is no model file: it holds a {kind}, not named tensors")
    table = cast("Mapping[Any, Any]", content)
    _check_sizes(table, size, file)
    return table


def check_archive(path: str, size: int, file: str) -> None:
    """Of a zip, which PyTorch's files are: its table of contents alone, at its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise IPAdapterError(f"{file} is damaged: it is cut short; download it again") from error
    if any(os.path.basename(entry.filename) == "constants.pkl" for entry in entries):
        raise IPAdapterError(
            f"{file} is refused: it is a TorchScript program; get the .safetensors"
        )
    if not any(os.path.basename(entry.filename) == "data.pkl" for entry in entries):
        raise IPAdapterError(f"{file} is no model file: it is a zip archive; unpack it")
    if sum(entry.file_size for entry in entries) > size:
        raise IPAdapterError(f"{file} is refused: it is packed or larger when unpacked")


def refuse_memory_eaters(path: str, is_zip: bool, file: str) -> None:
    """What the restricted unpickler lets a few bytes call: a bytearray of any length."""
    with open(path, "rb") as stream, contextlib.suppress(ValueError):  # PyTorch says what is wrong
        for structure in _zipped(stream) if is_zip else [stream] * LEGACY_PICKLES:
            for _, argument, _ in pickletools.genops(structure):
                if isinstance(argument, str) and argument.split(" ")[-1] == "bytearray":
                    raise MemoryEaterError


class MemoryEaterError(Exception):
    """Found one."""


LEGACY_PICKLES = 5  # magic number, protocol, system, content, names of the storages; then numbers


def _zipped(stream: BinaryIO) -> list[bytes]:
    with zipfile.ZipFile(stream) as archive:
        names = [name for name in archive.namelist() if os.path.basename(name) == "data.pkl"]
        return [archive.read(name) for name in names]


def _check_sizes(content: Mapping[Any, Any], size: int, file: str) -> None:
    """No tensor is larger than the file that it is in."""
    seen: set[int] = set()
    waiting: list[Mapping[Any, Any]] = [content]
    while waiting:
        table = waiting.pop()
        if id(table) in seen:
            continue
        seen.add(id(table))
        for key, value in table.items():
            if isinstance(value, Mapping):
                waiting.append(cast("Mapping[Any, Any]", value))
            elif (
                isinstance(value, Tensor) and value.layout is torch.strided and value.nbytes > size
            ):
                raise IPAdapterError(
                    f"{file} is damaged: {str(key)[:80]} has the shape {tuple(value.shape)}, which "
                    f"cannot be in {size} bytes; download it again"
                )
