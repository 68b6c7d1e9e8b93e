"""Cases of one promise, of which `make test` runs some and `make test-all` all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def product(*values: Iterable[Any], quick: Callable[..., bool]) -> list[Any]:
    """Every combination of these values; those that are not quick are marked ``release``."""
    return [
        pytest.param(*case, marks=() if quick(*case) else pytest.mark.release)
        for case in itertools.product(*values)
    ]
