"""Exclusivity: where a reference's mask is black, another reference in its place changes nothing.

Given the same queries, at every layer, to the bit. That a layer's mask is black there is worked out
from the definition, not asked of the code.
"""

import pytest
import torch
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, apply, in_windows
from ipadapter_pack.tests.headless.test_rule_exact import reduced
from torch import Tensor

LAYERS = {"SD1.5": 16, "SDXL": 70}
SIZES = [(9, 13), (17, 10), (23, 31)]  # latents of 72 x 104, 136 x 80 and 184 x 248 pixels


@pytest.fixture(scope="module", params=LAYERS)
def layout(request):
    return request.param


class Replay:
    """Runs a model twice over: the second time, each layer is given the first one's queries."""

    def __init__(self):
        self.given, self.out, self.options = [], [[], []], []

    def run(self, turn, model, **settings):
        replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        for key, patch in list(replaced.items()):
            model.set_model_attn2_replace(self._replacement(turn, key, patch), *key)
        tiny.sample(model, **settings)

    def _replacement(self, turn, key, patch):
        def replacement(q: Tensor, k: Tensor, v: Tensor, extra_options: dict) -> Tensor:
            number = len(self.out[turn])
            if turn == 0:
                self.given.append((key, q, k, v))
                self.options.append(extra_options)
            was, q, k, v = self.given[number]
            assert was == key
            self.out[turn].append(patch(q, k, v, extra_options))
            return self.out[turn][number]

        return replacement


def swapped(layout, masks, change=lambda model: model, **settings):
    """(options, out with A, out with A', both with B) of every layer call, in two runs."""
    loaded, replay = adapter(layout), Replay()
    for turn, reference in enumerate((1, 7)):
        model = apply(tiny.shared_model(layout), loaded, reference, attn_mask=masks[0])
        model = change(apply(model, loaded, 2, attn_mask=masks[1], weight=0.8))
        replay.run(turn, model, layout=layout, **settings)
    calls = list(zip(replay.options, *replay.out, strict=True))
    assert len(calls) >= LAYERS[layout]
    return calls


def check(calls, mask_of):
    """``mask_of``: options -> float64 [chunks, latents, H, W], the layer's share of A's mask."""
    touched = 0
    for options, first, second in calls:
        height, width = options["activations_shape"][-2:]
        mask = mask_of(options, height, width)
        changed = (first != second).any(-1).view(mask.shape)
        black = mask == 0
        assert not changed[black].any()
        positive = torch.tensor(options["cond_or_uncond"]) == 0  # negatives see no picture at all
        assert changed[positive][mask[positive] > 1e-3].all()
        touched += int(black.any() and not black.all())
    assert touched > len(calls) // 3  # both sides of the border are seen, not only one of them


def soft_left(height, width, batch=1):
    """White at the left, falling to black before the middle."""
    ramp = (1.4 - 3.2 * torch.arange(width) / width).clamp(0, 1)
    return ramp.expand(batch, height, width).clone()


@pytest.mark.parametrize("size", SIZES)
def test_exclusive_at_any_size(layout, size):
    masks = soft_left(200, 300), soft_left(64, 64).flip(-1)
    calls = swapped(layout, masks, size=size, steps=1)

    def mask_of(options, height, width):
        one = torch.from_numpy(reduced(masks[0][0].double().numpy(), height, width))
        return one.expand(len(options["cond_or_uncond"]), 1, -1, -1)

    check(calls, mask_of)


def test_exclusive_in_a_batch_of_three(layout):
    masks = torch.cat([soft_left(50, 50), soft_left(50, 50).flip(-1), soft_left(50, 50).mT])
    calls = swapped(layout, (masks, soft_left(8, 8)), size=(11, 14), batch=3, steps=1)

    def mask_of(options, height, width):
        own = [reduced(m.double().numpy(), height, width) for m in masks]
        return torch.stack(list(map(torch.from_numpy, own))).expand(2, -1, -1, -1)

    check(calls, mask_of)


def test_exclusive_inside_an_area(layout):
    """The canvas is cropped to the conditioning's area, at the latent's grid."""
    size, area = (16, 22), (9, 12, 5, 3)  # height, width, y, x
    positive = tiny.conditioning(3, layout)
    positive[0][1] |= {"area": area, "strength": 1.0}
    mask = soft_left(160, 220)
    positive = tiny.conditioning(1, layout) + positive
    calls = swapped(layout, (mask, soft_left(8, 8)), size=size, steps=1, positive=positive, cfg=5.0)
    canvas = reduced(mask[0].double().numpy(), *size)
    inside = canvas[5 : 5 + 9, 3 : 3 + 12]
    shapes = set()

    def mask_of(options, height, width):
        of_area = tuple(options["original_shape"][-2:]) == area[:2]
        shapes.add(of_area)
        one = reduced(inside, height, width) if of_area else reduced(canvas, height, width)
        return torch.from_numpy(one).expand(len(options["cond_or_uncond"]), 1, -1, -1)

    check(calls, mask_of)
    assert shapes == {True, False}


def test_exclusive_inside_a_context_window(layout):
    frames = 8
    mask = torch.zeros(frames, 40, 40)
    for frame in range(frames):
        mask[frame, :, 4 * frame : 4 * frame + 8] = 1
    calls = swapped(
        layout, (mask, soft_left(8, 8)), lambda model: in_windows(model, 4, 2), batch=frames,
        size=(10, 10), steps=1,
    )  # fmt: skip
    seen = set()

    def mask_of(options, height, width):
        window = options["context_window"]
        index = window.get_tensor(torch.arange(frames), dim=0).tolist()
        seen.add(tuple(index))
        own = [reduced(mask[i].double().numpy(), height, width) for i in index]
        own = torch.stack(list(map(torch.from_numpy, own)))
        return own.expand(len(options["cond_or_uncond"]), -1, -1, -1)

    check(calls, mask_of)
    assert len(seen) > 1
