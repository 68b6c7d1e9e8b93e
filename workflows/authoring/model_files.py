"""The model files that the bundled workflows name, and where each is to be had."""

from __future__ import annotations

from typing import NamedTuple

HUGGING_FACE = "https://huggingface.co"
SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
VIT_H = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
BASE = "ip-adapter_sd15.safetensors"
PLUS = "ip-adapter-plus_sd15.safetensors"
FACEID_PLUS_V2 = "ip-adapter-faceid-plusv2_sd15.bin"
PORTRAIT = "ip-adapter-faceid-portrait-v11_sd15.bin"


class Source(NamedTuple):
    directory: str  # under models/
    address: str  # on Hugging Face


SOURCES = {
    SD15: Source("checkpoints", f"Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15}"),
    VIT_H: Source(
        "clip_vision", "h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors"
    ),
    BASE: Source("ipadapter", f"h94/IP-Adapter/resolve/main/models/{BASE}"),
    PLUS: Source("ipadapter", f"h94/IP-Adapter/resolve/main/models/{PLUS}"),
    FACEID_PLUS_V2: Source("ipadapter", f"h94/IP-Adapter-FaceID/resolve/main/{FACEID_PLUS_V2}"),
    PORTRAIT: Source("ipadapter", f"h94/IP-Adapter-FaceID/resolve/main/{PORTRAIT}"),
}


def model(name: str) -> dict[str, str]:
    """A model file as the frontend's format names it."""
    directory, address = SOURCES[name]
    return {"name": name, "url": f"{HUGGING_FACE}/{address}", "directory": directory}
