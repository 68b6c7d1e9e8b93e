"""Loading adapters, and what travels on the IPADAPTER socket."""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
from comfy_api.latest import io
from safetensors import SafetensorError
from torch.utils.weak import WeakTensorKeyDictionary

from ...ipadapter.adapter import IPAdapter
from ...ipadapter.checkpoint import read_checkpoint
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.header import check_file
from ...ipadapter.projections import Projection
from ..references.provenance import projection_digest
from ..shared.inputs import IPAdapterSocket
from .feature_cache import FeatureMemo

Loaded = TypeVar("Loaded")


class LoadedAdapter:
    """The value of an IPADAPTER socket: one adapter under ComfyUI's memory management."""

    def __init__(self, content: object, file: str):
        self.file = self.name = file  # as messages call it; what it was published as
        checkpoint = read_checkpoint(content, file)
        # Detached, as the module's: what another pack gave stays free to go.
        self.lora = {key: tensor.detach() for key, tensor in checkpoint.lora.items()}
        self.adapter = IPAdapter.from_checkpoint(checkpoint, comfy.ops.manual_cast, file)
        if any(t.is_meta for t in (*self.adapter.parameters(), *self.lora.values())):
            raise IPAdapterError(f"{file} is damaged: it holds shapes without numbers")
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.adapter,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        self.memo = FeatureMemo()

    @property
    def projection(self) -> Projection:
        return self.adapter.projection

    @cached_property
    def digest(self) -> str:
        """Tells this adapter's projection from all others, whatever the file is called."""
        return projection_digest(self.projection)

    def load(self) -> IPAdapter:
        """The adapter, on the device where it is to run."""
        comfy.model_management.load_models_gpu([self.patcher])
        return self.adapter


class NamedAdapter(LoadedAdapter):
    """An adapter under another name. It shares all else with the one that stays in use."""

    def __init__(self, loaded: LoadedAdapter, name: str):
        vars(self).update(vars(loaded))
        self.name, self.loaded = name, loaded


class Pipeline(NamedTuple):
    """An adapter, and what a loader that knows what belongs together brought with it."""

    loaded: LoadedAdapter
    clip_vision: Any = None
    insightface: Any = None
    lora_strength: float = 1.0  # of the LoRA that belongs to the adapter


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
                    "adapter it is gets read from its contents.",
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
        return io.NodeOutput(load_adapter(full_path("ipadapter", ipadapter_file)))


def full_path(folder: str, name: str) -> str:
    """Where a file of a models folder lies; IPAdapterError if it is gone."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise IPAdapterError(f"{name} is not in models/{folder} (any more)")
    return path


class InUse(Generic[Loaded]):
    """One file in use is one copy in memory, however many nodes load it."""

    def __init__(self) -> None:
        self._loaded: weakref.WeakValueDictionary[tuple[str, int, int], Loaded] = (
            weakref.WeakValueDictionary()
        )

    def get(self, path: str, load: Callable[[str], Loaded]) -> Loaded:
        """What the file was loaded as, as long as that is in use and the file has not changed."""
        stat = os.stat(path)
        key = (os.path.realpath(path), stat.st_mtime_ns, stat.st_size)
        loaded = self._loaded.get(key)
        if loaded is None:
            loaded = self._loaded[key] = load(path)
        return loaded


_adapters: InUse[LoadedAdapter] = InUse()


def load_adapter(path: str) -> LoadedAdapter:
    """Load an adapter file. IPAdapterError names the file when it cannot be used."""
    return _adapters.get(path, lambda path: LoadedAdapter(read_file(path), os.path.basename(path)))


def read_file(path: str) -> object:
    """What a file holds; nothing in it is executed, and nothing hostile allocated."""
    check_file(path)
    file = os.path.basename(path)
    try:
        return comfy.utils.load_torch_file(path, safe_load=True)
    except UNREADABLE as error:
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no model file; download it again"
        ) from error


# What reading can still raise after that check.
UNREADABLE = (
    SafetensorError, RuntimeError, ValueError, EOFError, OSError, LookupError, AttributeError,
    TypeError, pickle.UnpicklingError,
)  # fmt: skip


# Adapters that came as another pack's value, kept as long as its tensors live.
_foreign: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def accept_adapter(value: object) -> Pipeline:
    """What is on an IPADAPTER socket.

    Takes our own values, and those of the prevailing pack: its loader's dictionary (``image_proj``,
    ``ip_adapter``) and its unified loader's (``ipadapter``, ``clipvision`` and ``insightface``, each
    with a ``model``).
    """
    if isinstance(value, Pipeline):
        return value
    if isinstance(value, LoadedAdapter):
        return Pipeline(value)
    if isinstance(value, Mapping) and isinstance(value.get("ipadapter"), Mapping):
        loaded = accept_adapter(value["ipadapter"].get("model")).loaded
        encoder, faces = (
            (value.get(key) or {}).get("model") for key in ("clipvision", "insightface")
        )
        return Pipeline(loaded, encoder, faces)
    if not isinstance(value, Mapping) or "ip_adapter" not in value:
        raise IPAdapterError(
            f"ipadapter: a {type(value).__name__} is no adapter; connect Load IPAdapter Model"
        )
    anchor = next(iter(value["ip_adapter"].values()), None)
    if anchor is None:
        raise IPAdapterError("ipadapter: the connected loader gives an adapter without layers")
    if anchor not in _foreign:
        _foreign[anchor] = LoadedAdapter(value, "the connected adapter")
    loaded = _foreign[anchor]
    is_v2 = value.get("faceidplusv2")  # which that loader read from the file's name
    return Pipeline(NamedAdapter(loaded, "faceid-plusv2") if is_v2 else loaded)


NODES = [IPAdapterModelLoader]
