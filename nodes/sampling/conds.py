"""Which conditionings are positive, and which part of the picture each covers.

ComfyUI runs any mix of conditionings in one UNet call and says of each only its index in a list
that each guider orders in its own way. Their origin is in the guider's named conditionings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...masks.layout import Area
from .types import BATCH_KEY, CondBatch, CondChunk

Conds = Sequence[dict[str, Any]]


# Names that guiders give; any other is positive unless it begins like a negative.
ROLES = {"positive": True, "middle": True, "negative": False, "empty_negative_prompt": False}
NEGATIVE_BEGINNINGS = ("neg", "uncond", "empty")


def is_positive(name: str) -> bool:
    return ROLES.get(name, not name.startswith(NEGATIVE_BEGINNINGS))


def resolve(
    conds: Sequence[Conds | None], named: Mapping[str, Conds], latent_size: tuple[int, int]
) -> dict[tuple[Any, int], CondChunk]:
    """(uuid, index) -> chunk, for every conditioning of a batch.

    ``conds`` are the lists that go into the batch, ``named`` the guider's.
    """
    # A copy of a conditioning keeps its encoded text; an opposite that ComfyUI made for an area has
    # the uuid of a positive, but a negative's text.
    names_of = {id(part): name for name, listed in named.items() for c in listed for part in own(c)}
    names_by_uuid: dict[Any, set[str]] = {}
    for name, listed in named.items():
        for cond in listed:
            names_by_uuid.setdefault(cond.get("uuid"), set()).add(name)

    def name_of(cond: Mapping[str, Any]) -> str | None:
        for part in own(cond):
            if id(part) in names_of:
                return names_of[id(part)]
        names = names_by_uuid.get(cond.get("uuid"), set())
        return next(iter(names)) if len(names) == 1 else None

    chunks: dict[tuple[Any, int], CondChunk] = {}
    for index, listed in enumerate(conds):
        names = [name_of(cond) for cond in listed or ()]
        # One that cannot be told stands in a list with others that can, or goes by its index.
        otherwise = next((name for name in names if name), "positive" if index == 0 else "negative")
        for cond, name in zip(listed or (), names, strict=True):
            chunk = CondChunk(is_positive(name or otherwise), area_of(cond, latent_size))
            chunks[cond.get("uuid"), index] = chunk
    return chunks


def own(cond: Mapping[str, Any]) -> list[Any]:
    """What tells a conditioning from any other by identity."""
    return [cond, cond["model_conds"]] if "model_conds" in cond else [cond]


def area_of(cond: Mapping[str, Any], latent_size: tuple[int, int]) -> Area | None:
    """A conditioning's rectangle, within the latent_size as ComfyUI clamps it."""
    area = cond.get("area")
    if area is None:
        return None
    sizes, offsets = area[: len(area) // 2], area[len(area) // 2 :]
    (height, width), (y, x) = sizes[-2:], offsets[-2:]
    return Area(y, x, min(height, latent_size[0] - y), min(width, latent_size[1] - x))


def chunks_of_call(options: Mapping[str, Any]) -> tuple[CondChunk, ...]:
    """The chunks of a UNet call, in its order: of the batch that is being evaluated, if it is known."""
    batch: CondBatch | None = options.get(BATCH_KEY)
    known = batch.chunks if batch else {}
    indices = options.get("cond_or_uncond") or [0]
    uuids = options.get("uuids") or [None] * len(indices)
    return tuple(
        known.get((uuid, index), CondChunk(positive=index == 0, area=None))
        for uuid, index in zip(uuids, indices, strict=False)
    )
