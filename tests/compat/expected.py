"""What each version gets: the ids that it must show, and tiny models that its loaders read."""

import asyncio
from pathlib import Path

from ...nodes.extension import IPAdapterRegions
from ...workflows import tiny_faces, tiny_models

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
    pack = IPAdapterRegions()
    asyncio.run(pack.on_load())
    return sorted(node.GET_SCHEMA().node_id for node in asyncio.run(pack.get_node_list()))
