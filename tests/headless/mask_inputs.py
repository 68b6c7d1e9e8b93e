"""Masks and pictures as anybody may connect them, and what every node owes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from torch import Tensor

MOST_PIXELS = 1_000_000  # of a whole batch
NAN, INFINITY = float("nan"), float("inf")

PROPERTIES = settings(
    deadline=None,
    max_examples=min(settings().max_examples, 40),
    suppress_health_check=[HealthCheck.data_too_large],
)


@st.composite
def sizes(draw: Any, pixels: int = MOST_PIXELS) -> tuple[int, int, int]:
    """(batch, height, width), small ones more often than large."""
    batch = draw(st.integers(1, 4))
    height = draw(st.integers(1, 40) | st.integers(1, 1000))
    widest = max(pixels // (batch * height), 1)
    return batch, height, draw(st.integers(1, min(widest, 40)) | st.integers(1, widest))


@st.composite
def any_mask(draw: Any, pixels: int = MOST_PIXELS) -> Tensor:
    """bool, uint8 or float, [masks, H, W] or [H, W]: noise, one value, or a hard shape."""
    batch, height, width = draw(sizes(pixels))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["noise", "black", "white", "shape"]))
    mask = {
        "noise": lambda: torch.rand(batch, height, width, generator=random),
        "black": lambda: torch.zeros(batch, height, width),
        "white": lambda: torch.ones(batch, height, width),
        "shape": lambda: _rectangles(batch, height, width, random),
    }[kind]()
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bool, torch.uint8]))
    mask = (mask * 255).round().to(dtype) if dtype == torch.uint8 else (
        mask > 0.5 if dtype == torch.bool else mask.to(dtype)
    )  # fmt: skip
    return mask[0] if batch == 1 and draw(st.booleans()) else mask


def _rectangles(batch: int, height: int, width: int, random: torch.Generator) -> Tensor:
    mask = torch.zeros(batch, height, width)
    for picture in mask:
        top, bottom = sorted(torch.randint(0, height + 1, (2,), generator=random).tolist())
        left, right = sorted(torch.randint(0, width + 1, (2,), generator=random).tolist())
        picture[top:bottom, left:right] = 1
    return mask


@st.composite
def any_image(draw: Any, pixels: int = MOST_PIXELS // 4) -> Tensor:
    """float32 [images, H, W, 1, 3 or 4]: noise, or a few flat colors side by side."""
    batch, height, width = draw(sizes(pixels))
    channels = draw(st.sampled_from([1, 3, 4]))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    if draw(st.booleans()):
        return torch.rand(batch, height, width, channels, generator=random)
    colors = torch.rand(draw(st.integers(1, 6)), channels, generator=random)
    return colors[torch.arange(width) * len(colors) // width].expand(batch, height, -1, -1).clone()


def run(node: Any, **inputs: Any) -> tuple[Any, ...]:
    """What a node returns; fails where it wrote into what it was given."""
    before = {name: x.clone() for name, x in inputs.items() if isinstance(x, Tensor)}
    outputs = node.execute(**inputs).args
    for name, copy in before.items():
        assert torch.equal(inputs[name], copy), f"{name} was written to"
    return outputs


def check_mask_output(mask: Tensor) -> None:
    """What every MASK socket carries."""
    assert mask.dtype == torch.float32
    assert mask.ndim == 3
    assert torch.isfinite(mask).all()
    assert mask.min() >= 0
    assert mask.max() <= 1


BAD_MASKS = [
    (torch.tensor([[[1.0, NAN]]]), "contains NaN (not a number)"),
    (torch.tensor([[[1.0, -INFINITY]]]), "contains infinity"),
    (torch.ones(0, 4, 4), "is an empty batch: connect at least one mask"),
    (torch.ones(1, 4, 0), "has no pixels (width 0, height 4)"),
    (torch.ones(1, 4, 4, 3), "has the shape [1, 4, 4, 3]"),
]
BAD_IMAGES = [
    (torch.full((1, 2, 2, 3), NAN), "contains NaN (not a number)"),
    (torch.full((1, 2, 2, 3), INFINITY), "contains infinity"),
    (torch.ones(0, 2, 2, 3), "is an empty batch: connect at least one picture"),
    (torch.ones(1, 0, 2, 3), "has no pixels (width 2, height 0)"),
    (torch.ones(2, 2, 3), "has the shape [2, 2, 3]"),
    (torch.ones(1, 2, 2, 16), "has the shape [1, 2, 2, 16]"),
]


def refuses(node: Any, name: str, problem: str, **inputs: Any) -> None:
    """That a node refuses an input by its name, in one line."""
    with pytest.raises(IPAdapterError) as caught:
        node.execute(**inputs)
    assert str(caught.value).startswith(f"{name} {problem}")
    assert "\n" not in str(caught.value)
