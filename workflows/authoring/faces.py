"""Graphs in which a person's face is the reference."""

from __future__ import annotations

from .graph import Graph, Group
from .kinds import Kinds
from .model_files import FACEID_PLUS_V2, PLUS, PORTRAIT
from .node import Node
from .parts import (
    BLUE,
    ORANGE,
    PURPLE,
    STORE_ENCODER,
    Loaders,
    add_apply,
    add_left_region,
    add_loaders,
    add_picture,
    add_prompts,
    add_start,
    prompt_group,
)

FACES = "https://github.com/deepinsight/insightface/releases"
ADAPTERS = "https://huggingface.co/h94/IP-Adapter-FaceID"


def downloads(file: str) -> str:
    return (
        f"Models: *{file}* from [h94/IP-Adapter-FaceID]({ADAPTERS}) into *models/ipadapter*; the face "
        f"models of [buffalo_l.zip]({FACES}) into *models/insightface/models/buffalo_l*; the Python "
        "package *insightface*. These weights are for non-commercial research only. ComfyUI offers "
        "to download the other models."
    )


def with_insightface(graph: Graph, loaders: Loaders) -> Loaders:
    return loaders._replace(insightface=graph.add("IPAdapterInsightFaceLoader"))


def add_face(graph: Graph, loaders: Loaders, name: str = "", **inputs: Node) -> tuple[Node, Node]:
    """The Apply node, and a view of the faces that it found."""
    model = add_apply(graph, loaders, name, "IPAdapterApplyFaceID", **inputs)
    return model, graph.add("PreviewImage", "faces as found", images=model["faces"])


def faceid(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "faceid", FACEID)
    loaders = with_insightface(graph, add_loaders(graph, ipadapter_file=FACEID_PLUS_V2))
    mask = graph.add("LoadImage", "mask")
    region = graph.add("InvertMask", "all that is not painted", mask=mask["MASK"])
    view = graph.add("IPAdapterPreviewMask", "region as used", mask=region)
    reference = graph.add("LoadImage", "reference")
    model, found = add_face(
        graph, loaders, image=reference, model=loaders.checkpoint, attn_mask=region
    )
    prompts = add_prompts(
        graph, loaders, prompt="portrait of a person in a garden, summer, soft light, photo"
    )
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group()],
        [
            Group("Region: paint what the face leaves alone", BLUE, [[mask], [region, view]]),
            prompt_group(prompts, start),
        ],
        [Group("Face", ORANGE, [[reference, found], [model]])],
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


FACEID = f"""## A person's face

1. First load a photo of a person in **reference**: in ComfyUI's example.png there is no face, which the run would tell you.
2. Press Run. **faces as found** shows the face that was taken; *face_select* takes another one.
3. To keep the face out of a part of the picture, right-click **mask**, choose *Open in MaskEditor* and paint that part.

*weight* is the likeness as a whole, *weight_v2* the shape of the face, *lora_strength* how much of the adapter's LoRA, which also changes the style.

{downloads(FACEID_PLUS_V2)} {STORE_ENCODER}"""


def portrait_several_photos(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "portrait_several_photos", SEVERAL_PHOTOS)
    checkpoint = graph.add("CheckpointLoaderSimple")
    adapter = graph.add("IPAdapterModelLoader", ipadapter_file=PORTRAIT)
    loaders = with_insightface(graph, Loaders(checkpoint, adapter))
    photos = [graph.add("LoadImage", f"reference_{number}") for number in (1, 2, 3, 4)]
    batch = graph.add(
        "BatchImagesNode",
        "all photos",
        **{f"images.image{number}": photo for number, photo in enumerate(photos)},
    )
    model, found = add_face(graph, loaders, image=batch, model=checkpoint)
    prompts = add_prompts(graph, loaders, prompt="portrait of a person, oil painting, warm light")
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group()],
        [Group("Photos of one person", ORANGE, [photos[::2], photos[1::2]])],
        [Group("Face", PURPLE, [[batch, found], [model]]), prompt_group(prompts, start)],
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


SEVERAL_PHOTOS = f"""## Several photos of one person

FaceID Portrait is made for about five photos at once: what they have in common is the person.

1. First load photos of one person in **reference_1** to **reference_4**: in ComfyUI's example.png there is no face, which the run would tell you.
2. Press Run. **faces as found** shows the face of each photo, in their order.
3. More photos: connect them to **all photos**. Fewer: delete the last ones. All are cropped to the shape of the first, so keep faces away from the edges.

This adapter needs no image encoder and has no LoRA.

{downloads(PORTRAIT)}"""


def face_and_style(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "face_and_style", FACE_AND_STYLE)
    loaders = add_loaders(graph, "Load IPAdapter Model (face)", ipadapter_file=FACEID_PLUS_V2)
    loaders = with_insightface(graph, loaders)
    plus = graph.add("IPAdapterModelLoader", "Load IPAdapter Model (style)", ipadapter_file=PLUS)
    region, region_group = add_left_region(graph)
    face = graph.add("LoadImage", "reference_face")
    model, found = add_face(
        graph, loaders, "face", image=face, model=loaders.checkpoint, attn_mask=region
    )
    style = graph.add("LoadImage", "reference_style")
    styled = add_apply(
        graph,
        loaders._replace(adapter=plus),
        "style",
        image=style,
        model=model,
        layer_schedule="style transfer",
    )
    prompts = add_prompts(
        graph, loaders, prompt="a person on the left in front of a wide landscape, illustration"
    )
    start = add_start(graph, width=768)
    graph.place(
        [loaders.group(plus)],
        [region_group, prompt_group(prompts, start)],
        [
            Group("The face, in its region", ORANGE, [[face, found], [model]]),
            Group("The style, everywhere", PURPLE, [[style], [styled]]),
        ],
        [add_picture(graph, loaders, styled, prompts, start)],
    )
    return graph


FACE_AND_STYLE = f"""## One person's face, another picture's style

Two different adapters in one model and one sampling pass: FaceID brings the face, only in the left region; Plus brings the style, only in the layers that make it.

1. First load a photo of a person in **reference_face**: in ComfyUI's example.png there is no face, which the run would tell you. Load the style in **reference_style**.
2. Say in **prompt** what the picture shows.
3. Move the region's edge with *width* of **mask**, soften it with *right* of **seam**. Balance with the two *weight*; if the face brings too much style of its own, lower *lora_strength*.

{downloads(FACEID_PLUS_V2)} {STORE_ENCODER}"""
