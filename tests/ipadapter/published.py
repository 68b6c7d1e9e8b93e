"""Names and shapes of the tensors in published adapter files, as their publishers' code makes them.

tencent-ailab/IP-Adapter at 62e4af9, Kwai-Kolors/Kolors at 0fafa56. No weights are needed: what a
file is follows from its shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

SD15 = [320, 320, 640, 640, 1280, 1280] + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]
SDXL = [640] * 4 + [1280] * 20 + [1280] * 30 + [640] * 6 + [1280] * 10


def linear(name: str, rows: int, columns: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def image_projection(width: int, context: int) -> Shapes:
    return linear("proj", 4 * context, width) | norm("norm", context)


def full(width: int, context: int) -> Shapes:
    return (
        linear("proj.0", width, width) | linear("proj.2", context, width) | norm("proj.3", context)
    )


def face(context: int, tokens: int = 4) -> Shapes:
    shapes = linear("proj.0", 1024, 512) | linear("proj.2", tokens * context, 1024)
    return shapes | norm("norm", context)


def perceiver(dim: int, width: int, out: int, heads: int) -> Shapes:
    shapes = linear("proj_in", dim, width) | linear("proj_out", out, dim) | norm("norm_out", out)
    for i in range(4):
        shapes |= norm(f"layers.{i}.0.norm1", dim) | norm(f"layers.{i}.0.norm2", dim)
        shapes |= linear(f"layers.{i}.0.to_q", 64 * heads, dim, bias=False)
        shapes |= linear(f"layers.{i}.0.to_kv", 128 * heads, dim, bias=False)
        shapes |= linear(f"layers.{i}.0.to_out", dim, 64 * heads, bias=False)
        shapes |= norm(f"layers.{i}.1.0", dim)
        shapes |= linear(f"layers.{i}.1.1", 4 * dim, dim, bias=False)
        shapes |= linear(f"layers.{i}.1.3", dim, 4 * dim, bias=False)
    return shapes


def resampler(dim: int, width: int, out: int, heads: int, tokens: int = 16) -> Shapes:
    return {"latents": (1, tokens, dim)} | perceiver(dim, width, out, heads)


def face_plus(dim: int, width: int, tokens: int = 4) -> Shapes:
    inner = {
        f"perceiver_resampler.{k}": s for k, s in perceiver(dim, width, dim, dim // 64).items()
    }
    return face(dim, tokens) | inner


def layers(widths: list[int], context: int) -> Shapes:
    return {
        f"{2 * i + 1}.to_{which}_ip.weight": (width, context)
        for i, width in enumerate(widths)
        for which in "kv"
    }


def lora(widths: list[int], context: int, rank: int = 128) -> Shapes:
    shapes: Shapes = {}
    for i, width in enumerate(widths):
        for number, source in ((2 * i, width), (2 * i + 1, context)):
            for which, columns in (("q", width), ("k", source), ("v", source), ("out", width)):
                shapes[f"{number}.to_{which}_lora.down.weight"] = (rank, columns)
                shapes[f"{number}.to_{which}_lora.up.weight"] = (width, rank)
    return shapes


# file: (image_proj, the rest, family, tokens, width of the CLIP feature or 0)
FILES: dict[str, tuple[Shapes, Shapes, str, int | None, int]] = {
    "ip-adapter_sd15": (
        image_projection(1024, 768), layers(SD15, 768), "IP-Adapter", 4, 1024),
    "ip-adapter_sd15_light_v11": (
        image_projection(1024, 768), layers(SD15, 768), "IP-Adapter", 4, 1024),
    "ip-adapter_sd15_vit-G": (
        image_projection(1280, 768), layers(SD15, 768), "IP-Adapter", 4, 1280),
    "ip-adapter_sdxl_vit-h": (
        image_projection(1024, 2048), layers(SDXL, 2048), "IP-Adapter", 4, 1024),
    "ip-adapter_sdxl": (
        image_projection(1280, 2048), layers(SDXL, 2048), "IP-Adapter", 4, 1280),
    "ip-adapter-plus_sd15": (
        resampler(768, 1280, 768, 12), layers(SD15, 768), "IP-Adapter Plus", 16, 1280),
    "ip-adapter-plus_sdxl_vit-h": (
        resampler(1280, 1280, 2048, 20), layers(SDXL, 2048), "IP-Adapter Plus", 16, 1280),
    "ip-adapter-full-face_sd15": (
        full(1280, 768), layers(SD15, 768), "Full Face", None, 1280),
    "ip-adapter-faceid_sd15": (
        face(768), layers(SD15, 768) | lora(SD15, 768), "FaceID", 4, 0),
    "ip-adapter-faceid_sdxl": (
        face(2048), layers(SDXL, 2048) | lora(SDXL, 2048), "FaceID", 4, 0),
    "faceid, its LoRA taken out": (
        face(768), layers(SD15, 768), "FaceID", 4, 0),
    "ip-adapter-faceid-plusv2_sd15": (
        face_plus(768, 1280), layers(SD15, 768) | lora(SD15, 768), "FaceID Plus", 4, 1280),
    "ip-adapter-faceid-plusv2_sdxl": (
        face_plus(2048, 1280), layers(SDXL, 2048) | lora(SDXL, 2048), "FaceID Plus", 4, 1280),
    "ip-adapter-faceid-portrait_sd15": (
        face(768, 16), layers(SD15, 768), "FaceID Portrait", 16, 0),
    "ip-adapter-faceid-portrait_sdxl": (
        face(2048, 16), layers(SDXL, 2048), "FaceID Portrait", 16, 0),
    "ip-adapter-faceid-portrait_sdxl_unnorm": (
        resampler(1280, 512, 2048, 20), layers(SDXL, 2048), "FaceID Portrait unnorm", 16, 0),
    "ip_adapter_plus_general (Kolors)": (
        resampler(2048, 1024, 2048, 12), layers(SDXL, 2048), "Kolors IP-Adapter Plus", 16, 1024),
    "ipa-faceid-plus (Kolors)": (
        face_plus(4096, 1024, 6), layers(SDXL, 2048), "Kolors FaceID Plus", 6, 1024),
}  # fmt: skip


def on_meta(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
