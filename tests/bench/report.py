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


TIME = Topic(
    "Time of a UNet call",
    "One evaluation through ComfyUI's sampling, positive and negative in one batch of 2, every "
    "reference masked in its own stripe: median of warm calls, the three models taking turns until "
    "this measurement's share of the time is used up. On a CPU it is processor time, so that other "
    "programs do not count.",
    calls.timing,
)
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
    KERNELS,
    TIME,
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


class Measurement(NamedTuple):
    """One topic, of one layout or of the pack."""

    topic: Topic
    layout: str | None = None

    @property
    def name(self) -> str:
        return f"{self.layout}: {self.topic.title}" if self.layout else self.topic.title

    def rows(self, scene: Scene | None, settings: Settings) -> Iterator[Row]:
        return self.topic.rows(*([scene] if self.layout else []), settings)


def plan(settings: Settings) -> list[Measurement]:
    """One layout after the other, so that one model is in memory at a time."""
    of_scenes = [Measurement(topic, name) for name in settings.layouts for topic in OF_A_SCENE]
    return of_scenes + [Measurement(topic) for topic in OF_THE_PACK]


@torch.inference_mode()  # ComfyUI runs every node so
def measure(
    settings: Settings, show: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[Measurement, dict[str, Any]]]:
    """Each measurement when it is done, with all results so far; none begins when time is up."""
    topics: dict[str, list[Row]] = {topic.title: [] for topic in OF_A_SCENE + OF_THE_PACK}
    results: dict[str, Any] = {"versions": versions(settings), "cut short": [], "topics": topics}
    budget, measurements = settings.budget, plan(settings)
    scene: Scene | None = None
    for number, measurement in enumerate(measurements, start=1):
        rows: list[Row] = []
        place = f"measurement {number} of {len(measurements)}, {measurement.name}"
        show(f"{place}: {budget.spent:.0f} s")
        if not budget.over:
            if scene and scene.name != measurement.layout:
                scene = None  # one model in memory at a time
                comfy.model_management.unload_all_models()
            if measurement.layout and not scene:
                scene = Scene(measurement.layout, settings.size, settings.latent)
            for row in measurement.rows(scene, settings):
                rows.append(row)
                show(f"{place}, row {len(rows)}: {budget.spent:.0f} s")
                if budget.over:
                    break
        if budget.over:
            results["cut short"].append(f"{measurement.name}, after {len(rows)} rows")
        topics[measurement.topic.title] += rows
        results["versions"]["time"] = f"{budget.spent:.0f} s of at most {budget.seconds:.0f} s"
        yield measurement, results


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
    parts = ["# What references cost\n", headline(results), ""]
    parts += [f"- {name}: {value}" for name, value in results["versions"].items()]
    parts += [f"- time was up: {where}" for where in results["cut short"]]
    for topic in OF_A_SCENE + OF_THE_PACK:
        rows = results["topics"][topic.title]
        parts.append(f"\n## {topic.title}\n")
        parts.append(table(rows) if rows else "Not measured in this run.")
        parts.append(f"\n{topic.says}")
    return "\n".join(parts) + "\n"


def newest(measurement: Measurement, results: dict[str, Any]) -> str:
    """The rows that a measurement has just added."""
    rows = results["topics"][measurement.topic.title]
    rows = [
        row for row in rows if row.get("layout") == measurement.layout or not measurement.layout
    ]
    return table(rows) if rows else "Not measured in this run."


def headline(results: dict[str, Any]) -> str:
    """The figures that matter most, on one line for each kind of adapter."""
    kernels = by_kind(results["topics"][KERNELS.title])
    times = by_kind(results["topics"][TIME.title])
    if not kernels:
        return "Nothing was measured yet."
    rows = []
    for (layout, kind), counted in kernels.items():
        timed = times.get((layout, kind), [])
        rows.append(
            {
                "model": layout,
                "adapter": kind,
                "references": listed(counted, "references"),
                "kernels per layer": listed(counted, "ours"),
                "syncs": listed(counted, "ours, syncs"),
                "time of a step, plain = 1": listed(timed, "ours / plain"),
                "textbook: kernels": listed(counted, "textbook"),
                "textbook: time": listed(timed, "textbook / plain"),
            }
        )
    return table(rows)


def by_kind(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["layout"], row["kind"]), []).append(row)
    return groups


def listed(rows: list[Row], column: str) -> str:
    return " / ".join(shown(row[column]) for row in rows) or "-"


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
