"""A graph in both formats: as ComfyUI's frontend saved it in 2023 and 2024, and as its server takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..headless.legacy_table import Input, Row, files, gives, integer, menu, number, sockets, text

UI = "a widget that only the frontend knows"


def core(*inputs: Input, **outputs: str) -> Row:
    return Row(list(inputs), [], gives(**outputs))


CORE: dict[str, Row] = {
    "CheckpointLoaderSimple": core(files("ckpt_name"), MODEL="MODEL", CLIP="CLIP", VAE="VAE"),
    "CLIPVisionLoader": core(files("clip_name"), CLIP_VISION="CLIP_VISION"),
    "CLIPTextEncode": core(text("text"), *sockets("clip", "CLIP"), CONDITIONING="CONDITIONING"),
    "EmptyLatentImage": core(
        integer("width", 512), integer("height", 512), integer("batch_size", 1), LATENT="LATENT"
    ),
    "KSampler": core(
        *sockets("model", "MODEL"), *sockets("positive negative", "CONDITIONING"),
        *sockets("latent_image", "LATENT"), integer("seed", 0), Input("control_after_generate", UI),
        integer("steps", 20), number("cfg", 8, 0, 100), menu("sampler_name", "euler"),
        menu("scheduler", "normal"), number("denoise", 1, 0, 1), LATENT="LATENT",
    ),
    "VAEDecode": core(*sockets("samples", "LATENT"), *sockets("vae", "VAE"), IMAGE="IMAGE"),
    "LoadImage": core(files("image"), Input("upload", UI), IMAGE="IMAGE", MASK="MASK"),
    "LoadImageMask": core(files("image"), menu("channel", "alpha"), Input("upload", UI), MASK="MASK"),
    "ImageBatch": core(*sockets("image1 image2", "IMAGE"), IMAGE="IMAGE"),
    "SaveImage": core(*sockets("images", "IMAGE"), text("filename_prefix", "ComfyUI")),
    "PreviewImage": core(*sockets("images", "IMAGE")),
}  # fmt: skip


class Output(NamedTuple):
    node: Node
    slot: int

    @property
    def type(self) -> str:
        return self.node.row.outputs[self.slot][0]


class Node:
    """Widgets by their position, as files hold them; links by the name of the input."""

    def __init__(
        self, number: int, kind: str, row: Row, widgets: Sequence[Any], links: Mapping[str, Output]
    ):
        self.number, self.kind, self.row, self.links = number, kind, row, dict(links)
        names = [i.name for i in row.inputs if i.is_widget or i.type == UI]
        self.widgets = dict(zip(names, widgets, strict=True))
        assert self.links.keys() <= {i.name for i in row.inputs}, (kind, list(links))

    def __getitem__(self, slot: int) -> Output:
        return Output(self, slot)

    @property
    def values(self) -> dict[str, Any]:
        """What the server gets of the widgets."""
        return {i.name: self.widgets[i.name] for i in self.row.inputs if i.is_widget}

    @property
    def sockets(self) -> list[Input]:
        """Widgets that were made sockets come last."""
        plain = [i for i in self.row.inputs if not i.is_widget and i.type != UI]
        return plain + [i for i in self.row.inputs if i.is_widget and i.name in self.links]


Link = Node | Output  # a node stands for its first output


class Graph:
    def __init__(self, rows: Mapping[str, Row]):
        self.rows = {**CORE, **rows}
        self.nodes: list[Node] = []

    def node(self, kind: str, widgets: Sequence[Any] = (), **links: Link) -> Node:
        outputs = {k: v if isinstance(v, Output) else v[0] for k, v in links.items()}
        self.nodes.append(Node(len(self.nodes) + 1, kind, self.rows[kind], widgets, outputs))
        return self.nodes[-1]

    def prompt(self) -> dict[str, dict[str, Any]]:
        """In the API format."""
        return {
            str(node.number): {"inputs": sent(node), "class_type": node.kind} for node in self.nodes
        }

    def saved(self) -> dict[str, Any]:
        """In the frontend's format."""
        links = [
            (arrival.node.number, arrival.slot, node.number, slot, arrival.type)
            for node in self.nodes
            for slot, socket in enumerate(node.sockets)
            if (arrival := node.links.get(socket.name))
        ]
        rows = [[number, *link] for number, link in enumerate(links, 1)]
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(rows),
            "nodes": [drawn(node, rows) for node in self.nodes],
            "links": rows,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def sent(node: Node) -> dict[str, Any]:
    return node.values | {name: [str(o.node.number), o.slot] for name, o in node.links.items()}


def drawn(node: Node, rows: list[list[Any]]) -> dict[str, Any]:
    arriving = {row[4]: row[0] for row in rows if row[3] == node.number}
    column, line = divmod(node.number - 1, 4)
    data = {
        "id": node.number,
        "type": node.kind,
        "pos": [400 * column, 350 * line],
        "size": {"0": 315, "1": 280},
        "flags": {},
        "order": node.number - 1,
        "mode": 0,
        "inputs": [
            {"name": socket.name, "type": kind_of(node, socket), "link": arriving.get(slot)}
            | ({"widget": {"name": socket.name}} if socket.is_widget else {})
            for slot, socket in enumerate(node.sockets)
        ],
        "outputs": [
            {
                "name": name or kind,
                "type": kind,
                "links": [row[0] for row in rows if row[1:3] == [node.number, slot]] or None,
                "shape": 3,
                "slot_index": slot,
            }
            for slot, (kind, name) in enumerate(node.row.outputs)
        ],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": list(node.widgets.values()),
    }
    return {k: v for k, v in data.items() if v != []}  # what a node does not have was not saved


def kind_of(node: Node, socket: Input) -> str:
    return node.links[socket.name].type if socket.is_widget else socket.type
