"""Version 2's settings as a region of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.base_models import transformers_in_order
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import (
    EncodedReference,
    LayerSchedule,
    OverTime,
    Region,
    RegionSettings,
)
from ...weight_types.layers import does_nothing, layer_entries
from ..loading.adapter import LoadedAdapter, accept_adapter, check_model
from ..model.layers import find_layers
from ..references.encode_faces import find_shortcut_scale
from ..regions.apply import check_settings
from ..sampling.patching import add_region, image_tokens
from ..shared.notices import warn
from .compat import Compat, ways
from .encode import CONCAT, Encoders, reference_of, see
from .formulas.scaling import embeds_scaling
from .weight_types import VERSION_1, WEIGHT_TYPES


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """What the apply nodes have in common, by the names of their inputs, with the values that those
    without an input take."""

    compat: str | None = None  # see compat.py
    weight: float | Sequence[float] = 1.0  # several: for the latents of a batch, if it is unfolded
    weight_type: str = "linear"
    second: float | None = None  # of the other part, see LayerSchedule; None: what version 2 takes
    layer_weights: str = ""
    combine_embeds: str = CONCAT
    embeds_scaling: str = "V only"
    start_at: float = 0.0
    end_at: float = 1.0
    attn_mask: Tensor | None = None
    unfold_batch: bool = False
    token_scale: float = 1.0  # of Kolors' tokens, once its UNet has projected them

    def __post_init__(self) -> None:
        ways(self.compat)
        if isinstance(self.weight, Sized) and not len(self.weight):
            raise IPAdapterError("weight: the connected list is empty; give at least one weight")
        refuse_lists(self.second, self.token_scale)

    @property
    def ways(self) -> Compat:
        return ways(self.compat)

    @property
    def weights(self) -> list[float]:
        """One, or one for each latent."""
        given = self.weight if isinstance(self.weight, Iterable) else [self.weight]
        numbers = [float(weight) for weight in given]
        each = self.unfold_batch and len(set(numbers)) > 1
        return numbers if each else numbers[:1]

    @property
    def other(self) -> float | None:
        """The weight of the other part."""
        by_itself = self.second is None and self.weight_type == "style and composition"
        return 1.0 if by_itself else self.second

    @property
    def combined(self) -> str:
        """How several pictures become one; those of latents of their own do not."""
        return CONCAT if self.unfold_batch else self.combine_embeds

    @property
    def schedule(self) -> LayerSchedule:
        name = (WEIGHT_TYPES | VERSION_1).get(self.weight_type, self.weight_type)
        return LayerSchedule(name, self.other, self.layer_weights, self.ways.without)

    @property
    def acts(self) -> bool:
        return any(not does_nothing(self.schedule, weight) for weight in self.weights)


def refuse_lists(*values: object) -> None:
    if any(isinstance(value, Iterable) for value in values):
        raise IPAdapterError(
            "a list of weights goes only to weight (or weight_style), one for each latent; give the "
            "other inputs a single number"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ApplyInputs(Settings):
    """What the nodes that let pictures act have in common."""

    model: Any
    ipadapter: Any
    image: Tensor
    image_negative: Tensor | None = None
    clip_vision: Any = None
    insightface: Any = None
    weight_faceidv2: float | None = None
    encode_batch_size: int = 0  # not needed: pictures are encoded one by one


def apply(inputs: ApplyInputs) -> tuple[Any, Tensor | None]:
    """A clone of the model with the pictures in it, and the faces that were found in them."""
    encoders = encoders_of(inputs.ipadapter, inputs.clip_vision, inputs.insightface)
    return apply_picture(
        inputs.model,
        encoders,
        inputs.image,
        inputs.image_negative,
        inputs,
        inputs.weight_faceidv2,
    )


def apply_picture(
    model: Any,
    encoders: Encoders,
    image: Tensor,
    image_negative: Tensor | None,
    settings: Settings,
    weight_faceidv2: float | None = None,
) -> tuple[Any, Tensor | None]:
    """A clone of the model with pictures [images, H, W, 3+] in it, and the faces that were found in
    them, [faces, H, W, 3]."""
    loaded = encoders.loaded
    check_model(model, loaded)
    is_face = loaded.projection.face is not None
    if not (settings.acts or is_face):
        return model, None
    shortcut_scale = None
    if is_face:
        refuse_lists(weight_faceidv2)
        # Where a node does not say, version 2 takes twice the weight.
        shortcut_scale = 2 * max(settings.weights) if weight_faceidv2 is None else weight_faceidv2
        shortcut_scale = find_shortcut_scale(loaded, "by file name", False, shortcut_scale)
    seen = see(encoders, image, image_negative, shortcut_scale, settings.ways)
    reference = reference_of(loaded, seen, settings.combined)
    return place(model, encoders, reference, settings), seen.faces


def place(model: Any, encoders: Encoders, reference: EncodedReference, settings: Settings) -> Any:
    """A clone of the model, which the adapter is for, with the reference in it. Its LoRA is a matter
    of the loaders."""
    if not settings.acts:
        return model
    if (
        isinstance(settings.weight, Sized)
        and len(settings.weight) > 1
        and not settings.unfold_batch
    ):
        warn(
            f"{len(settings.weight)} weights, of which this node uses only the first; a node whose "
            "name ends in Batch uses one for each latent"
        )
    settings = replace(settings, layer_weights=known_layers(model, settings.layer_weights))
    loaded = encoders.loaded
    if settings.token_scale != 1.0:
        reference = scaled(loaded, reference, model, settings.token_scale)
    return add_region(model, loaded, region_of(reference, settings))


def scaled(
    loaded: LoadedAdapter, reference: EncodedReference, model: Any, scale: float
) -> EncodedReference:
    """With tokens as the layers read them, times the scale where Kolors' UNet projects them."""
    if reference.positive.shape[-1] == loaded.adapter.context:
        return reference
    tokens = image_tokens(loaded, reference, model)
    return EncodedReference(tokens.positive * scale, tokens.negative * scale)


def region_of(reference: EncodedReference, settings: Settings) -> Region:
    weights = settings.weights
    region = Region(
        reference.bare(),
        RegionSettings(
            mask=check_settings(settings.attn_mask, settings.start_at, settings.end_at),
            weight=weights[0],
            weight_type=embeds_scaling(settings.embeds_scaling),
            start_at=settings.start_at,
            end_at=settings.end_at,
            unfold_batch=settings.unfold_batch,
            schedule=settings.schedule,
            mask_fit=settings.ways.mask_fit,
        ),
    )
    if len(weights) == 1:
        return region
    if settings.embeds_scaling == "V only" and not settings.other:
        # A factor of what the region adds: keys and values are the same for all frames.
        over_time = OverTime(frame_weights=tuple(weights))
        return replace(region, settings=replace(region.settings, weight=1.0, over_time=over_time))
    return unfolded(region, weights)


def unfolded(region: Region, weights: list[float]) -> Region:
    """With a picture for each weight, and a weight for each picture: the last repeats."""
    pictures = len(region.reference.positive)
    count = max(len(weights), pictures)
    each = [min(i, pictures - 1) for i in range(count)]
    weights = [*weights, *weights[-1:] * (count - len(weights))]  # the caller's list stays its own
    reference = EncodedReference(region.reference.positive[each], region.reference.negative[each])
    settings = replace(region.settings, weight=torch.tensor(weights, dtype=torch.float64))
    return replace(region, reference=reference, settings=settings)


def known_layers(model: Any, layer_weights: str) -> str:
    """Without the numbers that this model has no layers for, as in a list written for another."""
    count = len(transformers_in_order(find_layers(model)))
    parts = layer_entries(layer_weights)
    unknown = [part for part in parts if beyond(part, count)]
    if unknown:
        warn(
            f"layer_weights: this model's layers are 0 to {count - 1}; not used: "
            + ", ".join(unknown)
        )
    known = [part for part in parts if part not in unknown]
    return ", ".join(known or ["0: 0"] * bool(parts))  # nothing said is a weight for every layer


def beyond(part: str, count: int) -> bool:
    number = part.partition(":")[0].strip()
    return number.isdecimal() and int(number) >= count


def encoders_of(ipadapter: Any, clip_vision: Any = None, insightface: Any = None) -> Encoders:
    """An adapter with what is connected, else with what its loader brought."""
    adapter = accept_adapter(ipadapter)
    return Encoders(
        adapter.loaded,
        adapter.clip_vision if clip_vision is None else clip_vision,
        adapter.insightface if insightface is None else insightface,
    )
