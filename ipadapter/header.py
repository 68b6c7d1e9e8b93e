"""What a model file holds, read from its first bytes alone: names, types and shapes, no numbers.

A .safetensors file begins with a header. It is checked here in full, because a loader that maps
such a file into memory may believe it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from torch import Tensor

from .errors import IPAdapterError
from .pickled import read_pickled
from .wrong_files import is_safetensors, refuse_wrong_file

MAX_HEADER = 2**24  # bytes; training notes in LoRA files take a few millions
MAX_TENSORS = 2**17
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 2**48  # of one tensor, counting empty dimensions as 1

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorInfo(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # of its bytes, counted from the end of the header
    end: int


class Header(NamedTuple):
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def check_file(path: str) -> None:
    """Refuse a file that is no model, or whose tensors are not what its size allows."""
    look_into(path)


def look_into(path: str, name: str | None = None) -> Mapping[Any, Any]:
    """What a file holds, its tensors on the meta device.

    IPAdapterError calls a broken file by ``name``, or as it is called on disk.
    """
    name = name or os.path.basename(path)
    if is_safetensors(path):
        return meta_tensors(read_header(path, name))
    return read_pickled(path, name)


def read_header(path: str, name: str | None = None) -> Header:
    """The header of a .safetensors file, checked. Reads nothing behind it."""
    name = name or os.path.basename(path)
    refuse_wrong_file(path, name)
    with open(path, "rb") as stream:
        return _parse(stream, name)


def meta_tensors(header: Header) -> dict[str, Tensor]:
    """Tensors of the header's shapes and types that take no memory."""
    return {
        name: torch.empty(info.shape, dtype=info.dtype, device="meta")
        for name, info in header.tensors.items()
    }


def _parse(stream: BinaryIO, file: str) -> Header:
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > MAX_HEADER:
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no model file; download it again"
        )
    if length > size - 8:
        raise _damaged(file, "it is cut short within its header")
    try:
        parsed: object = json.loads(stream.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "its header cannot be read") from error
    if not isinstance(parsed, dict):
        raise _damaged(file, "its header is no table of tensors")
    table = cast("dict[str, Any]", parsed)
    if len(table) > MAX_TENSORS:
        raise _damaged(file, f"its header names {len(table)} tensors")
    notes = table.pop("__metadata__", None)
    metadata = _metadata({} if notes is None else notes, file)
    tensors: dict[str, TensorInfo] = {}
    for name, entry in table.items():
        info = _tensor_info(entry)
        if isinstance(info, str):
            raise _damaged(file, f"{name[:80]} {info}")
        tensors[name] = info
    _check_places(tensors, size - 8 - length, file)
    return Header(tensors, metadata)


def _damaged(file: str, why: str) -> IPAdapterError:
    return IPAdapterError(f"{file} is damaged: {why}; download it again")


def _metadata(notes: object, file: str) -> dict[str, str]:
    texts = cast("dict[str, Any]", notes) if isinstance(notes, dict) else None
    if texts is None or not all(isinstance(text, str) for text in texts.values()):
        raise _damaged(file, "its notes (__metadata__) are no texts")
    return texts


def _check_places(tensors: dict[str, TensorInfo], size: int, file: str) -> None:
    """The tensors lie side by side and fill the ``size`` bytes behind the header."""
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if info.start != position:
            where = "overlaps the tensor before it" if info.start < position else "follows a gap"
            raise _damaged(file, f"{name[:80]} {where}")
        position = info.end
    if position > size:
        raise _damaged(file, f"it is cut short, {position - size} bytes are missing")
    if position < size:
        raise _damaged(file, f"{size - position} bytes at its end belong to no tensor")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _tensor_info(entry: object) -> TensorInfo | str:
    """One row of the header; a text says what is wrong with it."""
    row = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if row.keys() != {"dtype", "shape", "data_offsets"}:
        return "is not described by dtype, shape and data_offsets"
    dtype = DTYPES.get(str(row["dtype"]))
    if dtype is None:
        return f"holds numbers of an unknown type ({str(row['dtype'])[:20]})"
    shape, offsets = _counts(row["shape"]), _counts(row["data_offsets"])
    if shape is None or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        return "has an impossible shape"
    if offsets is None or len(offsets) != 2:
        return "has no place in the file"
    start, end = offsets
    if end - start != math.prod(shape) * dtype.itemsize:
        return f"has the shape {shape} but {end - start} bytes"
    return TensorInfo(dtype, shape, start, end)


def _counts(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    numbers = cast("list[Any]", value)
    if len(numbers) > MAX_DIMENSIONS or not all(
        type(n) is int and 0 <= n <= MAX_ELEMENTS for n in numbers
    ):
        return None
    return tuple(numbers)
