"""The demo: a picture of two subjects, its masks, and a difference map for each reference.

A difference map shows how much each pixel changes when that reference is taken away.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..tiny import models as tiny_models
from .client import Client
from .errors import RunError
from .graphs import Graph, load, node_titled
from .model_files import add_models, choose_models, connected
from .pictures import as_png, upload
from .server import comfyui
from .sheet import Pixels, contact_sheet, heat_map, overlay

TINY = Path(tiny_models.__file__).parent
SIDES = ("left", "right")
RANDOM = "Random weights: this shows where each reference acts, not what a trained model paints."
# Without model files: a small picture in few steps.
QUICK = {"EmptyLatentImage": {"width": 384, "height": 256}, "KSampler": {"steps": 6}}


class Region(NamedTuple):
    """One reference of the demo."""

    side: str
    reference: Image.Image
    mask: Pixels
    difference: Pixels

    @property
    def inside(self) -> float:
        """Mean change where the mask is white."""
        return float((self.difference * self.mask).sum() / self.mask.sum())

    @property
    def outside(self) -> float:
        black = 1 - self.mask
        return float((self.difference * black).sum() / black.sum())

    @property
    def ratio(self) -> float:
        return self.inside / max(self.outside, 1e-9)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    add_models(parser)
    parser.add_argument("--server", metavar="URL", help="use this running ComfyUI")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the pictures")
    options = vars(parser.parse_args(arguments))
    server, out = options.pop("server"), options.pop("out")
    chosen = {name: file for name, file in options.items() if file}
    try:
        result, regions = run(server, chosen)
    except RunError as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 2
    write(out, result, regions, "" if chosen else RANDOM)
    return 0


def run(server: str | None, chosen: dict[str, str]) -> tuple[Image.Image, list[Region]]:
    """Sample the two-reference workflow with both, and with each reference taken away."""
    graph, folders = load("two_references"), {}
    if not chosen:
        if server:
            raise RunError("--server needs --checkpoint, --ipadapter and --clip-vision too")
        chosen, folders = random_models()
        for node in graph.values():
            node["inputs"] |= QUICK.get(node["class_type"], {})
    pictures = dict(zip(SIDES, reference_pictures(), strict=True))
    save_masks(graph)
    print("Two references in two regions; then without each, to see where it acts.")
    print(f"starting ComfyUI ({server or comfyui()})", flush=True)
    with connected(server, chosen, folders) as (client, names):
        choose_models(graph, names, client.object_info())
        for side, picture in pictures.items():
            name = upload(client, as_png(picture), ".png")
            graph[node_titled(graph, f"reference_{side}")]["inputs"]["image"] = name
        print("1 of 3: sampling with both references", flush=True)
        saved = sample(client, graph)
        result = saved["output"]
        regions = []
        for number, side in enumerate(SIDES, start=2):
            print(f"{number} of 3: sampling without the {side} one", flush=True)
            difference = np.abs(
                pixels(result) - pixels(sample(client, without(graph, side))["output"])
            )
            mask = ImageOps.grayscale(saved[f"{side} region"]).resize(result.size)
            regions.append(Region(side, pictures[side], pixels(mask), difference.mean(-1)))
    return result, regions


def sample(client: Client, graph: Graph) -> dict[str, Image.Image]:
    """The pictures of a run, by the title of the node that saved them."""
    return {p.node: Image.open(io.BytesIO(p.data)).convert("RGB") for p in client.run(graph)}


def without(graph: Graph, side: str) -> Graph:
    graph = copy.deepcopy(graph)
    graph[node_titled(graph, f"Apply IPAdapter ({side})")]["inputs"]["weight"] = 0.0
    return graph


def save_masks(graph: Graph) -> None:
    """Let the graph save each region's mask as well."""
    for side in SIDES:
        mask = graph[node_titled(graph, f"Apply IPAdapter ({side})")]["inputs"]["attn_mask"]
        image, name = f"image of {side}", f"{side} region"
        graph[image] = {"class_type": "MaskToImage", "inputs": {"mask": mask}}
        inputs = {"images": [image, 0], "filename_prefix": "mask"}
        graph[name] = {"class_type": "SaveImage", "inputs": inputs, "_meta": {"title": name}}


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, np.float32) / np.float32(255)


def random_models() -> tuple[dict[str, str], dict[str, list[Path]]]:
    """Tiny models with random weights, made once in the cache."""
    cache = Path(os.environ["IPADAPTER_REGIONS_CACHE"]) / "tiny_models"
    makers = {
        "checkpoint": ("checkpoints", tiny_models.checkpoint),
        "ipadapter": ("ipadapter", tiny_models.adapter),
        "clip_vision": ("clip_vision", tiny_models.clip_vision),
    }
    newest = max(source.stat().st_mtime for source in TINY.glob("*.py"))
    folders: dict[str, list[Path]] = {}
    for kind, make in makers.values():
        path = cache / kind / "random.safetensors"
        if not path.exists() or path.stat().st_mtime < newest:
            make(path)
        folders[kind] = [path.parent]
    return dict.fromkeys(makers, "random.safetensors"), folders


# Pictures of one subject each, from the templates that come with ComfyUI (MIT license).
PICTURES = ("flux_kontext_dev_basic-1.webp", "flux_canny_model_example-1.webp", "default-1.webp")


def reference_pictures() -> list[Image.Image]:
    """Two real pictures that this ComfyUI has: from its templates, else its example."""
    found = [Image.open(path) for name in PICTURES for path in template_pictures(name)]
    example = Image.open(comfyui() / "input" / "example.png")
    pictures = [*found, example, ImageOps.flip(ImageOps.invert(example.convert("RGB")))]
    return [picture.convert("RGB") for picture in pictures[:2]]


def template_pictures(name: str) -> Iterator[Path]:
    for package in metadata.distributions():
        if (package.metadata["Name"] or "").startswith("comfyui-workflow-templates"):
            for file in package.files or ():
                if file.name == name:
                    yield Path(str(package.locate_file(file)))


def write(out: Path, result: Image.Image, regions: list[Region], note: str) -> None:
    """The pictures as PNG, what they show as numbers, and all of it on one sheet."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = {"result": result, "masks": overlay(result, [region.mask for region in regions])}
    scale = max(float(region.difference.max()) for region in regions) or 1.0
    for region in regions:
        pictures[f"difference-{region.side}"] = heat_map(region.difference / scale)
    figures = {r.side: {"inside": r.inside, "outside": r.outside} for r in regions}
    references, ratios = [r.reference for r in regions], [r.ratio for r in regions]
    pictures["contact-sheet"] = contact_sheet(pictures, references, ratios, note)
    for name, picture in pictures.items():
        picture.save(out / f"{name}.png")
    (out / "differences.json").write_text(json.dumps(figures, indent=2) + "\n")
    for region in regions:
        print(
            f"{region.side:>5} reference: mean change {region.inside:.4f} inside its region, "
            f"{region.outside:.4f} outside ({region.ratio:.1f} times)"
        )
    if note:
        print(note)
    print(f"pictures: {out / 'contact-sheet.png'} and beside it")
