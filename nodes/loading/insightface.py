"""Loading insightface, and what it sees in a picture. It is optional, so imported when needed."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ...ipadapter import faces
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.preprocess import rgb
from ..shared.inputs import ADVANCED, InsightFaceSocket, choice_input
from ..shared.node import Node
from ..shared.notices import warn
from .insightface_models import (
    PROVIDERS,
    found_folders,
    import_insightface,
    incomplete,
    model_names,
    onnx_files,
    read_folder,
    usable_providers,
)

if TYPE_CHECKING:
    from insightface.app import FaceAnalysis


class IPAdapterInsightFaceLoader(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterInsightFaceLoader",
            display_name="Load InsightFace",
            category=ADVANCED,
            description="Loads the models that find and recognize faces, for FaceID adapters. "
            "The published ones (buffalo_l, antelopev2) are for non-commercial research only; "
            "none is downloaded. Needs the Python package insightface.",
            search_aliases=[
                *("faceid", "face analysis", "face recognition", "face detection"),
                "Load InsightFace (version 1)",
            ],
            inputs=[
                choice_input(
                    "provider",
                    PROVIDERS,
                    "What the face models run on. All but the CPU need memory that ComfyUI does not "
                    "manage.",
                    default="CPU",
                ),
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    default="buffalo_l",
                    tooltip="A folder in models/insightface/models. buffalo_l is what FaceID and "
                    "Portrait adapters were trained with, antelopev2 belongs to Kolors.",
                ),
            ],
            outputs=[
                InsightFaceSocket.Output(
                    display_name="insightface", tooltip="The face models, for the FaceID nodes."
                )
            ],
        )

    @classmethod
    def execute(cls, provider: str = "CPU", model_name: str = "buffalo_l") -> io.NodeOutput:
        return io.NodeOutput(load_insightface(provider, model_name))


# One folder in use is one copy in memory, however many loader nodes name it.
_in_use: weakref.WeakValueDictionary[tuple[Any, ...], FaceAnalysis] = weakref.WeakValueDictionary()


def load_insightface(provider: str, model_name: str) -> FaceAnalysis:
    """The face models of a folder. IPAdapterError says what is missing and where it belongs."""
    face_analysis = import_insightface()
    folder = found_folders().get(model_name)
    if folder is None:
        raise incomplete(model_name, "has no .onnx files")
    providers = usable_providers(provider)
    key = (*providers, folder, *((f, os.stat(f).st_mtime_ns) for f in onnx_files(folder)))
    app = _in_use.get(key)
    if app is None:
        app = _in_use[key] = read_folder(face_analysis, folder, providers, model_name)
    detector: Any = app.det_model
    if providers[0] not in detector.session.get_providers():
        warn(
            f"provider {provider}: onnxruntime has it, but it did not start, so faces run on the "
            "CPU; the log above names the missing driver or library"
        )
    return app


class FoundFace(NamedTuple):
    identity: Tensor  # [512], not normalized
    crop: Tensor  # [size, size, 3]


def read_faces(
    app: Any, picture: Tensor, number: int, request: faces.FaceRequest
) -> list[FoundFace]:
    """The chosen faces of a picture [H, W, channels], which messages call ``picture <number>``."""
    check_app(app)
    choice, crop, size, sizes = request
    pixels = rearrange(rgb(picture[None]), "1 c h w -> h w c").clamp(0, 1)
    pixels = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    found = faces.find(app, pixels, sizes)
    if not found:
        raise IPAdapterError(
            f"image: no face found in picture {number} (looked at sizes {sizes[0]} to "
            f"{sizes[-1]} px); take a picture where the face is larger, frontal and not "
            "cut off"
        )
    return [
        FoundFace(
            torch.from_numpy(faces.identity(app, pixels, face)).float(),
            torch.from_numpy(faces.CROPS[crop](pixels, face, size)).float() / 255,
        )
        for face in faces.choose(found, choice, f"picture {number}")
    ]


def check_app(app: Any) -> None:
    if getattr(app, "det_model", None) is None:
        raise IPAdapterError(
            f"insightface: a {type(app).__name__} is no face model; connect Load InsightFace"
        )
    if "recognition" not in app.models:
        raise IPAdapterError(
            "insightface: the connected loader gives no model that recognizes faces; "
            "connect Load InsightFace"
        )


NODES = [IPAdapterInsightFaceLoader]
