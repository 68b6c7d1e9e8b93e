"""References in files: a .safetensors with tokens, features and the adapter that they belong to."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import safetensors.torch
from comfy_api.latest import io, ui

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.header import Header, read_header
from ...ipadapter.reference import EncodedReference
from ...ipadapter.saved import check_finite, check_tensors, pack, unpack
from ..loading.adapter import LoadedAdapter, accept_adapter
from ..shared.inputs import ADVANCED, IPAdapterSocket, ReferenceSocket
from ..shared.node import Node
from ..shared.notices import warn
from .provenance import check_adapter

FOLDER = "ipadapter_references"
NOT_THERE = f"{{}} is not in the folder {FOLDER} of ComfyUI's input or output folder (any more)"


class SaveReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSaveReference",
            display_name="Save Reference",
            category=ADVANCED,
            description="Writes a reference into ComfyUI's output folder, where Load Reference finds "
            "it. Nothing is overwritten. Pictures and models are not in the file.",
            search_aliases=["IPAdapter Save Embeds", "save face", "export reference"],
            inputs=[
                ReferenceSocket.Input(
                    "reference",
                    tooltip="From Encode Reference, Encode FaceID or Combine References.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default=f"{FOLDER}/reference",
                    tooltip="The file's name within the output folder; a number and .safetensors are "
                    f"added. Load Reference lists the folder {FOLDER}, and folders in it.",
                ),
            ],
            outputs=[
                ReferenceSocket.Output(
                    display_name="reference", tooltip="The same reference, unchanged."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, reference: EncodedReference, filename_prefix: str = f"{FOLDER}/reference"
    ) -> io.NodeOutput:
        if not isinstance(reference, EncodedReference):
            raise IPAdapterError("reference is not connected: add Encode Reference")
        content = safetensors.torch.save(*pack(reference))
        path, subfolder = write_new(content, filename_prefix)
        saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
        if Path(subfolder).parts[:1] != (FOLDER,):
            warn(f"saved as {path}; Load Reference lists only files in the folder {FOLDER}")
        return io.NodeOutput(reference, ui={"references": [saved]})


def write_new(
    content: bytes, prefix: str, ending: str = "_.safetensors", example: str = f"{FOLDER}/anna"
) -> tuple[Path, str]:
    """Write a new file into the output folder, named as ComfyUI names pictures.

    Returns its path, and the folder within the output folder.
    """
    name = prefix.strip()
    if not name or os.path.isabs(name) or ".." in Path(name).parts:
        raise IPAdapterError(
            f"filename_prefix {prefix!r} is no name within the output folder; give one such as "
            f"{example}"
        )
    output = folder_paths.get_output_directory()
    try:
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(name, output)
        written = Path(folder, f".{uuid.uuid4().hex}.part")  # which no menu lists
        try:
            written.write_bytes(content)
            path = publish(written, (f"{name}_{n:05}{ending}" for n in itertools.count(number)))
        finally:
            written.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise IPAdapterError(f"filename_prefix {prefix[:80]!r}: {error}") from error
    return path, subfolder


def publish(written: Path, names: Iterator[str]) -> Path:
    """Give a file the first of these names that is free in its folder; no file is overwritten."""
    path = written.with_name(next(names))
    try:
        give_name(written, path)
    except FileExistsError:  # another run has just written it
        return publish(written, names)
    return path


def give_name(written: Path, path: Path) -> None:
    """FileExistsError if another file has that name."""
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        path.open("xb").close()  # takes the name
        written.replace(path)


class LoadReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterLoadReference",
            display_name="Load Reference",
            category=ADVANCED,
            description="Reads a reference that Save Reference wrote. It is checked: a reference "
            "means nothing to another adapter.",
            search_aliases=["IPAdapter Load Embeds", "load face", "import reference"],
            inputs=[
                IPAdapterSocket.Input(
                    "ipadapter",
                    tooltip="The adapter that the reference was encoded with, under whatever name.",
                ),
                io.Combo.Input(
                    "reference_file",
                    options=list(saved_references()),
                    tooltip=f"A file in the folder {FOLDER} of ComfyUI's input or output folder.",
                ),
            ],
            outputs=[
                ReferenceSocket.Output(
                    display_name="reference",
                    tooltip="For Apply IPAdapter or Combine References, as when it was saved.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, reference_file: str) -> bool | str:
        return reference_file in saved_references() or NOT_THERE.format(reference_file)

    @classmethod
    def fingerprint_inputs(cls, reference_file: str, **_: Any) -> list[int]:
        stat = saved_references()[reference_file].stat()
        return [stat.st_mtime_ns, stat.st_size, stat.st_ino]

    @classmethod
    def execute(cls, ipadapter: Any, reference_file: str) -> io.NodeOutput:
        loaded = accept_adapter(ipadapter).loaded
        path = saved_references().get(reference_file)
        if path is None:
            raise IPAdapterError(f"reference_file: {NOT_THERE.format(reference_file)}")
        return io.NodeOutput(load_reference(path, loaded))


def saved_references() -> dict[str, Path]:
    """What there is to choose from, by its name in the menu: "anna_00001_.safetensors [output]"."""
    folders = {
        "input": Path(folder_paths.get_input_directory(), FOLDER),
        "output": Path(folder_paths.get_output_directory(), FOLDER),
    }
    return {
        f"{path.relative_to(folder).as_posix()} [{kind}]": path
        for kind, folder in folders.items()
        for path in sorted(folder.rglob("*.safetensors"))
        if path.is_file()
    }


def load_reference(path: Path, loaded: LoadedAdapter) -> EncodedReference:
    """Read a file that Save Reference wrote. IPAdapterError unless it is for this adapter."""
    header = saved_header(path)
    check_adapter(unpack(header.tensors, header.metadata, path.name), loaded)
    check_tensors(header.tensors, loaded.projection, path.name)
    tensors = safetensors.torch.load(path.read_bytes())
    check_finite(tensors, path.name)
    return unpack(tensors, header.metadata, path.name)


def saved_header(path: Path) -> Header:
    """The header of the file; no advice to download what was not downloaded."""
    try:
        return read_header(str(path))
    except IPAdapterError as error:
        text = str(error).replace("download it again", "save the reference again")
        raise IPAdapterError(text) from error


NODES = [SaveReference, LoadReference]
