"""Write the bundled workflows, each in both formats: ``make workflows``.

The nodes are as the newest ComfyUI defines them: one is started and asked for that.
NAME.json is the graph that the frontend opens, api/NAME.json the same graph as a server runs it.
There a node is addressed by its title: those in lower case and of one word (prompt, seed, mask,
reference_left, output, ...) are the ones that are meant to be set or read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..runner.client import Client
from ..runner.server import running
from . import faces, layers, passes, regions, together
from .graph import Graph
from .kinds import read_kinds

FOLDER = Path(__file__).resolve().parents[1]


def write(graph: Graph, folder: Path) -> None:
    (folder / "api").mkdir(exist_ok=True)
    for path, content in [
        (folder / f"{graph.name}.json", graph.for_frontend()),
        (folder / "api" / f"{graph.name}.json", graph.for_server()),
    ]:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


GRAPHS = [
    regions.one_reference,
    regions.two_references,
    regions.three_references_color_map,
    regions.masks_and_regional_prompts,
    together.regions_from_color_map,
    together.regions_with_own_prompts,
    together.background_region,
    passes.masks_per_frame,
    passes.masked_pass_and_cropped_detail,
    layers.weight_types,
    layers.style_and_composition,
    faces.faceid,
    faces.portrait_several_photos,
    faces.face_and_style,
]


def write_all(object_info: dict[str, Any], folder: Path) -> None:
    kinds = read_kinds(object_info)
    for make in GRAPHS:
        write(make(kinds), folder)


if __name__ == "__main__":
    with running() as url:
        write_all(Client(url).object_info(), Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
