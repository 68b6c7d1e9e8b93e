"""Apply IPAdapter: a reference, its region, and a model in which it acts."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.errors import IPAdapterError
from ..ipadapter.reference import Region
from ..weight_types.attention import WEIGHT_TYPES
from .checks import check_image, check_mask
from .encode import encode_reference
from .load import IPAdapterSocket, accept_adapter
from .notices import say
from .patching import add_region


class ApplyIPAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApply",
            display_name="Apply IPAdapter",
            category="IPAdapter Regions",
            description="Lets a picture act as a prompt, only where attn_mask is white. Chain one "
            "node per reference: all of them share one sampling pass.",
            search_aliases=["ipadapter", "image prompt", "regional reference", "attn_mask"],
            inputs=[
                IPAdapterSocket.Input("ipadapter", tooltip="From Load IPAdapter Model."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that the adapter was trained with (ViT-H for most). "
                    "May be left open when the loader brought one.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The reference. Its centre square is what the encoder sees. Several "
                    "pictures act together, unless unfold_batch is on.",
                ),
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model; others may be chained."),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-1.0,
                    max=3.0,
                    step=0.05,
                    tooltip="How strongly the reference acts. 0.5 to 0.8 leaves the prompt its "
                    "say; 0 leaves the model as it is; below 0 pushes away from the reference.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Makes the negative prompt see a distorted copy of the reference, "
                    "which strengthens its shapes. 0.2 to 0.5 is common; 0 shows it nothing.",
                ),
                io.Combo.Input(
                    "weight_type",
                    options=list(WEIGHT_TYPES),
                    default="original",
                    tooltip="original: as in the paper. linear: the prompt keeps more say. "
                    "channel penalty: sharper detail, with less weight in the wide view.",
                ),
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
                io.Boolean.Input(
                    "unfold_batch",
                    default=False,
                    tooltip="On: picture 1 goes to latent 1, picture 2 to latent 2, and so on, as "
                    "for animation. Off: every latent sees all pictures.",
                ),
                io.Mask.Input(
                    "attn_mask",
                    optional=True,
                    tooltip="White: the reference acts here. Black: it does not. Gray: partly. Of "
                    "any size, but the picture's aspect ratio; open acts everywhere. A batch gives "
                    "each latent its own.",
                ),
                io.Image.Input(
                    "image_negative",
                    optional=True,
                    tooltip="A picture to steer away from, shown to the negative prompt in place "
                    "of what noise would make.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model with the reference in it, for a sampler or the next Apply.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Any,
        image: Tensor,
        model: Any,
        weight: float = 1.0,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        clip_vision: Any = None,
        attn_mask: Tensor | None = None,
        image_negative: Tensor | None = None,
    ) -> io.NodeOutput:
        loaded, brought = accept_adapter(ipadapter)
        clip_vision = clip_vision if clip_vision is not None else brought
        if clip_vision is None:
            raise IPAdapterError("clip_vision is not connected: add a Load CLIP Vision node")
        check_image(image, "image")
        if image_negative is not None:
            check_image(image_negative, "image_negative")
        if attn_mask is not None:
            attn_mask = check_mask(attn_mask, "attn_mask")
            if not attn_mask.any():
                say(ALL_BLACK)
        if start_at > end_at:
            say(f"start_at {start_at:g} is after end_at {end_at:g}: this reference does nothing")
        if weight == 0:
            return io.NodeOutput(model)
        reference = encode_reference(loaded, clip_vision, image, image_negative, noise)
        region = Region(reference, attn_mask, weight, weight_type, start_at, end_at, unfold_batch)
        return io.NodeOutput(add_region(model, loaded, region))


ALL_BLACK = (
    "attn_mask is all black: this reference does nothing (nothing painted in the mask editor?)"
)

NODES = [ApplyIPAdapter]
