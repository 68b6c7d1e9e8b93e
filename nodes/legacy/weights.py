"""Version 2's weights for the frames of an animation, and what else follows the same frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...weight_types.steps import read_numbers
from ..shared.checks import check_image
from ..shared.node import Node
from .formulas.frames import CUSTOM, METHODS, TIMINGS, fade, frame_weights, prompt_schedule
from .sockets import Socket, number, old_node, sockets

WeightsStrategy = io.Custom("WEIGHTS_STRATEGY")


@dataclass(frozen=True)
class Strategy:
    """What IPAdapter Weights was set to, and how many pictures it had."""

    weights: str = "1.0, 0.0"
    timing: str = "linear"
    frames: int = 0
    start_frame: int = 0
    end_frame: int = 9999
    add_starting_frames: int = 0
    add_ending_frames: int = 0
    method: str = "full batch"
    frame_count: int = 0


def check_strategy(value: object) -> None:
    if not isinstance(value, Strategy):
        raise IPAdapterError(
            f"weights_strategy: a {type(value).__name__} is no strategy; connect IPAdapter Weights"
        )


def follow(strategy: Strategy, image: Tensor | None) -> io.NodeOutput:
    """The strategy's weights, over these pictures [images, H, W, channels] if there are any."""
    check_strategy(strategy)
    numbers = read_numbers(strategy.weights, "weights")
    weights = frame_weights(
        numbers, strategy.timing, strategy.frames, strategy.start_frame, strategy.end_frame
    )
    if image is None:
        pictures = [empty_output("image_1", NO_IMAGE), empty_output("image_2", NO_IMAGE)]
        count = 0
    else:
        check_image(image, "image")
        count = len(image)
        weights, first, second = fade(
            weights,
            strategy.method,
            count,
            strategy.add_starting_frames,
            strategy.add_ending_frames,
        )
        other = empty_output("image_2", ONE_AT_A_TIME) if second is None else image[second]
        pictures = [image[first], other]
    strategy = replace(strategy, frame_count=count)
    return io.NodeOutput(weights, weights[::-1], len(weights), *pictures, strategy)


def empty_output(name: str, reason: str) -> ExecutionBlocker:
    """What stops whatever is connected to the output, with a message."""
    return ExecutionBlocker(f"IPAdapter Weights: its {name} is empty; {reason}")


NO_IMAGE = "connect its image"
ONE_AT_A_TIME = "set its method to shift batches or alternate batches, or use image_1 alone"

COUNTS = {
    "frames": "How many weights to make, at least 2, for each picture; not with timing custom.",
    "start_frame": "The frames before this one stay at the first number; not with timing custom. "
    "0: none.",
    "end_frame": "From this frame on the weights stay at the last number; not with timing custom. "
    "9999: only the last frame.",
    "add_starting_frames": "Frames before all others, with the first picture and weight; 0: none. "
    "Only with image.",
    "add_ending_frames": "Frames after all others, with the last picture and weight; 0: none. Only "
    "with image.",
}
FRAMES: dict[str, Socket] = {
    "weights": partial(
        io.String.Input, "weights", default=Strategy.weights, multiline=True,
        tooltip="Numbers with commas or new lines between: with timing custom one for each frame, "
        "else the first is where the weights start and the last where they end.",
    ),
    "timing": partial(
        io.Combo.Input, "timing", options=[CUSTOM, *TIMINGS], default=Strategy.timing,
        tooltip="The way from the first number to the last: even, slow at both ends (ease_in_out), "
        "slow at its end (ease_in) or at its start (ease_out), or random numbers between, the same "
        "in every run. custom takes the numbers as they are.",
    ),
    **{
        name: partial(
            io.Int.Input, name, default=getattr(Strategy, name), min=0, max=9999, step=1,
            tooltip=tooltip,
        )
        for name, tooltip in COUNTS.items()
    },
    "method": partial(
        io.Combo.Input, "method", options=list(METHODS), default=Strategy.method,
        tooltip="full batch: the weights once for each picture, in image_1. shift batches: once for "
        "each step from a picture (image_1) to the next (image_2). alternate batches: the same, but "
        "only one of the two outputs changes at a time. Only with image.",
    ),
    "image": partial(
        io.Image.Input, "image",
        tooltip="The pictures that the frames go through, for image_1 and image_2. Without: only "
        "weights.",
    ),
    "strategy": partial(
        WeightsStrategy.Input, "weights_strategy", tooltip="From IPAdapter Weights."
    ),
    "prompt": partial(
        io.String.Input, "prompt", default="", multiline=True,
        tooltip="One prompt a line, one line for each picture. The last line repeats; lines too "
        "many are left out.",
    ),
}  # fmt: skip


def frame_outputs() -> list[Any]:
    return [
        io.Float.Output(display_name="weights", tooltip="A list, one weight for each frame."),
        io.Float.Output(display_name="weights_invert", tooltip="The same in reverse order."),
        io.Int.Output(display_name="total_frames", tooltip="How many weights that are."),
        io.Image.Output(display_name="image_1", tooltip="One picture for each frame."),
        io.Image.Output(
            display_name="image_2",
            tooltip="The other picture of each frame, for weights_invert; none with full batch.",
        ),
        WeightsStrategy.Output(
            display_name="weights_strategy", tooltip="These settings, for other pictures."
        ),
    ]


class IPAdapterWeights(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterWeights",
            "IPAdapter Weights",
            "Makes a weight for each frame of an animation, and the pictures to fade between.",
            sockets(
                "weights timing frames start_frame end_frame add_starting_frames "
                "add_ending_frames method | image",
                FRAMES,
            ),
            frame_outputs(),
        )

    @classmethod
    def execute(cls, image: Tensor | None = None, **inputs: Any) -> io.NodeOutput:
        return follow(Strategy(**inputs), image)


class IPAdapterWeightsFromStrategy(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterWeightsFromStrategy",
            "IPAdapter Weights From Strategy",
            "The weights of an IPAdapter Weights node again, over other pictures.",
            sockets("strategy | image", FRAMES),
            frame_outputs(),
        )

    @classmethod
    def execute(cls, weights_strategy: Strategy, image: Tensor | None = None) -> io.NodeOutput:
        return follow(weights_strategy, image)


class IPAdapterPromptScheduleFromWeightsStrategy(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterPromptScheduleFromWeightsStrategy",
            "Prompt Schedule From Weights Strategy",
            "Writes a prompt for each picture of an IPAdapter Weights node, with the frame at which "
            "it begins, for nodes that schedule prompts.",
            sockets("strategy prompt", FRAMES),
            [
                io.String.Output(
                    display_name="prompt_schedule",
                    tooltip='Lines such as "16": "a cat",; empty where the strategy had no image.',
                )
            ],
        )

    @classmethod
    def execute(cls, weights_strategy: Strategy, prompt: str = "") -> io.NodeOutput:
        check_strategy(weights_strategy)
        told = weights_strategy
        schedule = prompt_schedule(
            prompt,
            told.frame_count,
            told.frames,
            told.add_starting_frames,
            told.add_ending_frames,
        )
        return io.NodeOutput(schedule)


class IPAdapterCombineWeights(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        both = {
            name: number(name, 0.0, 0.0, 1.0, 0.05, f"The weights that come {when}: a list or one.")
            for name, when in (("weights_1", "first"), ("weights_2", "after them"))
        }
        return old_node(
            "IPAdapterCombineWeights",
            "IPAdapter Combine Weights",
            "Joins two lists of weights.",
            sockets("weights_1 weights_2", both),
            [
                io.Float.Output(display_name="weights", tooltip="Both lists, one after the other."),
                io.Int.Output(display_name="count", tooltip="How many weights that are."),
            ],
        )

    @classmethod
    def execute(
        cls, weights_1: float | list[float] = 0.0, weights_2: float | list[float] = 0.0
    ) -> io.NodeOutput:
        joined = as_list(weights_1) + as_list(weights_2)
        return io.NodeOutput(joined, len(joined))


def as_list(weights: float | list[float]) -> list[float]:
    return list(weights) if isinstance(weights, list) else [weights]


NODES = [
    IPAdapterWeights,
    IPAdapterWeightsFromStrategy,
    IPAdapterPromptScheduleFromWeightsStrategy,
    IPAdapterCombineWeights,
]
