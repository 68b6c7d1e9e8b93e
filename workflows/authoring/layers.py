"""Graphs about how a weight enters the model."""

from __future__ import annotations

from .graph import Graph, Group
from .kinds import Kinds
from .model_files import PLUS
from .node import Node
from .parts import (
    BLUE,
    DOWNLOADS,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    add_apply,
    add_loaders,
    add_picture,
    add_prompts,
    add_sampling,
    add_start,
    prompt_group,
)


def weight_types(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "weight_types", WEIGHT_TYPES)
    loaders = add_loaders(graph)
    reference = graph.add("LoadImage", "reference")
    prompts = add_prompts(
        graph, loaders, prompt="a lighthouse on a cliff at dusk, detailed illustration"
    )
    start = add_start(graph, width=512)
    rows, pictures = [], []
    for name, color in [("original", ORANGE), ("linear", PURPLE), ("channel penalty", BLUE)]:
        model = add_apply(
            graph, loaders, name, image=reference, model=loaders.checkpoint, weight_type=name
        )
        sampler, picture = add_sampling(graph, loaders, model, prompts, start, name)
        rows.append(Group(name, color, [[model], [sampler]]))
        pictures.append(picture)
    two = graph.add("ImageStitch", "original | linear", image1=pictures[0], image2=pictures[1])
    three = graph.add(
        "ImageStitch", "original | linear | channel penalty", image1=two, image2=pictures[2]
    )
    output = graph.add("SaveImage", "output", images=three)
    graph.place(
        [loaders.group()],
        [
            Group("Reference", GRAY, [[reference]]),
            Group("Prompt and seed", GREEN, [[*prompts, *start]]),
        ],
        rows,
        [Group("Side by side", GRAY, [[*pictures, two, three, output]])],
    )
    return graph


WEIGHT_TYPES = f"""## The three weight types

One reference, one seed, one weight; only *weight_type* differs. From left to right in the result:

- **original**: as in the paper;
- **linear**: the prompt keeps more say;
- **channel penalty**: sharper detail, with less weight in the wide view.

Change *weight* in all three Apply nodes: 0.5 to 0.8 shows the difference best. At 1 the first two are the same.

{DOWNLOADS}"""


def style_and_composition(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "style_and_composition", STYLE_AND_COMPOSITION)
    loaders = add_loaders(graph, ipadapter_file=PLUS)
    model: Node = loaders.checkpoint
    references = []
    for name, schedule, color in [
        ("composition", "composition", BLUE),
        ("style", "style transfer", ORANGE),
    ]:
        image = graph.add("LoadImage", f"reference_{name}")
        model = add_apply(
            graph, loaders, name, image=image, model=model, weight=1.0, layer_schedule=schedule
        )
        references.append(Group(f"Reference for the {name}", color, [[image], [model]]))
    prompts = add_prompts(graph, loaders, prompt="a person in front of a landscape")
    start = add_start(graph, width=512)
    graph.place(
        [loaders.group()],
        [prompt_group(prompts, start)],
        references,
        [add_picture(graph, loaders, model, prompts, start)],
    )
    return graph


STYLE_AND_COMPOSITION = f"""## Style from one picture, composition from another

Two references share the picture by layers instead of by regions: one acts only in the layers that make the style, the other only in those that arrange the picture. Both share one sampling pass.

1. Load your pictures in **reference_style** and **reference_composition**.
2. Say in **prompt** what is to be seen: neither reference has to show it.
3. Balance the two with *weight*: 0.6 to 1.2.

With one picture for both, a single Apply IPAdapter does it: *layer_schedule* style and composition, where *weight* is for the style, and *second_weight* of **IPAdapter Schedule** for the composition. A mask in *attn_mask* keeps either to a region. SDXL separates the two better than SD1.5.

{DOWNLOADS}"""
