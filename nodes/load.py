"""Loading adapters, and what travels on the IPADAPTER socket."""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
from comfy_api.latest import io
from safetensors import SafetensorError
from torch.utils.weak import WeakTensorKeyDictionary

from ..ipadapter.adapter import IPAdapter
from ..ipadapter.checkpoint import read_checkpoint
from ..ipadapter.errors import IPAdapterError
from .memo import FeatureMemo

IPAdapterSocket = io.Custom("IPADAPTER")


class LoadedAdapter:
    """The value of an IPADAPTER socket: one adapter under ComfyUI's memory management."""

    def __init__(self, content: object, file: str):
        self.file = file
        checkpoint = read_checkpoint(content, file)
        self.adapter = IPAdapter.from_checkpoint(checkpoint, comfy.ops.manual_cast, file)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.adapter,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        self.memo = FeatureMemo()

    def load(self) -> IPAdapter:
        """The adapter, on the device where it is to run."""
        comfy.model_management.load_models_gpu([self.patcher])
        return self.adapter


class IPAdapterModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterModelLoader",
            display_name="Load IPAdapter Model",
            category="IPAdapter Regions",
            description="Loads an IP-Adapter: what lets a model read pictures as prompts. "
            "It must be made for the same base model as your checkpoint (SD1.5 or SDXL).",
            search_aliases=["ipadapter", "ip-adapter", "image prompt", "load ip adapter"],
            inputs=[
                io.Combo.Input(
                    "ipadapter_file",
                    options=folder_paths.get_filename_list("ipadapter"),
                    tooltip="A file in models/ipadapter, .safetensors or .bin. What kind of "
                    "adapter it is gets read from its contents; the name does not matter.",
                )
            ],
            outputs=[
                IPAdapterSocket.Output(
                    display_name="ipadapter", tooltip="The adapter, for Apply IPAdapter."
                )
            ],
        )

    @classmethod
    def execute(cls, ipadapter_file: str) -> io.NodeOutput:
        path = folder_paths.get_full_path("ipadapter", ipadapter_file)
        if path is None:
            raise IPAdapterError(f"{ipadapter_file} is not in models/ipadapter (any more)")
        return io.NodeOutput(load_adapter(path))


# One file in use is one copy in memory, however many loader nodes name it.
_in_use: weakref.WeakValueDictionary[tuple[str, int, int], LoadedAdapter] = (
    weakref.WeakValueDictionary()
)


def load_adapter(path: str) -> LoadedAdapter:
    """Load an adapter file. IPAdapterError names the file when it cannot be used."""
    stat = os.stat(path)
    key = (os.path.realpath(path), stat.st_mtime_ns, stat.st_size)
    loaded = _in_use.get(key)
    if loaded is None:
        loaded = _in_use[key] = LoadedAdapter(read_file(path), os.path.basename(path))
    return loaded


def read_file(path: str) -> object:
    """What a file holds; nothing in it is executed."""
    file = os.path.basename(path)
    try:
        return comfy.utils.load_torch_file(path, safe_load=True)
    except pickle.UnpicklingError as error:
        raise IPAdapterError(
            f"{file} is refused: it holds code or is no plain checkpoint; get the .safetensors"
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no model file; download it again"
        ) from error


# Adapters that came as another pack's value, kept as long as its tensors live.
_foreign: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def accept_adapter(value: object) -> tuple[LoadedAdapter, Any]:
    """The adapter on an IPADAPTER socket, and the CLIP vision model that came with it, or None.

    Takes our own value, and those of the prevailing pack: its loader's dictionary (``image_proj``,
    ``ip_adapter``) and its unified loader's (``ipadapter`` and ``clipvision``, each with a
    ``model``).
    """
    if isinstance(value, LoadedAdapter):
        return value, None
    if isinstance(value, Mapping) and isinstance(value.get("ipadapter"), Mapping):
        loaded, _ = accept_adapter(value["ipadapter"].get("model"))
        return loaded, (value.get("clipvision") or {}).get("model")
    if not isinstance(value, Mapping) or "ip_adapter" not in value:
        raise IPAdapterError(
            f"ipadapter: a {type(value).__name__} is no adapter; connect Load IPAdapter Model"
        )
    anchor = next(iter(value["ip_adapter"].values()), None)
    if anchor is None:
        raise IPAdapterError("ipadapter: the connected loader gives an adapter without layers")
    if anchor not in _foreign:
        _foreign[anchor] = LoadedAdapter(value, "the connected adapter")
    return _foreign[anchor], None


NODES = [IPAdapterModelLoader]
