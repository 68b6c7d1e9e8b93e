"""Setting an input of a graph from text: TITLE.INPUT=VALUE."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from .client import Client
from .errors import RunError
from .graphs import Graph, title
from .model_files import LOADERS, locate
from .pictures import upload

PICTURE_NODES = {"LoadImage", "LoadImageMask"}


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
