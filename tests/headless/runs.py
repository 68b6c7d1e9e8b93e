"""What tests share that run a bundled workflow over HTTP: small graphs, and their pictures."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

import numpy as np
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.graphs import Graph, load, title
from ipadapter_pack.workflows.runner.pictures import as_png, upload
from ipadapter_pack.workflows.tiny import faces as tiny_faces
from PIL import Image, ImageSequence

# The tiny models in the place of those that the bundled workflows ask for.
MODELS = {
    "v1-5-pruned-emaonly-fp16.safetensors": "tiny.safetensors",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": "tiny.safetensors",
    "ip-adapter_sd15.safetensors": "tiny.safetensors",
    "ip-adapter-plus_sd15.safetensors": "tiny_plus.safetensors",
    "ip-adapter-faceid-plusv2_sd15.bin": "tiny_faceid_plusv2.safetensors",
    "ip-adapter-faceid-portrait-v11_sd15.bin": "tiny_portrait.safetensors",
}
# Nodes of the pack ``micro`` in the place of those that load from large files.
MICRO = {"CheckpointLoaderSimple": "MicroCheckpoint", "CLIPVisionLoader": "MicroCLIPVision"}
SMALL = {"width": 64, "height": 64, "steps": 1}
SIZED = ("EmptyLatentImage", "KSampler")
CROP = {"crop_x": 0.25, "crop_y": 0.25, "crop_size": 0.5}  # of the picture's side, by title


def small(name: str, side: int = SMALL["width"]) -> Graph:
    """A bundled workflow with the tiny models, few pixels and few steps."""
    size = SMALL | {"width": side, "height": side}
    graph = load(name)
    for key, node in graph.items():
        inputs = node["inputs"]
        inputs |= {k: MODELS[v] for k, v in inputs.items() if isinstance(v, str) and v in MODELS}
        if node["class_type"] in SIZED:
            inputs |= {k: v for k, v in size.items() if k in inputs}
        if title(graph, key) in CROP:
            inputs["value"] = int(CROP[title(graph, key)] * side)
    return graph


def narrow(graph: Graph) -> Graph:
    """With narrow models, unless the graph leaves it to a node of ours to find the files: the
    smallest image encoder that ComfyUI can load from a file takes seconds for a picture."""
    if not any(node["class_type"] == "IPAdapterModelLoader" for node in graph.values()):
        return graph

    def inputs(node: dict[str, Any]) -> dict[str, Any]:
        return {k: f"micro_{v}" if k == "ipadapter_file" else v for k, v in node["inputs"].items()}

    return in_micro({key: {**node, "inputs": inputs(node)} for key, node in graph.items()}, MICRO)


def narrow_encoder(graph: Graph) -> Graph:
    """The same for the encoder alone, where nothing reads more of a picture than its one vector."""
    return in_micro(graph, ["CLIPVisionLoader"])


def in_micro(graph: Graph, kinds: Collection[str]) -> Graph:
    """With nodes of the pack ``micro`` in the place of these kinds."""
    return {
        key: {**node, "class_type": MICRO[node["class_type"]]}
        if node["class_type"] in kinds
        else node
        for key, node in graph.items()
    }


def set_inputs(graph: Graph, wanted: str, **inputs: Any) -> Graph:
    """A copy with these inputs in every node of that class or title."""
    changed = {}
    for key, node in graph.items():
        hit = wanted in (node["class_type"], title(graph, key))
        changed[key] = node | {"inputs": node["inputs"] | inputs} if hit else node
    return changed


def key_of(graph: Graph, name: str) -> str | None:
    return next((key for key in graph if title(graph, key) == name), None)


def pictures(client: Client, graph: Graph) -> dict[str, np.ndarray]:
    """What a run leaves, by the titles of the nodes: [H, W, 3], of a clip [frames, H, W, 3]."""
    saved = client.run(graph, progress=False)
    assert len(saved) == len({picture.node for picture in saved})
    return {picture.node: decoded(picture.data) for picture in saved}


def decoded(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    frames = [
        np.asarray(frame.convert("RGB"), np.float32) for frame in ImageSequence.Iterator(image)
    ]
    return (np.stack(frames) if len(frames) > 1 else frames[0]) / 255


def result(client: Client, graph: Graph) -> np.ndarray:
    """The picture, or the clip, that a run leaves under the title "output"."""
    return pictures(client, graph)["output"]


def uploaded(client: Client, image: Image.Image, again: bool = False) -> str:
    """``again``: the same pixels as a file that ComfyUI does not know, so that it runs once more."""
    return upload(client, as_png(image) + b"again" * again, ".png")


def stripes(color: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), color)
    for x in range(0, 224, 32):
        image.paste("white", (x, 0, x + 8, 224))
    return image


def left_half() -> Image.Image:
    """Painted in the left half, as the mask editor saves it: transparent there."""
    image = Image.new("RGBA", (128, 128), "black")
    image.paste((0, 0, 0, 0), (0, 0, 64, 128))
    return image


def person(seed: int) -> Image.Image:
    """A photo of somebody, the same one for the same number."""
    photo = tiny_faces.picture([("red", 60, 40, 120)], 240, 320, seed)
    return Image.fromarray((photo[0] * 255).byte().numpy())
