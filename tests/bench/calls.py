"""What references add to a UNet call: time and kernels; and that both ways give the same result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from ipadapter_pack.tests.kernels import Kernels
from torch import Tensor

from .scene import Scene
from .settings import Row, Settings, milliseconds

BOUND = 8  # kernels per patched layer and UNet call for one token count: Rule 5
SHARE = {"SD1.5": 0.15, "SDXL": 0.35}  # of the budget, for the timing of one layout
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}  # of what the references change


def timing(scene: Scene, settings: Settings) -> Iterator[Row]:
    for kind, count in settings.cases():
        models = {
            "plain": scene.plain,
            "ours": scene.ours(kind, count),
            "textbook": scene.textbook(kind, count),
        }
        ms, calls = time_calls(scene, models, settings)
        yield {
            "layout": scene.name,
            "kind": kind,
            "references": count,
            **{f"{name}, ms": ms[name] for name in models},
            "ours / plain": ms["ours"] / ms["plain"],
            "textbook / plain": ms["textbook"] / ms["plain"],
            "textbook / ours": ms["textbook"] / ms["ours"],
            "calls timed": calls,
        }


def time_calls(
    scene: Scene, models: dict[str, Any], settings: Settings
) -> tuple[dict[str, float], int]:
    """Median milliseconds of a UNet call, and of how many calls of each model.

    The models take turns so that all see the same load.
    """
    samples: dict[str, list[float]] = {name: [] for name in models}

    def work(call: Callable[[], Tensor], _: Any) -> list[float]:
        call()
        return [milliseconds(call) for _ in range(settings.calls)]

    share = SHARE[scene.name] / len(list(settings.cases()))
    for _ in settings.budget.repeats(settings.rounds, share):
        for name, model in models.items():
            samples[name] += scene.sampling(model, work)
    medians = {name: statistics.median(taken) for name, taken in samples.items()}
    return medians, len(samples["plain"])


def kernels(scene: Scene, settings: Settings) -> Iterator[Row]:
    plain = count_kernels(scene, scene.plain)
    for kind, count in settings.cases():
        ours = count_kernels(scene, scene.ours(kind, count))
        textbook = count_kernels(scene, scene.textbook(kind, count))
        per_layer = {
            name: (found.count - plain.count) / len(scene.widths)
            for name, found in (("ours", ours), ("textbook", textbook))
        }
        yield {
            "layout": scene.name,
            "layers": len(scene.widths),
            "kind": kind,
            "references": count,
            **per_layer,
            "allowed": BOUND,
            "textbook / ours": per_layer["textbook"] / per_layer["ours"],
            "ours, syncs": ours.syncs - plain.syncs,
            "textbook, syncs": textbook.syncs - plain.syncs,
        }


def count_kernels(scene: Scene, model: Any) -> Kernels:
    """What a warm UNet call launches."""

    def work(call: Callable[[], Tensor], _: Any) -> Kernels:
        call()
        with Kernels() as counted:
            call()
        return counted

    return scene.sampling(model, work)


def agreement(scene: Scene, settings: Settings) -> Iterator[Row]:
    def result(model: Any) -> Tensor:
        return scene.sampling(model, lambda call, _: call()).double()

    plain = result(scene.plain)
    for kind, count in settings.cases():
        ours = result(scene.ours(kind, count, masked=False))
        textbook = result(scene.textbook(kind, count, masked=False))
        difference = (ours - textbook).norm() / (textbook - plain).norm()
        yield {
            "layout": scene.name,
            "kind": kind,
            "references": count,
            "difference": float(difference),
            "allowed": TOLERANCE[scene.size.dtype],
            "effect on the result": float((textbook - plain).norm() / plain.norm()),
        }
