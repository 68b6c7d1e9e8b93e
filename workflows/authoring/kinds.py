"""The node classes that the bundled workflows use, as the frontend's format needs to know them."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Kind(NamedTuple):
    title: str
    sockets: dict[str, str]  # input sockets in order: name -> type
    widgets: dict[str, Any]  # in order: name -> value unless the graph says otherwise
    outputs: list[str]  # types
    size: tuple[int, int]
    unsent: dict[str, Any] = {}  # noqa: RUF012  after which widget the frontend keeps one of its own
    output_names: dict[str, str] = {}  # noqa: RUF012  of outputs that are not called as their type


SAMPLING = {
    "steps": 20,
    "cfg": 6.0,
    "sampler_name": "dpmpp_2m",
    "scheduler": "karras",
    "denoise": 1.0,
}
STRENGTH = {
    "weight": 0.75,
    "noise": 0.0,
    "weight_type": "original",
    "start_at": 0.0,
    "end_at": 1.0,
}
LAYERS = {"layer_schedule": "linear", "second_weight": 1.0, "layer_weights": ""}
APPLY = {**STRENGTH, "unfold_batch": False, **LAYERS}
APPLY_FACE = {
    **STRENGTH,
    "faceid_v2": False,
    "weight_v2": 1.0,
    "unfold_batch": False,
    "face_select": "largest",
    "face_index": 0,
    "lora_strength": 1.0,
    "plus_version": "by file name",
    **LAYERS,
}
STITCH = {
    "direction": "right",
    "match_image_size": True,
    "spacing_width": 8,
    "spacing_color": "white",
}

# fmt: off
KINDS = {
    "CheckpointLoaderSimple": Kind("Load Checkpoint", {}, {"ckpt_name": SD15}, ["MODEL", "CLIP", "VAE"], (360, 105)),
    "IPAdapterModelLoader": Kind("Load IPAdapter Model", {}, {"ipadapter_file": BASE}, ["IPADAPTER"], (360, 90)),
    "CLIPVisionLoader": Kind("Load CLIP Vision", {}, {"clip_name": VIT_H}, ["CLIP_VISION"], (360, 65)),
    "LoadImage": Kind("Load Image", {}, {"image": "example.png"}, ["IMAGE", "MASK"], (280, 330), {"image": "image"}),
    "IPAdapterInsightFaceLoader": Kind("Load InsightFace", {}, {"provider": "CPU", "model_name": "buffalo_l"}, ["INSIGHTFACE"], (360, 115)),
    "IPAdapterApply": Kind("Apply IPAdapter", {"ipadapter": "IPADAPTER", "model": "MODEL", "clip_vision": "CLIP_VISION", "image": "IMAGE", "attn_mask": "MASK", "image_negative": "IMAGE", "reference": "IPADAPTER_REFERENCE"}, APPLY, ["MODEL"], (280, 440)),
    "IPAdapterApplyFaceID": Kind("Apply IPAdapter FaceID", {"ipadapter": "IPADAPTER", "image": "IMAGE", "model": "MODEL", "clip_vision": "CLIP_VISION", "insightface": "INSIGHTFACE", "attn_mask": "MASK"}, APPLY_FACE, ["MODEL", "IMAGE"], (280, 590), output_names={"IMAGE": "faces"}),
    "SolidMask": Kind("Solid Mask", {}, {"value": 1.0, "width": 512, "height": 512}, ["MASK"], (260, 145)),
    "IPAdapterSolidMask": Kind("Solid Mask (IPAdapter)", {}, {"value": 1.0, "width": 512, "height": 512}, ["MASK"], (260, 145)),
    "IPAdapterFeatherMask": Kind("Feather Mask (IPAdapter)", {"mask": "MASK"}, {"left": 0, "top": 0, "right": 0, "bottom": 0}, ["MASK"], (260, 175)),
    "IPAdapterMaskComposite": Kind("Mask Composite (IPAdapter)", {"destination": "MASK", "source": "MASK"}, {"x": 0, "y": 0, "operation": "add"}, ["MASK"], (260, 165)),
    "IPAdapterMaskFromColor": Kind("Mask From Color (IPAdapter)", {"image": "IMAGE"}, {"color": "#FF0000", "tolerance": 16}, ["MASK"], (260, 125)),
    "IPAdapterPreviewMask": Kind("Preview Mask (IPAdapter)", {"mask": "MASK"}, {}, ["MASK"], (260, 250)),
    "InvertMask": Kind("Invert Mask", {"mask": "MASK"}, {}, ["MASK"], (260, 35)),
    "CLIPTextEncode": Kind("CLIP Text Encode (Prompt)", {"clip": "CLIP"}, {"text": ""}, ["CONDITIONING"], (300, 110)),
    "ConditioningSetMask": Kind("Conditioning (Set Mask)", {"conditioning": "CONDITIONING", "mask": "MASK"}, {"strength": 1.0, "set_cond_area": "default"}, ["CONDITIONING"], (260, 115)),
    "ConditioningCombine": Kind("Conditioning (Combine)", {"conditioning_1": "CONDITIONING", "conditioning_2": "CONDITIONING"}, {}, ["CONDITIONING"], (260, 55)),
    "PrimitiveInt": Kind("Int", {}, {"value": 0}, ["INT"], (260, 90), {"value": "fixed"}),
    "EmptyLatentImage": Kind("Empty Latent Image", {}, {"width": 512, "height": 512, "batch_size": 1}, ["LATENT"], (260, 120)),
    "KSampler": Kind("KSampler", {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}, {"seed": 0, **SAMPLING}, ["LATENT"], (280, 270), {"seed": "fixed"}),
    "VAEDecode": Kind("VAE Decode", {"samples": "LATENT", "vae": "VAE"}, {}, ["IMAGE"], (280, 55)),
    "BatchImagesNode": Kind("Batch Images", {f"images.image{number}": "IMAGE" for number in range(5)}, {}, ["IMAGE"], (260, 130)),
    "PreviewImage": Kind("Preview Image", {"images": "IMAGE"}, {}, [], (260, 280)),
    "ImageStitch": Kind("Stitch Images", {"image1": "IMAGE", "image2": "IMAGE"}, STITCH, ["IMAGE"], (260, 160)),
    "SaveImage": Kind("Save Image", {"images": "IMAGE"}, {"filename_prefix": "ipadapter_regions"}, [], (420, 380)),
}
# fmt: on
