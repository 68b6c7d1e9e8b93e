"""``make margins``: how far the numbers of each test are from what it allows, as a pytest plugin."""

import json
import os
from pathlib import Path

import numpy as np
import torch

from .near import MARGINS, note

ENOUGH = 10


def pytest_configure():
    torch.testing.assert_close = noting(torch.testing.assert_close, torch_tolerances)
    np.testing.assert_allclose = noting(np.testing.assert_allclose, numpy_tolerances)


def torch_tolerances(actual, expected, rtol=None, atol=None, **_):
    if rtol is None:
        rtol, atol = torch.testing._comparison.default_tolerances(actual, expected)
    return rtol, atol


def numpy_tolerances(actual, expected, rtol=1e-7, atol=0.0, **_):
    return rtol, atol


def noting(compare, tolerances):
    """The same comparison, which also notes the largest part of its bound that was needed."""

    def compared(actual, expected, **options):
        rtol, atol = tolerances(actual, expected, **options)
        ours, theirs = (torch.as_tensor(x).double() for x in (actual, expected))
        off, bound = (ours - theirs).abs(), atol + rtol * theirs.abs()
        if off.any():
            note(float((off / bound).nan_to_num(0.0).max()), 1.0)
        compare(actual, expected, **options)

    return compared


def pytest_terminal_summary(terminalreporter):
    least = {}
    for line in Path(os.environ[MARGINS]).read_text().splitlines():
        noted = json.loads(line)
        margin = noted["bound"] / noted["measured"]
        if margin < least.get(noted["test"], (ENOUGH,))[0]:
            least[noted["test"]] = margin, noted["measured"], noted["bound"]
    terminalreporter.section(f"margins under {ENOUGH}: bound / measured")
    for test, (margin, measured, bound) in sorted(least.items(), key=lambda item: item[1]):
        terminalreporter.line(f"{margin:5.1f}  {measured:.1e} of {bound:.0e}  {test}")
