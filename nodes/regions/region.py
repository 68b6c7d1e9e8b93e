"""IPAdapter Region: a reference with its mask and texts, before it meets a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import EncodedReference, LayerSchedule, PromptPair, RegionSettings
from ...weight_types.attention import find_weight_type
from ...weight_types.layers import does_nothing
from ..shared.checks import check_image
from ..shared.inputs import (
    CATEGORY,
    ReferenceSocket,
    RegionSocket,
    layer_schedule,
    step_range,
    weight,
    weight_type,
)
from ..shared.node import Node
from .apply import ReferenceSource, check_settings
from .conditioning import Conditioning
from .schedule import WeightSchedule, accept_schedule


@dataclass(frozen=True, eq=False)
class RegionSpec:
    """A region before it meets a model and its neighbors."""

    source: ReferenceSource | None  # None: only its texts do anything
    settings: RegionSettings
    texts: PromptPair[Conditioning | None]

    def with_mask(self, mask: Tensor | None) -> RegionSpec:
        """A copy with another mask, [masks, H, W]."""
        return replace(self, settings=replace(self.settings, mask=mask))


class IPAdapterRegion(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRegion",
            display_name="IPAdapter Region",
            category=CATEGORY,
            description="One region for Apply IPAdapter Regions: a picture, where and how strongly it "
            "acts, and, if wanted, its own text for the same place.",
            search_aliases=[
                *("regional ipadapter", "regional prompt", "regional conditioning"),
                *("masked reference", "attention couple", "IPAdapter Regional Conditioning"),
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The reference. Its center square is what the encoder sees; what is "
                    "transparent says nothing. Several pictures act together, unless unfold_batch "
                    "is on.",
                ),
                ReferenceSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="In place of image: from Encode Reference, Encode FaceID, Combine "
                    "References or Load Reference.",
                ),
                io.Mask.Input("attn_mask", optional=True, tooltip=PLACE),
                weight(
                    "at 0 the picture does nothing, but the region keeps its place among others"
                ),
                weight_type(),
                *layer_schedule(),
                *step_range(),
                io.Boolean.Input(
                    "unfold_batch",
                    default=False,
                    tooltip="On: picture 1 goes to latent 1, picture 2 to latent 2, and so on, as "
                    "for animation. Off: every latent sees all pictures.",
                ),
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
    def execute(  # noqa: PLR0913
        cls,
        image: Tensor | None = None,
        reference: EncodedReference | None = None,
        attn_mask: Tensor | None = None,
        weight: float = 1.0,
        weight_type: str = "original",
        layer_schedule: str = "even",
        schedule: WeightSchedule | None = None,
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        if image is not None and reference is not None:
            raise IPAdapterError("image and reference: both are connected; connect one of the two")
        if image is None and reference is None and not (positive or negative):
            raise IPAdapterError(
                "image and reference: neither is connected; connect one of the two, or only a "
                "positive for a region without a picture"
            )
        if image is not None:
            check_image(image, "image")
        varied = accept_schedule(schedule)
        settings = RegionSettings(
            mask=check_settings(attn_mask, start_at, end_at, "region"),
            weight=weight,
            weight_type=find_weight_type(weight_type),
            start_at=start_at,
            end_at=end_at,
            unfold_batch=unfold_batch,
            schedule=LayerSchedule(layer_schedule, varied.second_weight, varied.layer_weights),
            over_time=varied.over_time,
        )
        pictured = image is not None or reference is not None
        acts = pictured and not does_nothing(settings.schedule, weight)
        source = ReferenceSource(image, reference) if acts else None
        return io.NodeOutput(RegionSpec(source, settings, PromptPair(positive, negative)))


PLACE = (
    "Where the region is. An attention mask for the reference: white, it acts here; black, it does "
    "not; gray, partly. The region's own texts get it as their conditioning mask. Any size, with "
    "the picture's aspect ratio; unconnected: everywhere. A batch gives each latent its own. It "
    "never limits where the sampler paints (a latent's noise mask)."
)
OWN_TEXT = (
    "A text that counts only inside attn_mask, beside the base text of Apply IPAdapter "
    "Regions, at all steps. It uses ComfyUI's conditioning mask: each text adds a row to the "
    "UNet's batch, so a step takes longer."
)


NODES = [IPAdapterRegion]
