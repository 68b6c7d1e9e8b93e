"""EMBEDS in files (.ipadpt), as both versions wrote them: one tensor, saved by PyTorch."""

from __future__ import annotations

import io as bytes_io
import os
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import folder_paths
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.pickled import check_archive, refuse_memory_eaters
from ...ipadapter.wrong_files import refuse_wrong_file
from ..references.saved import write_new
from ..shared.node import Node
from .embed_values import check_embeds, embeds_input, embeds_output
from .sockets import old_node, sockets

ENDING = ".ipadpt"
PREFIX = "IP_embeds"
NOT_THERE = f"{{}} is no {ENDING} file in ComfyUI's input or output folder (any more)"


class IPAdapterSaveEmbeds(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        more = {
            "embeds": embeds_input("embeds", "From an encoder of either version."),
            "filename_prefix": partial(
                io.String.Input,
                "filename_prefix",
                default=PREFIX,
                tooltip=f"The file's name within the output folder; a number and {ENDING} are "
                "added.",
            ),
        }
        return old_node(
            "IPAdapterSaveEmbeds",
            "IPAdapter Save Embeds",
            "Writes what CLIP saw into ComfyUI's output folder. Nothing is overwritten.",
            sockets("embeds filename_prefix", more),
            [],
            "Save Reference",
            is_output_node=True,
        )

    @classmethod
    def execute(cls, embeds: Tensor, filename_prefix: str = PREFIX) -> io.NodeOutput:
        content = bytes_io.BytesIO()
        torch.save(check_embeds(embeds, "embeds").clone(), content)
        path, subfolder = write_new(content.getvalue(), filename_prefix, ENDING, PREFIX)
        saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
        return io.NodeOutput(ui={"embeds": [saved]})


class IPAdapterLoadEmbeds(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = partial(
            io.Combo.Input,
            "embeds",
            options=list(saved_embeds()),
            tooltip=f"A {ENDING} file in ComfyUI's input folder, or in its output folder.",
        )
        return old_node(
            "IPAdapterLoadEmbeds",
            "IPAdapter Load Embeds",
            "Reads what IPAdapter Save Embeds wrote.",
            sockets("embeds", {"embeds": files}),
            [embeds_output("EMBEDS", "As saved, for nodes of the same version.")],
            "Load Reference",
        )

    @classmethod
    def validate_inputs(cls, embeds: Any = None) -> bool | str:
        if embeds is None:
            return f"no {ENDING} file is chosen"
        return find(embeds) is not None or NOT_THERE.format(embeds)

    @classmethod
    def fingerprint_inputs(cls, embeds: str) -> list[int]:
        path = find(embeds)
        if path is None:
            return []
        stat = path.stat()
        return [stat.st_mtime_ns, stat.st_size, stat.st_ino]

    @classmethod
    def execute(cls, embeds: str) -> io.NodeOutput:
        path = find(embeds)
        if path is None:
            raise IPAdapterError(f"embeds: {NOT_THERE.format(embeds)}")
        return io.NodeOutput(read_embeds(path))


OUTPUT = " [output]"


def folders() -> dict[str, Path]:
    """Where files lie, by the mark that follows their names in the menu."""
    return {
        "": Path(folder_paths.get_input_directory()),
        OUTPUT: Path(folder_paths.get_output_directory()),
    }


def saved_embeds() -> dict[str, Path]:
    """What there is to choose from, by its name in the menu: "anna.ipadpt", "bob.ipadpt [output]"."""
    return {
        f"{name}{mark}": folder / name
        for mark, folder in folders().items()
        for name in sorted(names_below(str(folder)))
    }


class Listing(NamedTuple):
    """What lies in a folder."""

    changed: int  # when the folder last did
    files: list[str]
    folders: list[str]


_listings: dict[str, Listing] = {}
RECENT = 2 * 10**9  # nanoseconds: some file systems count time in steps of two seconds


def names_below(folder: str) -> Iterator[str]:
    """The files in it and in its folders. A folder is read again only once it has changed."""
    changed = os.stat(folder).st_mtime_ns
    known = _listings.get(folder)
    if known is None or known.changed != changed or time.time_ns() - changed < RECENT:
        known = _listings[folder] = Listing(changed, *listed(folder))
    yield from known.files
    for name in known.folders:
        yield from (f"{name}/{below}" for below in names_below(os.path.join(folder, name)))


def listed(folder: str) -> tuple[list[str], list[str]]:
    """The names of its files of this kind, and of its folders."""
    with os.scandir(folder) as found:
        entries = list(found)
    files = [entry.name for entry in entries if entry.name.endswith(ENDING) and entry.is_file()]
    return files, [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def find(name: object) -> Path | None:
    """The file of that name, looked for in its own place alone."""
    if not isinstance(name, str) or not name.removesuffix(OUTPUT).endswith(ENDING):
        return None
    mark = OUTPUT if name.endswith(OUTPUT) else ""
    inner = PureWindowsPath(name.removesuffix(mark))  # which takes both kinds of slashes
    if inner.anchor or ".." in inner.parts:
        return None
    path = folders()[mark].joinpath(*inner.parts)
    return path if os.path.isfile(path) else None


def read_embeds(path: Path) -> Tensor:
    """The tensor in a file; nothing in it is executed, and nothing hostile allocated."""
    described = load(path, "meta")
    if not isinstance(described, Tensor) or described.layout is not torch.strided:
        kind = getattr(described, "layout", type(described).__name__)
        raise IPAdapterError(f"{path.name} holds a {kind}, no EMBEDS; save them again")
    size = path.stat().st_size
    if described.nbytes > size:
        raise IPAdapterError(
            f"{path.name} is damaged: its shape {list(described.shape)} cannot be in {size} bytes; "
            "save the EMBEDS again"
        )
    return check_embeds(load(path, "cpu"), path.name)


def load(path: Path, device: str) -> object:
    file, name = str(path), path.name
    refuse_wrong_file(file, name)
    if not zipfile.is_zipfile(file):
        raise IPAdapterError(f"{name} is no {ENDING} file, or cut short; save the EMBEDS again")
    check_archive(file, path.stat().st_size, name)
    try:
        refuse_memory_eaters(file, True, name)
        return torch.load(file, weights_only=True, mmap=device == "meta", map_location=device)
    except Exception as error:  # a hostile file chooses what it makes the reader raise
        raise IPAdapterError(
            f"{name} cannot be read: it is damaged or holds more than EMBEDS; save them again"
        ) from error


NODES = [IPAdapterSaveEmbeds, IPAdapterLoadEmbeds]
