"""The two formats of a graph, written from one description: the frontend's and the server's."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from .kinds import KINDS, SOURCES, model

GAP = 30
TITLE_BAR = 30
NOTE_SIZE = (400, 400)


class Output(NamedTuple):
    node: Node
    slot: int


class Node:
    def __init__(self, number: int, kind: str, title: str, inputs: dict[str, Any]):
        self.number = number
        self.type = kind
        self.kind = KINDS[kind]
        self.title = title or self.kind.title
        self.position: tuple[int, int] = (0, 0)
        self.links = {
            name: value if isinstance(value, Output) else Output(value, 0)
            for name, value in inputs.items()
            if isinstance(value, Node | Output)
        }
        self.values = {**self.kind.widgets, **inputs}

    def __getitem__(self, output_type: str) -> Output:
        return Output(self, self.kind.outputs.index(output_type))

    def for_server(self) -> dict[str, Any]:
        widgets = {name: self.values[name] for name in self.kind.widgets if name not in self.links}
        links = {
            name: [str(self.links[name].node.number), self.links[name].slot]
            for name, _, _ in self.sockets()
            if name in self.links
        }
        return {
            "inputs": widgets | links,
            "class_type": self.type,
            "_meta": {"title": self.title},
        }

    def for_frontend(self, links: list[list[Any]]) -> dict[str, Any]:
        """The node as the frontend saves it; ``links`` are rows of the whole graph."""
        arriving = {row[4]: row[0] for row in links if row[3] == self.number}
        inputs = [
            {"name": name, "type": kind, "link": arriving.get(slot)} | more
            for slot, (name, kind, more) in enumerate(self.sockets())
        ]
        outputs = [
            {
                "name": self.output_name(kind),
                "type": kind,
                "links": [row[0] for row in links if row[1:3] == [self.number, slot]],
            }
            for slot, kind in enumerate(self.kind.outputs)
        ]
        return {
            "id": self.number,
            "type": self.type,
            "pos": list(self.position),
            "size": list(self.kind.size),
            "flags": {},
            "order": self.number - 1,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs,
            "title": self.title,
            "properties": self.properties(),
            "widgets_values": list(self.widgets_values()),
        }

    def sockets(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Name, type and what else is saved of every input socket; a widget has one when something
        is linked to it, and one of a growing row is named after the row."""
        plain: list[tuple[str, str, dict[str, Any]]] = [
            (name, kind, {"label": name.partition(".")[2]} if "." in name else {})
            for name, kind in self.kind.sockets.items()
        ]
        linked = [name for name in self.kind.widgets if name in self.links]
        return plain + [(name, "INT", {"widget": {"name": name}}) for name in linked]

    def output_name(self, kind: str) -> str:
        name = kind.lower() if self.type.startswith("IPAdapter") else kind
        return self.kind.output_names.get(kind, name)

    def widgets_values(self):
        for name, value in self.kind.widgets.items():
            yield value if name in self.links else self.values[name]
            if name in self.kind.unsent:
                yield self.kind.unsent[name]

    def properties(self) -> dict[str, Any]:
        pack = "ipadapter-regions" if self.type.startswith("IPAdapter") else "comfy-core"
        chosen = [self.values[name] for name in self.kind.widgets]
        models = [model(value) for value in chosen if value in SOURCES]
        return {"cnr_id": pack, "Node name for S&R": self.type} | (
            {"models": models} if models else {}
        )


class Group(NamedTuple):
    """Nodes inside one coloured frame: columns from left to right, each from top to bottom."""

    title: str
    color: str
    columns: list[list[Node]]


class Graph:
    def __init__(self, name: str, note: str):
        self.name = name
        self.note = note
        self.nodes: list[Node] = []
        self.frames: list[dict[str, Any]] = []

    def add(self, kind: str, title: str = "", **inputs: Any) -> Node:
        node = Node(len(self.nodes) + 1, kind, title, inputs)
        self.nodes.append(node)
        return node

    def place(self, *stages: list[Group]) -> None:
        """Stages from left to right, the groups of a stage from top to bottom.

        The note is above the first.
        """
        x, y = 0, TITLE_BAR + NOTE_SIZE[1] + GAP
        for groups in stages:
            right = x
            for group in groups:
                frame_right, y = self.place_group(group, x, y)
                right = max(right, frame_right)
                y += GAP
            x, y = right + GAP, 0

    def place_group(self, group: Group, left: int, top: int) -> tuple[int, int]:
        x, bottom = left + GAP // 2, top
        for column in group.columns:
            y = top + TITLE_BAR + GAP * 3 // 2  # below the frame's title and the node's own
            for node in column:
                node.position = (x, y)
                bottom = max(bottom, y + node.kind.size[1])
                y += node.kind.size[1] + TITLE_BAR + GAP * 2 // 3
            x += max(node.kind.size[0] for node in column) + GAP
        right, bottom = x - GAP // 2, bottom + GAP // 2
        self.frames.append(
            {
                "id": len(self.frames) + 1,
                "title": group.title,
                "bounding": [left, top, right - left, bottom - top],
                "color": group.color,
                "font_size": 24,
                "flags": {},
            }
        )
        return right, bottom

    def for_server(self) -> dict[str, Any]:
        return {str(node.number): node.for_server() for node in self.nodes}

    def for_frontend(self) -> dict[str, Any]:
        links = self.links()
        note = self.note_node()
        return {
            "last_node_id": note["id"],
            "last_link_id": len(links),
            "nodes": [*(node.for_frontend(links) for node in self.nodes), note],
            "links": links,
            "groups": self.frames,
            "config": {},
            "extra": {},
            "version": 0.4,
        }

    def links(self) -> list[list[Any]]:
        """Rows of number, from node, from slot, to node, to slot, type."""
        counter = itertools.count(1)
        return [
            [
                next(counter),
                node.links[name].node.number,
                node.links[name].slot,
                node.number,
                slot,
                kind,
            ]
            for node in self.nodes
            for slot, (name, kind, _) in enumerate(node.sockets())
            if name in node.links
        ]

    def note_node(self) -> dict[str, Any]:
        return {
            "id": len(self.nodes) + 1,
            "type": "MarkdownNote",
            "pos": [0, TITLE_BAR],
            "size": list(NOTE_SIZE),
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "title": "What this shows",
            "properties": {},
            "widgets_values": [self.note],
            "color": "#432",
            "bgcolor": "#653",
        }
