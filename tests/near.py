"""Comparing numbers that went through a network: by the norm of all of them, not one by one.

In which order a processor sums decides the last bits, and a random network carries single ones of
them far. What a whole result is off by stays small, and is told beside what it should show.
"""

from __future__ import annotations

import json
import os

from torch import Tensor

MARGINS = "IPADAPTER_REGIONS_MARGINS"


def assert_near(
    found: Tensor, expected: Tensor, within: float, effect: Tensor | float | None = None
) -> None:
    """They differ by at most ``within`` of ``effect``: of what a reference, LoRA or mask changes,
    or of what is expected."""
    assert found.shape == expected.shape
    found, expected = found.double(), expected.double()
    scale = expected if effect is None else effect
    if isinstance(scale, Tensor):
        scale = float(scale.double().norm())
    off = float((found - expected).norm())
    if off == 0.0:
        return
    assert scale > 0.0, f"it differs by {off:.1e} where nothing may"
    note(off / scale, within)
    what = "what is expected" if effect is None else "the effect"
    assert off / scale <= within, f"it differs by {off / scale:.1e} of {what}, not {within:.0e}"


def note(measured: float, bound: float) -> None:
    """For ``make margins``: a line in the file that the environment names."""
    if MARGINS not in os.environ:
        return
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    line = json.dumps({"test": test, "measured": measured, "bound": bound}) + "\n"
    file = os.open(os.environ[MARGINS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
