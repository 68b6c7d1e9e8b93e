"""References as values of their own: made once, combined, and used by any number of Apply nodes."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.combine import COMBINATIONS, CONCAT, alike, combined, first_picture, joined
from ...ipadapter.enhance import mixed
from ...ipadapter.errors import IPAdapterError, pick
from ...ipadapter.noise import NOISES
from ...ipadapter.reference import EncodedReference, Features, PromptPair
from ..loading.adapter import accept_adapter
from ..shared.checks import check_image
from ..shared.inputs import ADVANCED, IPAdapterSocket, ReferenceSocket, choice_input, clip_vision
from ..shared.node import Node
from ..shared.notices import warn
from .encode import negative_features, picture_features, project, refuse_faces, tile_features
from .provenance import check_adapter, made_with

LARGEST_WEIGHT = 10.0
MOST_REFERENCES = 50


class EncodeReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterEncodeReference",
            display_name="Encode Reference",
            category=ADVANCED,
            description="Makes a reference of pictures: what the encoder sees in them, as the "
            "adapter reads it. Several Apply nodes can share it, and it can be combined and saved.",
            search_aliases=[
                *("IPAdapter Encoder", "Encode IPAdapter Image (version 1)", "encode image"),
                *("embeds", "IPAdapter ClipVision Enhancer", "IPAdapter ClipVision Enhancer Batch"),
                "IPAdapter Noise",
            ],
            inputs=[
                IPAdapterSocket.Input(
                    "ipadapter",
                    tooltip="From a loader. The reference is for this adapter only.",
                ),
                clip_vision(),
                io.Image.Input(
                    "image",
                    tooltip="One picture or a batch; a batch is one reference seen from several "
                    "sides. Its center square is what the encoder sees: see Fit Image. What is "
                    "transparent says nothing.",
                ),
                io.String.Input(
                    "weights",
                    default="1.0",
                    tooltip="How much each picture counts: numbers separated by commas, such as "
                    "1.0, 0.5; the last is for all that follow. 0 leaves a picture without content. "
                    "Felt most in Combine References; for strength use the weight of Apply IPAdapter.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Makes the negative prompt see distorted copies of the pictures, which "
                    "strengthens their shapes. 0.2 to 0.5 is common; 0 shows it nothing.",
                ),
                choice_input(
                    "noise_type",
                    NOISES,
                    "How they are distorted. Not used with noise 0.",
                    default="shuffle",
                ),
                io.Int.Input(
                    "enhance_tiles",
                    default=1,
                    min=1,
                    max=16,
                    tooltip="Also encodes each picture in this many tiles across and down, for "
                    "detail that the encoder's few pixels miss. 2 to 4 is sensible for pictures of "
                    "1024 pixels; it takes tiles x tiles more encodings. 1 is off.",
                ),
                io.Float.Input(
                    "enhance_ratio",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The tiles' part of the result: 0 is only the whole picture, 1 only the "
                    "tiles, which loses how the parts belong together.",
                ),
                io.Image.Input(
                    "image_negative",
                    optional=True,
                    tooltip="A picture to steer away from, shown to the negative prompt in place of "
                    "what noise would make. A batch pairs with the pictures one by one.",
                ),
            ],
            outputs=[
                ReferenceSocket.Output(
                    display_name="reference",
                    tooltip="For Apply IPAdapter, Combine References or Save Reference.",
                )
            ],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        ipadapter: Any,
        image: Tensor,
        clip_vision: Any = None,
        weights: str = "1.0",
        noise: float = 0.0,
        noise_type: str = "shuffle",
        enhance_tiles: int = 1,
        enhance_ratio: float = 0.5,
        image_negative: Tensor | None = None,
    ) -> io.NodeOutput:
        adapter = accept_adapter(ipadapter)
        loaded = adapter.loaded
        refuse_faces(loaded)
        check_image(image, "image")
        if image_negative is not None:
            check_image(image_negative, "image_negative")
        elif noise > 0:
            image_negative = pick(NOISES, noise_type, "noise_type").value(image, noise)
        factors = torch.tensor(picture_weights(weights, len(image)))
        encoder = clip_vision if clip_vision is not None else adapter.clip_vision
        positive = picture_features(loaded, encoder, image)
        negative = negative_features(loaded, encoder, image_negative, positive)
        if enhance_tiles > 1 and enhance_ratio > 0:
            tiles = tile_features(loaded, encoder, image, enhance_tiles)
            positive = mixed(positive, tiles, enhance_ratio)
        positive = positive * factors.view(-1, *[1] * (positive.ndim - 1))
        reference = project(loaded, PromptPair(Features(positive), Features(negative)))
        return io.NodeOutput(made_with(reference, loaded))


def picture_weights(text: str, pictures: int) -> list[float]:
    """One number per picture, the last repeated; all 1 if none is given."""
    weights = [_weight(part.strip()) for part in text.split(",")] if text.strip() else [1.0]
    if len(weights) > pictures:
        warn(f"weights: {len(weights)} numbers, pictures: {pictures}; the last are not used")
    return [weights[min(i, len(weights) - 1)] for i in range(pictures)]


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not abs(weight) <= LARGEST_WEIGHT:
        raise IPAdapterError(
            f"weights: {text!r} is no number from {-LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}; give "
            "one per picture, separated by commas, such as 1.0, 0.5"
        )
    return weight


class CombineReferences(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterCombineReferences",
            display_name="Combine References",
            category=ADVANCED,
            description="Combines several references into one. Their pictures may be of different "
            "sizes.",
            search_aliases=[
                *("IPAdapter Combine Embeds", "IPAdapter Batch Embeds", "merge references"),
                *("average", "mix references"),
            ],
            inputs=[
                IPAdapterSocket.Input(
                    "ipadapter", tooltip="The adapter that all of them were encoded with."
                ),
                choice_input("method", COMBINATIONS, "How they are combined.", default=CONCAT),
                io.Autogrow.Input(
                    "references",
                    template=io.Autogrow.TemplateNames(
                        ReferenceSocket.Input(
                            "reference",
                            tooltip="From Encode Reference, Encode FaceID, Load Reference or another "
                            "Combine References. All pictures of it take part.",
                        ),
                        names=[f"reference_{i + 1}" for i in range(MOST_REFERENCES)],
                        min=1,
                    ),
                    tooltip="The references, in their order; connecting one shows the next input.",
                ),
            ],
            outputs=[
                ReferenceSocket.Output(
                    display_name="reference",
                    tooltip="For Apply IPAdapter, Save Reference or another Combine References.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, ipadapter: Any, references: io.Autogrow.Type, method: str = CONCAT
    ) -> io.NodeOutput:
        loaded = accept_adapter(ipadapter).loaded
        connected = {name: given for name, given in references.items() if given is not None}
        if not connected:
            raise IPAdapterError("references: none is connected; connect at least one")
        for name, given in connected.items():
            check_adapter(given, loaded, name)
        pairs = alike(connected)
        positive, negative = (joined(list(each)) for each in zip(*pairs, strict=True))
        if method == CONCAT:
            tokens = (
                torch.cat([given.positive for given in connected.values()]),
                torch.cat([given.negative for given in connected.values()]),
            )
            reference = EncodedReference(*tokens, PromptPair(positive, negative))
        else:
            face = loaded.projection.face
            mixture = combined(positive, method, normed=face is not None and face.normed)
            reference = project(loaded, PromptPair(mixture, first_picture(negative)))
        return io.NodeOutput(made_with(reference, loaded))


NODES = [EncodeReference, CombineReferences]
