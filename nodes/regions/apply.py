"""Apply IPAdapter: a reference, its region, and a model in which it acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import EncodedReference, LayerSchedule, Region, RegionSettings
from ...weight_types.attention import find_weight_type
from ...weight_types.layers import does_nothing
from ..loading.adapter import AdapterBundle, LoadedAdapter, accept_adapter, check_model
from ..model.lora import apply_face_lora
from ..references.encode import encode_reference
from ..references.provenance import check_adapter
from ..sampling.patching import add_region
from ..shared.checks import check_images, check_mask
from ..shared.inputs import (
    CATEGORY,
    IPAdapterSocket,
    ReferenceSocket,
    attn_mask,
    clip_vision,
    layer_schedule,
    strength,
)
from ..shared.node import Node
from ..shared.notices import warn
from .over_time import limit_step_masks
from .schedule import WeightSchedule, accept_schedule

IMAGE_NEGATIVE = (
    "A picture to steer away from, shown to the negative prompt in place of what noise would make."
)
NOISE = (
    "Makes the negative prompt see a distorted copy of the reference, which strengthens its shapes. "
    "0.2 to 0.5 is common; 0 shows it nothing."
)


# Nodes of nodes/legacy in whose place this one is.
OLD_NAMES = (
    "IPAdapter", "IPAdapter Advanced", "IPAdapter Batch (Adv.)", "IPAdapter Embeds",
    "IPAdapter Embeds Batch", "IPAdapter Mad Scientist", "Apply IPAdapter from Encoded",
    "IPAdapter Masked Tiles (experimental)", "IPAdapter Style & Composition SDXL",
    "IPAdapter Style & Composition Batch SDXL", "IPAdapter Precise Style Transfer",
    "IPAdapter Precise Style Transfer Batch", "IPAdapter Precise Composition",
    "IPAdapter Precise Composition Batch",
)  # fmt: skip


class ApplyIPAdapter(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApply",
            display_name="Apply IPAdapter",
            category=CATEGORY,
            description="Lets a picture act as a prompt, only where attn_mask is white. Chain one "
            "node per reference: all of them share one sampling pass.",
            search_aliases=[
                *("ipadapter", "image prompt", "regional reference", "attn_mask"),
                *OLD_NAMES,
            ],
            inputs=[
                IPAdapterSocket.Input(
                    "ipadapter", tooltip="From Load IPAdapter Model or the Auto Loader."
                ),
                clip_vision(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The reference. Its center square is what the encoder sees; what is "
                    "transparent says nothing. Several pictures act together, unless unfold_batch "
                    "is on.",
                ),
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model, or from another Apply."),
                *strength(NOISE),
                io.Boolean.Input(
                    "unfold_batch",
                    default=False,
                    tooltip="On: picture 1 goes to latent 1, picture 2 to latent 2, and so on, as "
                    "for animation. Off: every latent sees all pictures.",
                ),
                attn_mask(),
                io.Image.Input("image_negative", optional=True, tooltip=IMAGE_NEGATIVE),
                ReferenceSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="In place of image: from Encode Reference, Encode FaceID, Combine "
                    "References or Load Reference. A FaceID reference also applies the adapter's "
                    "LoRA, at the Auto Loader's strength or at 1, unless the model has it already.",
                ),
                *layer_schedule(),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model with the reference in it, for a sampler or the next Apply.",
                )
            ],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        ipadapter: Any,
        model: Any,
        image: Tensor | None = None,
        weight: float = 1.0,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        clip_vision: Any = None,
        attn_mask: Tensor | None = None,
        image_negative: Tensor | None = None,
        reference: EncodedReference | None = None,
        layer_schedule: str = "even",
        schedule: WeightSchedule | None = None,
    ) -> io.NodeOutput:
        adapter = accept_adapter(ipadapter)
        if (image is None) == (reference is None):
            what = "neither is" if image is None else "both are"
            raise IPAdapterError(f"image and reference: {what} connected; connect one of the two")
        check_images(image=image, image_negative=image_negative)
        varied = accept_schedule(schedule)
        settings = RegionSettings(
            mask=check_settings(attn_mask, start_at, end_at),
            weight=weight,
            weight_type=find_weight_type(weight_type),
            start_at=start_at,
            end_at=end_at,
            unfold_batch=unfold_batch,
            schedule=LayerSchedule(layer_schedule, varied.second_weight, varied.layer_weights),
            over_time=varied.over_time,
        )
        if does_nothing(settings.schedule, weight):
            return io.NodeOutput(model)
        source = ReferenceSource(image, reference, image_negative, noise)
        return io.NodeOutput(apply_source(model, adapter, clip_vision, source, settings))


@dataclass(frozen=True, eq=False)
class ReferenceSource:
    """What a reference is made of: pictures, or a reference that is encoded already."""

    image: Tensor | None = None  # [images, H, W, 3+]
    reference: EncodedReference | None = None  # in its place
    image_negative: Tensor | None = None  # [images, H, W, 3+]
    noise: float = 0.0  # of the distorted pictures that the negative sees, if no others


def apply_source(
    model: Any,
    adapter: AdapterBundle,
    clip_vision: Any,
    source: ReferenceSource,
    settings: RegionSettings,
) -> Any:
    """A clone of the model with what the source gives in a region of these settings."""
    loaded = adapter.loaded
    check_model(model, loaded)
    if source.image is not None:
        encoder = clip_vision if clip_vision is not None else adapter.clip_vision
        reference = encode_reference(
            loaded, encoder, source.image, source.image_negative, source.noise
        )
    else:
        reference = check_adapter(source.reference, loaded)
    return apply_region(model, loaded, reference, adapter.lora_strength, settings)


def apply_region(
    model: Any,
    loaded: LoadedAdapter,
    reference: EncodedReference,
    lora_strength: float,
    settings: RegionSettings,
) -> Any:
    """A clone of the model with the reference in a region of these settings, and with the
    adapter's LoRA; the model itself where no layer gets a weight."""
    applied = add_region(model, loaded, Region(reference.bare(), limit_step_masks(settings)))
    if applied is model:
        return model
    return apply_face_lora(applied, loaded.lora, lora_strength, loaded.file)


def check_settings(
    attn_mask: Tensor | None, start_at: float, end_at: float, what: str = "reference"
) -> Tensor | None:
    """The mask as [masks, H, W]; says so where mask or range leave the reference without effect."""
    if start_at > end_at:
        warn(f"start_at {start_at:g} is after end_at {end_at:g}: this reference does nothing")
    if attn_mask is None:
        return None
    attn_mask = check_mask(attn_mask, "attn_mask")
    if not attn_mask.any():
        warn(ALL_BLACK.format(what))
    return attn_mask


ALL_BLACK = "attn_mask is all black: this {} does nothing (nothing painted in the mask editor?)"

NODES = [ApplyIPAdapter]
