"""From measurements to tables, and to a verdict."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import torch
from comfyui_version import __version__ as comfyui_version

from . import calls, masks, memory, pack
from .scene import Scene
from .settings import Row, Settings


class Topic(NamedTuple):
    """A table, and what it shows."""

    title: str
    says: str
    rows: Callable[..., Iterator[Row]]


KERNELS = Topic(
    "Kernels per patched layer and UNet call",
    "Operations that compute or copy, beyond the plain model's, composite ones taken apart as "
    "PyTorch runs them. Ours stays under Rule 5's bound whatever the number of references; the "
    "textbook way pays for each. Syncs are per UNet call.",
    calls.kernels,
)
AGREEMENT = Topic(
    "Both ways give the same result",
    "Unmasked, since diffusers reduces masks otherwise: the difference between the two, over "
    "what the references change (norms of one evaluation).",
    calls.agreement,
)
START = Topic(
    "ComfyUI's start",
    "Importing and registering the pack in a fresh interpreter that has imported ComfyUI. It "
    "must run no tensor operation, not start CUDA, and connect to nothing.",
    pack.starting,
)
LIMITED = [
    (KERNELS, "ours"),
    (AGREEMENT, "difference"),
    (START, "tensor operations"),
    (START, "CUDA starts or connections"),
]
OF_A_SCENE = [
    Topic(
        "Time of a UNet call",
        "One evaluation through ComfyUI's sampling, positive and negative in one batch of 2, every "
        "reference masked in its own stripe: median of warm calls, the three models taking turns. "
        "On a CPU it is processor time, so that other programs do not count.",
        calls.timing,
    ),
    KERNELS,
    AGREEMENT,
    Topic(
        "Apply",
        "A new picture is encoded, projected, and turned into keys and values; the same picture "
        "again comes from the memo and only needs keys and values. (The small size's encoder is "
        "tiny; ViT-H takes far longer.)",
        pack.applying,
    ),
    Topic(
        "Bytes resident while sampling",
        "Keys and values of positive and negative, and masks of every level, beside the adapter's "
        "own weights, which may leave the device meanwhile. The node's patches hold keys and "
        "values once more in main memory. The small size's text is so narrow that they weigh more "
        "beside its weights than at the published sizes, below.",
        memory.resident,
    ),
    Topic(
        "Peak memory on the GPU",
        "torch.cuda.max_memory_allocated during two UNet calls, with encoder and adapter unloaded "
        "before, less the plain model's. The textbook way keeps the adapter's weights.",
        memory.peaks,
    ),
]
OF_THE_PACK = [
    Topic(
        "Bytes resident at the published sizes",
        "The same, reckoned from the shapes of the published models and adapters in float16, at "
        "512 and 1024 pixels.",
        memory.resident_as_published,
    ),
    START,
    Topic(
        "Fitting a mask to a grid",
        "Once per mask, grid and area of a sampling run.",
        pack.reducing,
    ),
    Topic(
        "Work of the mask nodes",
        "Once per run of the node, for one gray mask; ComfyUI's own nodes beside it where they do "
        "the same or something like it (its feather darkens corners, what it grows becomes a "
        "diamond, its color has no tolerance).",
        masks.mask_work,
    ),
]


@torch.inference_mode()  # ComfyUI runs every node so
def measure(settings: Settings) -> dict[str, Any]:
    """Every topic's rows, one layout after the other, so that one model is in memory at a time."""
    topics: dict[str, list[Row]] = {topic.title: [] for topic in OF_A_SCENE + OF_THE_PACK}
    for layout in settings.layouts:
        scene = Scene(layout, settings.size, settings.latent)
        for topic in OF_A_SCENE:
            topics[topic.title] += topic.rows(scene, settings)
        del scene
        comfy.model_management.unload_all_models()
    for topic in OF_THE_PACK:
        topics[topic.title] += topic.rows(settings)
    return {"versions": versions(settings), "topics": topics}


def versions(settings: Settings) -> Row:
    return {
        "device": device_name(),
        "torch": torch.__version__,
        "ComfyUI": comfyui_version,
        "Python": platform.python_version(),
        "models": f"{settings.size.name} size, {str(settings.size.dtype).removeprefix('torch.')}",
        "latents": ", ".join(
            f"{name} {settings.latent or settings.size.layouts[name].latent}"
            for name in settings.layouts
        ),
    }


def device_name() -> str:
    device = comfy.model_management.get_torch_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread(s), {platform.machine()}"


def slug() -> str:
    """The card's name, fit for a file."""
    device = comfy.model_management.get_torch_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def broken(results: dict[str, Any]) -> list[str]:
    """What must not be, in words."""
    topics = results["topics"]
    return [
        f"{topic.title}: {column} is {row[column]:.3g}, allowed {row['allowed']} ({row})"
        for topic, column in LIMITED
        for row in topics[topic.title]
        if not row[column] <= row["allowed"]
    ]


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown(results))


def markdown(results: dict[str, Any]) -> str:
    parts = ["# What references cost\n"]
    parts += [f"- {name}: {value}" for name, value in results["versions"].items()]
    for topic in OF_A_SCENE + OF_THE_PACK:
        rows = results["topics"][topic.title]
        parts.append(f"\n## {topic.title}\n")
        parts.append(table(rows) if rows else "Not measured in this run.")
        parts.append(f"\n{topic.says}")
    return "\n".join(parts) + "\n"


def table(rows: list[Row]) -> str:
    cells = [list(rows[0]), *([shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
