"""Masks From Color Map: a painted picture becomes one mask per color."""

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...ipadapter.errors import IPAdapterError, pick
from ...ipadapter.options import Option
from ...masks.color import FARTHEST, Color, partition, write_color
from ...masks.palette import MOST, find_colors, read_colors
from ..shared.checks import check_image
from ..shared.inputs import CATEGORY, choice_input
from ..shared.node import Node
from ..shared.notices import show_on_node, warn
from ..shared.progress import one_by_one
from .swatches import swatches

# mode: how much of the softness counts
MODES = {
    "nearest": Option(0.0, "every pixel belongs to one region, black and white"),
    "soft": Option(
        1.0,
        "at smooth edges two regions share a pixel, over softness; flat places stay black and white",
    ),
}


class MasksFromColorMap(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMasksFromColorMap",
            display_name="Masks From Color Map (IPAdapter)",
            category=CATEGORY,
            description="Turns a picture painted in flat colors into one attention mask per color. "
            "Together the masks cover the picture without gaps. The node shows the colors, their "
            "numbers and how much of the picture each has.",
            search_aliases=["color map", "segmentation", "palette", "regions", "color to mask"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The painted picture, or a batch that shares its colors. Fully "
                    "transparent pixels belong to no region.",
                ),
                io.String.Input(
                    "colors",
                    default="",
                    multiline=True,
                    tooltip="The colors of the regions in the order of the masks, written as for "
                    "Mask From Color, on lines or between ; , or spaces: red, #0f0, 0,0,255. "
                    f"At most {MOST}. Empty: they are found in the picture, from left to right.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=MOST,
                    step=1,
                    tooltip="How many colors to find, the largest first. 0 finds all that are not "
                    f"tiny, at most {MOST}. Only while colors is empty.",
                ),
                choice_input(
                    "mode",
                    MODES,
                    "Which region gets a pixel at an edge. The masks add up to 1 everywhere.",
                    default="nearest",
                ),
                io.Int.Input(
                    "softness",
                    default=128,
                    min=0,
                    max=FARTHEST,
                    step=1,
                    tooltip="Only for soft: how wide the shared part of an edge is, in color levels "
                    "between its two sides. 0 is the same as nearest; 128 suits most; "
                    f"{FARTHEST} keeps the whole edge as it was painted.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="masks",
                    tooltip="All masks as one batch: every picture's mask of color 1, then of "
                    "color 2, and so on.",
                ),
                io.String.Output(
                    display_name="colors",
                    tooltip="The colors as #RRGGBB, in the order of the masks. Paste them into the "
                    "input colors to keep the order when the picture changes.",
                ),
                *(mask_output(number) for number in range(1, MOST + 1)),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        colors: str = "",
        count: int = 0,
        mode: str = "nearest",
        softness: int = 128,
    ) -> io.NodeOutput:
        check_image(image, "image")
        softness = round(pick(MODES, mode, "mode").value * softness)
        palette = given_colors(colors) or found_colors(image, count)
        masks = partition(one_by_one(image), palette, softness)
        coverage = masks.mean(dim=(1, 2, 3)).tolist()
        say_missing(palette, coverage)
        picture, text = swatches(masks[:, 0], palette, coverage)
        show_on_node(text)
        return io.NodeOutput(
            masks.flatten(0, 1),
            ", ".join(map(write_color, palette)),
            *masks,
            *(blocked(number, len(palette)) for number in range(len(palette) + 1, MOST + 1)),
            ui={**ui.PreviewImage(picture).as_dict(), "text": (text,)},
        )


def mask_output(number: int) -> io.Mask.Output:
    return io.Mask.Output(
        display_name=f"mask_{number}",
        tooltip=f"Where color {number} is: one mask per picture. Leave it open if the map has "
        "fewer colors.",
    )


def given_colors(text: str) -> list[Color]:
    """The colors that a user wrote; none where the text is empty."""
    try:
        colors = read_colors(text)
    except ValueError as error:
        raise IPAdapterError(f"colors: {error}") from None
    for place, color in enumerate(colors):
        if color in colors[:place]:
            raise IPAdapterError(
                f"colors: {write_color(color)} is there twice: name every region's color once, and "
                "put commas between red, green and blue: 255,0,0"
            )
    if len(colors) > MOST:
        raise IPAdapterError(
            f"colors: {len(colors)} colors are more than the {MOST} that one node takes: use a "
            "second node, or Mask From Color, for the others"
        )
    return colors


def found_colors(image: Tensor, count: int) -> list[Color]:
    """The colors of a batch of pictures [images, H, W, 3], found in all of them together."""
    colors, more = find_colors(image, count)
    if not colors:
        raise IPAdapterError(
            "image is fully transparent, so it has no colors: connect a picture in which the "
            "regions are painted"
        )
    if more:
        warn(
            f"the image has more than {MOST} colors: the smallest are left out, and their places "
            f"go to the nearest of the {MOST}; paint with fewer, or give the colors"
        )
    if len(colors) < count:
        warn(f"the image has {len(colors)} colors, count asks for {count}: the others are missing")
    return colors


def say_missing(palette: list[Color], coverage: list[float]) -> None:
    for number, (color, share) in enumerate(zip(palette, coverage, strict=True), start=1):
        if share == 0:
            warn(
                f"mask_{number} is black: no pixel of the image is nearest to "
                f"{write_color(color)}; take that color from the picture, or leave it out"
            )


def blocked(number: int, colors: int) -> ExecutionBlocker:
    """What a mask that does not exist hands on: whatever is connected to it does not run."""
    last = "mask_1 alone" if colors == 1 else f"only mask_1 up to mask_{colors}"
    return ExecutionBlocker(
        f"mask_{number} of Masks From Color Map does not exist: this run has {colors} "
        f"color{'s' * (colors > 1)}. Use {last}, set count to 0 or {number}, or name {number} "
        "colors in colors"
    )


NODES = [MasksFromColorMap]
