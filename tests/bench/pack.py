"""What happens outside of sampling: Apply, fitting masks, and ComfyUI's start."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from ipadapter_pack.masks.grid import to_grid
from ipadapter_pack.tests import tiny
from torch import Tensor

from .scene import Scene
from .settings import Row, Settings, milliseconds

SHARE = 0.05  # of the budget, for ComfyUI's starts


def applying(scene: Scene, settings: Settings) -> Iterator[Row]:
    for kind in settings.kinds:
        pictures = [tiny.picture(100 + i, 512, 512) for i in range(settings.pictures + 1)]
        mask = scene.stripe(0, 2)

        def seconds(picture: Tensor, kind: str = kind, mask: Tensor = mask) -> float:
            return milliseconds(lambda: scene.apply(scene.plain, kind, picture, mask))

        seconds(pictures[0])  # loads encoder and adapter onto the device
        new = statistics.median(seconds(picture) for picture in pictures[1:])
        same = statistics.median(seconds(picture) for picture in pictures[1:])
        yield {
            "layout": scene.name,
            "kind": kind,
            "new picture, ms": new,
            "same picture, ms": same,
            "new / same": new / same,
        }


def starting(settings: Settings) -> Iterator[Row]:
    if not settings.starts:
        return
    script = str(Path(__file__).with_name("start.py"))
    seen = [
        json.loads(subprocess.check_output([sys.executable, script]).splitlines()[-1])
        for _ in settings.budget.repeats(settings.starts, SHARE)
    ]
    ours, comfyui = (
        statistics.median(s[key] for s in seen) for key in ("seconds", "comfyui seconds")
    )
    yield {
        "pack, s": ours,
        "ComfyUI's own imports, s": comfyui,
        "share": ours / (ours + comfyui),
        "nodes": len(seen[0]["nodes"]),
        "tensor operations": len(seen[0]["operations"]),
        "CUDA starts or connections": len(seen[0]["refused"]),
        "allowed": 0,
    }


def reducing(settings: Settings) -> Iterator[Row]:
    mask = torch.rand(1, 1024, 1024, generator=torch.Generator().manual_seed(0))
    times = [milliseconds(lambda: to_grid(mask, 128, 128)) for _ in range(21)]
    yield {"mask": "1024 x 1024", "grid": "128 x 128", "ms": statistics.median(times[1:])}
