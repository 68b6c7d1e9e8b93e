"""What a model file holds, read from its first bytes alone: names, types and shapes, no numbers.

A .safetensors file begins with a header, which safetensors compares with the file as it opens it.
Checked here is what that lets pass, because another loader may believe it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
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


# How safetensors calls what is wrong, in its older words and its newer ones, and how the pack does.
REASONS = {
    r"header ?too ?(large|small)|invalid ?header ?length": "it is cut short within its header",
    r"incomplete": "it is cut short, or bytes at its end belong to no tensor",
    r"invalid ?offset": "its tensors overlap or leave a gap",
    r"overflow|tensor ?invalid|invalid shape": "a tensor has an impossible shape",
}


class Header(NamedTuple):
    tensors: dict[str, Tensor]  # on the meta device, where they take no memory
    metadata: dict[str, str]


def check_file(path: str) -> None:
    """Refuse a file that is no model, or whose tensors are not what its size allows."""
    look_into(path)


def look_into(path: str, name: str | None = None) -> Mapping[Any, Any]:
    """What a file holds, its tensors on the meta device.

    IPAdapterError calls a broken file by ``name``, or as it is called on disk.
    """
    name = name or os.path.basename(path)
    return read_header(path, name).tensors if is_safetensors(path) else read_pickled(path, name)


def read_header(path: str, name: str | None = None) -> Header:
    """The header of a .safetensors file, checked. Reads nothing behind it."""
    name = name or os.path.basename(path)
    refuse_wrong_file(path, name)
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER:
            raise IPAdapterError(
                f"{name} cannot be read: it is cut short or no model file; download it again"
            )
        text = stream.read(length)
    try:
        with safe_open(path, framework="numpy"):
            pass  # opened, it is sound; its tensors are not read
        table: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique)
    except (SafetensorError, ValueError) as error:
        raise _damaged(name, _reason(str(error))) from error
    except OSError as error:  # of a disk that maps no files
        raise IPAdapterError(f"{name} cannot be opened: {error}") from error
    metadata: dict[str, str] = table.pop("__metadata__", None) or {}
    if len(table) > MAX_TENSORS:
        raise _damaged(name, f"its header names {len(table)} tensors")
    return Header({key: _meta_tensor(key, row, name) for key, row in table.items()}, metadata)


def _damaged(file: str, why: str) -> IPAdapterError:
    return IPAdapterError(f"{file} is damaged: {why}; download it again")


def _reason(error: str) -> str:
    reasons = (ours for theirs, ours in REASONS.items() if re.search(theirs, error, re.IGNORECASE))
    return next(reasons, "its header cannot be read")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _meta_tensor(key: str, entry: Any, file: str) -> Tensor:
    """A row of the header; safetensors has compared its bytes with its type and shape."""
    row = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if row.keys() != {"dtype", "shape", "data_offsets"}:  # safetensors also takes a list of them
        raise _damaged(file, f"{key[:80]} is not described by dtype, shape and data_offsets")
    dtype = DTYPES.get(str(row["dtype"]))
    if dtype is None:
        raise _damaged(file, f"{key[:80]} holds numbers of an unknown type ({row['dtype']!s:.20})")
    shape: list[int] = row["shape"]
    if len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        raise _damaged(file, f"{key[:80]} has an impossible shape")
    return torch.empty(shape, dtype=dtype, device="meta")
