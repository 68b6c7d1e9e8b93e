"""Graphs in which one node applies all regions."""

from __future__ import annotations

from .graph import Graph, Group
from .kinds import Kinds
from .node import Node
from .parts import (
    BLUE,
    DOWNLOADS,
    GRAY,
    GREEN,
    PINK,
    PURPLE,
    YELLOW,
    add_apply_regions,
    add_halves,
    add_loaders,
    add_picture,
    add_prompts,
    add_region,
    add_start,
    add_subject_and_rest,
    add_two_regions,
    add_view,
    prompt_group,
)


def regions_from_color_map(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "regions_from_color_map", FROM_COLOR_MAP)
    loaders = add_loaders(graph)
    picture = graph.add("LoadImage", "mask")
    colors = graph.add("IPAdapterMasksFromColorMap", "color_map", image=picture, count=5)
    regions: list[Node] = []
    references: list[Group] = []
    # the colors of example.png, as they lie in it from left to right
    for number, frame in enumerate([YELLOW, BLUE, GRAY, PINK, GREEN], 1):
        mask = colors[f"mask_{number}"]
        image, region = add_region(graph, f"{number}", attn_mask=mask)
        regions.append(region)
        references.append(Group(f"Reference for color {number}", frame, [[image, region]]))
    model = add_apply_regions(graph, loaders, regions, overlap="normalize")
    prompts = add_prompts(graph, loaders, prompt="a child in a meadow under a wide sky, painting")
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group(), Group("The color map", GRAY, [[picture]])],
        [Group("Five masks", GRAY, [[colors]]), prompt_group(prompts, start)],
        references[0:4:3],
        references[1:5:3],
        [references[2], Group("All regions, one pass", PURPLE, [[model]])],
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


FROM_COLOR_MAP = f"""## Five regions from one color map

The picture in **mask** is a map. **color_map** finds its five largest colors and numbers them from left to right; after a run it shows them with their numbers. Color 1 takes **reference_1**, color 2 **reference_2**, and so on.

1. Load your pictures in **reference_1** to **reference_5**.
2. Your own map: paint five flat colors in any program, load it in **mask**. Blurred or JPEG edges do no harm: every pixel goes to its nearest color.
3. Fewer or more colors: set *count*, and delete or add IPAdapter Region nodes. Write the colors into *colors* to fix their order.

{DOWNLOADS}"""


def regions_with_own_prompts(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "regions_with_own_prompts", OWN_PROMPTS)
    loaders = add_loaders(graph)
    halves = add_halves(graph)
    prompt, negative, left_text, right_text = add_prompts(
        graph,
        loaders,
        prompt="two people in a harbour, warm evening light, detailed illustration",
        prompt_left="a knight in silver armour",
        prompt_right="a sailor in a striped shirt",
    )
    regions, references = add_two_regions(
        graph,
        {"attn_mask": halves.left, "positive": left_text},
        {"attn_mask": halves.right, "positive": right_text},
    )
    model = add_apply_regions(graph, loaders, regions, positive=prompt, negative=negative)
    start = add_start(graph, width=768)
    texts = (model["positive"], model["negative"])
    graph.place(
        [loaders.group()],
        [
            halves.group,
            Group(
                "Texts: of each region, of all",
                GREEN,
                [[left_text, right_text], [prompt, negative]],
            ),
        ],
        references,
        [Group("Regions with texts", BLUE, [[model, *start]])],
        [add_picture(graph, loaders, model, texts, start)],
    )
    return graph


OWN_PROMPTS = f"""## Regions with their own prompts

Each region has a picture and a text, and both act in the same mask. The text of all is in **prompt**; **Apply IPAdapter Regions** joins it with the regions' own and hands all of them to the sampler.

1. Load your pictures in **reference_left** and **reference_right**.
2. **prompt** is about the whole picture, **prompt_left** and **prompt_right** about one half each.
3. Move the seam with *width* of **mask**, soften it with *right* of **seam**.

Every text of a region is one more row for the model to compute, so a step takes longer.

{DOWNLOADS}"""


def background_region(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "background_region", BACKGROUND)
    loaders = add_loaders(graph)
    start = add_start(graph, width=768)
    box = {"box_left": 0.3, "box_top": 0.15, "box_width": 0.4, "box_height": 0.85}
    mask = graph.add("IPAdapterSolidMask", "mask", latent=start.latent, **box)
    edge = {"shape_feather": 96, "direction": "centered", "curve": "cosine"}
    soft = graph.add("IPAdapterFeatherMask", "edge", mask=mask, **edge)
    view = add_view(graph, soft)
    subject, rest, references = add_subject_and_rest(graph, soft)
    model = add_apply_regions(graph, loaders, [subject], background=rest)
    prompts = add_prompts(
        graph, loaders, prompt="a person in front of a wide landscape, detailed illustration"
    )
    graph.place(
        [loaders.group()],
        [
            Group("Where the subject is: soft at its edge", BLUE, [[mask], [soft], [view]]),
            prompt_group(prompts, start),
        ],
        references,
        [Group("Subject and background", PURPLE, [[model]])],
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


BACKGROUND = f"""## A subject, and a background for the rest

The subject's reference acts in a soft box. The second reference is connected to *background*: it acts wherever the subject does not, and in the soft edge one fades into the other. There is no second mask to draw, and nothing to keep in step when the box moves.

1. Load your pictures in **reference_subject** and **reference_background**.
2. Move the box with the *box* fields of **mask** (fractions of the picture), soften it with *shape_feather* of **edge**; the preview shows it.
3. Any other mask does as well: connect it to *attn_mask* of the subject.

{DOWNLOADS}"""
