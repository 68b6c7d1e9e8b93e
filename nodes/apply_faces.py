"""The FaceID nodes: a person's face as the reference."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.errors import IPAdapterError
from ..ipadapter.faces import SELECTIONS
from ..ipadapter.reference import LayerSchedule
from ..weight_types.layers import does_nothing
from .apply import check_settings, region_of
from .checks import check_image
from .encode_faces import VERSIONS, FaceChoice, encode_faces, structure_weight
from .face_lora import apply_face_lora
from .inputs import (
    InsightFaceSocket,
    IPAdapterSocket,
    ReferenceSocket,
    attn_mask,
    layer_schedule,
    strength,
)
from .load import accept_adapter
from .origin import made_with
from .patching import add_region

NOISE = (
    "Only for FaceID Plus: the negative prompt sees a distorted copy of the face, which strengthens "
    "its shapes. 0 shows it nothing."
)


def face_sources() -> list[Any]:
    """ipadapter, clip_vision, insightface, image."""
    return [
        IPAdapterSocket.Input("ipadapter", tooltip="A FaceID adapter, from Load IPAdapter Model."),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="Only for FaceID Plus (ViT-H) and Kolors FaceID Plus (ViT-L at 336 pixels): the "
            "image encoder. The others do not look at it.",
        ),
        InsightFaceSocket.Input(
            "insightface",
            optional=True,
            tooltip="From Load InsightFace: buffalo_l, or antelopev2 for Kolors. May be left open "
            "when the loader brought one.",
        ),
        io.Image.Input(
            "image",
            tooltip="Photos of a person, face well visible. Several act together, which Portrait "
            "adapters are made for (about five).",
        ),
    ]


def face_choice() -> list[Any]:
    """face_select, face_index."""
    return [
        io.Combo.Input(
            "face_select",
            options=list(SELECTIONS),
            default="largest",
            optional=True,
            tooltip="Which face of a photo: the largest, the one found most surely (best score), by "
            "place from left to right, all of them (left to right, as one reference), or by the "
            "number that the detector gives it (index).",
        ),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=99,
            optional=True,
            tooltip="Counts on in the order that face_select gives: 0 is the first, as for the "
            "largest face; 1 is the next. Not used for all.",
        ),
    ]


def version() -> list[Any]:
    """faceid_v2, weight_v2."""
    return [
        io.Boolean.Input(
            "faceid_v2",
            default=False,
            tooltip="Only for FaceID Plus: takes the adapter as Plus V2 whatever its name. Off, its "
            "name decides, and the node says how.",
        ),
        io.Float.Input(
            "weight_v2",
            default=1.0,
            min=-1.0,
            max=3.0,
            step=0.05,
            tooltip="Only for FaceID Plus V2 and Kolors: the weight of the face's structure, which "
            "CLIP sees. 1 is as trained; 0 leaves the identity alone.",
        ),
    ]


def plus_version() -> Any:
    return io.Combo.Input(
        "plus_version",
        options=VERSIONS,
        default=VERSIONS[0],
        optional=True,
        tooltip="FaceID Plus V1 and V2 for SD1.5 have the same tensors: if the file has lost its "
        "name, choose here. faceid_v2 off means by file name.",
    )


CROPS = "The faces as the encoder sees them, one picture each."


class ApplyIPAdapterFaceID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyFaceID",
            display_name="Apply IPAdapter FaceID",
            category="IPAdapter Regions",
            description="Lets a person's face act as a prompt, only where attn_mask is white, with "
            "the LoRA that FaceID adapters bring. FaceID weights and face models are for "
            "non-commercial research only.",
            search_aliases=["faceid", "face id", "portrait", "same face", "insightface"],
            inputs=[
                *face_sources(),
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model; others may be chained."),
                *strength(NOISE),
                *version(),
                io.Boolean.Input(
                    "unfold_batch",
                    default=False,
                    tooltip="On: the face of photo 1 goes to latent 1, and so on, as for animation. "
                    "Off: every latent sees all faces.",
                ),
                attn_mask(),
                *face_choice(),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    optional=True,
                    tooltip="Strength of the LoRA inside the adapter file, on the whole picture. 1 "
                    "is as trained; 0.5 to 0.7 changes the style less; 0 leaves it out. Skipped if "
                    "the model already carries it. Portrait adapters have none.",
                ),
                plus_version(),
                *layer_schedule(),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model with the face in it, for a sampler or the next Apply.",
                ),
                io.Image.Output(display_name="faces", tooltip=CROPS),
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
        faceid_v2: bool = False,
        weight_v2: float = 1.0,
        unfold_batch: bool = False,
        clip_vision: Any = None,
        insightface: Any = None,
        attn_mask: Tensor | None = None,
        face_select: str = "largest",
        face_index: int = 0,
        lora_strength: float = 1.0,
        plus_version: str = VERSIONS[0],
        layer_schedule: str = "linear",
        second_weight: float | None = None,
        layer_weights: str = "",
    ) -> io.NodeOutput:
        loaded, encoder, recogniser = accept_adapter(ipadapter)
        encoder = clip_vision if clip_vision is not None else encoder
        recogniser = insightface if insightface is not None else recogniser
        check_image(image, "image")
        schedule = LayerSchedule(layer_schedule, second_weight, layer_weights)
        mask = check_settings(attn_mask, start_at, end_at)
        choice = FaceChoice(face_select, face_index)
        structure = structure_weight(loaded, plus_version, faceid_v2, weight_v2)
        reference, crops = encode_faces(
            loaded, recogniser, encoder, image, choice, structure, noise
        )
        if unfold_batch and len(crops) != len(image):
            raise IPAdapterError(
                f"unfold_batch: {len(crops)} faces from {len(image)} photos; one face a photo goes "
                "to one latent, so choose another face_select than all"
            )
        if not does_nothing(layer_schedule, weight, second_weight):
            settings = (mask, weight, weight_type, start_at, end_at, unfold_batch, schedule)
            model = apply_face_lora(model, loaded.lora, lora_strength, loaded.file)
            model = add_region(model, loaded, region_of(reference, *settings))
        return io.NodeOutput(model, crops)


class EncodeFaceID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterEncodeFaceID",
            display_name="Encode FaceID",
            category="IPAdapter Regions",
            description="Encodes faces once, to save them, combine them, or apply them in several "
            "places. Apply IPAdapter takes the result as its reference.",
            search_aliases=["faceid", "face embeds", "encode face", "insightface"],
            inputs=[
                *face_sources(),
                io.Float.Input("noise", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=NOISE),
                *version(),
                *face_choice(),
                plus_version(),
            ],
            outputs=[
                ReferenceSocket.Output(
                    display_name="reference", tooltip="For Apply IPAdapter, or to combine or save."
                ),
                io.Image.Output(display_name="faces", tooltip=CROPS),
            ],
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Any,
        image: Tensor,
        noise: float = 0.0,
        faceid_v2: bool = False,
        weight_v2: float = 1.0,
        clip_vision: Any = None,
        insightface: Any = None,
        face_select: str = "largest",
        face_index: int = 0,
        plus_version: str = VERSIONS[0],
    ) -> io.NodeOutput:
        loaded, encoder, recogniser = accept_adapter(ipadapter)
        encoder = clip_vision if clip_vision is not None else encoder
        recogniser = insightface if insightface is not None else recogniser
        check_image(image, "image")
        structure = structure_weight(loaded, plus_version, faceid_v2, weight_v2)
        choice = FaceChoice(face_select, face_index)
        reference, crops = encode_faces(
            loaded, recogniser, encoder, image, choice, structure, noise
        )
        return io.NodeOutput(made_with(reference, loaded), crops)


NODES = [ApplyIPAdapterFaceID, EncodeFaceID]
