"""Parts that several of the bundled graphs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .graph import Graph, Group
from .model_files import VIT_H
from .node import Node, Output

GRAY = "#8a8f98"
BLUE = "#3f789e"
ORANGE = "#b06634"
PURPLE = "#8a63a8"
GREEN = "#5a8f5a"
PINK = "#a1527a"
YELLOW = "#a39a3f"

NEGATIVE = "blurry, low quality, deformed, text, watermark"
STORE_ENCODER = f"The image encoder arrives as *model.safetensors*; store it in *models/clip_vision* as *{VIT_H}*."
DOWNLOADS = f"Models: ComfyUI offers to download them. {STORE_ENCODER}"


class Loaders(NamedTuple):
    checkpoint: Node
    adapter: Node
    vision: Node | None = None
    insightface: Node | None = None

    def group(self, *more: Node) -> Group:
        return Group("Models", GRAY, [[node for node in (*self, *more) if node]])


def add_loaders(graph: Graph, title: str = "", **adapter: str) -> Loaders:
    return Loaders(
        graph.add("CheckpointLoaderSimple"),
        graph.add("IPAdapterModelLoader", title, **adapter),
        graph.add("CLIPVisionLoader"),
    )


def add_apply(
    graph: Graph, loaders: Loaders, name: str = "", kind: str = "IPAdapterApply", **inputs: Any
) -> Node:
    title = f"{graph.kinds[kind].title} ({name})" if name else ""
    sources = zip(("ipadapter", "clip_vision", "insightface"), loaders[1:], strict=True)
    inputs |= {s: node for s, node in sources if node and s in graph.kinds[kind].inputs}
    return graph.add(kind, title, **inputs)


def add_region(graph: Graph, name: str, **inputs: Any) -> tuple[Node, Node]:
    """A reference, and the region that it acts in."""
    image = graph.add("LoadImage", f"reference_{name}")
    title = f"{graph.kinds['IPAdapterRegion'].title} ({name})"
    return image, graph.add("IPAdapterRegion", title, image=image, **inputs)


def add_two_regions(
    graph: Graph, left: dict[str, Any], right: dict[str, Any]
) -> tuple[list[Node], list[Group]]:
    """The regions at the left and at the right of a picture, from the inputs of each."""
    regions, groups = [], []
    for side, inputs, color in [("left", left, ORANGE), ("right", right, PURPLE)]:
        image, region = add_region(graph, side, **inputs)
        regions.append(region)
        groups.append(Group(f"Reference for the {side}", color, [[image], [region]]))
    return regions, groups


def add_subject_and_rest(graph: Graph, mask: Node) -> tuple[Node, Node, list[Group]]:
    """A region in the mask, one for the background, and their groups."""
    image, subject = add_region(graph, "subject", attn_mask=mask)
    behind, rest = add_region(graph, "background")
    groups = [
        Group("Reference for the subject", ORANGE, [[image], [subject]]),
        Group("Reference for the rest", GREEN, [[behind], [rest]]),
    ]
    return subject, rest, groups


def add_apply_regions(graph: Graph, loaders: Loaders, regions: list[Node], **inputs: Any) -> Node:
    rows = {f"region.region_{number}": region for number, region in enumerate(regions, 1)}
    inputs |= {"model": loaders.checkpoint, **rows}
    return add_apply(graph, loaders, kind="IPAdapterApplyRegions", **inputs)


class Left(NamedTuple):
    """A region at the left of the picture, with a feathered edge."""

    region: Node
    sources: list[Node]  # what it is made of


def add_left(graph: Graph) -> Left:
    canvas = graph.add("IPAdapterSolidMask", "canvas", value=0.0, width=768, height=512)
    # Nodes that a server is meant to set are core's, which it knows without this pack.
    half = graph.add("SolidMask", "mask", value=1.0, width=440, height=512)
    seam = graph.add("IPAdapterFeatherMask", "seam", mask=half, right=112)
    region = graph.add("IPAdapterMaskComposite", "left region", destination=canvas, source=seam)
    return Left(region, [half, seam, canvas])


def add_view(graph: Graph, mask: Node) -> Node:
    return graph.add("IPAdapterPreviewMask", f"{mask.title} as used", mask=mask)


def add_left_region(graph: Graph) -> tuple[Node, Group]:
    region, sources = add_left(graph)
    view = add_view(graph, region)
    return region, Group("Region: the face acts where it is white", BLUE, [sources, [region, view]])


class Halves(NamedTuple):
    """Two regions that add up to 1 everywhere, with a feathered seam between them."""

    left: Node
    right: Node
    group: Group


def add_halves(graph: Graph) -> Halves:
    left, sources = add_left(graph)
    right = graph.add("InvertMask", "right region", mask=left)
    views = [add_view(graph, mask) for mask in (left, right)]
    title = "Regions: a reference acts where its mask is white"
    return Halves(left, right, Group(title, BLUE, [sources, [left, right], views]))


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


def add_start(graph: Graph, width: int, latents: int = 1) -> Start:
    seed = graph.add("PrimitiveInt", "seed", value=1)
    latent = graph.add("EmptyLatentImage", width=width, height=512, batch_size=latents)
    return Start(seed, latent)


def prompt_group(prompts: list[Node], start: Start) -> Group:
    return Group("Prompt and seed", GREEN, [prompts, list(start)])


def add_sampling(
    graph: Graph,
    loaders: Loaders,
    model: Node,
    prompts: Sequence[Node | Output],
    start: Start,
    name: str = "",
    **settings: Any,
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
        **settings,
    )
    vae = loaders.checkpoint["VAE"]
    return [sampler, graph.add("VAEDecode", f"VAE Decode{ending}", samples=sampler, vae=vae)]


def add_picture(
    graph: Graph, loaders: Loaders, model: Node, prompts: Sequence[Node | Output], start: Start
) -> Group:
    sampled = add_sampling(graph, loaders, model, prompts, start)
    output = graph.add("SaveImage", "output", images=sampled[-1])
    return Group("Picture", GRAY, [[*sampled, output]])
