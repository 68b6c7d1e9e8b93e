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
    sockets: dict[str, str]  # input sockets in order: name -> type; a * is a growing row's number
    widgets: dict[str, Any]  # in order: name -> value unless the graph says otherwise
    outputs: dict[str, str]  # in order: name -> type
    size: tuple[int, int]  # with one socket in a growing row
    unsent: dict[str, list[Any]] = {}  # noqa: RUF012  after which widget the frontend keeps more


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
OVER_TIME = {"frame_weights": "", "step_weights": ""}
APPLY = {**STRENGTH, "unfold_batch": False, **LAYERS, **OVER_TIME}
REGION = {
    "weight": 0.75,
    "weight_type": "original",
    "start_at": 0.0,
    "end_at": 1.0,
    "unfold_batch": False,
    **LAYERS,
    **OVER_TIME,
}
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
    **OVER_TIME,
}
BOX = {"box_left": 0.0, "box_top": 0.0, "box_width": 1.0, "box_height": 1.0}
FADES = {"left": 0, "top": 0, "right": 0, "bottom": 0}
EDGE = {"shape_feather": 0, "direction": "inward", "curve": "linear"}
COLORS = {"colors": "", "count": 0, "mode": "nearest", "softness": 128}
RECTANGLE = {"x": 224, "y": 64, "width": 320, "height": 320}
WINDOWS = {
    "context_length": 16,
    "context_overlap": 4,
    "context_schedule": "standard_static",
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 0,
    "freenoise": False,
    # from here on unknown to ComfyUI 0.16, which passes over them
    "cond_retain_index_list": "",
    "split_conds_to_windows": False,
    "latent_retain_index_list": "",
    "causal_window_fix": False,
}
ANIMATION = {
    "filename_prefix": "ipadapter_regions",
    "fps": 8.0,
    "lossless": True,
    "quality": 80,
    "method": "default",
}
STITCH = {
    "direction": "right",
    "match_image_size": True,
    "spacing_width": 8,
    "spacing_color": "white",
}


def typed(*types: str) -> dict[str, str]:
    """Outputs that are called as their types, as core's mostly are."""
    return {kind: kind for kind in types}


MASKS = {"masks": "MASK", "colors": "STRING"} | {f"mask_{n}": "MASK" for n in range(1, 11)}

# fmt: off
KINDS = {
    "CheckpointLoaderSimple": Kind("Load Checkpoint", {}, {"ckpt_name": SD15}, typed("MODEL", "CLIP", "VAE"), (360, 105)),
    "IPAdapterModelLoader": Kind("Load IPAdapter Model", {}, {"ipadapter_file": BASE}, {"ipadapter": "IPADAPTER"}, (360, 90)),
    "CLIPVisionLoader": Kind("Load CLIP Vision", {}, {"clip_name": VIT_H}, typed("CLIP_VISION"), (360, 65)),
    "LoadImage": Kind("Load Image", {}, {"image": "example.png"}, typed("IMAGE", "MASK"), (280, 330), {"image": ["image"]}),
    "IPAdapterInsightFaceLoader": Kind("Load InsightFace", {}, {"provider": "CPU", "model_name": "buffalo_l"}, {"insightface": "INSIGHTFACE"}, (360, 115)),
    "IPAdapterApply": Kind("Apply IPAdapter", {"ipadapter": "IPADAPTER", "model": "MODEL", "clip_vision": "CLIP_VISION", "image": "IMAGE", "attn_mask": "MASK", "image_negative": "IMAGE", "reference": "IPADAPTER_REFERENCE", "step_masks": "MASK"}, APPLY, {"model": "MODEL"}, (280, 490)),
    "IPAdapterApplyFaceID": Kind("Apply IPAdapter FaceID", {"ipadapter": "IPADAPTER", "image": "IMAGE", "model": "MODEL", "clip_vision": "CLIP_VISION", "insightface": "INSIGHTFACE", "attn_mask": "MASK", "step_masks": "MASK"}, APPLY_FACE, {"model": "MODEL", "faces": "IMAGE"}, (280, 640)),
    "SolidMask": Kind("Solid Mask", {}, {"value": 1.0, "width": 512, "height": 512}, typed("MASK"), (260, 145)),
    "IPAdapterSolidMask": Kind("Solid Mask (IPAdapter)", {"image": "IMAGE", "latent": "LATENT"}, {"value": 1.0, "width": 512, "height": 512, **BOX}, {"mask": "MASK"}, (260, 280)),
    "IPAdapterFeatherMask": Kind("Feather Mask (IPAdapter)", {"mask": "MASK"}, {**FADES, **EDGE}, {"mask": "MASK"}, (260, 260)),
    "IPAdapterMaskComposite": Kind("Mask Composite (IPAdapter)", {"destination": "MASK", "source": "MASK"}, {"x": 0, "y": 0, "operation": "add"}, {"mask": "MASK"}, (260, 165)),
    "IPAdapterMaskFromColor": Kind("Mask From Color (IPAdapter)", {"image": "IMAGE"}, {"color": "#FF0000", "tolerance": 16}, {"mask": "MASK"}, (260, 125)),
    "IPAdapterPreviewMask": Kind("Preview Mask (IPAdapter)", {"mask": "MASK", "image": "IMAGE", "latent": "LATENT"}, {"view": "mask"}, {"mask": "MASK"}, (260, 310)),
    "InvertMask": Kind("Invert Mask", {"mask": "MASK"}, {}, typed("MASK"), (260, 35)),
    "CLIPTextEncode": Kind("CLIP Text Encode (Prompt)", {"clip": "CLIP"}, {"text": ""}, typed("CONDITIONING"), (300, 110)),
    "ConditioningSetMask": Kind("Conditioning (Set Mask)", {"conditioning": "CONDITIONING", "mask": "MASK"}, {"strength": 1.0, "set_cond_area": "default"}, typed("CONDITIONING"), (260, 115)),
    "ConditioningCombine": Kind("Conditioning (Combine)", {"conditioning_1": "CONDITIONING", "conditioning_2": "CONDITIONING"}, {}, typed("CONDITIONING"), (260, 55)),
    "PrimitiveInt": Kind("Int", {}, {"value": 0}, typed("INT"), (260, 90), {"value": ["fixed"]}),
    "EmptyLatentImage": Kind("Empty Latent Image", {}, {"width": 512, "height": 512, "batch_size": 1}, typed("LATENT"), (260, 120)),
    "KSampler": Kind("KSampler", {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}, {"seed": 0, **SAMPLING}, typed("LATENT"), (280, 270), {"seed": ["fixed"]}),
    "VAEDecode": Kind("VAE Decode", {"samples": "LATENT", "vae": "VAE"}, {}, typed("IMAGE"), (280, 55)),
    "BatchImagesNode": Kind("Batch Images", {"images.image*": "IMAGE"}, {}, typed("IMAGE"), (260, 50)),
    "PreviewImage": Kind("Preview Image", {"images": "IMAGE"}, {}, {}, (260, 280)),
    "ImageStitch": Kind("Stitch Images", {"image1": "IMAGE", "image2": "IMAGE"}, STITCH, typed("IMAGE"), (260, 160)),
    "SaveImage": Kind("Save Image", {"images": "IMAGE"}, {"filename_prefix": "ipadapter_regions"}, {}, (420, 380)),
    "IPAdapterRegion": Kind("IPAdapter Region", {"image": "IMAGE", "reference": "IPADAPTER_REFERENCE", "attn_mask": "MASK", "step_masks": "MASK", "positive": "CONDITIONING", "negative": "CONDITIONING"}, REGION, {"region": "IPADAPTER_REGION"}, (280, 420)),
    "IPAdapterApplyRegions": Kind("Apply IPAdapter Regions", {"model": "MODEL", "ipadapter": "IPADAPTER", "region.region_*": "IPADAPTER_REGION", "clip_vision": "CLIP_VISION", "background": "IPADAPTER_REGION", "positive": "CONDITIONING", "negative": "CONDITIONING"}, {"overlap": "add"}, {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING"}, (280, 210)),
    "IPAdapterMasksFromColorMap": Kind("Masks From Color Map (IPAdapter)", {"image": "IMAGE"}, COLORS, MASKS, (400, 920)),
    "IPAdapterCropRegions": Kind("Crop Regions", {"model": "MODEL"}, {**RECTANGLE, "picture_width": 0, "picture_height": 0}, {"model": "MODEL"}, (260, 230)),
    "BatchMasksNode": Kind("Batch Masks", {"masks.mask*": "MASK"}, {}, typed("MASK"), (260, 50)),
    "LatentBatchSeedBehavior": Kind("Latent Batch Seed Behavior", {"samples": "LATENT"}, {"seed_behavior": "fixed"}, typed("LATENT"), (260, 70)),
    "ContextWindowsManual": Kind("Context Windows (Manual)", {"model": "MODEL"}, WINDOWS, typed("MODEL"), (300, 420)),
    "SaveAnimatedWEBP": Kind("Save Animated WEBP", {"images": "IMAGE"}, ANIMATION, {}, (420, 480)),
    "PrimitiveBoundingBox": Kind("Bounding Box", {}, RECTANGLE, typed("BOUNDING_BOX"), (260, 160)),
    "ImageCropV2": Kind("Image Crop", {"image": "IMAGE"}, {"crop_region": RECTANGLE}, typed("IMAGE"), (280, 400), {"crop_region": [*RECTANGLE.values()]}),
    "GetImageSize": Kind("Get Image Size", {"image": "IMAGE"}, {}, {"width": "INT", "height": "INT", "batch_size": "INT"}, (260, 130)),
    "ImageScaleBy": Kind("Upscale Image By", {"image": "IMAGE"}, {"upscale_method": "lanczos", "scale_by": 2.0}, typed("IMAGE"), (280, 100)),
    "ImageScale": Kind("Upscale Image", {"image": "IMAGE"}, {"upscale_method": "lanczos", "width": 512, "height": 512, "crop": "disabled"}, typed("IMAGE"), (280, 160)),
    "VAEEncode": Kind("VAE Encode", {"pixels": "IMAGE", "vae": "VAE"}, {}, typed("LATENT"), (280, 60)),
    "ImageCompositeMasked": Kind("Image Composite Masked", {"destination": "IMAGE", "source": "IMAGE", "mask": "MASK"}, {"x": 0, "y": 0, "resize_source": False}, typed("IMAGE"), (280, 170)),
}
# fmt: on
