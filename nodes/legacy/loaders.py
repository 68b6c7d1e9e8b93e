"""The loaders that find an adapter and what belongs to it: by name as in version 2, else by content
as IPAdapter Auto Loader does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import folder_paths
from comfy_api.latest import io

from ...ipadapter.choice import Match, Requirements, choose, choose_encoder
from ...ipadapter.detection import adapter_kind, encoder_kind
from ...ipadapter.errors import pick
from ..loading.auto import (
    IPAdapterAutoLoader,
    Selection,
    find_lora,
    fitting_lora,
    put_together,
    requirements_of,
)
from ..loading.insightface import load_insightface
from ..loading.insightface_models import PROVIDERS
from ..loading.scan import find_files, where
from ..shared.inputs import InsightFaceSocket, IPAdapterSocket, choice_input
from ..shared.node import Node
from .formulas.unified import (
    COMMUNITY,
    FACES,
    PICTURES,
    Names,
    adapter_by_name,
    encoder_by_name,
)
from .sockets import number, old_node, sockets

AUTO_LOADER = "IPAdapter Auto Loader"
BUFFALO = "buffalo_l"


class IPAdapterUnifiedLoader(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return loader(
            "IPAdapterUnifiedLoader",
            "IPAdapter Unified Loader",
            "Finds an adapter for your model, and its image encoder.",
            PICTURES,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> list[list[str]]:
        return IPAdapterAutoLoader.fingerprint_inputs()

    @classmethod
    def execute(
        cls, model: Any, preset: str = next(iter(PICTURES)), ipadapter: Any = None
    ) -> io.NodeOutput:
        return load(model, pick(PICTURES, preset, "preset"))


class IPAdapterUnifiedLoaderCommunity(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return loader(
            "IPAdapterUnifiedLoaderCommunity",
            "IPAdapter Unified Loader Community",
            "Finds the composition adapter or the one for Kolors, and its image encoder.",
            COMMUNITY,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> list[list[str]]:
        return IPAdapterAutoLoader.fingerprint_inputs()

    @classmethod
    def execute(
        cls, model: Any, preset: str = next(iter(COMMUNITY)), ipadapter: Any = None
    ) -> io.NodeOutput:
        return load(model, pick(COMMUNITY, preset, "preset"))


class IPAdapterUnifiedLoaderFaceID(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return loader(
            "IPAdapterUnifiedLoaderFaceID",
            "IPAdapter Unified Loader FaceID",
            "Finds a FaceID adapter for your model, its image encoder, its LoRA and its face "
            f"models ({BUFFALO}).",
            FACES,
            "lora_strength provider",
            model_name="MODEL",
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> list[list[str]]:
        return [
            *IPAdapterAutoLoader.fingerprint_inputs(),
            folder_paths.get_filename_list("loras"),
        ]

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str = next(iter(FACES)),
        lora_strength: float = 0.6,
        provider: str = "CPU",
        ipadapter: Any = None,
    ) -> io.NodeOutput:
        return load(model, pick(FACES, preset, "preset"), lora_strength, provider)


class InsightFaceLoader(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "InsightFaceLoader",
            "Load InsightFace (version 1)",
            f"Loads the models that find and recognize faces ({BUFFALO}), for FaceID adapters.",
            sockets("provider", {"provider": provider_menu("CPU", "CUDA", "ROCM")}),
            [InsightFaceSocket.Output(display_name="INSIGHTFACE", tooltip="The face models.")],
            "Load InsightFace",
        )

    @classmethod
    def execute(cls, provider: str = "CPU") -> io.NodeOutput:
        return io.NodeOutput(load_insightface(provider, BUFFALO))


def load(
    model: Any, names: Names, lora_strength: float = 1.0, provider: str = "CPU"
) -> io.NodeOutput:
    adapters = find_files("ipadapter", adapter_kind)
    encoders = find_files("clip_vision", encoder_kind)
    requirements = requirements_of(model, encoders.values())
    match = adapter_by_name(names, adapters, requirements)
    match = match or choose(adapters, names.preset, requirements, where("ipadapter"))
    encoder = encoder_by_name(names, match.kind, encoders)
    encoder = encoder or choose_encoder(match, encoders, where("clip_vision"))
    lora = lora_of(names, match, requirements) if lora_strength else None
    selection = Selection(match, encoder, lora)
    return put_together(model, selection, names.preset, lora_strength, provider)


def lora_of(names: Names, match: Match, requirements: Requirements) -> str | None:
    """The LoRA file that version 2 took, if it fits; else as the Auto Loader: the adapter's own, or
    a file that is published for it."""
    there = names.loras(requirements.base, folder_paths.get_filename_list("loras"))
    return fitting_lora(there, requirements)[0] or find_lora(match, requirements)


def loader(
    node_id: str,
    display_name: str,
    description: str,
    presets: Mapping[str, Names],
    more: str = "",
    model_name: str = "model",
) -> io.Schema:
    own = {
        "model": partial(
            io.Model.Input, "model",
            tooltip="An SD1.5, SDXL or Kolors model. It decides which files fit.",
        ),
        "preset": partial(
            io.Combo.Input, "preset", options=list(presets),
            tooltip="What kind of adapter to take: the first fitting file with a known name, else "
            "one with contents of that kind.",
        ),
        "ipadapter": partial(
            IPAdapterSocket.Input, "ipadapter",
            tooltip="Not needed any more: what another loader has in memory is not loaded twice.",
        ),
        "lora_strength": number(
            "lora_strength", 0.6, 0.0, 1.0, 0.01,
            "Strength of the LoRA that belongs to FaceID adapters; portraits have none. 0.5 to 0.8 "
            "keeps the model's own look, 1 is as trained; 0 leaves it out.",
        ),
        "provider": provider_menu(*PROVIDERS),
    }  # fmt: skip
    outputs = [
        io.Model.Output(
            display_name=model_name, tooltip="The model, with the LoRA of a FaceID adapter in it."
        ),
        IPAdapterSocket.Output(
            display_name="ipadapter", tooltip="The adapter with its encoder and face models."
        ),
    ]
    inputs = sockets(f"model preset {more} | ipadapter", own)
    return old_node(node_id, display_name, description, inputs, outputs, AUTO_LOADER)


def provider_menu(*options: str) -> Any:
    rows = {name: PROVIDERS[name] for name in options}
    return partial(choice_input, "provider", rows, "What the face models run on.")


NODES = [
    IPAdapterUnifiedLoader,
    IPAdapterUnifiedLoaderFaceID,
    IPAdapterUnifiedLoaderCommunity,
    InsightFaceLoader,
]
