"""Graphs of several frames, and of several passes over one picture."""

from __future__ import annotations

from typing import Any

from .chosen import RECTANGLE
from .graph import Graph, Group
from .kinds import Kinds
from .parts import (
    BLUE,
    DOWNLOADS,
    GRAY,
    GREEN,
    PURPLE,
    add_apply_regions,
    add_halves,
    add_loaders,
    add_prompts,
    add_sampling,
    add_start,
    add_subject_and_rest,
    add_two_regions,
    add_view,
    prompt_group,
)

PLACES = [0.0, 0.15, 0.3, 0.45, 0.6]  # of the box in five masks
SWING = [1, 2, 3, 4, 5, 4, 3, 2]  # which mask a frame has


def masks_per_frame(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "masks_per_frame", PER_FRAME)
    loaders = add_loaders(graph)
    start = add_start(graph, width=512, latents=len(SWING))
    boxes = [
        graph.add(
            "IPAdapterSolidMask",
            f"mask_{number}",
            latent=start.latent,
            box_left=left,
            box_width=0.4,
        )
        for number, left in enumerate(PLACES, 1)
    ]
    rows = {f"masks.mask{frame}": boxes[number - 1] for frame, number in enumerate(SWING)}
    batch = graph.add("BatchMasksNode", "one mask per frame", **rows)
    soft = graph.add("IPAdapterFeatherMask", "edge", mask=batch, shape_feather=48)
    view = add_view(graph, soft)
    subject, rest, references = add_subject_and_rest(graph, soft)
    model = add_apply_regions(graph, loaders, [subject], background=rest)
    windows = graph.add("ContextWindowsManual", model=model, context_length=4, context_overlap=2)
    noise = graph.add("LatentBatchSeedBehavior", "same noise in all frames", samples=start.latent)
    prompts = add_prompts(graph, loaders, prompt="a meadow under a wide sky, painting")
    sampled = add_sampling(graph, loaders, windows, prompts, start._replace(latent=noise))
    output = graph.add("SaveAnimatedWEBP", "output", images=sampled[-1])
    graph.place(
        [loaders.group()],
        [
            Group(
                "Masks: a box that swings",
                BLUE,
                [boxes[:2], boxes[2:4], [boxes[4], batch], [soft, view]],
            ),
            prompt_group(prompts, start),
        ],
        references,
        [
            Group("Both regions", PURPLE, [[model]]),
            Group("Windows of four frames", BLUE, [[windows, noise]]),
        ],
        [Group("Clip", GRAY, [[*sampled, output]])],
    )
    return graph


PER_FRAME = f"""## A mask for every frame

Eight frames are sampled as one batch, in windows of four. **one mask per frame** gives each its own mask, so **reference_subject** swings from left to right and back; **reference_background** fills the rest of every frame.

1. Load your pictures in **reference_subject** and **reference_background**: both start with ComfyUI's example.png, so nothing moves yet.
2. Move the boxes with *box_left* of **mask_1** to **mask_5**. Masks from a segmenter or a painted clip, one per frame, go straight into **edge**.
3. A longer clip: raise *batch_size*, and connect as many masks. If there are fewer, the last one stays.

All frames start from the same noise, and SD1.5 draws each one by itself. For motion that hangs together, put a motion model before **Apply IPAdapter Regions**.

{DOWNLOADS}"""


def masked_pass_and_cropped_detail(kinds: Kinds) -> Graph:
    graph = Graph(kinds, "masked_pass_and_cropped_detail", CROPPED)
    loaders = add_loaders(graph)
    halves = add_halves(graph)
    regions, references = add_two_regions(
        graph, {"attn_mask": halves.left}, {"attn_mask": halves.right}
    )
    model = add_apply_regions(graph, loaders, regions)
    prompts = add_prompts(
        graph, loaders, prompt="two people side by side in a park, detailed illustration"
    )
    start = add_start(graph, width=768)
    first = add_sampling(graph, loaders, model, prompts, start, "first pass")
    picture = first[-1]
    saved = graph.add("SaveImage", "first_pass", images=picture)
    x, y, side = (
        graph.add("PrimitiveInt", f"crop_{name}", value=RECTANGLE[edge])
        for name, edge in [("x", "x"), ("y", "y"), ("size", "width")]
    )
    rectangle: dict[str, Any] = {"x": x, "y": y, "width": side, "height": side}
    box = graph.add("PrimitiveBoundingBox", "rectangle", **rectangle)
    part = graph.add("ImageCropV2", "part of the picture", image=picture, crop_region=box)
    size = graph.add("GetImageSize", "size of the picture", image=picture)
    cropped = graph.add(
        "IPAdapterCropRegions",
        model=model,
        picture_width=size["width"],
        picture_height=size["height"],
        **rectangle,
    )
    larger = graph.add("ImageScaleBy", "enlarge the part", image=part)
    latent = graph.add("VAEEncode", pixels=larger, vae=loaders.checkpoint["VAE"])
    second = add_sampling(
        graph, loaders, cropped, prompts, start._replace(latent=latent), "second pass", denoise=0.4
    )
    smaller = graph.add("ImageScale", "back to its size", image=second[-1], width=side, height=side)
    pasted = graph.add(
        "ImageCompositeMasked", "paste it back", destination=picture, source=smaller, x=x, y=y
    )
    output = graph.add("SaveImage", "output", images=pasted)
    graph.place(
        [loaders.group()],
        [halves.group, prompt_group(prompts, start)],
        references,
        [Group("First pass", GRAY, [[model, *first, saved]])],
        [
            Group(
                "One part: of the picture, and of its regions",
                BLUE,
                [[x, y, side, box, size], [part, cropped]],
            )
        ],
        [
            Group(
                "Second pass, over that part",
                GREEN,
                [[larger, latent, *second, smaller, pasted], [output]],
            )
        ],
    )
    return graph


CROPPED = f"""## A masked pass, then a cropped second one

The first pass paints the whole picture with two references. Then a square of it is cut out, enlarged, sampled again at *denoise* 0.4 and pasted back. Sampler and model know nothing of the cut, so **Crop Regions** cuts the masks to the same square: each reference stays where it was.

1. Load your pictures in **reference_left** and **reference_right**.
2. Place the square with **crop_x**, **crop_y** and **crop_size**, in pixels of the picture. The numbers in **part of the picture** are not used: its rectangle is connected.
3. More new detail: raise *denoise* of the second KSampler; 0.3 to 0.5 keeps the shapes.

For a detailer or tiler of another pack, give it the model from Crop Regions in the same way, or from Remove IPAdapter if its pass should see no reference.

{DOWNLOADS}"""
