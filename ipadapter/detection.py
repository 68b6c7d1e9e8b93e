"""What a model file is, from its tensors' shapes alone: an adapter, an image encoder, a LoRA.

``content`` is what a file holds, with tensors that may be on the meta device; ``file`` is its name
in messages. What is something else is refused with an IPAdapterError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .adapter import IPAdapter
from .base_models import base_by_layers
from .checkpoint import read_checkpoint
from .encoders import encoder_of_widths
from .errors import IPAdapterError
from .projections import Projection

Content = Mapping[Any, Any]


class AdapterKind(NamedTuple):
    family: type[Projection]
    width: int  # of the CLIP feature it reads; 0: none
    widths: tuple[int, ...]  # of the layers it is for
    context: int  # what those read
    has_lora: bool

    @property
    def base(self) -> str:
        """What it is made for, in words."""
        return base_by_layers(len(self.widths))


def adapter_kind(content: Content, file: str) -> AdapterKind:
    checkpoint = read_checkpoint(unwrapped(content), file)
    adapter = IPAdapter.from_checkpoint(checkpoint, torch.nn, file)
    projection = adapter.projection
    return AdapterKind(
        type(projection),
        projection.width if projection.feature else 0,
        tuple(adapter.widths),
        adapter.context,
        bool(checkpoint.lora),
    )


def unwrapped(content: Content) -> Content:
    """As ComfyUI's loader hands it on: a training script may have put the tensors one deeper."""
    inner = next(iter(content.values())) if len(content) == 1 else content.get("state_dict")
    return cast("Content", inner) if isinstance(inner, Mapping) else content


class EncoderKind(NamedTuple):
    width: int  # of its hidden states
    embeds: int  # of the picture's embedding; 0: it gives none
    depth: int
    positions: int  # of the patches, and of the class if it has one
    patch: int  # side in pixels

    @property
    def core(self) -> bool:
        """Whether ComfyUI's own loader has a configuration of these sizes."""
        return self.positions in CORE.get((self.width, self.depth, self.patch), ())

    def gives(self, feature: str | None) -> int:
        """The width of that output."""
        return self.embeds if feature == "image_embeds" else self.width

    def __str__(self) -> str:
        known = encoder_of_widths(self.width, self.embeds)
        return (
            f"{known.name} ({self.positions} positions)"
            if known
            else f"an encoder {self.width} wide"
        )


# (width, depth, patch) -> positions: what comfy/clip_vision_config_*.json know.
CORE = {
    (1664, 48, 14): (257,),
    (1280, 32, 14): (257,),
    (1024, 24, 14): (257, 577),
    (1152, 27, 14): (729,),
    (1152, 27, 16): (1024,),
}


class Layout(NamedTuple):
    """Where a library keeps what tells an encoder's sizes."""

    patches: str  # [width, 3, side, side]
    positions: str  # [positions, width]
    projection: str
    embeds: int  # which dimension of the projection is the embedding's
    layer: str  # the keys of its layers: the number, and the rest


LAYOUTS = (
    Layout(
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "visual_projection.weight",
        0,
        r"vision_model\.encoder\.layers\.([0-9]{1,3})\.(.+)",
    ),
    Layout(
        "visual.conv1.weight",
        "visual.positional_embedding",
        "visual.proj",
        1,
        r"visual\.transformer\.resblocks\.([0-9]{1,3})\.(.+)",
    ),
)


def encoder_kind(content: Content, file: str) -> EncoderKind:
    tensors = {str(k): v for k, v in unwrapped(content).items() if isinstance(v, Tensor)}
    for layout in LAYOUTS:
        patches, positions = tensors.get(layout.patches), tensors.get(layout.positions)
        projection = tensors.get(layout.projection)
        if patches is None or positions is None or (patches.ndim, positions.ndim) != (4, 2):
            continue
        if projection is not None and projection.ndim != 2:
            continue
        layers = _layers(tensors, layout.layer)
        whole = range(len(layers))
        if any(layers.get(number) != layers.get(0) for number in whole):
            raise IPAdapterError(f"{file} is damaged: some of its layers are missing")
        return EncoderKind(
            width=patches.shape[0],
            embeds=0 if projection is None else projection.shape[layout.embeds],
            depth=len(layers),
            positions=positions.shape[0],
            patch=patches.shape[2],
        )
    if any(key.startswith("visual.trunk.") for key in tensors):
        raise IPAdapterError(f"{file} is an encoder for Load CLIP Vision (OpenCLIP)")
    raise IPAdapterError(f"{file} is no CLIP vision model")


def _layers(tensors: Mapping[str, Tensor], pattern: str) -> dict[int, dict[str, torch.Size]]:
    """Number of a layer -> the names and shapes of its tensors."""
    layers: dict[int, dict[str, torch.Size]] = {}
    for key, tensor in tensors.items():
        found = re.fullmatch(pattern, key)
        if found:
            layers.setdefault(int(found[1]), {})[found[2]] = tensor.shape
    return layers


class LoraKind(NamedTuple):
    layers: int  # cross-attentions of the model it is for


def face_lora_kind(content: Content, file: str) -> LoraKind:
    """FaceID's: q, k, v and out of every attention, self and cross, and nothing else."""
    downs = [key for key in map(str, unwrapped(content)) if re.search(LORA_DOWN, key)]
    in_attention = [key for key in downs if re.search(r"attn[12][._].*to_(q|k|v|out)", key)]
    if not downs or len(in_attention) < len(downs) or len(downs) % 8:
        raise IPAdapterError(f"{file} is no LoRA of a FaceID adapter")
    return LoraKind(len(downs) // 8)


LORA_DOWN = r"(lora_down|lora_A|lora\.down|lora_linear_layer\.down)\.weight$"
