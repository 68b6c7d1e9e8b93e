"""Where version 2 does otherwise than those who trained the adapters, and the switch for its ways."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from comfy_api.latest import io

from ...ipadapter.base_models import SDXL
from ...ipadapter.errors import pick
from ...ipadapter.faces import SIZES
from ...ipadapter.preprocess import fit_to_encoder
from ...ipadapter.reference import MaskFit
from ..references.encode import Prepare, unprepared
from .formulas.guessed_grid import to_guessed_grid


class Compat(NamedTuple):
    """One field for each difference; the defaults are faithful."""

    without: tuple[str, ...] = ()  # blocks of the UNet that stay as they are
    black: bool = False  # with Plus, no picture is a black one; else pixels that are zero to CLIP
    prepare: Prepare = fit_to_encoder  # how a picture is brought to the encoder's size
    mask_fit: MaskFit | None = None  # how a mask is fitted to a layer; else as masks/grid.py does
    # base model -> pixels of a face before CLIP sees it; else what CLIP reads
    face_crop: Mapping[str, int] = {}
    face_sizes: Sequence[int] = SIZES  # at which faces are looked for
    seeded_by_picture: bool = False  # noise from the sum of all pixels; else the same for every one
    kolors_as_others: bool = (
        False  # Kolors' faces as those of other families; else as it was trained
    )


FAITHFUL = "faithful"
WAYS = {
    FAITHFUL: Compat(),
    "v2": Compat(
        without=("middle",),
        black=True,
        prepare=unprepared,
        mask_fit=to_guessed_grid,
        face_crop={SDXL.name: 256},
        face_sizes=range(640, 256, -64),
        seeded_by_picture=True,
        kolors_as_others=True,
    ),
}
VARIABLE = "IPADAPTER_REGIONS_COMPAT"


def ways(compat: str | None) -> Compat:
    """What a node's ``compat`` means; None where a graph says nothing."""
    return pick(WAYS, compat or default(), "compat")


def default() -> str:
    """What the environment asks for."""
    return known(os.environ.get(VARIABLE, "").strip().lower() or FAITHFUL)


@cache
def known(wanted: str) -> str:
    """The same, if there is such a way; said once."""
    if wanted not in WAYS:
        names = " or ".join(WAYS)
        text = "IPAdapter Regions: %s is %s, taken as %s; set it to %s"
        logging.warning(text, VARIABLE, wanted, FAITHFUL, names)
        return FAITHFUL
    return wanted


def compat_input(optional: bool = True) -> Any:
    return io.Combo.Input(
        "compat",
        options=list(WAYS),
        default=default(),
        optional=optional,
        advanced=True,
        tooltip="faithful: as the adapters were trained. v2: as ComfyUI_IPAdapter_plus did, for a "
        "graph's look there (no middle block, other handling of masks, pictures and faces). The "
        f"environment variable {VARIABLE} sets the default, also for graphs that do not say.",
    )
