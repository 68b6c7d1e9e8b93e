"""Version 2's nodes for faces."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from .place import ApplyInputs, apply
from .sockets import model_output, old_node, sockets
from .weight_types import WeightTypeNode

APPLY_FACE = "Apply IPAdapter FaceID"
SETTINGS = "weight_type combine_embeds start_at end_at embeds_scaling"
OPTIONAL = "image_negative attn_mask clip_vision insightface compat"


NO_FACES = ExecutionBlocker(
    "IPAdapter FaceID: this adapter reads whole pictures, so there is no face_image; connect the "
    "output of a FaceID adapter, or nothing"
)


def outputs() -> list[Any]:
    faces = io.Image.Output(
        display_name="face_image", tooltip="The faces that were found, cut out, one for each photo."
    )
    return [model_output(), faces]


class IPAdapterFaceID(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterFaceID",
            "IPAdapter FaceID",
            "Lets a person's face act as a prompt. The adapter's LoRA is not applied here.",
            sockets(f"model ipadapter image:face weight:3 weight_faceidv2 {SETTINGS} | {OPTIONAL}"),
            outputs(),
            APPLY_FACE,
        )

    @classmethod
    def execute(cls, weight_faceidv2: float = 1.0, **inputs: Any) -> io.NodeOutput:
        model, faces = apply(ApplyInputs(weight_faceidv2=weight_faceidv2, **inputs))
        return io.NodeOutput(model, NO_FACES if faces is None else faces)


class IPAAdapterFaceIDBatch(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAAdapterFaceIDBatch",
            "IPAdapter FaceID Batch",
            "The face of photo 1 goes to latent 1, that of photo 2 to latent 2, and so on.",
            sockets(f"model ipadapter image:face weight:3 weight_faceidv2 {SETTINGS} | {OPTIONAL}"),
            outputs(),
            f"{APPLY_FACE} with unfold_batch",
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return IPAdapterFaceID.execute(unfold_batch=True, **inputs)


class IPAdapterFaceIDKolors(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterFaceIDKolors",
            "IPAdapter FaceID Kolors",
            "Lets a person's face act as a prompt for Kolors.",
            sockets(
                "model ipadapter image:face weight:3 weight_faceidv2 weight_kolors "
                f"{SETTINGS} | {OPTIONAL}"
            ),
            outputs(),
            APPLY_FACE,
        )

    @classmethod
    def execute(cls, weight_kolors: float = 1.0, **inputs: Any) -> io.NodeOutput:
        return IPAdapterFaceID.execute(token_scale=weight_kolors, **inputs)


NODES = [IPAdapterFaceID, IPAAdapterFaceIDBatch, IPAdapterFaceIDKolors]
