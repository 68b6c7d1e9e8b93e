"""Loading adapters, what travels on the IPADAPTER socket, and whether it fits a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import folder_paths
from comfy_api.latest import io
from torch.utils.weak import WeakTensorKeyDictionary

from ...ipadapter.adapter import IPAdapter
from ...ipadapter.base_models import Layer, base_model_name
from ...ipadapter.checkpoint import read_checkpoint
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.face_projections import UnnormPortrait
from ...ipadapter.projections import Projection
from ...ipadapter.published import named_v2
from ..model.layers import LayerShape, find_layers
from ..shared.files import InUse, check_listed, full_path, read_into_memory
from ..shared.inputs import CATEGORY, IPAdapterSocket
from ..shared.node import Node
from .as_dictionary import AsDictionary
from .feature_cache import FeatureCache


class LoadedAdapter(AsDictionary):
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
        self.feature_cache = FeatureCache()

    @property
    def projection(self) -> Projection:
        return self.adapter.projection

    @cached_property
    def digest(self) -> str:
        """Tells this adapter's projection from all others, whatever the file is called."""
        return self.projection.digest()

    @property
    def dictionary(self) -> Mapping[str, Any]:
        """The file's tensors by their names, and what version 2 read from the file's name."""
        halves = self.adapter.as_file()
        flags = {
            "faceidplusv2": self.projection.versions and named_v2(self.name),
            "portraitunnorm": isinstance(self.projection, UnnormPortrait),
        }
        return {
            "image_proj": halves["image_proj"],
            "ip_adapter": halves["ip_adapter"] | self.lora,
            **{flag: True for flag, is_set in flags.items() if is_set},
        }

    def load(self) -> IPAdapter:
        """The adapter, on the device where it is to run."""
        comfy.model_management.load_models_gpu([self.patcher])
        return self.adapter


class NamedAdapter(LoadedAdapter):
    """An adapter under another name. It shares all else with the one that stays in use."""

    def __init__(self, loaded: LoadedAdapter, name: str):
        vars(self).update(vars(loaded))
        self.name, self.loaded = name, loaded


@dataclass(frozen=True, eq=False)
class AdapterBundle(AsDictionary):
    """An adapter, and what a loader that knows what belongs together brought with it."""

    loaded: LoadedAdapter
    clip_vision: Any = None
    insightface: Any = None
    lora_strength: float = 1.0  # of the LoRA that belongs to the adapter

    @property
    def dictionary(self) -> Mapping[str, Any]:
        return {
            "ipadapter": {"file": self.loaded.file, "model": self.loaded},
            "clipvision": {"file": None, "model": self.clip_vision},
            "insightface": {"provider": None, "model": self.insightface},
        }


def check_model(model: Any, loaded: LoadedAdapter) -> None:
    """IPAdapterError unless the adapter is for this model: said before anything is encoded."""
    check_fit(loaded, find_layers(model))


def check_fit(loaded: LoadedAdapter, layers: Mapping[Layer, LayerShape]) -> None:
    adapter = loaded.adapter
    widths, context = [s.width for s in layers.values()], next(iter(layers.values())).context
    if (adapter.widths, adapter.context) == (widths, context):
        return
    if (len(adapter.widths), adapter.context) == (len(widths), context):
        raise IPAdapterError(
            f"{loaded.file} is for another model: its layers are up to {max(adapter.widths)} wide, "
            f"the model's up to {max(widths)}"
        )
    made_for = base_model_name(len(adapter.widths), adapter.context)
    model = base_model_name(len(layers), context)
    raise IPAdapterError(
        f"{loaded.file} is for another base model: the adapter{_named(made_for)} has "
        f"{len(adapter.widths)} layers reading width {adapter.context}, the model{_named(model)} "
        f"has {len(layers)} reading width {context}; choose an adapter for "
        f"{model or 'this model'}, or another checkpoint"
    )


def _named(name: str | None) -> str:
    return f" ({name})" if name else ""


class IPAdapterModelLoader(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterModelLoader",
            display_name="Load IPAdapter Model",
            category=CATEGORY,
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
    def validate_inputs(cls, ipadapter_file: str | None = None) -> bool | str:
        return check_listed("ipadapter", ipadapter_file)

    @classmethod
    def execute(cls, ipadapter_file: str) -> io.NodeOutput:
        return io.NodeOutput(load_adapter(full_path("ipadapter", ipadapter_file)))


_adapters: InUse[LoadedAdapter] = InUse()


def load_adapter(path: str) -> LoadedAdapter:
    """Load an adapter file. IPAdapterError names the file when it cannot be used."""
    return _adapters.get(path, _read)


def _read(path: str) -> LoadedAdapter:
    return LoadedAdapter(read_into_memory(path), os.path.basename(path))


# Adapters that came as another pack's value, kept as long as its tensors live.
_foreign: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def accept_adapter(value: object) -> AdapterBundle:
    """What is on an IPADAPTER socket.

    Takes our own values, and those of the prevailing pack: its loader's dictionary (``image_proj``,
    ``ip_adapter``) and its unified loader's (``ipadapter``, ``clipvision`` and ``insightface``, each
    with a ``model``).
    """
    if isinstance(value, AdapterBundle):
        return value
    if isinstance(value, LoadedAdapter):
        return AdapterBundle(value)
    if isinstance(value, Mapping) and isinstance(value.get("ipadapter"), Mapping):
        loaded = accept_adapter(value["ipadapter"].get("model")).loaded
        encoder, faces = (
            (value.get(key) or {}).get("model") for key in ("clipvision", "insightface")
        )
        return AdapterBundle(loaded, encoder, faces)
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
    return AdapterBundle(NamedAdapter(loaded, "faceid-plusv2") if is_v2 else loaded)


NODES = [IPAdapterModelLoader]
