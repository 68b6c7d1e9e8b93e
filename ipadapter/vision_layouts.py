"""Files of image encoders: both published layouts, under open_clip's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from .errors import IPAdapterError
from .tensors import check_stored


def vision_tensors(content: object, file: str) -> dict[str, Tensor]:
    """The tower's tensors under open_clip's names, without ``visual.``; the text half is let go."""
    if not isinstance(content, Mapping):
        raise IPAdapterError(f"{file} is no CLIP vision model: it holds a {type(content).__name__}")
    # A training on several GPUs puts "module." before all names.
    named = {
        str(key).removeprefix("module."): value
        for key, value in cast("Mapping[Any, Any]", content).items()
    }
    for prefix, convert in LAYOUTS.items():
        tensors = {
            key: check_stored(key, value, file)
            for key, value in named.items()
            if key.startswith(prefix)
        }
        if tensors:
            return convert(tensors, file)
    shown = ", ".join(list(named)[:3]) or "nothing"
    raise IPAdapterError(
        f"{file} is no CLIP vision model: names in visual. (open_clip) or vision_model. "
        f"(transformers) were expected, it holds {shown}"
    )


def from_open_clip(tensors: dict[str, Tensor], _file: str) -> dict[str, Tensor]:
    return {key.removeprefix("visual."): tensor for key, tensor in tensors.items()}


def from_transformers(tensors: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    if "vision_model.embeddings.class_embedding" not in tensors:
        raise IPAdapterError(
            f"{file} is no CLIP ViT but another encoder in the layout of transformers, such as "
            "SigLIP: get the file in open_clip's layout, often called open_clip_model.safetensors"
        )
    tower: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        in_block = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if key in OUTSIDE:
            tower[OUTSIDE[key]] = tensor.T.contiguous() if "projection" in key else tensor
        elif in_block and in_block[2] in IN_BLOCK:
            name = IN_BLOCK[in_block[2]]
            tower[f"transformer.resblocks.{in_block[1]}.{name}.{in_block[3]}"] = tensor
        elif in_block and in_block[2] == "self_attn.q_proj":
            others = [tensors.get(key.replace("q_proj", other)) for other in ("k_proj", "v_proj")]
            parts = [tensor, *(part for part in others if part is not None)]
            name = f"transformer.resblocks.{in_block[1]}.attn.in_proj_{in_block[3]}"
            tower[name] = torch.cat(parts)
    return tower


LAYOUTS = {"visual.": from_open_clip, ("vision_model.", "visual_projection."): from_transformers}
OUTSIDE = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm.weight": "ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "ln_pre.bias",
    "vision_model.post_layernorm.weight": "ln_post.weight",
    "vision_model.post_layernorm.bias": "ln_post.bias",
    "visual_projection.weight": "proj",
}
IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
