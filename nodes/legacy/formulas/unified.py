"""Version 2's presets, and the names by which its loaders found files. A file that goes by such a
name is taken if what it holds fits; where none does, match.py chooses by content alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ....ipadapter.base_models import SD15, SDXL
from ....ipadapter.choice import Match, Requirements, fits, reads
from ....ipadapter.detection import AdapterKind, EncoderKind
from ....ipadapter.errors import IPAdapterError
from ....ipadapter.published import PRESETS, preset_of

VIT_H = r"(ViT.H.14.*s32B.b79K|ipadapter.*sd15|sd1.?5.*model)"
VIT_G = r"(ViT.bigG.14.*39B.b160k|ipadapter.*sdxl|sdxl.*model)"
VIT_L_336 = r"clip.vit.large.patch14.336"
EITHER = r"\.(safetensors|bin)$"
SAFETENSORS = r"\.safetensors$"


class Names(NamedTuple):
    """The names that a preset stands for: patterns without the ending, the best first."""

    preset: str  # what it is among published.PRESETS
    sd15: tuple[str, ...] = ()
    sdxl: tuple[str, ...] = ()
    encoder: str = VIT_H
    ending: str = EITHER
    lora: bool = False  # whether a LoRA file belongs to it

    def adapters(self, base: str) -> tuple[str, ...]:
        return {SD15.name: self.sd15, SDXL.name: self.sdxl}.get(base, ())

    def loras(self, base: str, files: Iterable[str]) -> list[str]:
        """Those of the files in models/loras that may be meant."""
        patterns = self.adapters(base) if self.lora else ()
        return [name for p in patterns for name in named(files, rf"{p}.lora", SAFETENSORS)]


PICTURES = {
    "LIGHT - SD1.5 only (low strength)": Names("LIGHT", ("sd15.light.v11", "sd15.light")),
    "STANDARD (medium strength)": Names(
        "STANDARD", ("ip.adapter.sd15",), ("ip.adapter.sdxl.vit.h",)
    ),
    "VIT-G (medium strength)": Names("VIT-G", ("sd15.vit.g",), ("ip.adapter.sdxl",), encoder=VIT_G),
    "PLUS (high strength)": Names("PLUS", ("ip.adapter.plus.sd15",), ("plus.sdxl.vit.h",)),
    "PLUS FACE (portraits)": Names("PLUS FACE", ("plus.face.sd15",), ("plus.face.sdxl.vit.h",)),
    "FULL FACE - SD1.5 only (portraits stronger)": Names("FULL FACE", ("full.face.sd15",)),
}
FACES = {
    "FACEID": Names("FACEID", ("faceid.sd15",), ("faceid.sdxl",), lora=True),
    "FACEID PLUS - SD1.5 only": Names("FACEID PLUS", ("faceid.plus.sd15",), lora=True),
    "FACEID PLUS V2": Names(
        "FACEID PLUS V2", ("faceid.plusv2.sd15",), ("faceid.plusv2.sdxl",), lora=True
    ),
    "FACEID PORTRAIT (style transfer)": Names(
        "FACEID PORTRAIT", ("portrait.v11.sd15", "portrait.sd15"), ("portrait.sdxl",)
    ),
    "FACEID PORTRAIT UNNORM - SDXL only (strong)": Names(
        "FACEID PORTRAIT UNNORM", sdxl=("portrait.sdxl.unnorm",)
    ),
}
COMMUNITY = {
    "Composition": Names(
        "COMPOSITION", ("plus.composition.sd15",), ("plus.composition.sdxl",), ending=SAFETENSORS
    ),
    "Kolors": Names(
        "KOLORS PLUS",
        sdxl=("(ip_adapter_plus_general|kolors.ip.adapter.plus)",),
        encoder=VIT_L_336,
    ),
}


def named(files: Iterable[str], pattern: str, ending: str = EITHER) -> list[str]:
    """Those that a pattern is found in, with their subfolders; in the order in which they are."""
    return [name for name in files if re.search(pattern + ending, name, re.IGNORECASE)]


def adapter_by_name(
    names: Names, found: Mapping[str, AdapterKind | IPAdapterError], requirements: Requirements
) -> Match | None:
    """The first file of these names that is for the model, and reads faces if the preset does."""
    means = PRESETS[names.preset].family
    for pattern in names.adapters(requirements.base):
        for name in named(found, pattern, names.ending):
            kind = found[name]
            if isinstance(kind, IPAdapterError) or bool(kind.family.face) != bool(means.face):
                continue
            if fits(kind, requirements):
                known = preset_of(name) == names.preset
                return Match(name, kind, names.preset, known)
    return None


def encoder_by_name(
    names: Names, adapter: AdapterKind, found: Mapping[str, EncoderKind | IPAdapterError]
) -> str | None:
    """The first file of these names that ComfyUI can load and the adapter can read."""
    for name in named(found, names.encoder):
        kind = found[name]
        if isinstance(kind, IPAdapterError) or not (adapter.width and kind.core):
            continue
        if reads(adapter, kind):
            return name
    return None
