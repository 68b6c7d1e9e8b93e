"""What each version gets: the ids that it must show, and tiny models that its loaders read."""

from pathlib import Path

from ...workflows.tiny import faces as tiny_faces
from ...workflows.tiny import models as tiny_models
from ..headless.packs import registered

ADAPTERS = {
    "tiny": "base",
    "tiny_plus": "plus",
    "tiny_faceid_plusv2": "faceid-plus",
    "tiny_portrait": "portrait",
}


def models(folder: Path) -> None:
    tiny_models.checkpoint(folder / "checkpoints" / "tiny.safetensors")
    tiny_models.clip_vision(folder / "clip_vision" / "tiny.safetensors")
    for name, kind in ADAPTERS.items():
        tiny_models.adapter(folder / "ipadapter" / f"{name}.safetensors", kind)
    tiny_faces.build(folder / "insightface" / "models" / "buffalo_l")


def nodes() -> list[str]:
    return sorted(node.GET_SCHEMA().node_id for node in registered())
