"""Sockets and widgets that several nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...weight_types.attention import WEIGHT_TYPES
from ...weight_types.layers import SCHEDULES

CATEGORY = "IPAdapter Regions"
ADVANCED = f"{CATEGORY}/advanced"
LARGEST = 16384  # ComfyUI's own limit for a width or a height, in pixels

IPAdapterSocket = io.Custom("IPADAPTER")
ReferenceSocket = io.Custom("IPADAPTER_REFERENCE")
RegionSocket = io.Custom("IPADAPTER_REGION")
InsightFaceSocket = io.Custom("INSIGHTFACE")
ScheduleSocket = io.Custom("IPADAPTER_SCHEDULE")


def strength(noise: str) -> list[Any]:
    """weight, noise (with its tooltip), weight_type, start_at, end_at."""
    noise_input = io.Float.Input("noise", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=noise)
    return [weight(), noise_input, weight_type(), *step_range()]


def weight(at_zero: str = "0 leaves the model as it is") -> Any:
    return io.Float.Input(
        "weight",
        default=1.0,
        min=-1.0,
        max=3.0,
        step=0.05,
        tooltip="How strongly the reference acts. 0.5 to 0.8 leaves the prompt its "
        f"say; {at_zero}; below 0 pushes away from the reference.",
    )


def weight_type() -> Any:
    return io.Combo.Input(
        "weight_type",
        options=list(WEIGHT_TYPES),
        default="original",
        tooltip="original: as in the paper. linear: the prompt keeps more say. "
        "channel penalty: sharper detail, with less weight in the wide view.",
    )


def step_range() -> list[Any]:
    """start_at, end_at."""
    return [
        io.Float.Input(
            "start_at",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip="Where in the noise schedule the reference begins to act. 0 is the "
            "start; later leaves the composition to the prompt.",
        ),
        io.Float.Input(
            "end_at",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip="Where in the noise schedule it stops. 1 is the end; earlier leaves "
            "the details to the prompt.",
        ),
    ]


def clip_vision() -> Any:
    return io.ClipVision.Input(
        "clip_vision",
        optional=True,
        tooltip="The image encoder that the adapter was trained with (ViT-H for most). "
        "May be left open when the loader brought one.",
    )


def attn_mask() -> Any:
    return io.Mask.Input(
        "attn_mask",
        optional=True,
        tooltip="An attention mask. White: the reference acts here. Black: it does not. Gray: "
        "partly. Of any size, but the picture's aspect ratio; open acts everywhere. A batch gives "
        "each latent its own. It neither limits where the sampler paints (a latent's noise mask) "
        "nor where a text counts (Conditioning Set Mask).",
    )


def layer_schedule() -> list[Any]:
    """layer_schedule, schedule."""
    return [
        io.Combo.Input(
            "layer_schedule",
            options=list(SCHEDULES),
            default="even",
            optional=True,
            tooltip="How the weight is spread over the layers. even: the same in all. style "
            "transfer: only the layers that make the style; composition: only those that arrange "
            "the picture; precise: and steers away from the other of the two. ease, weak, strong: "
            "more or less in the early, middle or late layers.",
        ),
        ScheduleSocket.Input(
            "schedule",
            optional=True,
            tooltip="From IPAdapter Schedule: other weights for single layers, frames or steps.",
        ),
    ]
