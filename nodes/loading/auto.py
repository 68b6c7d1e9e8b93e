"""IPAdapter Auto Loader: the adapter, its encoder, its LoRA and its face models, found by content."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import comfy.clip_vision
import folder_paths
from comfy_api.latest import io

from ...ipadapter.choice import AUTO, Match, Requirements, choose, choose_encoder, listed, put
from ...ipadapter.detection import EncoderKind, adapter_kind, encoder_kind, face_lora_kind
from ...ipadapter.encoders import File
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.header import check_file
from ...ipadapter.options import Option
from ...ipadapter.published import PRESETS, is_published_as
from ..model.layers import encoder_hid_proj, find_layers
from ..model.lora import apply_face_lora, apply_lora
from ..shared.files import InUse, full_path, read_file
from ..shared.inputs import CATEGORY, Described, IPAdapterSocket, choice_input
from ..shared.node import Node
from ..shared.notices import warn
from .adapter import AdapterBundle, LoadedAdapter, NamedAdapter, load_adapter
from .insightface import load_insightface
from .insightface_models import PROVIDERS
from .scan import find_files, where

PRESETS_AND_AUTO: dict[str, Described] = {
    AUTO: Option(None, "PLUS if you have it, then others for whole pictures, then those for faces"),
    **PRESETS,
}


class IPAdapterAutoLoader(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAutoLoader",
            display_name="IPAdapter Auto Loader",
            category=CATEGORY,
            description="Finds the adapter that fits your model, and the image encoder, LoRA and "
            "face models that it needs, by the files' contents. It says what it took, or what is "
            "missing and where to put it.",
            search_aliases=[
                *("ipadapter", "faceid", "load ip adapter", "preset"),
                *("IPAdapter Unified Loader", "IPAdapter Unified Loader FaceID"),
                "IPAdapter Unified Loader Community",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="An SD1.5, SDXL or Kolors model. It decides which files fit."
                ),
                choice_input(
                    "preset",
                    PRESETS_AND_AUTO,
                    "What kind of adapter to take. Below the kinds are the files of "
                    "models/ipadapter, for one without a known name.",
                    default=AUTO,
                    files=folder_paths.get_filename_list("ipadapter"),
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Strength of the LoRA that belongs to FaceID adapters; others have "
                    "none. 1 is as trained, 0.5 to 0.8 keeps more of the model's own look; 0 "
                    "leaves it out and asks for no LoRA file.",
                ),
                choice_input(
                    "provider",
                    PROVIDERS,
                    "What the face models run on, for FaceID adapters only.",
                    default="CPU",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model, with the LoRA of a FaceID adapter in it.",
                ),
                IPAdapterSocket.Output(
                    display_name="ipadapter",
                    tooltip="The adapter with its encoder and face models: clip_vision and "
                    "insightface of the Apply nodes need no connection.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> list[list[str]]:
        """What is there to choose from: ComfyUI runs the node again once that changes."""
        return [folder_paths.get_filename_list(name) for name in ("ipadapter", "clip_vision")]

    @classmethod
    def execute(
        cls, model: Any, preset: str = AUTO, lora_strength: float = 1.0, provider: str = "CPU"
    ) -> io.NodeOutput:
        encoders = find_files("clip_vision", encoder_kind)
        requirements = requirements_of(model, encoders.values())
        match = choose(
            find_files("ipadapter", adapter_kind), preset, requirements, where("ipadapter")
        )
        encoder = choose_encoder(match, encoders, where("clip_vision"))
        lora = find_lora(match, requirements) if lora_strength else None
        selection = Selection(match, encoder, lora)
        return put_together(model, selection, preset, lora_strength, provider)


def requirements_of(model: Any, encoders: Iterable[EncoderKind | IPAdapterError]) -> Requirements:
    layers = find_layers(model)
    return Requirements(
        tuple(shape.width for shape in layers.values()),
        next(iter(layers.values())).context,
        encoder_hid_proj(model) is not None,
        frozenset(kind for kind in encoders if isinstance(kind, EncoderKind) and kind.core),
    )


class Selection(NamedTuple):
    """The files that belong together."""

    match: Match
    encoder: str | None
    lora: str | None  # where the adapter's own is not to be used, or it has none


def put_together(
    model: Any, selection: Selection, preset: str, lora_strength: float, provider: str
) -> io.NodeOutput:
    """The model with the LoRA, and the adapter with what it needs; says what was taken."""
    match, encoder, lora = selection
    faces = match.published.insightface if match.kind.family.face else None
    insightface = load_insightface(provider, faces) if faces else None
    loaded = under_its_name(load_adapter(full_path("ipadapter", match.name)), match, preset)
    clip_vision = load_encoder(full_path("clip_vision", encoder)) if encoder else None
    if lora:
        path = full_path("loras", lora)
        if lora_strength:
            model = apply_lora(model, read_file(path), lora_strength, os.path.basename(path))
    else:
        model = apply_face_lora(model, loaded.lora, lora_strength, loaded.file)
    inside = "inside it" if loaded.lora and lora_strength else None
    parts = {"encoder": encoder, "LoRA": lora or inside, "faces": faces}
    brought = [f"{part} {name}" for part, name in parts.items() if name]
    asked = f"{preset}: " if preset in PRESETS and not match.known else ""
    warn("\n".join([f"{asked}took {described(match)}", *brought]))
    return io.NodeOutput(model, AdapterBundle(loaded, clip_vision, insightface, lora_strength))


def described(match: Match) -> str:
    unsure = "" if match.known else ", under no published name"
    return f"{match.name} ({match.kind.family.name}{unsure})"


def under_its_name(loaded: LoadedAdapter, match: Match, preset: str) -> LoadedAdapter:
    """With the published name of the preset, where the user chose one and the file's name says
    nothing: FaceID Plus V1 and V2 are told apart by it."""
    if match.known or preset not in PRESETS or not match.kind.family.versions:
        return loaded
    return NamedAdapter(loaded, PRESETS[preset].all_files[0].name)


def find_lora(match: Match, requirements: Requirements) -> str | None:
    """The separate LoRA file that a FaceID adapter needs; None if it needs none, or brings its own.

    Only files of a published name are opened: by content alone many a LoRA could be it.
    """
    files = match.published.files.get(requirements.base, ())
    wanted = [file for file in files if file.lora]
    if match.kind.has_lora or not wanted:
        return None
    names = [
        name
        for name in folder_paths.get_filename_list("loras")
        if any(is_published_as(name, file.lora) for file in wanted)
    ]
    lora, refused = fitting_lora(names, requirements)
    if lora:
        return lora
    file = File(wanted[0].lora, wanted[0].source)
    raise IPAdapterError(
        f"{match.name} holds no LoRA, and a {match.kind.family.name} adapter needs one: looked "
        f"in models/loras for {file.name}, found {listed(refused)}; {put(file, where('loras'))}, "
        "or set lora_strength to 0"
    )


def fitting_lora(names: Iterable[str], requirements: Requirements) -> tuple[str | None, list[str]]:
    """The first of these files that is a FaceID adapter's LoRA for the model; why others are not."""
    refused: list[str] = []
    for name, kind in find_files("loras", face_lora_kind, names).items():
        if isinstance(kind, IPAdapterError):
            refused.append(str(kind))
        elif kind.layers != len(requirements.widths):
            refused.append(
                f"{name} is for {kind.layers} layers, the model has {len(requirements.widths)}"
            )
        else:
            return name, refused
    return None, refused


_encoders: InUse[Any] = InUse()


def load_encoder(path: str) -> Any:
    return _encoders.get(path, read_encoder)


def read_encoder(path: str) -> Any:
    file = os.path.basename(path)
    check_file(path)
    try:
        encoder = comfy.clip_vision.load(path)
    except RuntimeError as error:
        why = str(error).splitlines()[-1]
        raise IPAdapterError(f"{file} is damaged: {why}; download it again") from error
    if encoder is None:
        raise IPAdapterError(f"{file}: ComfyUI cannot load this encoder")
    return encoder


NODES = [IPAdapterAutoLoader]
