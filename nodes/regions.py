"""Regions: any number of references with their masks and texts, applied by one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import node_helpers
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..ipadapter.errors import IPAdapterError, pick
from ..ipadapter.reference import EncodedReference, LayerSchedule, OverTime
from ..masks.overlap import RULES, background, left_over, same_size
from ..weight_types.layers import does_nothing
from .apply import apply_region, check_settings
from .checks import check_image
from .encode import encode_reference
from .inputs import (
    IPAdapterSocket,
    ReferenceSocket,
    RegionSocket,
    attn_mask,
    clip_vision,
    layer_schedule,
    over_time,
    step_range,
    weight,
    weight_type,
)
from .load import Pipeline, accept_adapter
from .notices import say
from .origin import check_origin
from .over_time import read_over_time

MOST_REGIONS = 50
Conditioning = list[Any]  # ComfyUI's: [text, options] pairs


@dataclass(frozen=True, eq=False)
class Planned:
    """What a Region node was given: a region before it meets a model and its neighbours."""

    image: Tensor | None
    reference: EncodedReference | None
    mask: Tensor | None
    weight: float
    weight_type: str
    start_at: float
    end_at: float
    unfold_batch: bool
    schedule: LayerSchedule
    over_time: OverTime
    positive: Conditioning | None
    negative: Conditioning | None

    @property
    def acts(self) -> bool:
        """Whether it puts anything into the model."""
        pictured = self.image is not None or self.reference is not None
        return pictured and not does_nothing(self.schedule.name, self.weight, self.schedule.second)


class IPAdapterRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRegion",
            display_name="IPAdapter Region",
            category="IPAdapter Regions",
            description="One region for Apply Regions: a picture, where and how strongly it acts, "
            "and, if wanted, a text of its own for the same place.",
            search_aliases=["regional ipadapter", "regional conditioning", "masked reference"],
            inputs=[
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The reference. Its centre square is what the encoder sees. Several "
                    "pictures act together, unless unfold_batch is on.",
                ),
                ReferenceSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="In place of image: what Encode Reference, Encode FaceID, Combine "
                    "References or Load Reference give.",
                ),
                attn_mask(),
                weight(),
                weight_type(),
                *layer_schedule(),
                *step_range(),
                io.Boolean.Input(
                    "unfold_batch",
                    default=False,
                    tooltip="On: picture 1 goes to latent 1, picture 2 to latent 2, and so on, as "
                    "for animation. Off: every latent sees all pictures.",
                ),
                *over_time(),
                io.Conditioning.Input("positive", optional=True, tooltip=OWN_TEXT),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="A negative text that counts only inside attn_mask. It costs as much as "
                    "a positive one.",
                ),
            ],
            outputs=[
                RegionSocket.Output(display_name="region", tooltip="For Apply IPAdapter Regions.")
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor | None = None,
        reference: EncodedReference | None = None,
        attn_mask: Tensor | None = None,
        weight: float = 1.0,
        weight_type: str = "original",
        layer_schedule: str = "linear",
        second_weight: float | None = None,
        layer_weights: str = "",
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        frame_weights: str = "",
        step_weights: str = "",
        step_masks: Tensor | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        if image is not None and reference is not None:
            raise IPAdapterError("image and reference: both are connected; connect one of the two")
        if image is None and reference is None and not (positive or negative):
            raise IPAdapterError(
                "image and reference: neither is connected; connect one of the two, or a positive "
                "for a region with a text alone"
            )
        if image is not None:
            check_image(image, "image")
        mask = check_settings(attn_mask, start_at, end_at)
        schedule = LayerSchedule(layer_schedule, second_weight, layer_weights)
        changes = read_over_time(frame_weights, step_weights, step_masks)
        settings = (weight, weight_type, start_at, end_at, unfold_batch, schedule, changes)
        return io.NodeOutput(Planned(image, reference, mask, *settings, positive, negative))


OWN_TEXT = (
    "A text that counts only inside attn_mask, beside the base text of Apply Regions. Core's "
    "conditioning mask does it: each text adds a row to the UNet's batch, so a step takes longer."
)


class ApplyIPAdapterRegions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyRegions",
            display_name="Apply IPAdapter Regions",
            category="IPAdapter Regions",
            description="Puts any number of regions into a model at once: the same as a chain of "
            "Apply IPAdapter nodes, in one sampling pass, with a rule for masks that overlap.",
            search_aliases=["regional ipadapter", "multiple references", "regional prompting"],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model."),
                IPAdapterSocket.Input(
                    "ipadapter",
                    tooltip="The adapter of all regions. For another one, chain a second of these.",
                ),
                clip_vision(),
                io.Autogrow.Input(
                    "region",
                    template=io.Autogrow.TemplateNames(
                        RegionSocket.Input(
                            "region", tooltip="From IPAdapter Region; the first has priority."
                        ),
                        names=[f"region_{i + 1}" for i in range(MOST_REGIONS)],
                        min=1,
                    ),
                    tooltip="The regions, in their order; connecting one shows the next input.",
                ),
                RegionSocket.Input(
                    "background",
                    optional=True,
                    tooltip="A region for the rest of the picture: its mask becomes 1 minus the sum "
                    "of all others, not below 0, within its own attn_mask if it has one.",
                ),
                io.Combo.Input(
                    "overlap",
                    options=list(RULES),
                    default="add",
                    tooltip="Where masks overlap. add: all act in full, which can burn. normalise: "
                    "divided by max(1, sum), so that together they are no stronger than one. "
                    "priority: the first region wins, the next get what it leaves. Regions "
                    "whose step ranges do not meet do not overlap.",
                ),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="The base text, which counts everywhere, beside the regions' own.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The base negative, which counts everywhere, beside the regions' own.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with all regions in it."),
                io.Conditioning.Output(
                    display_name="positive", tooltip="The base text with those of the regions."
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The base negative with those of the regions."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        ipadapter: Any,
        region: io.Autogrow.Type,
        overlap: str = "add",
        clip_vision: Any = None,
        background: Planned | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        adapter = accept_adapter(ipadapter)
        regions = settle(check_regions(region, background), overlap)
        for name, planned in regions.items():
            try:
                model = apply_planned(model, adapter, clip_vision, planned)
            except IPAdapterError as error:
                raise IPAdapterError(f"{name}: {error}") from error
        return io.NodeOutput(
            model,
            joined_text(positive, list(regions.values()), "positive"),
            joined_text(negative, list(regions.values()), "negative"),
        )


def check_regions(region: Mapping[str, Any], rest: Any) -> dict[str, Planned]:
    """What is connected, by name; the background, if there is one, comes last."""
    regions = {name: given for name, given in region.items() if given is not None}
    if not regions:
        raise IPAdapterError("region: none is connected; connect at least one IPAdapter Region")
    if rest is not None:
        regions[BACKGROUND] = rest
    for name, given in regions.items():
        if not isinstance(given, Planned):
            raise IPAdapterError(
                f"{name}: a {type(given).__name__} is no region; connect IPAdapter Region"
            )
    return regions


BACKGROUND = "background"


def settle(regions: dict[str, Planned], overlap: str) -> dict[str, Planned]:
    """The regions with the masks that the rule leaves them, the background with what is left."""
    rule = pick(RULES, overlap, "overlap")
    rest = regions.pop(BACKGROUND, None)
    ranges = [(planned.start_at, planned.end_at) for planned in regions.values()]
    masks = [planned.mask for planned in regions.values()]
    settled = {
        name: replace(planned, mask=mask)
        for (name, planned), mask in zip(regions.items(), rule(masks, ranges), strict=True)
    }
    if rest is not None:
        mask = background(masks, ranges, rest.mask, (rest.start_at, rest.end_at))
        if mask is not None and not mask.any():
            say("background: the other regions leave nothing of the picture, so it does nothing")
        settled[BACKGROUND] = replace(rest, mask=mask)
    return settled


def apply_planned(model: Any, adapter: Pipeline, clip_vision: Any, planned: Planned) -> Any:
    """As one Apply IPAdapter node would."""
    if not planned.acts:
        return model
    loaded, brought, _, lora_strength = adapter
    reference = planned.reference
    if planned.image is None:
        check_origin(reference, loaded)
    else:
        encoder = clip_vision if clip_vision is not None else brought
        reference = encode_reference(loaded, encoder, planned.image)
    settings = (
        planned.mask, planned.weight, planned.weight_type, planned.start_at, planned.end_at,
        planned.unfold_batch, planned.schedule, planned.over_time,
    )  # fmt: skip
    return apply_region(model, loaded, reference, lora_strength, *settings)


def joined_text(base: Conditioning | None, regions: list[Planned], which: str) -> Any:
    """The base text and each region's, which counts in the region's mask alone."""
    own = [
        (text, planned.mask) for planned in regions if (text := getattr(planned, which)) is not None
    ]
    joined = [*(base or []), *(pair for text, mask in own for pair in in_mask(text, mask))]
    if not joined:
        return ExecutionBlocker(
            f"Apply IPAdapter Regions: its {which} is empty; connect a {which} text to it, or to "
            "one of its regions, or take the sampler's from elsewhere"
        )
    if base is None:
        masks = same_size([mask for _, mask in own])
        bare = left_over(masks, masks[0]).gt(0.5).float().mean().item()
        if bare > 0:
            say(
                f"{which}: {bare:.1%} of the picture has no {which} text at all; connect a base "
                f"{which}, or give the background one"
            )
    return joined


def in_mask(text: Conditioning, mask: Tensor | None) -> Conditioning:
    """As core's Conditioning (Set Mask) does it."""
    if mask is None:
        return text
    values = {"mask": mask, "set_area_to_bounds": False, "mask_strength": 1.0}
    return node_helpers.conditioning_set_values(text, values)


NODES = [IPAdapterRegion, ApplyIPAdapterRegions]
