"""A saved graph and a prompt for every node id of ComfyUI_IPAdapter_plus, versions 1 and 2.

Nothing here imports ComfyUI. Names come from tests/headless/legacy_table.py; the files that the
graphs load are in files.py, to be uploaded; models are those of the fixture ``model_folders``.
"""

from __future__ import annotations

from typing import Any

from ..headless.legacy_table import V1, V2
from . import pictures, values, version1
from .scene import Scene

BUILDERS = {
    "v1": (V1, version1.GRAPHS),
    "v2": (V2, {**pictures.GRAPHS, **values.GRAPHS}),
}


def graphs() -> dict[str, Scene]:
    """By version and node id, as "v2/IPAdapterAdvanced"."""
    made: dict[str, Scene] = {}
    for version, (rows, builders) in BUILDERS.items():
        for name, build in builders.items():
            made[f"{version}/{name}"] = scene = Scene(rows)
            build(scene)
    return made


def prompts() -> dict[str, dict[str, Any]]:
    """In the API format."""
    return {name: scene.prompt() for name, scene in graphs().items()}


def saved() -> dict[str, dict[str, Any]]:
    """In the frontend's format."""
    return {name: scene.saved() for name, scene in graphs().items()}
