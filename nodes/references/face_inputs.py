"""Sockets and widgets that the FaceID nodes share, and what they mean together."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.faces import SELECTIONS, FaceChoice
from ..loading.adapter import AdapterBundle
from ..shared.checks import check_image
from ..shared.inputs import InsightFaceSocket, IPAdapterSocket, choice_input
from .encode_faces import VERSIONS, FacePhotos

NOISE = (
    "Only for FaceID Plus: the negative prompt sees a distorted copy of the face, which strengthens "
    "its shapes. 0 shows it nothing."
)


def face_sources() -> list[Any]:
    """ipadapter, clip_vision, insightface, image."""
    return [
        IPAdapterSocket.Input("ipadapter", tooltip="A FaceID adapter, from a loader."),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="Only for FaceID Plus (ViT-H) and Kolors FaceID Plus (ViT-L at 336 pixels): the "
            "image encoder. The others do not use it.",
        ),
        InsightFaceSocket.Input(
            "insightface",
            optional=True,
            tooltip="From Load InsightFace: buffalo_l, or antelopev2 for Kolors. Not needed when "
            "the loader brings one.",
        ),
        io.Image.Input(
            "image",
            tooltip="Photos of a person, face well visible. Several act together; Portrait "
            "adapters are made for about five. Transparent parts are ignored.",
        ),
    ]


def face_choice() -> list[Any]:
    """face_select, face_index."""
    return [
        choice_input(
            "face_select",
            SELECTIONS,
            "Which face of a photo.",
            default="largest",
            optional=True,
        ),
        io.Int.Input(
            "face_index",
            default=0,
            min=0,
            max=99,
            optional=True,
            tooltip="Which face in the order of face_select: 0 is the first (the largest, say), 1 "
            "the next. Not used for all.",
        ),
    ]


def version() -> list[Any]:
    """faceid_v2, weight_v2."""
    return [
        io.Boolean.Input(
            "faceid_v2",
            default=False,
            tooltip="Only for FaceID Plus. On: it is treated as Plus V2, whatever its name. Off: "
            "its name decides, and the node says how.",
        ),
        io.Float.Input(
            "weight_v2",
            default=1.0,
            min=-1.0,
            max=3.0,
            step=0.05,
            tooltip="Only for FaceID Plus V2 and Kolors: the weight of the face's structure, which "
            "CLIP sees. 1 is as trained; 0 uses only the identity.",
        ),
    ]


def plus_version() -> Any:
    return choice_input(
        "plus_version",
        VERSIONS,
        "FaceID Plus V1 and V2 for SD1.5 have the same tensors: choose here if the file's name does "
        "not tell which it is. faceid_v2 on overrides by file name.",
        default=next(iter(VERSIONS)),
        optional=True,
    )


def face_photos(
    adapter: AdapterBundle, image: Tensor, clip_vision: Any, insightface: Any, choice: FaceChoice
) -> FacePhotos:
    """Photos [images, H, W, 3+] with the models that are connected, else with those that the loader
    brought."""
    check_image(image, "image")
    return FacePhotos(
        image,
        insightface if insightface is not None else adapter.insightface,
        clip_vision if clip_vision is not None else adapter.clip_vision,
        choice,
    )
