"""How much to measure, and what every measurement shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import comfy.model_management
import torch

from .sizes import Size

Row = dict[str, Any]


class Settings(NamedTuple):
    """How much to measure."""

    size: Size
    layouts: tuple[str, ...] = ("SD1.5", "SDXL")
    kinds: tuple[str, ...] = ("base", "Plus")
    references: tuple[int, ...] = (1, 3, 10)
    latent: int | None = None  # None: the size's own
    rounds: int = 10
    calls: int = 3  # per round, after one to warm up
    pictures: int = 5
    starts: int = 3

    def cases(self) -> Iterator[tuple[str, int]]:
        return ((kind, count) for kind in self.kinds for count in self.references)


def milliseconds(work: Callable[[], Any]) -> float:
    """On a GPU, time until it is done; on a CPU, time that this process had it."""
    cuda = comfy.model_management.get_torch_device().type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    start = clock()
    work()
    if cuda:
        torch.cuda.synchronize()
    return 1000 * (clock() - start)
