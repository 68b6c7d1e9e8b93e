"""Version 2's nodes for style and composition, and for weights of one's own."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..shared.node import Node
from .apply import APPLY
from .place import ApplyInputs, apply
from .sockets import model_output, old_node, sockets
from .weight_types import WeightTypeNode

OPTIONAL = "| image_negative attn_mask clip_vision compat"
PER_LATENT = " Picture 1 goes to latent 1, picture 2 to latent 2, and so on."
TWO_NODES = f"two {APPLY} nodes, with the layer schedules style transfer and composition"
WITH_SCHEDULE = f"{APPLY} with layer_schedule"
STYLE_COMPOSITION = "Takes the style from one picture and the composition from another."
PRECISE_STYLE = "Takes the style of a picture and steers away from its composition."
PRECISE_COMPOSITION = "Takes the composition of a picture and steers away from its style."


class IPAdapterStyleComposition(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterStyleComposition",
            "IPAdapter Style & Composition SDXL",
            STYLE_COMPOSITION,
            sockets(
                "model ipadapter image_style image_composition weight_style weight_composition "
                f"expand_style combine_embeds:average start_at end_at embeds_scaling {OPTIONAL}"
            ),
            [model_output()],
            TWO_NODES,
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        model: Any,
        image_style: Tensor,
        image_composition: Tensor,
        weight_style: float = 1.0,
        weight_composition: float = 1.0,
        expand_style: bool = False,
        combine_embeds: str = "average",
        **inputs: Any,
    ) -> io.NodeOutput:
        both = "strong style and composition" if expand_style else "style and composition"
        inputs |= {"weight_type": both, "combine_embeds": combine_embeds}
        parts = [(image_style, weight_style, 0.0), (image_composition, 0.0, weight_composition)]
        for image, weight, second in parts:
            part = {"image": image, "weight": weight, "second": second}
            model, _ = apply(ApplyInputs(model=model, **part, **inputs))
        return io.NodeOutput(model)


class IPAdapterStyleCompositionBatch(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterStyleCompositionBatch",
            "IPAdapter Style & Composition Batch SDXL",
            STYLE_COMPOSITION + PER_LATENT,
            sockets(
                "model ipadapter image_style image_composition weight_style weight_composition "
                f"expand_style start_at end_at embeds_scaling {OPTIONAL}"
            ),
            [model_output()],
            f"{TWO_NODES}, with unfold_batch",
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return IPAdapterStyleComposition.execute(unfold_batch=True, **inputs)


PRECISE = (
    f"model ipadapter image weight:5 {{}} combine_embeds start_at end_at embeds_scaling {OPTIONAL}"
)


class IPAdapterPreciseStyleTransfer(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterPreciseStyleTransfer",
            "IPAdapter Precise Style Transfer",
            PRECISE_STYLE,
            sockets(PRECISE.format("style_boost")),
            [model_output()],
            f"{WITH_SCHEDULE} style transfer precise",
        )

    @classmethod
    def execute(cls, style_boost: float = 1.0, **inputs: Any) -> io.NodeOutput:
        settings = {"weight_type": "style transfer precise", "second": style_boost}
        return io.NodeOutput(apply(ApplyInputs(**settings, **inputs))[0])


class IPAdapterPreciseStyleTransferBatch(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterPreciseStyleTransferBatch",
            "IPAdapter Precise Style Transfer Batch",
            PRECISE_STYLE + PER_LATENT,
            sockets(PRECISE.format("style_boost")),
            [model_output()],
            f"{WITH_SCHEDULE} style transfer precise and unfold_batch",
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return IPAdapterPreciseStyleTransfer.execute(unfold_batch=True, **inputs)


class IPAdapterPreciseComposition(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterPreciseComposition",
            "IPAdapter Precise Composition",
            PRECISE_COMPOSITION,
            sockets(PRECISE.format("composition_boost")),
            [model_output()],
            f"{WITH_SCHEDULE} composition precise",
        )

    @classmethod
    def execute(cls, composition_boost: float = 0.0, **inputs: Any) -> io.NodeOutput:
        settings = {"weight_type": "composition precise", "second": composition_boost}
        return io.NodeOutput(apply(ApplyInputs(**settings, **inputs))[0])


class IPAdapterPreciseCompositionBatch(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterPreciseCompositionBatch",
            "IPAdapter Precise Composition Batch",
            PRECISE_COMPOSITION + PER_LATENT,
            sockets(PRECISE.format("composition_boost")),
            [model_output()],
            f"{WITH_SCHEDULE} composition precise and unfold_batch",
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return IPAdapterPreciseComposition.execute(unfold_batch=True, **inputs)


class IPAdapterMS(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterMS",
            "IPAdapter Mad Scientist",
            "Lets a picture or a face act with a weight for each layer.",
            sockets(
                "model ipadapter image:either weight:5 weight_faceidv2 weight_type combine_embeds "
                "start_at end_at embeds_scaling layer_weights "
                "| image_negative attn_mask clip_vision insightface compat"
            ),
            [model_output()],
            f"{APPLY} with layer_weights",
        )

    @classmethod
    def execute(cls, weight_faceidv2: float = 1.0, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply(ApplyInputs(weight_faceidv2=weight_faceidv2, **inputs))[0])


NODES = [
    IPAdapterStyleComposition,
    IPAdapterStyleCompositionBatch,
    IPAdapterPreciseStyleTransfer,
    IPAdapterPreciseStyleTransferBatch,
    IPAdapterPreciseComposition,
    IPAdapterPreciseCompositionBatch,
    IPAdapterMS,
]
