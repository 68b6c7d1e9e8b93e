"""Apply IPAdapter Regions: any number of regions put into a model by one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...ipadapter.errors import IPAdapterError, pick
from ...masks.overlap import RULES, background
from ..loading.adapter import accept_adapter
from ..shared.inputs import CATEGORY, IPAdapterSocket, RegionSocket, choice_input, clip_vision
from ..shared.node import Node
from ..shared.notices import warn
from .apply import apply_source
from .conditioning import Conditioning, joined_text, with_frames
from .over_time import warn_stretched
from .region import RegionSpec

MOST_REGIONS = 50


class ApplyIPAdapterRegions(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyRegions",
            display_name="Apply IPAdapter Regions",
            category=CATEGORY,
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
                    "of all others, at least 0, within its own attn_mask if it has one.",
                ),
                choice_input(
                    "overlap",
                    RULES,
                    "What happens where masks overlap. Regions that act at different steps (start_at "
                    "to end_at) do not overlap.",
                    default="add",
                ),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="The base text. It counts everywhere, beside the regions' own.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The base negative. It counts everywhere, beside the regions' own.",
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
    def execute(  # noqa: PLR0913
        cls,
        model: Any,
        ipadapter: Any,
        region: io.Autogrow.Type,
        overlap: str = "add",
        clip_vision: Any = None,
        background: RegionSpec | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        adapter = accept_adapter(ipadapter)
        regions = resolve_overlaps(check_regions(region, background), background, overlap)
        for name, spec in regions.items():
            if spec.source is None:
                continue
            try:
                model = apply_source(model, adapter, clip_vision, spec.source, spec.settings)
            except IPAdapterError as error:
                raise IPAdapterError(f"{name}: {error}") from error
        texts = [(spec.texts, spec.settings.mask) for spec in regions.values()]
        positive = joined_text(positive, [(t.positive, mask) for t, mask in texts], "positive")
        negative = joined_text(negative, [(t.negative, mask) for t, mask in texts], "negative")
        return io.NodeOutput(with_frames(model, positive, negative), positive, negative)


def check_regions(region: Mapping[str, Any], rest: Any) -> dict[str, RegionSpec]:
    """The regions that are connected, by name."""
    regions = {name: given for name, given in region.items() if given is not None}
    if not regions:
        raise IPAdapterError("region: none is connected; connect at least one IPAdapter Region")
    for name, given in [*regions.items(), (BACKGROUND, rest)]:
        if given is not None and not isinstance(given, RegionSpec):
            raise IPAdapterError(
                f"{name}: a {type(given).__name__} is no region; connect IPAdapter Region"
            )
    return regions


BACKGROUND = "background"


def resolve_overlaps(
    regions: Mapping[str, RegionSpec], rest: RegionSpec | None, overlap: str
) -> dict[str, RegionSpec]:
    """The regions with the masks that the rule leaves them; last, the one for what is left."""
    rule = pick(RULES, overlap, "overlap").value
    ranges = [step_range(spec) for spec in regions.values()]
    masks = [spec.settings.mask for spec in regions.values()]
    resolved = {
        name: spec.with_mask(mask)
        for (name, spec), mask in zip(regions.items(), rule(masks, ranges), strict=True)
    }
    if rest is not None or overlap != "add":
        warn_stretched([*masks, rest and rest.settings.mask])
    if rest is not None:
        mask = background(masks, ranges, rest.settings.mask, step_range(rest))
        if mask is not None and not mask.any():
            warn("background: the other regions cover the whole picture, so it does nothing")
        resolved[BACKGROUND] = rest.with_mask(mask)
    return resolved


def step_range(spec: RegionSpec) -> tuple[float, float]:
    return spec.settings.start_at, spec.settings.end_at


NODES = [ApplyIPAdapterRegions]
