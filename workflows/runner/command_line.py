"""Runs a bundled workflow against a running ComfyUI, or one that it starts and stops itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .assignments import read_assignment
from .errors import RunError
from .graphs import about, bundled, load
from .model_files import LOADERS, add_models, choose_models, connected
from .pictures import save


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if options.list or not options.name:
        print("\n".join(f"{name:30} {about(name)}" for name in bundled()))
        return 0
    try:
        graph = load(options.name)
        assignments = [read_assignment(graph, text) for text in options.set]
        chosen = {name: getattr(options, name) for name in LOADERS if getattr(options, name)}
        folders: dict[str, list[Path]] = {}
        for kind, folder in filter(None, (assignment.folder for assignment in assignments)):
            folders.setdefault(kind, []).append(folder)
        with connected(options.server, chosen, folders) as (client, names):
            choose_models(graph, names, client.object_info())
            for assignment in assignments:
                assignment.carry_out(graph, client)
            for path in save(client.run(graph), options.out):
                print(path)
    except RunError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("name", nargs="?", help="a bundled workflow, or an API-format JSON file")
    parser.add_argument("--list", action="store_true", help="list the bundled workflows")
    add_models(parser)
    parser.add_argument(
        "--insightface",
        metavar="FOLDER",
        help="as the server lists it; or a path: a folder of .onnx files, or one with such folders",
    )
    parser.add_argument("--server", metavar="URL", help="use this running ComfyUI")
    parser.add_argument(
        "--set",
        metavar="TITLE.INPUT=VALUE",
        action="append",
        default=[],
        help="set an input of the node with that title: prompt.text='a fox', seed.value=3, "
        "reference_left.image=anna.png (a picture here is uploaded). Where two loaders load "
        "different files: 'Load IPAdapter Model (style).ipadapter_file=F', F as for --ipadapter",
    )
    parser.add_argument("--out", type=Path, default=Path("output"), help="folder for the pictures")
    return parser
