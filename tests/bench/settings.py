"""How much to measure, and what every measurement shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import comfy.model_management
import torch

from .sizes import Size

Row = dict[str, Any]


class Budget:
    """The seconds that a whole run may take; how often a measurement repeats follows from them."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.start = clock()

    @property
    def spent(self) -> float:
        return self.clock() - self.start

    @property
    def over(self) -> bool:
        return self.spent >= self.seconds

    def repeats(self, most: int, share: float) -> Iterator[int]:
        """Count up to ``most``, but after the first only within this share of the seconds."""
        end = self.clock() + share * self.seconds
        for number in range(most):
            if number and (self.over or self.clock() >= end):
                return
            yield number


class Settings(NamedTuple):
    """How much to measure."""

    size: Size
    budget: Budget
    layouts: tuple[str, ...] = ("SD1.5", "SDXL")
    kinds: tuple[str, ...] = ("base", "Plus")
    references: tuple[int, ...] = (1, 3, 10)
    latent: int | None = None  # None: the size's own
    rounds: int = 10  # at most, as the budget allows
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
