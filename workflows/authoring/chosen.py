"""What the bundled workflows decide about their nodes; the rest is ComfyUI's (kinds.py)."""

from __future__ import annotations

from typing import Any

from .model_files import BASE, SD15, VIT_H

# Width and height in the editor of every kind of node in use, with one socket in a growing row.
SIZES = {
    "CheckpointLoaderSimple": (360, 105),
    "IPAdapterModelLoader": (360, 90),
    "CLIPVisionLoader": (360, 65),
    "IPAdapterInsightFaceLoader": (360, 115),
    "LoadImage": (280, 330),
    "IPAdapterApply": (280, 490),
    "IPAdapterApplyFaceID": (280, 640),
    "IPAdapterRegion": (280, 420),
    "IPAdapterApplyRegions": (280, 210),
    "IPAdapterCropRegions": (260, 230),
    "SolidMask": (260, 145),
    "InvertMask": (260, 35),
    "BatchMasksNode": (260, 50),
    "IPAdapterSolidMask": (260, 280),
    "IPAdapterFeatherMask": (260, 260),
    "IPAdapterMaskComposite": (260, 165),
    "IPAdapterMaskFromColor": (260, 125),
    "IPAdapterMasksFromColorMap": (400, 920),
    "IPAdapterPreviewMask": (260, 310),
    "CLIPTextEncode": (300, 110),
    "ConditioningSetMask": (260, 115),
    "ConditioningCombine": (260, 55),
    "PrimitiveInt": (260, 90),
    "PrimitiveBoundingBox": (260, 160),
    "EmptyLatentImage": (260, 120),
    "LatentBatchSeedBehavior": (260, 70),
    "ContextWindowsManual": (300, 420),
    "KSampler": (280, 270),
    "VAEDecode": (280, 55),
    "VAEEncode": (280, 60),
    "BatchImagesNode": (260, 50),
    "ImageStitch": (260, 160),
    "ImageCropV2": (280, 400),
    "GetImageSize": (260, 130),
    "ImageScaleBy": (280, 100),
    "ImageScale": (280, 160),
    "ImageCompositeMasked": (280, 170),
    "PreviewImage": (260, 280),
    "SaveImage": (420, 380),
    "SaveAnimatedWEBP": (420, 480),
}

RECTANGLE = {"x": 224, "y": 64, "width": 320, "height": 320}
PREFIX = "ipadapter_regions"

# Of widgets, unless a graph says otherwise.
VALUES: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": SD15},
    "IPAdapterModelLoader": {"ipadapter_file": BASE},
    "CLIPVisionLoader": {"clip_name": VIT_H},
    "LoadImage": {"image": "example.png"},
    "IPAdapterApply": {"weight": 0.75},
    "IPAdapterApplyFaceID": {"weight": 0.75},
    "IPAdapterRegion": {"weight": 0.75},
    "IPAdapterCropRegions": RECTANGLE,
    "PrimitiveBoundingBox": RECTANGLE,
    "ImageCropV2": {"crop_region": RECTANGLE},
    "ContextWindowsManual": {"causal_window_fix": False},
    "KSampler": {"cfg": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"},
    "ImageStitch": {"spacing_width": 8},
    "ImageScaleBy": {"upscale_method": "lanczos", "scale_by": 2.0},
    "ImageScale": {"upscale_method": "lanczos"},
    "SaveImage": {"filename_prefix": PREFIX},
    "SaveAnimatedWEBP": {"filename_prefix": PREFIX, "fps": 8.0},
}

# The pictures that these hand on are newer than ComfyUI 0.16, which opens the graphs too.
WITHOUT_OUTPUTS = {"PreviewImage", "SaveImage", "SaveAnimatedWEBP"}
