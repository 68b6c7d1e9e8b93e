"""The node classes that the bundled workflows use, as the frontend's format needs to know them."""

from __future__ import annotations

from typing import Any, NamedTuple

HUGGING_FACE = "https://huggingface.co"
MODELS = {
    "ckpt_name": {
        "name": "v1-5-pruned-emaonly-fp16.safetensors",
        "url": f"{HUGGING_FACE}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
        "directory": "checkpoints",
    },
    "ipadapter_file": {
        "name": "ip-adapter_sd15.safetensors",
        "url": f"{HUGGING_FACE}/h94/IP-Adapter/resolve/main/models/ip-adapter_sd15.safetensors",
        "directory": "ipadapter",
    },
    "clip_name": {
        "name": "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        "url": f"{HUGGING_FACE}/h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
        "directory": "clip_vision",
    },
}


class Kind(NamedTuple):
    title: str
    sockets: dict[str, str]  # input sockets in order: name -> type
    widgets: dict[str, Any]  # in order: name -> value unless the graph says otherwise
    outputs: list[str]  # types
    size: tuple[int, int]
    unsent: dict[str, Any] = {}  # noqa: RUF012  after which widget the frontend keeps one of its own


SAMPLING = {
    "steps": 20,
    "cfg": 6.0,
    "sampler_name": "dpmpp_2m",
    "scheduler": "karras",
    "denoise": 1.0,
}
APPLY = {
    "weight": 0.75,
    "noise": 0.0,
    "weight_type": "original",
    "start_at": 0.0,
    "end_at": 1.0,
    "unfold_batch": False,
}
STITCH = {
    "direction": "right",
    "match_image_size": True,
    "spacing_width": 8,
    "spacing_color": "white",
}

# fmt: off
KINDS = {
    "CheckpointLoaderSimple": Kind("Load Checkpoint", {}, {"ckpt_name": MODELS["ckpt_name"]["name"]}, ["MODEL", "CLIP", "VAE"], (360, 105)),
    "IPAdapterModelLoader": Kind("Load IPAdapter Model", {}, {"ipadapter_file": MODELS["ipadapter_file"]["name"]}, ["IPADAPTER"], (360, 90)),
    "CLIPVisionLoader": Kind("Load CLIP Vision", {}, {"clip_name": MODELS["clip_name"]["name"]}, ["CLIP_VISION"], (360, 65)),
    "LoadImage": Kind("Load Image", {}, {"image": "example.png"}, ["IMAGE", "MASK"], (280, 330), {"image": "image"}),
    "IPAdapterApply": Kind("Apply IPAdapter", {"ipadapter": "IPADAPTER", "clip_vision": "CLIP_VISION", "image": "IMAGE", "model": "MODEL", "attn_mask": "MASK", "image_negative": "IMAGE"}, APPLY, ["MODEL"], (280, 330)),
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
    "ImageStitch": Kind("Stitch Images", {"image1": "IMAGE", "image2": "IMAGE"}, STITCH, ["IMAGE"], (260, 160)),
    "SaveImage": Kind("Save Image", {"images": "IMAGE"}, {"filename_prefix": "ipadapter_regions"}, [], (420, 380)),
}
# fmt: on
