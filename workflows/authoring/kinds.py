"""The kinds of node that the bundled workflows use, as a ComfyUI defines them in /object_info."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .chosen import SIZES, WITHOUT_OUTPUTS

# The types of a widget, and what it holds where no default is defined.
EMPTY = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False, "COMBO": "", "BOUNDING_BOX": {}}
GROWING = "COMFY_AUTOGROW_V3"


class Input(NamedTuple):
    """An input as its definition has it."""

    name: str
    type: str
    options: dict[str, Any]

    @property
    def default(self) -> Any:
        menu = self.options.get("options")
        return self.options.get("default", menu[0] if menu else EMPTY[self.type])

    def unsent(self, value: Any) -> list[Any]:
        """What the frontend saves after the value of a widget, but never sends."""
        if self.options.get("control_after_generate"):
            return ["fixed"]  # what becomes of a seed after a run
        if self.options.get("image_upload"):
            return ["image"]
        return [*value.values()] if self.type == "BOUNDING_BOX" else []


class Socket(NamedTuple):
    names: list[str]  # of a growing row all that it may come to have, else one
    type: str


class Kind(NamedTuple):
    id: str
    title: str
    pack: str  # as the Comfy Registry calls it
    sockets: list[Socket]
    widgets: dict[str, Input]
    outputs: dict[str, str]  # name -> type

    @property
    def inputs(self) -> set[str]:
        return {*self.widgets, *(name for socket in self.sockets for name in socket.names)}


Kinds = dict[str, Kind]


def read_kinds(object_info: dict[str, Any]) -> Kinds:
    return {name: read_kind(object_info[name]) for name in SIZES}


def read_kind(definition: dict[str, Any]) -> Kind:
    name = definition["name"]
    ours = definition["python_module"].startswith("custom_nodes.")
    inputs = list(read_inputs(definition))
    outputs = dict(zip(definition["output_name"], definition["output"], strict=True))
    return Kind(
        id=name,
        title=definition["display_name"] or name,
        pack="ipadapter-regions" if ours else "comfy-core",
        sockets=[read_socket(i) for i in inputs if i.type not in EMPTY],
        widgets={i.name: i for i in inputs if i.type in EMPTY},
        outputs={} if name in WITHOUT_OUTPUTS else outputs,
    )


def read_inputs(definition: dict[str, Any]) -> Iterator[Input]:
    """The required ones before the optional ones, as the frontend has them."""
    for need in ("required", "optional"):
        for name in definition["input_order"].get(need, []):
            kind, *more = definition["input"][need][name]
            options = more[0] if more else {}
            if isinstance(kind, list):  # a menu, in ComfyUI's older form
                kind, options = "COMBO", options | {"options": kind}
            yield Input(name, kind, options)


def read_socket(given: Input) -> Socket:
    if given.type != GROWING:
        return Socket([given.name], given.type)
    template = given.options["template"]
    kind = next(row[0] for rows in template["input"].values() for row in rows.values())
    names = template.get("names") or [f"{template['prefix']}{n}" for n in range(template["max"])]
    return Socket([f"{given.name}.{name}" for name in names], kind)
