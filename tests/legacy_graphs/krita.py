"""Prompts like those that Krita AI Diffusion sends: pictures and a face, in regions."""

from __future__ import annotations

from typing import Any

from .files import MASK, PERSON, PICTURES


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def prompt() -> dict[str, dict[str, Any]]:
    region = {"weight_type": "linear", "embeds_scaling": "V only", "attn_mask": ["8", 0]}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "2": node("IPAdapterModelLoader", ipadapter_file="tiny_plus.safetensors"),
        "3": node("CLIPVisionLoader", clip_name="tiny.safetensors"),
        "4": node("LoadImage", image=PICTURES[0]),
        "5": node("LoadImage", image=PICTURES[1]),
        "6": node("LoadImage", image=PERSON),
        "7": node("LoadImage", image=MASK),
        "8": node("ImageToMask", image=["7", 0], channel="red"),
        "9": node(
            "IPAdapterEncoder", image=["4", 0], weight=0.9, ipadapter=["2", 0], clip_vision=["3", 0]
        ),
        "10": node(
            "IPAdapterEncoder", image=["5", 0], weight=0.6, ipadapter=["2", 0], clip_vision=["3", 0]
        ),
        "11": node("IPAdapterCombineEmbeds", method="concat", embed1=["9", 0], embed2=["10", 0]),
        "12": node(
            "IPAdapterEmbeds", model=["1", 0], ipadapter=["2", 0], pos_embed=["11", 0],
            clip_vision=["3", 0], weight=1.0, start_at=0.0, end_at=0.9, **region,
        ),
        "13": node("IPAdapterModelLoader", ipadapter_file="tiny_faceid_plusv2.safetensors"),
        "14": node("IPAdapterInsightFaceLoader", provider="CPU", model_name="buffalo_l"),
        "15": node(
            "IPAdapterFaceID", model=["12", 0], ipadapter=["13", 0], image=["6", 0],
            clip_vision=["3", 0], insightface=["14", 0], weight=0.7, weight_faceidv2=1.4,
            combine_embeds="concat", start_at=0.0, end_at=1.0, **region,
        ),
        "16": node("CLIPTextEncode", clip=["1", 1], text="a beach at dawn"),
        "17": node("CLIPTextEncode", clip=["1", 1], text="blurry"),
        "18": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "19": node(
            "KSampler", model=["15", 0], positive=["16", 0], negative=["17", 0],
            latent_image=["18", 0], seed=7, steps=2, cfg=5.0, sampler_name="euler",
            scheduler="normal", denoise=1.0,
        ),
        "20": node("VAEDecode", samples=["19", 0], vae=["1", 2]),
        "21": node("SaveImage", images=["20", 0], filename_prefix="krita"),
    }  # fmt: skip


SIDE, REGIONS = 192, 3  # of the picture, in pixels; columns of it


def regions_prompt() -> dict[str, dict[str, Any]]:
    """Three regions with a text each, and a picture in the first and in the last."""
    sent = {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "2": node("IPAdapterModelLoader", ipadapter_file="tiny.safetensors"),
        "3": node("CLIPVisionLoader", clip_name="tiny.safetensors"),
        "black": node("SolidMask", value=0.0, width=SIDE, height=SIDE),
        "white": node("SolidMask", value=1.0, width=SIDE // REGIONS, height=SIDE),
        "root": node("CLIPTextEncode", clip=["1", 1], text="a painting"),
        "negative": node("CLIPTextEncode", clip=["1", 1], text="blurry"),
    }
    before: dict[str, Any] = {}
    for i, text in enumerate(("a fox in the snow", "a river", "an owl on a branch")):
        x = i * SIDE // REGIONS
        sent[f"mask {i}"] = node(
            "MaskComposite", destination=["black", 0], source=["white", 0], x=x, y=0,
            operation="add",
        )  # fmt: skip
        sent[f"text {i}"] = node("CLIPTextEncode", clip=["1", 1], text=text)
        sent[f"region {i}"] = node(
            "ETN_DefineRegion", mask=[f"mask {i}", 0], conditioning=[f"text {i}", 0], **before
        )
        before = {"regions": [f"region {i}", 0]}
    model = ["1", 0]
    for i, picture in ((0, PICTURES[0]), (2, PICTURES[1])):
        sent[f"picture {i}"] = node("LoadImage", image=picture)
        sent[f"reference {i}"] = node(
            "IPAdapterAdvanced", model=model, ipadapter=["2", 0], image=[f"picture {i}", 0],
            clip_vision=["3", 0], attn_mask=[f"mask {i}", 0], weight=1.0, weight_type="linear",
            combine_embeds="concat", start_at=0.0, end_at=1.0, embeds_scaling="V only",
        )  # fmt: skip
        model = [f"reference {i}", 0]
    return sent | {
        "couple": node("ETN_AttentionMask", model=model, **before),
        "latent": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1),
        "sampler": node(
            "KSampler", model=["couple", 0], positive=["root", 0], negative=["negative", 0],
            latent_image=["latent", 0], seed=7, steps=1, cfg=5.0, sampler_name="euler",
            scheduler="normal", denoise=1.0,
        ),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=["1", 2]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="krita"),
    }  # fmt: skip
