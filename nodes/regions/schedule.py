"""IPAdapter Schedule: a weight that differs between layers, frames and steps."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import ALWAYS, OverTime
from ...weight_types.steps import read_curve, read_numbers
from ..shared.checks import check_mask
from ..shared.inputs import ADVANCED, ScheduleSocket
from ..shared.node import Node
from ..shared.notices import warn


@dataclass(frozen=True, eq=False)
class WeightSchedule:
    """The value of a schedule socket."""

    second_weight: float | None = None  # of the other part, see LayerSchedule; None: as the first
    layer_weights: str = ""
    over_time: OverTime = ALWAYS


class IPAdapterSchedule(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSchedule",
            display_name="IPAdapter Schedule",
            category=ADVANCED,
            description="Gives a reference other weights in single layers, frames or steps. For "
            "Apply IPAdapter, Apply IPAdapter FaceID and IPAdapter Region.",
            search_aliases=[
                *("layer weights", "weight schedule", "keyframes", "animate weight"),
                *("IPAdapter Weights", "IPAdapter Mad Scientist"),
            ],
            inputs=[
                io.Float.Input(
                    "second_weight",
                    default=1.0,
                    min=-5.0,
                    max=5.0,
                    step=0.05,
                    tooltip="Only for layer schedules with two parts. style and composition: the "
                    "weight of the composition. precise: how strongly to steer away from the other "
                    "part; 0 is not at all.",
                ),
                io.String.Input(
                    "layer_weights",
                    default="",
                    placeholder="style: 1, composition: 0.3",
                    tooltip="Weights of your own, times weight: 'style: 1, composition: 0.3', "
                    "'output: 1', 'input 8: 0.5', or by number as '3: 1, 6: 0.5'. What is not named "
                    "gets 0. Empty: layer_schedule alone decides.",
                ),
                io.String.Input(
                    "frame_weights",
                    default="",
                    placeholder="1, 0.5, 0",
                    tooltip="For a batch or a clip: each latent's weight is multiplied by its number, "
                    "as in 1, 0.5, 0. The last is for all that follow. Write decimals with a point. "
                    "Empty: 1 for all.",
                ),
                io.String.Input(
                    "step_weights",
                    default="",
                    placeholder="0: 1, 0.6: 1, 1: 0.2",
                    tooltip="Multiplies weight over the steps, on the scale of start_at and end_at: "
                    "'0: 1, 0.6: 1, 1: 0.2' with straight lines between, or '1, 0.5, 0' evenly "
                    "spread. Write decimals with a point. Empty: 1 all along.",
                ),
                io.Mask.Input(
                    "step_masks",
                    optional=True,
                    tooltip="A batch of attention masks over the steps: the first for the first part "
                    "of the noise schedule, and so on, in equal parts. Multiplied with attn_mask.",
                ),
            ],
            outputs=[
                ScheduleSocket.Output(
                    display_name="schedule", tooltip="For the socket schedule of an Apply node."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        second_weight: float | None = None,
        layer_weights: str = "",
        frame_weights: str = "",
        step_weights: str = "",
        step_masks: Tensor | None = None,
    ) -> io.NodeOutput:
        masks = () if step_masks is None else check_mask(step_masks, "step_masks").split(1)
        if masks and not any(mask.any() for mask in masks):
            warn("step_masks are all black: this reference does nothing")
        over_time = OverTime(
            read_numbers(frame_weights, "frame_weights"),
            read_curve(step_weights, "step_weights"),
            masks,  # [1, H, W] each
        )
        return io.NodeOutput(WeightSchedule(second_weight, layer_weights, over_time))


def accept_schedule(schedule: object) -> WeightSchedule:
    """What is on a schedule socket; the same weight everywhere where it is open."""
    if schedule is None:
        return WeightSchedule()
    if not isinstance(schedule, WeightSchedule):
        raise IPAdapterError(
            f"schedule: a {type(schedule).__name__} is no schedule; connect IPAdapter Schedule"
        )
    return schedule


NODES = [IPAdapterSchedule]
