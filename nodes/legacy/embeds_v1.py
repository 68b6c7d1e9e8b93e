"""Version 1's nodes for EMBEDS that hold positive and negative in one, [2, images, ...]."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import Features, PromptPair
from ...weight_types.attention import WEIGHT_TYPES
from ..loading.adapter import check_model
from ..references.encode import refuse_faces
from ..shared.inputs import choice_input
from ..shared.node import Node
from . import encoder_v1
from .apply import APPLY
from .compat import FAITHFUL
from .embed_values import (
    check_embeds,
    check_together,
    embeds_input,
    embeds_output,
    fits,
    refusal,
)
from .embeds import COMBINE
from .encode import CONCAT, Seen, reference_of
from .encoder_v1 import FEATURES
from .place import Settings, encoders_of, place
from .sockets import model_output, old_node, sockets

STACKED = "[2, images, width] or [2, images, tokens, width]"


class IPAdapterApplyEncoded(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        more = {
            "embeds": embeds_input("embeds", "From Encode IPAdapter Image of version 1."),
            "weight_type": partial(
                choice_input, "weight_type", WEIGHT_TYPES, "How the weight enters attention."
            ),
            "unfold_batch": partial(
                io.Boolean.Input,
                "unfold_batch",
                default=False,
                tooltip="On: picture 1 goes to latent 1, picture 2 to latent 2, and so on. Off: "
                "every latent sees all pictures.",
            ),
        }
        return old_node(
            "IPAdapterApplyEncoded",
            "Apply IPAdapter from Encoded",
            "Lets pictures from Encode IPAdapter Image act as a prompt.",
            sockets(
                "ipadapter embeds model weight:3 weight_type start_at end_at unfold_batch | "
                "attn_mask",
                more,
            ),
            [model_output()],
            APPLY,
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Any,
        embeds: Tensor,
        model: Any,
        weight_type: str = "original",
        **inputs: Any,
    ) -> io.NodeOutput:
        encoders = encoders_of(ipadapter)
        loaded = encoders.loaded
        refuse_faces(loaded)
        check_model(model, loaded)
        settings = Settings(compat=FAITHFUL, embeds_scaling=weight_type, **inputs)
        embeds = check_embeds(embeds, "embeds")
        if fits(embeds, loaded):
            raise IPAdapterError(
                "embeds: these are of version 2, without their negative; use IPAdapter Embeds"
            )
        if not fits(embeds, loaded, stacked=True):
            state = "off" if loaded.projection.feature == FEATURES[False] else "on"
            advice = f"encode with this encoder and ipadapter_plus {state}"
            raise refusal(embeds, "embeds", loaded, advice, stacked=True)
        features = PromptPair(*(Features(part) for part in embeds))
        reference = reference_of(loaded, Seen(features), CONCAT)
        return io.NodeOutput(place(model, encoders, reference, settings))


class IPAdapterBatchEmbeds(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "From Encode IPAdapter Image of version 1; both from the same encoder."
        return old_node(
            "IPAdapterBatchEmbeds",
            "IPAdapter Batch Embeds",
            "The encoded pictures of both, side by side.",
            sockets(
                "embed1 embed2", {name: embeds_input(name, tip) for name in ("embed1", "embed2")}
            ),
            [embeds_output("EMBEDS", "All of them, for Apply IPAdapter from Encoded.")],
            COMBINE,
        )

    @classmethod
    def execute(cls, embed1: Tensor, embed2: Tensor) -> io.NodeOutput:
        embeds = {
            name: check_embeds(value, name)
            for name, value in {"embed1": embed1, "embed2": embed2}.items()
        }
        check_stacked(embeds)
        check_together(embeds, own=2)
        return io.NodeOutput(torch.cat(list(embeds.values()), 1))


def check_stacked(embeds: Mapping[str, Tensor]) -> None:
    for name, value in embeds.items():
        if value.ndim == 2 or len(value) != 2:
            raise IPAdapterError(
                f"{name} has the shape {list(value.shape)}; version 1's EMBEDS are {STACKED}: for "
                "those of version 2 use IPAdapter Combine Embeds"
            )


NODES = [*encoder_v1.NODES, IPAdapterApplyEncoded, IPAdapterBatchEmbeds]
