"""Version 2's nodes that let pictures act: one function with more or fewer of its settings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ..shared.node import Node
from .place import ApplyInputs, apply, encoders_of
from .sockets import model_output, old_node, sockets
from .weight_types import WeightTypeNode

APPLY = "Apply IPAdapter"
PER_LATENT = f"{APPLY} with unfold_batch"


SIMPLE = {
    "standard": "linear",
    "prompt is more important": "ease out",
    "style transfer": "style transfer",
}


class IPAdapter(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = io.Combo.Input(
            "weight_type",
            options=list(SIMPLE),
            tooltip="style transfer takes the style alone.",
        )
        return old_node(
            "IPAdapter",
            "IPAdapter",
            "Lets a picture act as a prompt.",
            sockets(
                "model ipadapter image weight:3 start_at end_at kinds | attn_mask compat",
                {"kinds": lambda optional: kinds},
            ),
            [model_output()],
            APPLY,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply_simple(**inputs)[0])


def apply_simple(
    ipadapter: Any, weight_type: str = "standard", **inputs: Any
) -> tuple[Any, Tensor | None]:
    """A clone of the model with the pictures in it, and the faces that were found in them."""
    loaded, clip_vision, _ = encoders_of(ipadapter)
    if clip_vision is None and loaded.projection.feature is not None:
        raise IPAdapterError(
            "ipadapter: this loader brings no image encoder, and IPAdapter has no input for "
            "one; load with IPAdapter Unified Loader or IPAdapter Auto Loader, or use "
            f"{APPLY}"
        )
    weight_type = SIMPLE.get(weight_type, weight_type)
    inputs |= {"ipadapter": ipadapter, "weight_type": weight_type}
    return apply(ApplyInputs(**inputs))


class IPAdapterAdvanced(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterAdvanced",
            "IPAdapter Advanced",
            "Lets a picture act as a prompt, with all settings.",
            sockets(
                "model ipadapter image weight:5 weight_type combine_embeds start_at end_at "
                "embeds_scaling | image_negative attn_mask clip_vision compat"
            ),
            [model_output()],
            APPLY,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply(ApplyInputs(**inputs))[0])


class IPAdapterBatch(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterBatch",
            "IPAdapter Batch (Adv.)",
            "Picture 1 goes to latent 1, picture 2 to latent 2, and so on; so do several weights.",
            sockets(
                "model ipadapter image weight:5 weight_type start_at end_at embeds_scaling "
                "encode_batch_size | image_negative attn_mask clip_vision compat"
            ),
            [model_output()],
            PER_LATENT,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply(ApplyInputs(unfold_batch=True, **inputs))[0])


NODES = [IPAdapter, IPAdapterAdvanced, IPAdapterBatch]
