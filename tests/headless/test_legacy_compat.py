"""compat v2: what version 2 did otherwise, in every layer, against float64."""

import itertools

import pytest
import torch
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced
from ipadapter_pack.nodes.legacy.compat import WAYS
from ipadapter_pack.nodes.legacy.encode import Encoders, see
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.legacy_layers import (
    CLOSE,
    EITHER,
    NUMBERS,
    WEIGHT_TYPES,
    Acts,
    adapter_of,
    at,
    call_node,
    pictures,
    recorded,
    sees,
    weights,
    worst,
)
from ipadapter_pack.tests.headless.legacy_oracle import SCALING, guessed_grid, guessed_mask
from ipadapter_pack.tests.headless.support import ENCODER
from ipadapter_pack.tests.weight_types.test_layers import AWAY


def v2_pair(adapter, image):
    """As ComfyUI's own node sees the pictures; with Plus, the negative sees a black one."""
    features = torch.cat([ENCODER.encode_image(one[None])[adapter.feature] for one in image])
    if adapter.feature == "image_embeds":
        return adapter.of(features), adapter.of(torch.zeros_like(features))
    black = ENCODER.encode_image(torch.zeros(1, 56, 56, 3))[adapter.feature]
    return adapter.of(features), adapter.of(black.expand_as(features))


@EITHER
@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
def test_compat_is_the_published_version_without_its_middle(layout, weight_type):
    kind = "plus" if "precise" in weight_type or weight_type == "linear" else "base"
    adapter, image = adapter_of(layout, kind), tiny.picture(3, 64, 88)
    scaling = list(SCALING)[WEIGHT_TYPES.index(weight_type) % 4]
    inputs = {"weight": 0.8, "weight_type": weight_type, "compat": "v2", "embeds_scaling": scaling}
    model = call_node(IPAdapterAdvanced, layout, adapter, image, **inputs)
    calls = recorded(model, layout)
    second = 1.0 if weight_type == "style and composition" else 0.8
    table = weights(layout, weight_type, 0.8, second)
    middle = NUMBERS[layout]["middle", 0]
    without = lambda t, frame: None if t == middle else table(t, frame)  # noqa: E731
    tokens = sees(v2_pair(adapter, image), AWAY.get((layout, weight_type), []))
    acts = Acts(adapter.file, tokens, without, SCALING[scaling])
    assert worst(calls, layout, acts) < CLOSE


@pytest.mark.parametrize("kind", ["base", "plus", "full"])
@pytest.mark.parametrize("size", [(64, 64), (88, 61), (50, 130)])
def test_compat_shows_the_encoder_the_picture_as_it_is(kind, size):
    adapter, image = adapter_of("SD1.5", kind), tiny.picture(3, *size)
    seen = see(Encoders(adapter.loaded, ENCODER, None), image, None, None, WAYS["v2"])
    assert torch.equal(seen.features.positive.clip, ENCODER.encode_image(image)[adapter.feature])
    black = ENCODER.encode_image(torch.zeros(1, 224, 224, 3))[adapter.feature]
    assert torch.equal(
        seen.features.negative.clip, torch.zeros_like(black) if kind == "base" else black
    )


# Of some layers the grid is guessed right, of others its length, of others not even that.
LATENTS = [(9, 13), (17, 10), (23, 31), (8, 11), (16, 16), (7, 27), (22, 5)]


@EITHER
@pytest.mark.parametrize("latent", LATENTS)
def test_compat_guesses_the_grid_of_a_mask(layout, latent):
    adapter = adapter_of(layout)
    mask = torch.rand(2, 75, 101, generator=torch.Generator().manual_seed(2))
    inputs = {"weight": 0.8, "compat": "v2", "attn_mask": mask}
    model = call_node(IPAdapterAdvanced, layout, adapter, pictures(0), **inputs)
    calls = recorded(model, layout, size=latent, batch=3)
    middle = NUMBERS[layout]["middle", 0]

    def masked(call, frame):
        return guessed_mask(at(mask, frame), latent, len(call.q[0]))

    tokens = sees(v2_pair(adapter, pictures(0)))
    no_middle = lambda t, frame: None if t == middle else 0.8  # noqa: E731
    acts = Acts(adapter.file, tokens, no_middle, SCALING["V only"], masked)
    assert worst(calls, layout, acts) < CLOSE


def test_the_sizes_have_every_kind_of_guess():
    kinds = set()
    for (height, width), level in itertools.product(LATENTS, range(4)):
        grid = -(-height // 2**level), -(-width // 2**level)
        cells = grid[0] * grid[1]
        rows, columns = guessed_grid((height, width), cells)
        length = (
            "short" if rows * columns < cells else "long" if rows * columns > cells else "right"
        )
        kinds.add((length, (rows, columns) == grid))
    assert kinds == {("right", True), ("right", False), ("short", False)}
