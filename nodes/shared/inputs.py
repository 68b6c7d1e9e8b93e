"""Sockets and widgets that several nodes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

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


class Described(Protocol):
    """A row of a table that users choose from, such as an Option."""

    @property
    def description(self) -> str: ...


def choice_input(
    name: str,
    table: Mapping[str, Described],
    tooltip: str,
    default: str | None = None,
    optional: bool = False,
    files: Sequence[str] = (),
) -> Any:
    """A menu of a table's names, and below them of files; the tooltip says what each name does."""
    return io.Combo.Input(
        name,
        options=[*table, *files],
        default=default,
        optional=optional,
        tooltip=" ".join([tooltip, *(f"{key}: {row.description}." for key, row in table.items())]),
    )


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
    tooltip = "How the weight enters attention."
    return choice_input("weight_type", WEIGHT_TYPES, tooltip, default="original")


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
        "Not needed when the loader brings one.",
    )


def attn_mask() -> Any:
    return io.Mask.Input(
        "attn_mask",
        optional=True,
        tooltip="An attention mask. White: the reference acts here. Black: it does not. Gray: "
        "partly. Any size, with the picture's aspect ratio; unconnected: everywhere. A batch gives "
        "each latent its own. It limits neither where the sampler paints (a latent's noise mask) "
        "nor where a text counts (Conditioning Set Mask).",
    )


def layer_schedule() -> list[Any]:
    """layer_schedule, schedule."""
    return [
        choice_input(
            "layer_schedule",
            SCHEDULES,
            "How the weight is spread over the layers.",
            default="even",
            optional=True,
        ),
        ScheduleSocket.Input(
            "schedule",
            optional=True,
            tooltip="From IPAdapter Schedule: other weights for single layers, frames or steps.",
        ),
    ]
