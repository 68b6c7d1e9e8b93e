"""The two formats of a graph, written from one description: the frontend's and the server's."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from .kinds import Kinds
from .node import Node

GAP = 30
TITLE_BAR = 30
NOTE_SIZE = (400, 400)


class Group(NamedTuple):
    """Nodes inside one colored frame: columns from left to right, each from top to bottom."""

    title: str
    color: str
    columns: list[list[Node]]


class Graph:
    def __init__(self, kinds: Kinds, name: str, note: str):
        self.kinds = kinds
        self.name = name
        self.note = note
        self.nodes: list[Node] = []
        self.frames: list[dict[str, Any]] = []

    def add(self, kind: str, title: str = "", **inputs: Any) -> Node:
        node = Node(len(self.nodes) + 1, self.kinds[kind], title, inputs)
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
                bottom = max(bottom, y + node.size[1])
                y += node.size[1] + TITLE_BAR + GAP * 2 // 3
            x += max(node.size[0] for node in column) + GAP
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
