"""Parts that several of the bundled graphs share."""

from __future__ import annotations

from typing import Any, NamedTuple

from .graph import Graph, Group, Node
from .kinds import MODELS

GREY = "#8a8f98"
BLUE = "#3f789e"
ORANGE = "#b06634"
PURPLE = "#8a63a8"
GREEN = "#5a8f5a"
PINK = "#a1527a"

NEGATIVE = "blurry, low quality, deformed, text, watermark"
DOWNLOADS = (
    "Models: ComfyUI offers to download them. The image encoder arrives as *model.safetensors*; "
    f"store it in *models/clip_vision* as *{MODELS['clip_name']['name']}*."
)


class Loaders(NamedTuple):
    checkpoint: Node
    adapter: Node
    vision: Node

    def group(self) -> Group:
        return Group("Models", GREY, [list(self)])


def add_loaders(graph: Graph) -> Loaders:
    kinds = ["CheckpointLoaderSimple", "IPAdapterModelLoader", "CLIPVisionLoader"]
    return Loaders(*(graph.add(kind) for kind in kinds))


def add_apply(graph: Graph, loaders: Loaders, name: str = "", **inputs: Any) -> Node:
    title = f"Apply IPAdapter ({name})" if name else ""
    inputs |= {"ipadapter": loaders.adapter, "clip_vision": loaders.vision}
    return graph.add("IPAdapterApply", title, **inputs)


class Halves(NamedTuple):
    """Two regions that add up to 1 everywhere, with a feathered seam between them."""

    left: Node
    right: Node
    group: Group


def add_halves(graph: Graph) -> Halves:
    canvas = graph.add("IPAdapterSolidMask", "canvas", value=0.0, width=768, height=512)
    # Nodes that a server is meant to set are core's, which it knows without this pack.
    half = graph.add("SolidMask", "mask", value=1.0, width=440, height=512)
    seam = graph.add("IPAdapterFeatherMask", "seam", mask=half, right=112)
    left = graph.add("IPAdapterMaskComposite", "left region", destination=canvas, source=seam)
    right = graph.add("InvertMask", "right region", mask=left)
    views = [
        graph.add("IPAdapterPreviewMask", f"{mask.title} as used", mask=mask)
        for mask in (left, right)
    ]
    columns = [[half, seam, canvas], [left, right], views]
    return Halves(
        left, right, Group("Regions: a reference acts where its mask is white", BLUE, columns)
    )


def add_two_references(graph: Graph, loaders: Loaders, halves: Halves) -> tuple[Node, list[Group]]:
    model: Node = loaders.checkpoint
    groups = []
    for side, mask, color in [("left", halves.left, ORANGE), ("right", halves.right, PURPLE)]:
        image = graph.add("LoadImage", f"reference_{side}")
        model = add_apply(graph, loaders, side, image=image, model=model, attn_mask=mask)
        groups.append(Group(f"Reference for the {side}", color, [[image], [model]]))
    return model, groups


def add_prompts(graph: Graph, loaders: Loaders, prompt: str, **more: str) -> list[Node]:
    clip = loaders.checkpoint["CLIP"]
    texts = {"prompt": prompt, "negative": NEGATIVE, **more}
    return [
        graph.add("CLIPTextEncode", title, clip=clip, text=text) for title, text in texts.items()
    ]


class Start(NamedTuple):
    """What a sampler starts from, beside the prompts."""

    seed: Node
    latent: Node


def add_start(graph: Graph, width: int) -> Start:
    seed = graph.add("PrimitiveInt", "seed", value=1)
    return Start(seed, graph.add("EmptyLatentImage", width=width, height=512))


def prompt_group(prompts: list[Node], start: Start) -> Group:
    return Group("Prompt and seed", GREEN, [prompts, list(start)])


def add_sampling(
    graph: Graph,
    loaders: Loaders,
    model: Node,
    prompts: list[Node],
    start: Start,
    name: str = "",
) -> list[Node]:
    """A sampler and the decoder after it; prompts: positive and negative."""
    ending = f" ({name})" if name else ""
    positive, negative = prompts
    sampler = graph.add(
        "KSampler",
        f"KSampler{ending}",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=start.latent,
        seed=start.seed,
    )
    vae = loaders.checkpoint["VAE"]
    return [sampler, graph.add("VAEDecode", f"VAE Decode{ending}", samples=sampler, vae=vae)]


def add_picture(
    graph: Graph, loaders: Loaders, model: Node, prompts: list[Node], start: Start
) -> Group:
    sampled = add_sampling(graph, loaders, model, prompts, start)
    output = graph.add("SaveImage", "output", images=sampled[-1])
    return Group("Picture", GREY, [[*sampled, output]])
