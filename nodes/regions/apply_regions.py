"""Apply IPAdapter Regions: any number of regions put into a model by one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ...ipadapter.errors import IPAdapterError, pick
from ...masks.overlap import RULES, background
from ..loading.adapter import Pipeline, accept_adapter
from ..shared.inputs import IPAdapterSocket, RegionSocket, clip_vision
from ..shared.notices import say
from .apply import apply_sources
from .conditioning import Conditioning, joined_text, with_frames
from .over_time import say_stretched
from .region import Planned

MOST_REGIONS = 50


class ApplyIPAdapterRegions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyRegions",
            display_name="Apply IPAdapter Regions",
            category="IPAdapter Regions",
            description="Puts any number of regions into a model at once: the same as a chain of "
            "Apply IPAdapter nodes, in one sampling pass, with a rule for masks that overlap.",
            search_aliases=[
                *("regional ipadapter", "multiple references", "regional prompt"),
                *("attention couple", "background region"),
                *("IPAdapter Combine Params", "IPAdapter from Params"),
            ],
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
                    "whose step ranges share no more than an end do not overlap.",
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
        regions = settle(check_regions(region, background), background, overlap)
        for name, planned in regions.items():
            try:
                model = apply_planned(model, adapter, clip_vision, planned)
            except IPAdapterError as error:
                raise IPAdapterError(f"{name}: {error}") from error
        applied = regions.values()
        positive = joined_text(positive, [(r.positive, r.mask) for r in applied], "positive")
        negative = joined_text(negative, [(r.negative, r.mask) for r in applied], "negative")
        return io.NodeOutput(with_frames(model, positive, negative), positive, negative)


def check_regions(region: Mapping[str, Any], rest: Any) -> dict[str, Planned]:
    """The regions that are connected, by name."""
    regions = {name: given for name, given in region.items() if given is not None}
    if not regions:
        raise IPAdapterError("region: none is connected; connect at least one IPAdapter Region")
    for name, given in [*regions.items(), (BACKGROUND, rest)]:
        if given is not None and not isinstance(given, Planned):
            raise IPAdapterError(
                f"{name}: a {type(given).__name__} is no region; connect IPAdapter Region"
            )
    return regions


BACKGROUND = "background"


def settle(
    regions: Mapping[str, Planned], rest: Planned | None, overlap: str
) -> dict[str, Planned]:
    """The regions with the masks that the rule leaves them; last, the one for what is left."""
    rule = pick(RULES, overlap, "overlap")
    ranges = [(planned.start_at, planned.end_at) for planned in regions.values()]
    masks = [planned.mask for planned in regions.values()]
    settled = {
        name: replace(planned, mask=mask)
        for (name, planned), mask in zip(regions.items(), rule(masks, ranges), strict=True)
    }
    if rest is not None or overlap != "add":
        say_stretched([*masks, rest and rest.mask])
    if rest is not None:
        mask = background(masks, ranges, rest.mask, (rest.start_at, rest.end_at))
        if mask is not None and not mask.any():
            say("background: the other regions leave it nothing of the picture, so it does nothing")
        settled[BACKGROUND] = replace(rest, mask=mask)
    return settled


def apply_planned(model: Any, adapter: Pipeline, clip_vision: Any, planned: Planned) -> Any:
    """As one Apply IPAdapter node would."""
    if not planned.acts:
        return model
    settings = (
        planned.mask, planned.weight, planned.weight_type, planned.start_at, planned.end_at,
        planned.unfold_batch, planned.schedule, planned.over_time,
    )  # fmt: skip
    sources = (planned.image, planned.reference, None, 0.0)
    return apply_sources(model, adapter, clip_vision, sources, *settings)


NODES = [ApplyIPAdapterRegions]
