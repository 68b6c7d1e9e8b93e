"""Graphs about where references act."""

from __future__ import annotations

from .graph import Graph, Group
from .kinds import Kinds
from .node import Node
from .parts import (
    BLUE,
    DOWNLOADS,
    GRAY,
    GREEN,
    ORANGE,
    PINK,
    add_apply,
    add_halves,
    add_loaders,
    add_picture,
    add_prompts,
    add_start,
    add_two_references,
    prompt_group,
)


def one_reference(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "one_reference", ONE_REFERENCE)
    loaders = add_loaders(graph)
    mask = graph.add("LoadImage", "mask")
    view = graph.add("IPAdapterPreviewMask", "region as used", mask=mask["MASK"])
    reference = graph.add("LoadImage", "reference")
    model = add_apply(
        graph,
        loaders,
        image=reference,
        model=loaders.checkpoint,
        attn_mask=mask["MASK"],
    )
    prompts = add_prompts(graph, loaders, prompt="a quiet village by a lake, summer, oil painting")
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group()],
        [Group("Region: paint it here", BLUE, [[mask], [view]]), prompt_group(prompts, start)],
        [Group("Reference", ORANGE, [[reference, model]])],
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


ONE_REFERENCE = f"""## One reference in one region

1. Press Run. Nothing is painted yet, so the reference acts nowhere: this is the prompt alone.
2. Right-click the node **mask**, choose *Open in MaskEditor*, paint where the reference should act, save.
3. Run again. The seed is the same: the painted part follows the reference, the rest stays with the prompt.

Change: the picture in **reference**, the **prompt**, and *weight* (0.5 hints, 1 insists).

{DOWNLOADS}"""


def two_references(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "two_references", TWO_REFERENCES)
    loaders = add_loaders(graph)
    halves = add_halves(graph)
    model, references = add_two_references(graph, loaders, halves)
    prompts = add_prompts(
        graph, loaders, prompt="two people side by side in a park, detailed illustration"
    )
    start = add_start(graph, width=768)
    graph.place(
        [loaders.group()],
        [halves.group, prompt_group(prompts, start)],
        references,
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


TWO_REFERENCES = f"""## Two references, side by side

Each reference acts where its mask is white. Between them is a seam 112 pixels wide in which one fades into the other.

1. Load your pictures in **reference_left** and **reference_right** (both start with ComfyUI's example.png).
2. Say in **prompt** what the whole picture is.
3. Move the seam with *width* of **mask**, soften it with *right* of **seam**.

The right region is the inverse of the left one: together they cover the picture exactly once.

{DOWNLOADS}"""


def three_references_color_map(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "three_references_color_map", THREE_REFERENCES)
    loaders = add_loaders(graph)
    picture = graph.add("LoadImage", "mask")
    model: Node = loaders.checkpoint
    regions, views, references = [], [], []
    for name, color, frame in [
        ("blue", "#5E94FF", BLUE),
        ("green", "#5EFF67", GREEN),
        ("pink", "#FFA6D6", PINK),
    ]:
        region = graph.add("IPAdapterMaskFromColor", f"region_{name}", image=picture, color=color)
        view = graph.add("IPAdapterPreviewMask", f"{name} region as used", mask=region)
        image = graph.add("LoadImage", f"reference_{name}")
        model = add_apply(graph, loaders, name, image=image, model=model, attn_mask=region)
        regions.append(region)
        views.append(view)
        references.append(Group(f"Reference for {name}", frame, [[image], [model]]))
    prompts = add_prompts(graph, loaders, prompt="a child in a meadow under a wide sky, painting")
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group()],
        [
            Group("Regions: one picture, one color each", GRAY, [[picture, *regions], views]),
            prompt_group(prompts, start),
        ],
        references,
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


THREE_REFERENCES = f"""## Three references from one color map

The picture in **mask** is a map: its blue part takes the first reference, its green part the second, its pink part the third. Other colors stay with the prompt.

1. Load your pictures in **reference_blue**, **reference_green**, **reference_pink**.
2. Your own map: paint flat colors in any program, load it in **mask**, copy the colors into the three *color* fields.
3. Blurred edges in the map? Raise *tolerance*.

{DOWNLOADS}"""


def masks_and_regional_prompts(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "masks_and_regional_prompts", REGIONAL_PROMPTS)
    loaders = add_loaders(graph)
    halves = add_halves(graph)
    model, references = add_two_references(graph, loaders, halves)
    prompt, negative, left, right = add_prompts(
        graph,
        loaders,
        prompt="two people in a harbour, warm evening light, detailed illustration",
        prompt_left="a knight in silver armour",
        prompt_right="a sailor in a striped shirt",
    )
    masked = [
        graph.add("ConditioningSetMask", title, conditioning=text, mask=mask)
        for title, text, mask in [
            ("left prompt, left region", left, halves.left),
            ("right prompt, right region", right, halves.right),
        ]
    ]
    both = combine(graph, "left and right", *masked)
    positive = combine(graph, "and the whole", prompt, both)
    start = add_start(graph, width=768)
    graph.place(
        [loaders.group()],
        [
            halves.group,
            Group(
                "Prompts, with the same masks",
                GREEN,
                [[left, right, prompt, negative], [*masked, both, positive]],
            ),
        ],
        references,
        [
            Group("Seed", GRAY, [list(start)]),
            add_picture(graph, loaders, model, [positive, negative], start),
        ],
    )
    return graph


def combine(graph: Graph, title: str, first: Node, second: Node) -> Node:
    return graph.add("ConditioningCombine", title, conditioning_1=first, conditioning_2=second)


REGIONAL_PROMPTS = f"""## Masks on references and on prompts

The same two masks say where each reference acts and where each prompt acts, so in its half a reference and a prompt pull the same way.

1. Load your pictures in **reference_left** and **reference_right**.
2. **prompt** is about the whole picture, **prompt_left** and **prompt_right** about one half each.
3. A half follows its prompt too little? Raise *strength* of its Set Mask node, or lower *weight* of its Apply IPAdapter.

{DOWNLOADS}"""
