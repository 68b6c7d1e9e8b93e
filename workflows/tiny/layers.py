"""Layers of random weights by name, and a file of them in which zeros take no disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

# A tensor of a model file: its name, its shape, its values (None: zeros).
Tensors = Iterator[tuple[str, tuple[int, ...], Tensor | None]]


class Random:
    """Random layers from one seed; the gain says how much a layer amplifies its input."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator) * std

    def linear(
        self, name: str, out: int, into: int, gain: float = 1.0, bias: bool = True
    ) -> Tensors:
        yield f"{name}.weight", (out, into), self.normal(out, into, std=gain / math.sqrt(into))
        if bias:
            yield f"{name}.bias", (out,), None


def layer(name: str, weight: Tensor, bias: Tensor | None = None) -> Tensors:
    yield f"{name}.weight", tuple(weight.shape), weight
    yield f"{name}.bias", tuple(weight.shape[:1]), bias


def norm(name: str, width: int) -> Tensors:
    yield from layer(name, torch.ones(width))


def zeros(name: str, out: int, into: int) -> Tensors:
    """A Linear that adds nothing."""
    yield f"{name}.weight", (out, into), None
    yield f"{name}.bias", (out,), None


def save(path: Path, tensors: Iterable[tuple[str, tuple[int, ...], Tensor | None]]) -> Path:
    """Write half-precision safetensors; seek over zeros instead of writing them."""
    tensors = list(tensors)
    header: dict[str, dict[str, object]] = {}
    starts, end = {}, 0
    for name, shape, _ in tensors:
        starts[name], start, end = end, end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, _, values in tensors:
            if values is not None:
                file.seek(8 + len(text) + starts[name])
                file.write(values.half().numpy().tobytes())
        file.truncate(8 + len(text) + end)
    part.replace(path)
    return path
