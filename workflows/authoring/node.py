"""One node of a graph, as the frontend's format and as the server's has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .kinds import KINDS, SOURCES, model

ROW = 20  # height of a socket


class Output(NamedTuple):
    node: Node
    slot: int

    @property
    def type(self) -> str:
        return list(self.node.kind.outputs.values())[self.slot]


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

    def __getitem__(self, output: str) -> Output:
        return Output(self, list(self.kind.outputs).index(output))

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.kind.size
        more = sum(len(self.row(name)) - 1 for name in self.kind.sockets if name.endswith("*"))
        return width, height + more * ROW

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
                "name": name,
                "type": kind,
                "links": [row[0] for row in links if row[1:3] == [self.number, slot]],
            }
            for slot, (name, kind) in enumerate(self.kind.outputs.items())
        ]
        return {
            "id": self.number,
            "type": self.type,
            "pos": list(self.position),
            "size": list(self.size),
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
            for socket, kind in self.kind.sockets.items()
            for name in (self.row(socket) if socket.endswith("*") else [socket])
        ]
        linked = [(name, self.links[name]) for name in self.kind.widgets if name in self.links]
        return plain + [(name, link.type, {"widget": {"name": name}}) for name, link in linked]

    def row(self, socket: str) -> list[str]:
        """The sockets of a growing row: those that are linked, and the next one."""
        prefix = socket.removesuffix("*")
        numbers = [int(n.removeprefix(prefix)) for n in self.links if n.startswith(prefix)]
        return [f"{prefix}{number}" for number in [*numbers, numbers[-1] + 1]]

    def widgets_values(self):
        for name, value in self.kind.widgets.items():
            yield value if name in self.links else self.values[name]
            yield from self.kind.unsent.get(name, [])

    def properties(self) -> dict[str, Any]:
        pack = "ipadapter-regions" if self.type.startswith("IPAdapter") else "comfy-core"
        chosen = [self.values[name] for name in self.kind.widgets]
        models = [model(value) for value in chosen if value in SOURCES]
        return {"cnr_id": pack, "Node name for S&R": self.type} | (
            {"models": models} if models else {}
        )
