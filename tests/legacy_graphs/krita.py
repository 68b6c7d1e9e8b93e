"""A prompt like those that Krita AI Diffusion sends: two pictures and a face, each in a region."""

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
