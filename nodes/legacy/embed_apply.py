"""Version 2's nodes that let EMBEDS act: as those for pictures, which are encoded already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import Features, PromptPair
from ..loading.adapter import check_model
from ..references.encode import check_encoder, check_width, one_each, refuse_faces
from .apply import APPLY, PER_LATENT
from .compat import Compat
from .embed_values import check_embeds, check_together, embeds_input, fits, refusal
from .encode import CONCAT, Encoders, Seen, negative_of, reads_tokens, reference_of
from .place import Settings, encoders_of, place
from .sockets import model_output, old_node, sockets
from .weight_types import WeightTypeNode


class IPAdapterEmbeds(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return embeds_node(
            "IPAdapterEmbeds",
            "IPAdapter Embeds",
            "Lets pictures from IPAdapter Encoder act as a prompt.",
            APPLY,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply_embeds(EmbedsInputs(**inputs)))


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbedsInputs(Settings):
    model: Any
    ipadapter: Any
    pos_embed: Tensor
    neg_embed: Tensor | None = None
    clip_vision: Any = None


def apply_embeds(inputs: EmbedsInputs) -> Any:
    """A clone of the model with the encoded pictures in it."""
    encoders = encoders_of(inputs.ipadapter, inputs.clip_vision)
    refuse_faces(encoders.loaded)
    check_model(inputs.model, encoders.loaded)
    seen = seen_before(encoders, inputs)
    if seen is None:
        return inputs.model
    reference = reference_of(encoders.loaded, seen, CONCAT)
    return place(inputs.model, encoders, reference, inputs)


class IPAdapterEmbedsBatch(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return embeds_node(
            "IPAdapterEmbedsBatch",
            "IPAdapter Embeds Batch",
            "Encoded picture 1 goes to latent 1, picture 2 to latent 2, and so on; so do several "
            "weights.",
            PER_LATENT,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(apply_embeds(EmbedsInputs(unfold_batch=True, **inputs)))


def embeds_node(node_id: str, name: str, description: str, successor: str) -> io.Schema:
    more = {
        "pos_embed": embeds_input("pos_embed", "From IPAdapter Encoder, or several combined."),
        "neg_embed": embeds_input(
            "neg_embed",
            'What the negative prompt sees instead. Unconnected, it sees "no picture", for which '
            "most adapters need clip_vision.",
        ),
    }
    names = (
        "model ipadapter pos_embed weight:3 weight_type start_at end_at embeds_scaling | "
        "neg_embed attn_mask clip_vision compat"
    )
    inputs = sockets(names, more)
    return old_node(node_id, name, description, inputs, [model_output()], successor)


def seen_before(encoders: Encoders, inputs: EmbedsInputs) -> Seen | None:
    """What is on the sockets, as many negatives as positives; None where it is to do nothing."""
    loaded, neg_embed = encoders.loaded, inputs.neg_embed
    positive = check_embeds(inputs.pos_embed, "pos_embed")
    if neg_embed is None and fits(positive, loaded, stacked=True):
        positive, neg_embed = positive
    if not fits(positive, loaded):
        advice = "IPAdapter Encoder makes such EMBEDS, with this adapter connected"
        raise refusal(positive, "pos_embed", loaded, advice)
    if not inputs.acts:
        return None
    if neg_embed is None:
        negative = unconditional(encoders, positive, inputs.ways)
    else:
        negative = check_embeds(neg_embed, "neg_embed")
        check_together({"pos_embed": positive, "neg_embed": negative}, own=1)
    images = len(positive)
    negative = one_each(negative[:images], images)
    return Seen(PromptPair(Features(positive), Features(negative)))


def unconditional(encoders: Encoders, like: Tensor, compat: Compat) -> Tensor:
    """CLIP's features of "no picture", [images, ...] like ``like``; the encoder may be another than
    that of the EMBEDS."""
    loaded, clip_vision, _ = encoders
    if not reads_tokens(loaded, compat):
        return torch.zeros_like(like)
    if clip_vision is None:
        raise IPAdapterError(
            "neg_embed and clip_vision are both open: connect IPAdapter Encoder's neg_embed, or "
            "the encoder"
        )
    check_encoder(clip_vision)
    negative = negative_of(encoders, None, like, compat)
    check_width(loaded.projection, negative)
    check_together({"pos_embed": like, "clip_vision": negative}, own=1)
    return negative


NODES = [IPAdapterEmbeds, IPAdapterEmbedsBatch]
