"""The published files: under which names, in which folder on Hugging Face, for what.

Names decide only among files of one kind: Plus, Plus Face and composition have the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .base_models import SD15, SDXL
from .detection import AdapterKind, EncoderKind
from .encoders import VIT_L_336, Encoder, File, encoder_that_gives
from .face_projections import FaceID, FaceIDPlus, KolorsFaceIDPlus, Portrait, UnnormPortrait
from .projections import FullProjection, ImageProjection, KolorsResampler, Projection, Resampler


class Preset(NamedTuple):
    """What a preset of the Auto Loader stands for, best file first."""

    description: str  # one sentence, as of an Option
    family: type[Projection]
    files: Mapping[str, tuple[File, ...]]  # base model -> files
    big: bool | None = None  # whether it reads ViT-bigG; None: whichever
    insightface: str = "buffalo_l"  # for families that read faces

    def means(self, kind: AdapterKind) -> bool:
        """Whether a file of this kind can be what is meant, its name aside."""
        big = kind.width == 1280
        return kind.family is self.family and self.big in (None, big)

    @property
    def all_files(self) -> list[File]:
        return [file for files in self.files.values() for file in files]


def _files(source: str, *names: str) -> tuple[File, ...]:
    return tuple(File(name, source) for name in names)


def _face(name: str, ending: str = "bin", lora: bool = True) -> tuple[File, ...]:
    lora_name = f"ip-adapter-{name}_lora.safetensors" if lora else ""
    return (File(f"ip-adapter-{name}.{ending}", "h94/IP-Adapter-FaceID", lora_name),)


SD15_FILES, SDXL_FILES = "h94/IP-Adapter/models", "h94/IP-Adapter/sdxl_models"
COMPOSITION = "ostris/ip-composition-adapter"
KOLORS, KOLORS_FACE = (
    "Kwai-Kolors/Kolors-IP-Adapter-Plus",
    "Kwai-Kolors/Kolors-IP-Adapter-FaceID-Plus",
)

PRESETS = {
    "LIGHT": Preset(
        "whole pictures, at low strength (SD1.5 only)",
        ImageProjection,
        {
            SD15.name: _files(
                SD15_FILES, "ip-adapter_sd15_light_v11.bin", "ip-adapter_sd15_light.safetensors"
            )
        },
        big=False,
    ),
    "STANDARD": Preset(
        "whole pictures, at medium strength",
        ImageProjection,
        {
            SD15.name: _files(SD15_FILES, "ip-adapter_sd15.safetensors"),
            SDXL.name: _files(SDXL_FILES, "ip-adapter_sdxl_vit-h.safetensors"),
        },
        big=False,
    ),
    "VIT-G": Preset(
        "as STANDARD, seen by the larger encoder ViT-bigG",
        ImageProjection,
        {
            SD15.name: _files(SD15_FILES, "ip-adapter_sd15_vit-G.safetensors"),
            SDXL.name: _files(SDXL_FILES, "ip-adapter_sdxl.safetensors"),
        },
        big=True,
    ),
    "PLUS": Preset(
        "whole pictures in more detail, at high strength",
        Resampler,
        {
            SD15.name: _files(SD15_FILES, "ip-adapter-plus_sd15.safetensors"),
            SDXL.name: (
                *_files(SDXL_FILES, "ip-adapter-plus_sdxl_vit-h.safetensors"),
                File("noobIPAMARK1_mark1.safetensors", "r3gm/noob-ipa/model_G"),
            ),
        },
    ),
    "PLUS FACE": Preset(
        "as PLUS, for portraits",
        Resampler,
        {
            SD15.name: _files(SD15_FILES, "ip-adapter-plus-face_sd15.safetensors"),
            SDXL.name: _files(SDXL_FILES, "ip-adapter-plus-face_sdxl_vit-h.safetensors"),
        },
    ),
    "FULL FACE": Preset(
        "as PLUS FACE, stronger (SD1.5 only)",
        FullProjection,
        {SD15.name: _files(SD15_FILES, "ip-adapter-full-face_sd15.safetensors")},
    ),
    "COMPOSITION": Preset(
        "how a picture is composed, without its style or its subject",
        Resampler,
        {
            SD15.name: _files(COMPOSITION, "ip_plus_composition_sd15.safetensors"),
            SDXL.name: _files(COMPOSITION, "ip_plus_composition_sdxl.safetensors"),
        },
    ),
    "FACEID": Preset(
        "who a person is, by a face model",
        FaceID,
        {SD15.name: _face("faceid_sd15"), SDXL.name: _face("faceid_sdxl")},
    ),
    "FACEID PLUS": Preset(
        "as FACEID, with CLIP's view of the face (SD1.5 only)",
        FaceIDPlus,
        {SD15.name: _face("faceid-plus_sd15")},
    ),
    "FACEID PLUS V2": Preset(
        "as FACEID PLUS, with a separate weight for CLIP's view",
        FaceIDPlus,
        {SD15.name: _face("faceid-plusv2_sd15"), SDXL.name: _face("faceid-plusv2_sdxl")},
    ),
    "FACEID PORTRAIT": Preset(
        "several photos of one person (about five), without a LoRA",
        Portrait,
        {
            SD15.name: _face("faceid-portrait-v11_sd15", lora=False)
            + _face("faceid-portrait_sd15", lora=False),
            SDXL.name: _face("faceid-portrait_sdxl", lora=False),
        },
    ),
    "FACEID PORTRAIT UNNORM": Preset(
        "as FACEID PORTRAIT, with a stronger likeness (SDXL only)",
        UnnormPortrait,
        {SDXL.name: _face("faceid-portrait_sdxl_unnorm", lora=False)},
    ),
    "KOLORS PLUS": Preset(
        "PLUS for Kolors",
        KolorsResampler,
        {SDXL.name: _files(KOLORS, "ip_adapter_plus_general.bin", "kolors-ip-adapter-plus.bin")},
    ),
    "KOLORS FACEID PLUS": Preset(
        "FACEID PLUS for Kolors",
        KolorsFaceIDPlus,
        {
            SDXL.name: _files(
                KOLORS_FACE, "ipa-faceid-plus.bin", "kolors-ip-adapter-faceid-plus.bin"
            )
        },
        insightface="antelopev2",
    ),
}

# What "auto" takes, the first that is there: whole pictures before faces.
AUTO_ORDER = (
    "PLUS", "STANDARD", "VIT-G", "LIGHT", "KOLORS PLUS", "COMPOSITION", "PLUS FACE", "FULL FACE",
    "FACEID PLUS V2", "FACEID PLUS", "FACEID", "FACEID PORTRAIT", "FACEID PORTRAIT UNNORM",
    "KOLORS FACEID PLUS",
)  # fmt: skip


def is_published_as(name: str, published: str) -> bool:
    """Whether a file in a folder goes by a published name. The ending, the subfolder, letter case
    and a precision at its end do not matter, nor does how its words are joined."""
    words = re.split(r"[-_. ]+", _stem(published))
    if words[:2] == ["ip", "adapter"] and {"face", "faceid", "light"} & set(words):
        del words[:2]  # what follows says enough
    pattern = r"(^|[-_. /\\])" + r"[-_. ]?".join(map(re.escape, words))
    return re.search(pattern + r"([-_. ](fp16|fp32|bf16|f16))?$", _stem(name)) is not None


def _stem(name: str) -> str:
    return re.sub(r"\.(safetensors|sft|bin|ckpt|pth?|pkl)$", "", name.lower())


def named_v2(name: str) -> bool:
    """Whether a name says FaceID Plus V2, which no tensor does."""
    return re.search(r"plus.?v2", name, re.IGNORECASE) is not None


def preset_of(name: str) -> str | None:
    """The preset that a file of this name is published for."""
    for preset, means in PRESETS.items():
        if any(is_published_as(name, file.name) for file in means.all_files):
            return preset
    return None


def place(name: str, preset: str) -> int:
    """Where a published name stands among its preset's files: the least is to be taken."""
    files = PRESETS[preset].all_files
    return next(i for i, file in enumerate(files) if is_published_as(name, file.name))


OTHER_TRAINING = r"dfn|meta.?clip|quick.?gelu|clipa|datacomp|webli"


def wanted_encoder(kind: AdapterKind) -> Encoder | None:
    if kind.family.kolors:
        return VIT_L_336
    return encoder_that_gives(kind.family.feature, kind.width)


def encoder_place(adapter: AdapterKind, encoder: EncoderKind, name: str) -> tuple[int, ...]:
    """Which of several encoders of the right width to take: the least."""
    wanted = wanted_encoder(adapter)
    return (
        int(re.search(OTHER_TRAINING, name.lower()) is not None),
        int(encoder.positions != (wanted.positions if wanted else 257)),
        int(wanted is None or re.search(wanted.names, name.lower()) is None),
    )
