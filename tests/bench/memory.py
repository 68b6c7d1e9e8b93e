"""What references keep in memory while sampling."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_management
import torch
from ipadapter_pack.masks.grid import pyramid
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.nodes.sampling.group_masks import LEVELS
from ipadapter_pack.nodes.sampling.types import RUN_KEY
from torch import Tensor

from . import sizes
from .scene import Scene
from .settings import Row, Settings

MIB = 2**20


def resident(scene: Scene, settings: Settings) -> Iterator[Row]:
    for kind, count in settings.cases():
        weights = sum(p.nbytes for p in scene.adapters[kind].adapter.parameters())

        def work(call: Callable[[], Tensor], options: Any) -> tuple[int, int]:
            call()
            run = options[RUN_KEY]
            return storage(run._packed), storage(vars(run.masks))

        rows, masks = scene.sampling(scene.ours(kind, count), work)
        yield sizes_row(scene.name, kind, count, rows, masks, weights)


def resident_as_published(settings: Settings) -> Iterator[Row]:
    """Reckoned from the shapes of the published models, in float16."""
    size = sizes.PUBLISHED
    for name in settings.layouts:
        latent = size.layouts[name].latent
        layers = find_layers(sizes.unet(name, size, "meta"))
        widths = [shape.width for shape in layers.values()]
        cells = sum(height * width for height, width in pyramid(latent, latent)[:LEVELS])
        for kind, count in settings.cases():
            weights = sum(map(math.prod, sizes.adapter_shapes(kind, name, widths, size).values()))
            numbers = 2 * 2 * count * sizes.TOKENS[kind] * sum(widths)  # K and V, both roles
            # A mask's levels, as the layers read them and as they were reduced in float32.
            yield sizes_row(name, kind, count, 2 * numbers, (2 + 4) * count * cells, 2 * weights)


def sizes_row(layout: str, kind: str, count: int, rows: int, masks: int, weights: int) -> Row:
    return {
        "layout": layout,
        "kind": kind,
        "references": count,
        "K and V, MiB": rows / MIB,
        "masks, MiB": masks / MIB,
        "adapter, MiB": weights / MIB,
        "three copies, MiB": 3 * weights / MIB,
        "ours / one copy": (rows + masks) / weights,
        "ours / three copies": (rows + masks) / weights / 3,
    }


def storage(holder: Any) -> int:
    """Bytes of all tensors in nested dictionaries, lists and tuples."""

    def found(x: Any) -> Iterator[Tensor]:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, dict):
            for value in x.values():
                yield from found(value)
        elif isinstance(x, (list, tuple)):
            for value in x:
                yield from found(value)

    return sum({x.data_ptr(): x.untyped_storage().nbytes() for x in found(holder)}.values())


def peaks(scene: Scene, settings: Settings) -> Iterator[Row]:
    if comfy.model_management.get_torch_device().type != "cuda":
        return
    plain = peak(scene, scene.plain)
    for kind, count in settings.cases():
        ours = peak(scene, scene.ours(kind, count))
        textbook = peak(scene, scene.textbook(kind, count))
        yield {
            "layout": scene.name,
            "kind": kind,
            "references": count,
            "plain, MiB": plain / MIB,
            "ours adds, MiB": (ours - plain) / MIB,
            "textbook adds, MiB": (textbook - plain) / MIB,
        }


def peak(scene: Scene, model: Any) -> int:
    """Most bytes that PyTorch held on the GPU while sampling, adapter and encoder sent away."""
    gc.collect()
    comfy.model_management.unload_all_models()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    scene.sampling(model, lambda call, _: (call(), call()))
    return torch.cuda.max_memory_allocated()
