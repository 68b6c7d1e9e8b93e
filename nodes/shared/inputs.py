"""Sockets and widgets that several nodes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from comfy_api.latest import io

from ...weight_types.attention import WEIGHT_TYPES
from ...weight_types.layers import SCHEDULES

LARGEST = 16384  # ComfyUI's own limit for a width or a height, in pixels

IPAdapterSocket = io.Custom("IPADAPTER")
ReferenceSocket = io.Custom("IPADAPTER_REFERENCE")
RegionSocket = io.Custom("IPADAPTER_REGION")
InsightFaceSocket = io.Custom("INSIGHTFACE")


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


def over_time() -> list[Any]:
    """frame_weights, step_weights, step_masks."""
    return [
        io.String.Input(
            "frame_weights",
            default="",
            optional=True,
            advanced=True,
            tooltip="For a batch or a clip: a factor of weight for each latent, such as 1, 0.5, 0; "
            "the last is for all that follow; 0.5 is written with a point. Empty: 1 for all.",
        ),
        io.String.Input(
            "step_weights",
            default="",
            optional=True,
            advanced=True,
            tooltip="A factor of weight over the steps, on the scale of start_at and end_at: "
            "'0: 1, 0.6: 1, 1: 0.2' with straight lines between, or '1, 0.5, 0' evenly spread; "
            "0.5 is written with a point. Empty: 1 all along.",
        ),
        io.Mask.Input(
            "step_masks",
            optional=True,
            advanced=True,
            tooltip="A batch of attention masks over the steps: the first for the first part of the "
            "noise schedule, and so on, in equal parts. Multiplied with attn_mask.",
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
    """layer_schedule, second_weight, layer_weights."""
    return [
        choice_input(
            "layer_schedule",
            SCHEDULES,
            "How the weight is spread over the layers.",
            default="linear",
            optional=True,
        ),
        io.Float.Input(
            "second_weight",
            default=1.0,
            min=-5.0,
            max=5.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Only for schedules with two parts. style and composition: the weight of the "
            "composition. precise: how strongly to steer away from the other part; 0 does not.",
        ),
        io.String.Input(
            "layer_weights",
            default="",
            optional=True,
            advanced=True,
            tooltip="Weights of your own, times weight: 'style: 1, composition: 0.3', 'output: 1', "
            "'input 8: 0.5', or by number as '3: 1, 6: 0.5'. What is not named gets 0. Empty: "
            "layer_schedule alone decides.",
        ),
    ]
