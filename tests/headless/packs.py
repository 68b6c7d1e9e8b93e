"""The pack's nodes as ComfyUI loads them."""

from __future__ import annotations

import asyncio
from typing import Any

from ipadapter_pack.nodes.extension import IPAdapterRegions
from ipadapter_pack.nodes.legacy.sockets import CATEGORY


def registered() -> list[Any]:
    """Node classes."""

    async def load() -> list[Any]:
        extension = IPAdapterRegions()
        await extension.on_load()
        return await extension.get_node_list()

    return asyncio.run(load())


def schemas(legacy: bool) -> dict[str, Any]:
    found = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in registered()}
    return {key: schema for key, schema in found.items() if (schema.category == CATEGORY) == legacy}


def legacy_nodes() -> dict[str, Any]:
    """Schemas of the nodes in nodes/legacy, by id."""
    return schemas(legacy=True)


def own_nodes() -> dict[str, Any]:
    """Schemas of all others."""
    return schemas(legacy=False)
