"""The sockets and widgets that version 2's nodes share, by the names under which graphs know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from comfy_api.latest import io

from ...ipadapter.combine import COMBINATIONS
from ..shared.inputs import InsightFaceSocket, IPAdapterSocket, choice_input
from .compat import compat_input
from .formulas.scaling import EMBEDS_SCALING
from .weight_types import WEIGHT_TYPES

Socket = Callable[..., Any]  # (optional) -> an input

CATEGORY = "IPAdapter Regions/legacy"
COMBINE_EMBEDS = {
    name: COMBINATIONS[name] for name in ("concat", "add", "subtract", "average", "norm average")
}

Embeds = io.Custom("EMBEDS")


def number(name: str, default: float, low: float, high: float, step: float, tooltip: str) -> Socket:
    return partial(
        io.Float.Input, name, default=default, min=low, max=high, step=step, tooltip=tooltip
    )


WEIGHT = (
    "How strongly the reference acts. 0.5 to 0.8 leaves the prompt its say; 0 does nothing; below 0 "
    "pushes away from the reference."
)
FACE = (
    "Only for FaceID Plus V2 and Kolors: the weight of the face's structure, which CLIP sees. 1 is "
    "as trained; 0 uses only the identity."
)
COMBINE = "How several pictures are combined; all but concat calculate with what the encoder saw."


# What stands before a colon is the name; after it, which of those of that name is meant.
SOCKETS: dict[str, Socket] = {
    "model": partial(
        io.Model.Input, "model", tooltip="An SD1.5 or SDXL model, or from another Apply node."
    ),
    "ipadapter": partial(
        IPAdapterSocket.Input, "ipadapter", tooltip="From a loader, with or without an encoder."
    ),
    "image": partial(
        io.Image.Input, "image", tooltip="The reference. Its center square is what the encoder sees."
    ),
    "image:tiled": partial(
        io.Image.Input, "image", tooltip="The reference, wide or tall: all of it is seen, in tiles."
    ),
    "image:enhanced": partial(
        io.Image.Input, "image",
        tooltip="The reference: its center square is seen as a whole, all of it in tiles.",
    ),
    "image:face": partial(
        io.Image.Input, "image", tooltip="Photos of a person, face well visible: one face of each."
    ),
    "image:either": partial(
        io.Image.Input, "image",
        tooltip="The reference: its center square is seen. For FaceID adapters: a photo of a "
        "person.",
    ),
    "weight:3": number("weight", 1.0, -1.0, 3.0, 0.05, WEIGHT),
    "weight:5": number("weight", 1.0, -1.0, 5.0, 0.05, WEIGHT),
    "weight_faceidv2": number("weight_faceidv2", 1.0, -1.0, 5.0, 0.05, FACE),
    "weight_kolors": number(
        "weight_kolors", 1.0, -1.0, 5.0, 0.05,
        "Only for Kolors: multiplies the image tokens once its UNet has projected them. 1 is as "
        "trained.",
    ),
    "weight_style": number("weight_style", 1.0, -1.0, 5.0, 0.05, "How strongly the style acts."),
    "weight_composition": number(
        "weight_composition", 1.0, -1.0, 5.0, 0.05, "How strongly the composition acts."
    ),
    "style_boost": number(
        "style_boost", 1.0, -5.0, 5.0, 0.05,
        "How strongly to steer away from the reference's composition; 0 does not.",
    ),
    "composition_boost": number(
        "composition_boost", 0.0, -5.0, 5.0, 0.05,
        "How strongly to steer away from the reference's style; 0 does not.",
    ),
    "start_at": number(
        "start_at", 0.0, 0.0, 1.0, 0.001, "Where in the noise schedule the reference begins to act."
    ),
    "end_at": number(
        "end_at", 1.0, 0.0, 1.0, 0.001, "Where in the noise schedule it stops."
    ),
    "sharpening": number(
        "sharpening", 0.0, 0.0, 1.0, 0.05, "Sharpens what the encoder sees; 0 is off."
    ),
    "weight_type": partial(
        io.Combo.Input, "weight_type", options=list(WEIGHT_TYPES),
        tooltip="How the weight is spread over the layers: layer_schedule of Apply IPAdapter.",
    ),
    "combine_embeds": partial(choice_input, "combine_embeds", COMBINE_EMBEDS, COMBINE),
    "combine_embeds:average": partial(
        choice_input, "combine_embeds", COMBINE_EMBEDS, COMBINE, default="average"
    ),
    "embeds_scaling": partial(
        io.Combo.Input, "embeds_scaling", options=list(EMBEDS_SCALING),
        tooltip="How the weight enters attention: V only is original, K+V linear, K+mean(V) w/ C "
        "penalty channel penalty of Apply IPAdapter.",
    ),
    "expand_style": partial(
        io.Boolean.Input, "expand_style", default=False,
        tooltip="Lets the style act in all layers but those of the composition.",
    ),
    "layer_weights": partial(
        io.String.Input, "layer_weights", default="", multiline=True,
        tooltip="Weights for single layers, times weight: 3: 1, 6: 0.5.",
    ),
    "enhance_tiles": partial(
        io.Int.Input, "enhance_tiles", default=2, min=1, max=16,
        tooltip="Into how many tiles, across and down, the picture is cut to be seen in detail.",
    ),
    "enhance_ratio:1": number(
        "enhance_ratio", 1.0, 0.0, 1.0, 0.05, "How much the whole picture counts beside its tiles."
    ),
    "enhance_ratio:half": number(
        "enhance_ratio", 0.5, 0.0, 1.0, 0.05, "How much the whole picture counts beside its tiles."
    ),
    "encode_batch_size": partial(
        io.Int.Input, "encode_batch_size", default=0, min=0, max=4096,
        tooltip="Not needed any more: pictures are encoded one by one.",
    ),
    "image_style": partial(io.Image.Input, "image_style", tooltip="The picture whose style acts."),
    "image_composition": partial(
        io.Image.Input, "image_composition", tooltip="The picture whose composition acts."
    ),
    "image_negative": partial(
        io.Image.Input, "image_negative",
        tooltip="A picture to steer away from, shown to the negative prompt.",
    ),
    "attn_mask": partial(
        io.Mask.Input, "attn_mask",
        tooltip="White: the reference acts here. Black: it does not. A batch gives each latent its "
        "own.",
    ),
    "clip_vision": partial(
        io.ClipVision.Input, "clip_vision",
        tooltip="The image encoder, if the loader brings none.",
    ),
    "clip_vision:needed": partial(
        io.ClipVision.Input, "clip_vision",
        tooltip="The image encoder that the adapter was trained with (ViT-H for most).",
    ),
    "insightface": partial(
        InsightFaceSocket.Input, "insightface", tooltip="The face models, where the loader brought "
        "none.",
    ),
    "compat": compat_input,
}  # fmt: skip


def sockets(names: str, more: Mapping[str, Socket] | None = None) -> list[Any]:
    """The inputs of these names; those after the | are optional. ``more`` has those that only
    this node knows."""
    known = {**SOCKETS, **(more or {})}
    required, _, optional = names.partition("|")
    return [
        *(known[name](optional=False) for name in required.split()),
        *(known[name](optional=True) for name in optional.split()),
    ]


def model_output() -> Any:
    return io.Model.Output(display_name="MODEL", tooltip="The model with the reference in it.")


def old_node(
    node_id: str,
    display_name: str,
    description: str,
    inputs: list[Any],
    outputs: list[Any],
    successor: str = "",
    **more: Any,
) -> io.Schema:
    """A node of ComfyUI_IPAdapter_plus; deprecated where ``successor`` says what is better."""
    kept = "Kept for graphs of ComfyUI_IPAdapter_plus"
    advice = f"{kept}; in new ones use {successor}." if successor else f"{kept}."
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category=CATEGORY,
        description=f"{description} {advice}",
        inputs=inputs,
        outputs=outputs,
        is_deprecated=bool(successor),
        **more,
    )
