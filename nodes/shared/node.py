"""What every node of this pack is."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

from comfy_api.latest import io

from ...ipadapter.errors import IPAdapterError


class Node(io.ComfyNode):
    """A node that refuses infinity and NaN (not a number), which ComfyUI's own limits let pass: a
    prompt sent over HTTP can hold them, and the picture would come out black."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("execute")
        # ComfyUI copies a class whenever it runs: a copy's is checked already.
        if own is not None and not hasattr(own.__func__, "__wrapped__"):
            cls.execute = classmethod(_with_finite_numbers(own.__func__))


def _with_finite_numbers(execute: Any) -> Any:
    names = list(inspect.signature(execute).parameters)[1:]

    @functools.wraps(execute)
    def checked(cls: type[Node], *args: Any, **inputs: Any) -> Any:
        for name, value in [*zip(names, args, strict=False), *inputs.items()]:
            check_number(value, name)
        return execute(cls, *args, **inputs)

    return checked


def check_number(value: object, name: str) -> None:
    """IPAdapterError where it is, or is a list that has, a number that is infinite or none."""
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise IPAdapterError(f"{name} is {number}: give it a number")
