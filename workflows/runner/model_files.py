"""The models that a run is to use: as a server lists them, or as paths on this machine."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .client import Client
from .errors import RunError
from .graphs import Graph, title
from .server import running

# A model option: the node class and input that it sets, and the folder of such files.
MODELS = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
    "ipadapter": ("IPAdapterModelLoader", "ipadapter_file", "ipadapter"),
    "clip_vision": ("CLIPVisionLoader", "clip_name", "clip_vision"),
}
LOADERS = {**MODELS, "insightface": ("IPAdapterInsightFaceLoader", "model_name", "insightface")}


def add_models(parser: argparse.ArgumentParser) -> None:
    for name in MODELS:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar="F", help="as the server lists it; or a file's path")


@contextlib.contextmanager
def connected(
    server: str | None, models: dict[str, str], folders: dict[str, list[Path]] | None = None
) -> Iterator[tuple[Client, dict[str, str]]]:
    """A ComfyUI to talk to, and each chosen model as that ComfyUI calls it.

    Without a server one is started, whose model folders include those of the chosen paths.
    """
    folders = {kind: list(more) for kind, more in (folders or {}).items()}
    names: dict[str, str] = {}
    for name, file in models.items():
        folder, found = locate(name, file)
        if folder:
            folders.setdefault(LOADERS[name][2], []).append(folder)
        if found:
            names[name] = found
    if server:
        yield Client(server), names
        return
    with running(folders) as url:
        yield Client(url), names


def locate(name: str, file: str) -> tuple[Path | None, str | None]:
    """Where to look for a model that is given as a path, and what it is called there.

    None as the folder: the file is a name already. None as the name: as the workflow has it.
    """
    path = Path(file).expanduser().absolute()
    nested = any(path.glob(f"{path.name}/*.onnx"))  # as antelopev2.zip unpacks
    if path.is_file() or any(path.glob("*.onnx")) or nested:
        return path.parent, path.name
    if name == "insightface" and path.is_dir():
        if not any(path.rglob("*.onnx")):
            raise RunError(f"--insightface {file}: there are no .onnx files in it")
        return path, None
    return None, file


def choose_models(graph: Graph, names: dict[str, str], known: dict[str, Any]) -> None:
    """Put the chosen models into every loader of their kind."""
    for name, file in names.items():
        kind, socket, folder = LOADERS[name]
        flag = f"--{name.replace('_', '-')} {file}"
        if kind not in known:
            raise RunError(f"this ComfyUI has no {kind} node: is the pack installed in it?")
        choices = options_of(known[kind]["input"]["required"][socket])
        if file not in choices:
            listed = ", ".join(choices) or "none"
            raise RunError(f"{flag}: models/{folder} has {listed}")
        loaders = [key for key in graph if graph[key]["class_type"] == kind]
        if len({str(graph[key]["inputs"].get(socket)) for key in loaders}) > 1:
            each = " and ".join(f'--set "{title(graph, key)}.{socket}=F"' for key in loaders)
            raise RunError(f"{flag}: this workflow loads different files; use {each}")
        for key in loaders:
            graph[key]["inputs"][socket] = file


def options_of(spec: list[Any]) -> list[str]:
    """The choices of a combo, in either form in which ComfyUI describes one."""
    return spec[0] if isinstance(spec[0], list) else spec[1].get("options", [])
