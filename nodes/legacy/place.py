"""Version 2's settings as a region of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...ipadapter.base_models import transformers_in_order
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import EncodedReference, LayerSchedule, OverTime, Region
from ...weight_types.layers import does_nothing, layer_entries
from ..loading.adapter import accept_adapter, check_model
from ..model.layers import find_layers
from ..references.encode_faces import structure_weight
from ..regions.apply import check_settings
from ..sampling.patching import add_region
from ..shared.notices import say
from .compat import Compat
from .encode import CONCAT, Encoders, reference_of, see


@dataclass(frozen=True)
class Settings:
    """What the apply nodes have in common, with the values that those without an input take."""

    compat: Compat
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
    token_scale: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.weight, Sized) and not len(self.weight):
            raise IPAdapterError("weight: the connected list is empty; give at least one weight")
        refuse_lists(self.second, self.token_scale)

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
        return LayerSchedule(self.weight_type, self.other, self.layer_weights, self.compat.without)

    @property
    def acts(self) -> bool:
        return any(not does_nothing(self.weight_type, w, self.other) for w in self.weights)


def refuse_lists(*values: object) -> None:
    if any(isinstance(value, Iterable) for value in values):
        raise IPAdapterError(
            "a list of weights is connected to another input than weight (or weight_style): only "
            "that takes one for each latent; give the others a single number"
        )


def apply_picture(
    model: Any,
    encoders: Encoders,
    image: Tensor,
    settings: Settings,
    image_negative: Tensor | None = None,
    weight_faceidv2: float | None = None,
) -> tuple[Any, Tensor | None]:
    """A clone of the model with the pictures in it, and the faces that were found in them."""
    loaded = encoders.loaded
    check_model(model, loaded)
    is_face = loaded.projection.face is not None
    if not (settings.acts or is_face):
        return model, None
    structure = None
    if is_face:
        refuse_lists(weight_faceidv2)
        # Where a node does not say, version 2 takes twice the weight.
        structure = 2 * max(settings.weights) if weight_faceidv2 is None else weight_faceidv2
        structure = structure_weight(loaded, "by file name", False, structure)
    seen = see(encoders, image, image_negative, structure, settings.compat)
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
        say(
            f"{len(settings.weight)} weights, of which this node takes the first alone; a node whose "
            "name ends in Batch has one for each latent"
        )
    settings = replace(settings, layer_weights=known_layers(model, settings.layer_weights))
    return add_region(model, encoders.loaded, region_of(reference, settings))


def region_of(reference: EncodedReference, settings: Settings) -> Region:
    mask = check_settings(settings.attn_mask, settings.start_at, settings.end_at)
    # Only what sampling needs of the reference is kept.
    bare = EncodedReference(reference.positive, reference.negative)
    region = Region(
        bare,
        mask,
        settings.weights[0],
        settings.embeds_scaling,
        settings.start_at,
        settings.end_at,
        settings.unfold_batch,
        settings.schedule,
        token_scale=settings.token_scale,
        guess_grid=settings.compat.guess_grid,
    )
    weights = settings.weights
    if len(weights) == 1:
        return region
    if settings.embeds_scaling == "V only" and not settings.other:
        # A factor of what the region adds: keys and values are the same for all frames.
        return replace(region, weight=1.0, over_time=OverTime(frame_weights=tuple(weights)))
    count = max(len(weights), len(bare.positive))
    each = [min(i, len(bare.positive) - 1) for i in range(count)]
    weights = [*weights, *weights[-1:] * (count - len(weights))]  # the caller's list stays its own
    unfolded = EncodedReference(bare.positive[each], bare.negative[each])
    return replace(region, reference=unfolded, picture_weights=tuple(weights))


def known_layers(model: Any, layer_weights: str) -> str:
    """Without the numbers that this model has no layers for, as in a list written for another."""
    count = len(transformers_in_order(find_layers(model)))
    parts = layer_entries(layer_weights)
    unknown = [part for part in parts if beyond(part, count)]
    if unknown:
        say(
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
    loaded, brought, faces, _ = accept_adapter(ipadapter)
    return Encoders(
        loaded,
        brought if clip_vision is None else clip_vision,
        faces if insightface is None else insightface,
    )
