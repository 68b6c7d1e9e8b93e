"""The FaceID nodes: a person's face as the reference."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.faces import FaceChoice
from ...ipadapter.reference import LayerSchedule, RegionSettings
from ...weight_types.attention import find_weight_type
from ...weight_types.layers import does_nothing
from ..loading.adapter import accept_adapter, check_model
from ..references.encode_faces import encode_faces, find_shortcut_scale
from ..references.face_inputs import (
    NOISE,
    face_choice,
    face_photos,
    face_sources,
    plus_version,
    version,
)
from ..references.provenance import made_with
from ..shared.inputs import ADVANCED, CATEGORY, ReferenceSocket, attn_mask, layer_schedule, strength
from ..shared.node import Node
from .apply import apply_region, check_settings
from .schedule import WeightSchedule, accept_schedule

CROPS = "The faces as the encoder sees them, one picture each."


class ApplyIPAdapterFaceID(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyFaceID",
            display_name="Apply IPAdapter FaceID",
            category=CATEGORY,
            description="Lets a person's face act as a prompt, only where attn_mask is white, with "
            "the LoRA that FaceID adapters bring. FaceID weights and face models are for "
            "non-commercial research only.",
            search_aliases=[
                *("faceid", "face id", "portrait", "same face", "insightface"),
                *("IPAdapter FaceID", "IPAdapter FaceID Kolors", "IPAdapter FaceID Batch"),
                "Prepare Image For InsightFace",
            ],
            inputs=[
                *face_sources(),
                io.Model.Input("model", tooltip="An SD1.5 or SDXL model, or from another Apply."),
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
    def execute(  # noqa: PLR0913
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
        plus_version: str = "by file name",
        layer_schedule: str = "even",
        schedule: WeightSchedule | None = None,
    ) -> io.NodeOutput:
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
        adapter = accept_adapter(ipadapter)
        loaded = adapter.loaded
        check_model(model, loaded)
        choice = FaceChoice(face_select, face_index)
        photos = face_photos(adapter, image, clip_vision, insightface, choice)
        shortcut_scale = find_shortcut_scale(loaded, plus_version, faceid_v2, weight_v2)
        reference, crops = encode_faces(loaded, photos, shortcut_scale, noise)
        if unfold_batch and len(crops) != len(image):
            raise IPAdapterError(
                f"unfold_batch: {len(crops)} faces from {len(image)} photos; one face a photo goes "
                "to one latent, so choose another face_select than all"
            )
        if not does_nothing(settings.schedule, weight):
            model = apply_region(model, loaded, reference, lora_strength, settings)
        return io.NodeOutput(model, crops)


class EncodeFaceID(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterEncodeFaceID",
            display_name="Encode FaceID",
            category=ADVANCED,
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
    def execute(  # noqa: PLR0913
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
        plus_version: str = "by file name",
    ) -> io.NodeOutput:
        adapter = accept_adapter(ipadapter)
        loaded = adapter.loaded
        choice = FaceChoice(face_select, face_index)
        photos = face_photos(adapter, image, clip_vision, insightface, choice)
        shortcut_scale = find_shortcut_scale(loaded, plus_version, faceid_v2, weight_v2)
        reference, crops = encode_faces(loaded, photos, shortcut_scale, noise)
        return io.NodeOutput(made_with(reference, loaded), crops)


NODES = [ApplyIPAdapterFaceID, EncodeFaceID]
