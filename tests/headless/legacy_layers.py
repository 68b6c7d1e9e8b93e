"""What references add in each layer of a real UNet, beside what float64 says that they add."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.legacy_oracle import (
    File,
    attention,
    base_tokens,
    plus_tokens,
    seen_by_clip,
)
from ipadapter_pack.tests.headless.support import ENCODER
from ipadapter_pack.tests.weight_types.test_layers import LAYOUTS
from ipadapter_pack.tests.weight_types.test_layers import expected as by_number
from torch import Tensor

# (t, is positive, frame) -> image tokens [images, tokens, channels]; None where nothing is seen
TokensAt = Callable[[int, bool, int], Tensor | None]

NUMBERS = {name: {row[:2]: t for t, row in enumerate(rows)} for name, rows in LAYOUTS.items()}


class Call(NamedTuple):
    """One layer in one UNet call."""

    layer: tuple[str, int, int]
    q: Tensor
    added: Tensor  # with the references, less without
    text: Tensor  # without
    heads: int
    grid: tuple[int, int]
    sigma: float
    rows: list[tuple[bool, int]]  # of the batch: is it positive, which frame of the whole clip


def rows_of(options: dict[str, Any], batch: int) -> list[tuple[bool, int]]:
    chunks = options["cond_or_uncond"]
    index = (options.get("ad_params") or {}).get("sub_idxs") or range(batch // len(chunks))
    if "context_window" in options:
        # Core puts the frame before a window in front of it, and drops it again.
        before = getattr(options["context_window"], "causal_anchor_index", None)
        index = [*([] if before is None else [before]), *options["context_window"].index_list]
    return [(chunk == 0, frame) for chunk in chunks for frame in index]


def layers_of(layout: str) -> list[tuple[str, int, int]]:
    """In the order of adapter files: input, output, middle."""
    rows = sorted(LAYOUTS[layout], key=lambda row: ["input", "output", "middle"].index(row[0]))
    return [(block, number, i) for block, number, depth in rows for i in range(depth)]


def silent(layout: str, model: Any = None) -> Any:
    """A model whose text adds nothing, so that what a reference adds is not rounded to it."""
    model = (model or tiny.shared_model(layout)).clone()
    for layer in layers_of(layout):
        model.set_model_attn2_replace(lambda q, *_: torch.zeros_like(q), *layer)
    return model


def recorded(model: Any, layout: str, sample: Any = tiny.sample, **run: Any) -> list[Call]:
    """Every layer in every UNet call of a run; of one step, if nothing is said."""
    calls: list[Call] = []

    def spy(layer: tuple[str, int, int], patch: Any) -> Any:
        def replacement(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
            out = patch(q, k, v, options)
            bare = {name: o for name, o in options.items() if name != "ipadapter_regions"}
            text = patch(q, k, v, bare)
            height, width = options["activations_shape"][2:]
            facts = options["n_heads"], (height, width), float(options["sigmas"][0])
            calls.append(Call(layer, q, out - text, text, *facts, rows_of(options, len(q))))
            return out

        return replacement

    model = model.clone()
    for layer in layers_of(layout):
        replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        model.set_model_attn2_replace(spy(layer, replaced[layer]), *layer)
    sample(model, layout=layout, **{"steps": 1, **run})
    assert {call.layer for call in calls} == set(layers_of(layout))
    return calls


def weighed(call: Call, file: File, tokens: Tensor, layout: str, weigh: Any) -> list[Tensor]:
    """K and V [tokens, C] of a layer for image tokens [images, tokens, channels]."""
    number = 2 * layers_of(layout).index(call.layer) + 1
    k, v = (
        tokens.double() @ file["ip_adapter"][f"{number}.to_{which}_ip.weight"].double().T
        for which in "kv"
    )
    return [x.flatten(0, 1) for x in weigh(k, v)]


def error(found: Tensor, wanted: Tensor, terms: Tensor) -> float:
    """Relative to what is wanted, and a little to the terms of the sum that it is, which cancel and
    which float32 cannot hold better. Where nothing is wanted, there has to be nothing."""
    if not wanted.any():
        return math.inf if found.any() else 0.0
    return float((found.double() - wanted).norm() / (wanted.norm() + terms.norm() / 32))


class Acts(NamedTuple):
    """A reference: what it adds to a row is ``factor`` times att(q, K, V) with its weight in it."""

    file: File
    tokens: TokensAt
    weight: Callable[[int, int], float | None]  # (t, frame) -> w_t; None where there is nothing
    scaling: Any  # a row of SCALING
    factor: Callable[[Call, int], Any] = lambda call, frame: 1.0  # (call, frame) -> [queries, 1]


def worst(calls: list[Call], layout: str, *references: Acts) -> float:
    """The largest error of any row of any layer, where these references act."""
    errors: list[float] = []
    for call in calls:
        t = NUMBERS[layout][call.layer[:2]]
        for row, (positive, frame) in enumerate(call.rows):
            wanted, terms = torch.zeros_like(call.q[row]).double(), call.text[row].double()
            for file, tokens, weight, scaling, factor in references:
                w, seen = weight(t, frame), tokens(t, positive, frame)
                if w is None or seen is None:
                    continue
                k, v = weighed(call, file, seen, layout, lambda k, v, s=scaling, w=w: s(k, v, w))
                by = factor(call, frame)
                wanted = wanted + attention(call.q[row], k, v, call.heads) * by
                terms = terms + attention(call.q[row], k, v.abs(), call.heads) * by
            errors.append(error(call.added[row], wanted, terms))
    return max(errors)


def mean_mask(mask: Tensor, call: Call) -> Tensor:
    """[H, W] -> [cells, 1], where every cell covers whole pixels of its own"""
    (height, width), (h, w) = mask.shape, call.grid
    return mask.double().reshape(h, height // h, w, width // w).mean((1, 3)).reshape(-1, 1)


CLOSE = 1e-5
WEIGHT_TYPES = [
    "linear", "ease in", "ease out", "ease in-out", "reverse in-out", "weak input", "weak output",
    "weak middle", "strong middle", "style transfer", "composition", "strong style transfer",
    "style and composition", "style transfer precise", "composition precise",
]  # fmt: skip


def pictures(*seeds):
    """Of the encoder's size, so that it sees every pixel as it is."""
    return torch.cat([tiny.picture(seed, 56, 56) for seed in seeds])


class Adapter:
    """A file, and what float64 makes of pictures with it."""

    def __init__(self, layout, kind="base"):
        self.file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), kind)
        self.loaded = LoadedAdapter(self.file, "tiny.bin")
        self.feature = "image_embeds" if kind == "base" else "penultimate_hidden_states"
        self.tokens = base_tokens if kind == "base" else plus_tokens

    def of(self, features):
        return self.tokens(self.file, features)

    def features(self, images):
        return seen_by_clip(ENCODER, images, self.feature)

    def pair(self, images):
        """Positive and negative image tokens [images, tokens, channels]."""
        features = self.features(images)
        if self.feature == "image_embeds":
            return self.of(features), self.of(torch.zeros_like(features))
        gray = ENCODER.model(pixel_values=torch.zeros(1, 3, 56, 56), intermediate_output=-2)[1]
        return self.of(features), self.of(gray.expand_as(features))


@functools.cache
def adapter_of(layout: str, kind: str = "base") -> Adapter:
    return Adapter(layout, kind)


EITHER = pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])


def sees(pair, away=()):
    """Which tokens whom: in the layers ``away`` the negative the reference, the positive nothing."""

    def tokens(t, positive, frame):
        if t in away:
            return None if positive else pair[0]
        return pair[0] if positive else pair[1]

    return tokens


def weights(layout, weight_type, weight, second):
    """By version 2's names: its linear is the schedule even."""
    name = "even" if weight_type == "linear" else weight_type
    table = by_number(layout, name, weight, second)
    return lambda t, frame: table.get(t)


def call_node(node, layout, adapter, image, model=None, **inputs):
    model = model or silent(layout)
    inputs = {"clip_vision": ENCODER, "compat": "faithful", **inputs}
    if image is not None:
        inputs["image"] = image
    return node.execute(model=model, ipadapter=adapter.loaded, **inputs)[0]


def at(items: Any, frame: int) -> Any:
    """The last is for all that follow."""
    return items[min(frame, len(items) - 1)]
