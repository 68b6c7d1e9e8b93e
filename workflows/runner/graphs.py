"""Graphs in ComfyUI's API format: the bundled ones, and what their nodes are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import RunError

Graph = dict[str, dict[str, Any]]  # node id -> class_type, inputs, _meta
WORKFLOWS = Path(__file__).resolve().parent.parent


def bundled() -> list[str]:
    return sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))


def about(name: str) -> str:
    """The heading of the note in a bundled workflow."""
    nodes = json.loads((WORKFLOWS / f"{name}.json").read_text())["nodes"]
    notes = [n["widgets_values"][0] for n in nodes if n["type"] in ("Note", "MarkdownNote")]
    return notes[0].splitlines()[0].lstrip("# ") if notes else ""


def load(name: str) -> Graph:
    path = WORKFLOWS / "api" / f"{name}.json" if name in bundled() else Path(name)
    if not path.is_file():
        raise RunError(f"there is no workflow {name}; there are {', '.join(bundled())}")
    try:
        graph = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error})") from error
    if not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise RunError(f"{path} is not in ComfyUI's API format (File > Export (API))")
    return graph


def title(graph: Graph, node: str) -> str:
    """A node's title, or its class where it has none."""
    found = graph.get(node, {})
    return found.get("_meta", {}).get("title") or found.get("class_type") or node


def node_titled(graph: Graph, name: str) -> str:
    return next(node for node in graph if title(graph, node) == name)
