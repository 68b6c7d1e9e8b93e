"""The bundled workflows with Apply IPAdapter Regions: what acts where, over HTTP."""

import json

import numpy as np
import pytest
from ipadapter_pack.tests.headless.runs import (
    CROP,
    key_of,
    narrow_encoder,
    pictures,
    result,
    set_inputs,
    small,
    stripes,
    uploaded,
)
from PIL import Image

SIDE = 192  # of a picture: small, and twelve cells a side where the UNet is halfway down
BANDS = ("red", "lime", "blue", "yellow", "black")  # of a color map, from left to right
PLACES = [0.0, 0.15, 0.3, 0.45, 0.6, 0.45, 0.3, 0.15]  # of the box in the frames of masks_per_frame
CROPPED = "masked_pass_and_cropped_detail"
BEFORE = {}  # pictures by graph, from which several tests start


def across(left, right, top=0.0):
    """White between two fractions of the width, below one of the height: [H, W] of bool."""
    at = (np.arange(SIDE) + 0.5) / SIDE
    return ((at > left) & (at < right))[None, :] & (at > top)[:, None]


SUBJECT = across(0.3, 0.7, top=0.15)
HALVES = {"left": across(0, 0.5), "right": across(0.5, 1)}
REGIONS = {
    "regions_from_color_map": {f"{n + 1}": across(n / 5, (n + 1) / 5) for n in range(5)},
    "regions_with_own_prompts": HALVES,
    "background_region": {"subject": SUBJECT, "background": ~SUBJECT},
    CROPPED: HALVES,
}


def color_map():
    image = Image.new("RGB", (200, 200))
    for number, color in enumerate(BANDS):
        image.paste(color, (number * 40, 0, number * 40 + 40, 200))
    return image


def sized(client, name):
    graph = set_inputs(narrow_encoder(small(name)), "Empty Latent Image", width=SIDE, height=SIDE)
    # A soft edge is in pixels: as narrow as the picture is small.
    graph = set_inputs(graph, "edge", shape_feather=8)
    if name == "regions_from_color_map":
        graph = set_inputs(graph, "mask", image=uploaded(client, color_map()))
    return graph


def change(client, graph, name, **inputs):
    """How much each pixel of the output changes with other inputs of a node: [..., H, W]."""
    key = json.dumps(graph)
    if key not in BEFORE:
        BEFORE[key] = result(client, graph)
    changed = set_inputs(graph, name, **inputs)
    return np.abs(result(client, changed) - BEFORE[key]).mean(-1)


def ratio(difference, inside):
    return difference[inside].mean() / difference[~inside].mean()


@pytest.mark.parametrize(
    ("name", "reference"), [(name, region) for name in REGIONS for region in REGIONS[name]]
)
def test_a_reference_acts_in_its_region(client, name, reference):
    graph, green = sized(client, name), uploaded(client, stripes("green"))
    difference = change(client, graph, f"reference_{reference}", image=green)
    assert ratio(difference, REGIONS[name][reference]) > 2


@pytest.mark.parametrize("side", HALVES)
def test_a_text_acts_in_its_region(client, side):
    graph = sized(client, "regions_with_own_prompts")
    difference = change(client, graph, f"prompt_{side}", text="a fox")
    assert ratio(difference, HALVES[side]) > 3


def test_each_frame_has_its_own_mask(client):
    red, green = (uploaded(client, stripes(color)) for color in ("red", "green"))
    graph = set_inputs(narrow_encoder(small("masks_per_frame", 128)), "edge", shape_feather=8)
    graph = set_inputs(graph, "reference_subject", image=red)
    clip = result(client, graph)
    assert len(clip) == len(PLACES)
    for frame in (1, 2, 3):  # the box swings back: same noise, same mask, in another window
        assert np.abs(clip[frame] - clip[-frame]).max() < 0.02
    columns = change(client, graph, "reference_subject", image=green).mean(1)
    at = (np.arange(columns.shape[1]) + 0.5) / columns.shape[1]
    middles = columns @ at / columns.sum(1)
    assert middles[0] < middles[1] < middles[2] < middles[4]
    first, last = columns[0], columns[4]
    assert last[at < 0.3].mean() < 0.1 * first[at < 0.3].mean()
    assert first[at > 0.7].mean() < 0.1 * last[at > 0.7].mean()


def test_the_second_pass_changes_its_square_alone(client):
    both = pictures(client, narrow_encoder(small(CROPPED, 128)))
    difference = np.abs(both["output"] - both["first_pass"]).mean(-1)
    x, y, size = (int(fraction * 128) for fraction in CROP.values())
    square = (slice(y, y + size), slice(x, x + size))
    assert difference[square].mean() > 0.01
    difference[square] = 0
    assert not difference.any()


def test_the_second_pass_has_the_regions_of_its_square(client):
    """In a square at the left the other reference is not there, unless the masks are left whole."""
    graph = set_inputs(narrow_encoder(small(CROPPED, 128)), "crop_x", value=0)
    graph = set_inputs(graph, "crop_size", value=32)
    plain = [key_of(graph, "Load Checkpoint"), 0]
    graph = set_inputs(graph, "KSampler (first pass)", model=plain)
    green = uploaded(client, stripes("green"))
    assert not change(client, graph, "reference_right", image=green).any()
    assert change(client, graph, "reference_left", image=green).any()
    whole = [key_of(graph, "Apply IPAdapter Regions"), 0]
    uncropped = set_inputs(graph, "KSampler (second pass)", model=whole)
    assert change(client, uncropped, "reference_right", image=green).any()
