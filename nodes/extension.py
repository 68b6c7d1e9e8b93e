"""What ComfyUI loads: every node of the pack."""

import logging
import os

import folder_paths
from comfy_api.latest import ComfyExtension, io

import nodes as comfyui_nodes

from .legacy import callers, compat, prompts
from .legacy.files import FILES as LEGACY_FILES
from .loading import adapter, auto, insightface, openclip
from .masking import adjust, color, color_map, draw, latent, preview
from .references import encode_nodes, fit_image, saved
from .regions import apply, apply_face, apply_regions, change, region, schedule
from .sampling import attention_maps

FILES = [
    *(auto, adapter, insightface, openclip),
    *(apply, apply_face),
    *(region, apply_regions, schedule, change),
    *(encode_nodes, saved, fit_image),
    *(draw, adjust, color, color_map, preview, attention_maps, latent),
    *LEGACY_FILES,
]


class IPAdapterRegions(ComfyExtension):
    async def on_load(self) -> None:
        register_model_folder("ipadapter")
        register_model_folder("insightface")
        prompts.register()
        callers.register()
        if compat.default() != compat.FAITHFUL:
            text = "IPAdapter Regions: nodes of ComfyUI_IPAdapter_plus start with compat %s"
            logging.info(text, compat.default())

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Our nodes, less those whose id another installed pack already owns."""
        ours = [node for file in FILES for node in file.NODES]
        taken = comfyui_nodes.NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue]
        left = [node for node in ours if node.GET_SCHEMA().node_id in taken]
        if left:
            ids = ", ".join(node.GET_SCHEMA().node_id for node in left)
            logging.info("IPAdapter Regions: left to the pack that already has them: %s", ids)
        return [node for node in ours if node not in left]


def register_model_folder(name: str) -> None:
    """Add models/<name>, keeping the folders that a config file or another pack has added."""
    folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
    paths, extensions = folder_paths.folder_names_and_paths[name]
    if not extensions:
        folder_paths.folder_names_and_paths[name] = (paths, folder_paths.supported_pt_extensions)
