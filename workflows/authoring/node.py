"""One node of a graph, as the frontend's format and as the server's has it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from .chosen import SIZES, VALUES
from .kinds import Kind, Socket
from .model_files import SOURCES, model

ROW = 20  # height of a socket


class Output(NamedTuple):
    node: Node
    slot: int

    @property
    def type(self) -> str:
        return list(self.node.kind.outputs.values())[self.slot]


class Node:
    def __init__(self, number: int, kind: Kind, title: str, inputs: dict[str, Any]):
        self.number = number
        self.kind = kind
        self.title = title or kind.title
        self.position: tuple[int, int] = (0, 0)
        self.links = {
            name: value if isinstance(value, Output) else Output(value, 0)
            for name, value in inputs.items()
            if isinstance(value, Node | Output)
        }
        chosen = {**VALUES.get(kind.id, {}), **without(self.links, inputs)}
        if unknown := {*chosen, *self.links} - kind.inputs:
            raise ValueError(f"{kind.id} has no input {', '.join(sorted(unknown))}")
        self.values = {name: chosen.get(name, w.default) for name, w in kind.widgets.items()}

    def __getitem__(self, output: str) -> Output:
        return Output(self, list(self.kind.outputs).index(output))

    @property
    def size(self) -> tuple[int, int]:
        width, height = SIZES[self.kind.id]
        more = sum(len(self.row(socket)) - 1 for socket in self.kind.sockets)
        return width, height + more * ROW

    def for_server(self) -> dict[str, Any]:
        widgets = without(self.links, self.values)
        links = {
            name: [str(self.links[name].node.number), self.links[name].slot]
            for name, _, _ in self.sockets()
            if name in self.links
        }
        return {
            "inputs": widgets | links,
            "class_type": self.kind.id,
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
            "type": self.kind.id,
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
            (name, socket.type, {"label": name.partition(".")[2]} if "." in name else {})
            for socket in self.kind.sockets
            for name in self.row(socket)
        ]
        linked = [(name, self.links[name]) for name in self.kind.widgets if name in self.links]
        return plain + [(name, link.type, {"widget": {"name": name}}) for name, link in linked]

    def row(self, socket: Socket) -> list[str]:
        """The names in a growing row: those that are linked, and the next one."""
        linked = sum(name in self.links for name in socket.names)
        return socket.names[: linked + 1]

    def widgets_values(self) -> Iterator[Any]:
        for name, value in self.values.items():
            yield value
            yield from self.kind.widgets[name].unsent(value)

    def properties(self) -> dict[str, Any]:
        texts = [value for value in self.values.values() if isinstance(value, str)]
        models = [model(text) for text in texts if text in SOURCES]
        named = {"cnr_id": self.kind.pack, "Node name for S&R": self.kind.id}
        return named | ({"models": models} if models else {})


def without(names: Container[str], values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
