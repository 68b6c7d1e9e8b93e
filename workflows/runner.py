"""Runs a bundled workflow against a running ComfyUI, or one that it starts and stops itself."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .client import Client, Graph, Picture, title
from .errors import RunError
from .model_files import LOADERS, add_models, choose_models, connected, locate

WORKFLOWS = Path(__file__).resolve().parent / "api"
PICTURE_NODES = {"LoadImage", "LoadImageMask"}


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


def bundled() -> list[str]:
    return sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def about(name: str) -> str:
    """The heading of the note in a bundled workflow."""
    nodes = json.loads((WORKFLOWS.parent / f"{name}.json").read_text())["nodes"]
    notes = [n["widgets_values"][0] for n in nodes if n["type"] in ("Note", "MarkdownNote")]
    return notes[0].splitlines()[0].lstrip("# ") if notes else ""


def load(name: str) -> Graph:
    path = WORKFLOWS / f"{name}.json" if name in bundled() else Path(name)
    if not path.is_file():
        raise RunError(f"there is no workflow {name}; there are {', '.join(bundled())}")
    try:
        graph = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error})") from error
    if not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise RunError(f"{path} is not in ComfyUI's API format (File > Export (API))")
    return graph


class Assignment(NamedTuple):
    """One TITLE.INPUT=VALUE, checked against the graph."""

    nodes: list[str]
    socket: str
    value: Any  # a Path where a picture is to be uploaded
    folder: tuple[str, Path] | None = None  # of a model given as a path: its kind, where it is

    def carry_out(self, graph: Graph, client: Client) -> None:
        value = self.value
        if isinstance(value, Path):
            value = upload(client, value.read_bytes(), value.suffix)
        for node in self.nodes:
            graph[node]["inputs"][self.socket] = value


def read_assignment(graph: Graph, text: str) -> Assignment:
    """Understand TITLE.INPUT=VALUE; the value takes the type of the one that it replaces."""
    target, equals, value = text.partition("=")
    name, dot, socket = target.rpartition(".")
    if not (equals and dot):
        raise RunError(f"--set {text}: write it as TITLE.INPUT=VALUE, as in prompt.text=fox")
    nodes = [key for key in graph if title(graph, key) == name]
    if not nodes:
        titles = ", ".join(sorted({title(graph, key) for key in graph}))
        raise RunError(f"--set {text}: no node has the title {name}; there are {titles}")
    node = graph[nodes[0]]
    values = {k: v for k, v in node["inputs"].items() if not isinstance(v, list)}
    if socket not in values:
        has = ", ".join(values) or "none that can be set"
        raise RunError(f"--set {text}: {name} has no input {socket}; it has {has}")
    if node["class_type"] in PICTURE_NODES and socket == "image" and Path(value).is_file():
        return Assignment(nodes, socket, Path(value))
    for name, (kind, model, folder) in LOADERS.items():
        if (node["class_type"], socket) == (kind, model):
            parent, file = locate(name, value)
            where = (folder, parent) if parent else None
            return Assignment(nodes, socket, file or values[socket], where)
    return Assignment(nodes, socket, like(values[socket], value, text))


def upload(client: Client, data: bytes, suffix: str) -> str:
    """Under a name made of its contents, so that the same picture is the same to ComfyUI."""
    return client.upload(f"{hashlib.sha256(data).hexdigest()}{suffix.lower()}", data)


def like(current: Any, text: str, assignment: str) -> Any:
    """The text as a value of the current one's type."""
    if isinstance(current, str):
        return text
    if isinstance(current, bool):
        words = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
        if text.lower() in words:
            return words[text.lower()]
    else:
        with contextlib.suppress(ValueError):
            return type(current)(text)
    raise RunError(f"--set {assignment}: {text} is not a {type(current).__name__}")


def save(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write the pictures into a folder; nothing that is there already is lost."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for picture in pictures:
        path, number = folder / picture.name, 1
        while path.exists():
            number += 1
            path = folder / f"{Path(picture.name).stem}_{number}{Path(picture.name).suffix}"
        path.write_bytes(picture.data)
        paths.append(path)
    return paths
