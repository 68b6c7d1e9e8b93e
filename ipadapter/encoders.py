"""The image encoders that adapters are published for. The only place with their names and widths."""

from __future__ import annotations

from typing import NamedTuple


class File(NamedTuple):
    name: str
    source: str  # a folder on huggingface.co
    lora: str = ""  # that belongs to it, in the same folder
    there: str = ""  # its name in that folder, if it is no name to keep


class Encoder(NamedTuple):
    name: str
    width: int  # of its hidden states
    embeds: int  # of the picture's embedding; 0: it gives none
    positions: int  # of the patches, and of the class if it has one
    names: str  # a pattern in the names under which its file goes
    file: File | None = None

    def gives(self, feature: str | None) -> int:
        """The width of that output."""
        return self.embeds if feature == "image_embeds" else self.width


VIT_L = Encoder(
    "CLIP ViT-L",
    width=1024,
    embeds=768,
    positions=257,
    names=r"clip.vit.large.patch14|clip.vision.(vit.)?l\b",
    file=File(
        "clip-vit-large-patch14.safetensors",
        "openai/clip-vit-large-patch14",
        there="model.safetensors",
    ),
)
VIT_L_336 = Encoder(
    "CLIP ViT-L at 336 pixels",
    width=1024,
    embeds=768,
    positions=577,
    names=r"clip.vit.large.patch14.336",
    file=File(
        "clip-vit-large-patch14-336.bin",
        "Kwai-Kolors/Kolors-IP-Adapter-Plus/image_encoder",
        there="pytorch_model.bin",
    ),
)
VIT_H = Encoder(
    "CLIP ViT-H",
    width=1280,
    embeds=1024,
    positions=257,
    names=r"vit.h.14.*s32b.b79k|clip.vision.(vit.)?h\b|ip.?adapter.*sd15|sd1.?5.*model",
    file=File(
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        "h94/IP-Adapter/models/image_encoder",
        there="model.safetensors",
    ),
)
VIT_G = Encoder(
    "CLIP ViT-bigG",
    width=1664,
    embeds=1280,
    positions=257,
    names=r"vit.bigg.14.*39b.b160k|clip.vision.(vit.)?(big)?g\b|ip.?adapter.*sdxl|sdxl.*model",
    file=File(
        "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
        "h94/IP-Adapter/sdxl_models/image_encoder",
        there="model.safetensors",
    ),
)
SIGLIP = Encoder("SigLIP", width=1152, embeds=0, positions=729, names=r"siglip")
# Of two that give the same widths, the usual one first.
ENCODERS = (VIT_L, VIT_L_336, VIT_H, VIT_G, SIGLIP)


def encoder_that_gives(feature: str | None, width: int) -> Encoder | None:
    """The one whose output ``feature`` is this wide."""
    return next((encoder for encoder in ENCODERS if encoder.gives(feature) == width), None)


def encoder_of_widths(width: int, embeds: int) -> Encoder | None:
    """The one whose hidden states and embedding are this wide."""
    widths = (width, embeds)
    return next((found for found in ENCODERS if (found.width, found.embeds) == widths), None)
