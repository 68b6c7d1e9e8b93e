"""How a reference's weight is spread over the layers of a UNet.

All cross-attentions of a spatial transformer get the same weight. The transformers are numbered
t = 0, 1, ... as the UNet runs them: SD1.5 has 16, SDXL 11. The numbers behave like those of
cubiq/ComfyUI_IPAdapter_plus at 9d076a3, where people learned them; that style and composition have
layers of their own is from InstantStyle (Wang et al. 2024, arXiv:2404.02733).
Adding a schedule is one function and one row of SCHEDULES.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..ipadapter.base_models import (
    BASE_MODELS,
    BLOCKS,
    BaseModel,
    Layer,
    Transformer,
    base_model_of,
    transformers_in_order,
)
from ..ipadapter.errors import IPAdapterError, pick
from ..ipadapter.reference import LayerSchedule
from .steps import LARGEST


class LayerWeight(NamedTuple):
    """``negative_only``: here the negative sees the reference, and the positive sees nothing."""

    weight: float
    negative_only: bool = False


class Place(NamedTuple):
    """What a schedule may know about a transformer."""

    depth: float  # t / number of transformers: 0 at the input, below 1 at the output
    block: str  # one of BLOCKS
    style: bool
    composition: float  # how strongly it makes the composition, 0 where it does not


# (place, weight, second) -> LayerWeight; what second is, each schedule says
Weigh = Callable[[Place, float, float], LayerWeight]


class Schedule(NamedTuple):
    weigh: Weigh
    description: str  # one sentence, as of an Option
    roles: bool = False  # asks for style or composition, which only known base models have
    second: bool = False  # reads the second weight


def spread(
    schedule: LayerSchedule, layers: Sequence[Layer], weight: float
) -> dict[Layer, LayerWeight]:
    """The weight of every layer that has one: those at 0 are left out, as are all of the blocks
    ``schedule.without``.

    ``schedule.second`` is the weight of the composition in "... style and composition" and the
    strength of what is steered away from in "... precise"; None is the same as ``weight``, and the
    other schedules do not read it. Where ``schedule.layer_weights`` (see ``read_layer_weights``)
    says something, it decides the weights, as factors of ``weight``, and the schedule only where to
    steer away.
    """
    name, second, layer_weights, without = schedule
    row = pick(SCHEDULES, name, "layer_schedule")
    order, base = transformers_in_order(layers), base_model_of(layers)
    if row.roles and base is None:
        raise IPAdapterError(f"layer_schedule {name}: {_unknown_layout(order)}")
    second = weight if second is None else second
    chosen = {at: row.weigh(place, weight, second) for at, place in _places(order, base).items()}
    factors = read_layer_weights(layer_weights or "", order, base)
    if factors:
        chosen = {
            at: LayerWeight(factors.get(at, 0.0) * weight, entry.negative_only)
            for at, entry in chosen.items()
        }
    weights = {layer: chosen[layer.transformer] for layer in layers if layer.block not in without}
    return {layer: entry for layer, entry in weights.items() if entry.weight}


def does_nothing(schedule: LayerSchedule, weight: float) -> bool:
    """Whether no layer gets a weight, whatever the model."""
    reads_second = schedule.name in SCHEDULES and SCHEDULES[schedule.name].second
    return weight == 0 and not (reads_second and schedule.second)


def _places(order: Sequence[Transformer], base: BaseModel | None) -> dict[Transformer, Place]:
    style = base.style if base else set[Transformer]()
    composition = base.composition if base else dict[Transformer, float]()
    return {
        at: Place(t / len(order), at.block, at in style, composition.get(at, 0.0))
        for t, at in enumerate(order)
    }


def _unknown_layout(order: Sequence[Transformer]) -> str:
    known = " and ".join(f"{base.name} ({len(base.transformers)})" for base in BASE_MODELS)
    blocks = ", ".join(f"{sum(at.block == block for at in order)} {block}" for block in BLOCKS)
    free = ", ".join(name for name, row in SCHEDULES.items() if not row.roles)
    return (
        "style and composition layers are known only for the spatial transformers of "
        f"{known}; this model has {len(order)} ({blocks}), in other places; "
        f"choose one of {free}, with layer_weights if you know which layers matter"
    )


def even(at: Place, weight: float, second: float) -> LayerWeight:
    """The weight, everywhere."""
    return LayerWeight(weight)


def ease(curve: Callable[[float], float]) -> Weigh:
    """From a twentieth of the weight to all of it, along a curve from 0 to 1 over the depth."""
    return lambda at, weight, second: LayerWeight(weight * (0.05 + 0.95 * curve(at.depth)))


def weak(*blocks: str) -> Weigh:
    """A fifth of the weight in these blocks."""
    return lambda at, weight, second: LayerWeight(weight * (0.2 if at.block in blocks else 1))


def style_transfer(at: Place, weight: float, second: float) -> LayerWeight:
    return LayerWeight(weight * at.style)


def composition(at: Place, weight: float, second: float) -> LayerWeight:
    return LayerWeight(weight * at.composition)


def strong_style_transfer(at: Place, weight: float, second: float) -> LayerWeight:
    """Everything but the composition."""
    return LayerWeight(0.0 if at.composition else weight)


def style_and_composition(at: Place, weight: float, second: float) -> LayerWeight:
    """Style at ``weight``, composition at ``second``."""
    return LayerWeight(weight * at.style + second * at.composition)


def strong_style_and_composition(at: Place, weight: float, second: float) -> LayerWeight:
    """Each layer of the composition fully at ``second``, everything else at ``weight``."""
    return LayerWeight(second if at.composition else weight)


def style_transfer_precise(at: Place, weight: float, second: float) -> LayerWeight:
    """The style, away from the reference's composition at strength ``second``."""
    if at.composition:
        return LayerWeight(second * at.composition, negative_only=True)
    return LayerWeight(weight * at.style)


def composition_precise(at: Place, weight: float, second: float) -> LayerWeight:
    """The composition, away from the reference's style at ``second`` and all else at a tenth."""
    if at.composition:
        return LayerWeight(weight * at.composition)
    return LayerWeight(second * (1 if at.style else 0.1), negative_only=True)


SCHEDULES: dict[str, Schedule] = {
    "even": Schedule(even, "the weight in every layer, as in the paper"),
    "ease in": Schedule(
        ease(lambda depth: 1 - depth), "all of it at the input, down to a twentieth at the output"
    ),
    "ease out": Schedule(
        ease(lambda depth: depth), "a twentieth at the input, up to all of it at the output"
    ),
    "ease in-out": Schedule(
        ease(lambda depth: 1 - abs(2 * depth - 1)),
        "all of it in the middle, down to a twentieth at both ends",
    ),
    "reverse in-out": Schedule(
        ease(lambda depth: abs(2 * depth - 1)),
        "all of it at both ends, down to a twentieth in the middle",
    ),
    "weak input": Schedule(weak("input"), "a fifth of it in the input blocks"),
    "weak output": Schedule(weak("output"), "a fifth of it in the output blocks"),
    "weak middle": Schedule(weak("middle"), "a fifth of it in the middle block"),
    "strong middle": Schedule(
        weak("input", "output"), "a fifth of it everywhere but in the middle block"
    ),
    "style transfer": Schedule(style_transfer, "only the layers that make the style", roles=True),
    "composition": Schedule(
        composition,
        "only the layers that make the composition (what lies where)",
        roles=True,
    ),
    "strong style transfer": Schedule(
        strong_style_transfer, "all layers but those that make the composition", roles=True
    ),
    "style and composition": Schedule(
        style_and_composition,
        "the style at weight, the composition at second_weight",
        roles=True,
        second=True,
    ),
    "strong style and composition": Schedule(
        strong_style_and_composition,
        "the composition at second_weight, all else at weight",
        roles=True,
        second=True,
    ),
    "style transfer precise": Schedule(
        style_transfer_precise,
        "the style at weight; steers away from the reference's composition at second_weight",
        roles=True,
        second=True,
    ),
    "composition precise": Schedule(
        composition_precise,
        "the composition at weight; steers away from the reference's style at second_weight",
        roles=True,
        second=True,
    ),
}


def read_layer_weights(
    text: str, order: Sequence[Transformer], base: BaseModel | None
) -> dict[Transformer, float]:
    """``3: 1, output: 0.5, input 8: 0``: factors as people write them, by transformer.

    Before the colon stands t, a block with or without its number, "style" or "composition" (which
    keeps its own strengths); between two, a comma or a new line. What comes later wins.
    Empty when the text is.
    """
    targets = _targets(order, base)
    factors: dict[Transformer, float] = {}
    for part in layer_entries(text):
        name, _, number = part.partition(":")
        target = targets.get(" ".join(name.lower().split()))
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if target is None or not abs(factor) <= LARGEST:
            words = ", ".join(name for name in targets if name.isalpha())
            raise IPAdapterError(
                f"layer_weights: {part!r:.60} is not a layer of this model and its weight; "
                f"write a number from 0 to {len(order) - 1}, {words} or one block such as "
                f"{order[0].block} {order[0].number}, then a colon and a number, for example "
                "3: 0.5, with commas between"
            )
        factors |= {at: factor * strength for at, strength in target.items()}
    return factors


def layer_entries(text: str) -> list[str]:
    """The parts of ``read_layer_weights``' text, each a layer and its weight."""
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]


def _targets(
    order: Sequence[Transformer], base: BaseModel | None
) -> dict[str, Mapping[Transformer, float]]:
    """Everything that may stand before a colon, and the strength it means for transformers."""
    targets: dict[str, Mapping[Transformer, float]] = {}
    for t, at in enumerate(order):
        targets[str(t)] = targets[f"{at.block} {at.number}"] = {at: 1.0}
    for block in {at.block: None for at in order}:
        targets[block] = {at: 1.0 for at in order if at.block == block}
    if base:
        targets["style"] = dict.fromkeys(base.style, 1.0)
        targets["composition"] = base.composition
    return targets
