"""Schedules, against the tables of the survey written out by transformer number t."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.base_models import Layer
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.reference import LayerSchedule
from ipadapter_pack.weight_types import layers as schedules
from ipadapter_pack.weight_types.layers import SCHEDULES, LayerWeight

W, SECOND = 0.7, 0.3


def spread(name, layers, weight, *rest, **more):
    return schedules.spread(LayerSchedule(name, *rest, **more), layers, weight)


# The block of each t, and how many cross-attentions it has.
SD15 = [("input", n, 1) for n in (1, 2, 4, 5, 7, 8)] + [("middle", 0, 1)]
SD15 += [("output", n, 1) for n in range(3, 12)]
SDXL = [("input", 4, 2), ("input", 5, 2), ("input", 7, 10), ("input", 8, 10), ("middle", 0, 10)]
SDXL += [("output", n, 10 if n < 3 else 2) for n in range(6)]
SSD1B = [("input", 4, 2), ("input", 5, 2), ("input", 7, 4), ("input", 8, 4)]
SSD1B += [("output", n, depth) for n, depth in enumerate([4, 4, 10, 2, 1, 1])]
LAYOUTS = {"SD1.5": SD15, "SDXL": SDXL, "SSD-1B": SSD1B}

BY_DEPTH = {
    "even": lambda t, length, block: 1,
    "ease in": lambda t, length, block: 0.05 + 0.95 * (1 - t / length),
    "ease out": lambda t, length, block: 0.05 + 0.95 * (t / length),
    "ease in-out": lambda t, length, block: 0.05 + 0.95 * (1 - abs(t - length / 2) / (length / 2)),
    "reverse in-out": lambda t, length, block: 0.05 + 0.95 * (abs(t - length / 2) / (length / 2)),
    "weak input": lambda t, length, block: 0.2 if block == "input" else 1,
    "weak output": lambda t, length, block: 0.2 if block == "output" else 1,
    "weak middle": lambda t, length, block: 0.2 if block == "middle" else 1,
    "strong middle": lambda t, length, block: 1 if block == "middle" else 0.2,
}
# w: the weight, s: the second one. AWAY: where the precise ones steer away.
STYLE15 = [0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15]
NOT45 = [t for t in range(16) if t not in (4, 5)]
NOT3 = [t for t in range(11) if t != 3]
BY_ROLE = {
    "SD1.5": {
        "style transfer": lambda w, s: dict.fromkeys(STYLE15, w),
        "composition": lambda w, s: {4: 0.25 * w, 5: w},
        "strong style transfer": lambda w, s: dict.fromkeys(NOT45, w),
        "style and composition": lambda w, s: {**dict.fromkeys(STYLE15, w), 4: 0.25 * s, 5: s},
        "strong style and composition": lambda w, s: {**dict.fromkeys(NOT45, w), 4: s, 5: s},
        "style transfer precise": lambda w, s: {**dict.fromkeys(STYLE15, w), 4: 0.25 * s, 5: s},
        "composition precise": lambda w, s: {
            **dict.fromkeys(STYLE15, s),
            **dict.fromkeys([6, 7, 8], 0.1 * s),
            4: 0.25 * w,
            5: w,
        },
    },
    "SDXL": {
        "style transfer": lambda w, s: {6: w},
        "composition": lambda w, s: {3: w},
        "strong style transfer": lambda w, s: dict.fromkeys(NOT3, w),
        "style and composition": lambda w, s: {3: s, 6: w},
        "strong style and composition": lambda w, s: {**dict.fromkeys(NOT3, w), 3: s},
        "style transfer precise": lambda w, s: {3: s, 6: w},
        "composition precise": lambda w, s: {**dict.fromkeys(NOT3, 0.1 * s), 3: w, 6: s},
    },
}
AWAY = {
    ("SD1.5", "style transfer precise"): [4, 5],
    ("SD1.5", "composition precise"): NOT45,
    ("SDXL", "style transfer precise"): [3],
    ("SDXL", "composition precise"): NOT3,
}


def layers_of(layout):
    """As adapter files list them: input, output, middle."""
    rows = sorted(LAYOUTS[layout], key=lambda row: ["input", "output", "middle"].index(row[0]))
    return [Layer(block, n, i) for block, n, depth in rows for i in range(depth)]


def expected(layout, schedule, weight, second):
    """{t: weight} of the survey."""
    rows = LAYOUTS[layout]
    if schedule in BY_DEPTH:
        factor = BY_DEPTH[schedule]
        return {t: weight * factor(t, len(rows), rows[t][0]) for t in range(len(rows))}
    return BY_ROLE[layout][schedule](weight, second)


def check(layout, found, by_t, away=()):
    """Each layer of t has by_t[t], the others are absent."""
    wanted = {
        Layer(*LAYOUTS[layout][t][:2], i): (weight, t in away)
        for t, weight in by_t.items()
        for i in range(LAYOUTS[layout][t][2])
    }
    assert found.keys() == wanted.keys()
    for layer, (weight, negative_only) in wanted.items():
        assert math.isclose(found[layer].weight, weight, rel_tol=1e-12), layer
        assert found[layer].negative_only is negative_only, layer


@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("second", [None, SECOND])
def test_schedules_equal_their_tables(layout, schedule, second):
    by_t = expected(layout, schedule, W, W if second is None else second)
    found = spread(schedule, layers_of(layout), W, second)
    check(layout, found, by_t, AWAY.get((layout, schedule), ()))


@pytest.mark.parametrize("schedule", BY_DEPTH)
def test_without_roles_any_layout_works(schedule):
    check("SSD-1B", spread(schedule, layers_of("SSD-1B"), W), expected("SSD-1B", schedule, W, W))


@pytest.mark.parametrize("schedule", BY_ROLE["SDXL"])
def test_roles_of_an_unknown_layout_are_an_error(schedule):
    with pytest.raises(IPAdapterError) as error:
        spread(schedule, layers_of("SSD-1B"), W)
    message = str(error.value)
    assert message.startswith(f"layer_schedule {schedule}: ")
    assert "\n" not in message
    assert "SD1.5 (16) and SDXL (11); this model has 10 (4 input, 0 middle, 6 output)" in message
    assert "even, ease in," in message
    assert "composition precise" not in message.split("; ")[-1]


def test_an_unknown_schedule_lists_the_known_ones():
    with pytest.raises(IPAdapterError, match="layer_schedule ease: choose one of even, ease in, "):
        spread("ease", layers_of("SDXL"), W)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weight_zero_is_no_layer(schedule):
    assert spread(schedule, layers_of("SDXL"), 0.0) == {}


@given(
    st.sampled_from(["SD1.5", "SDXL"]),
    st.sampled_from(list(SCHEDULES)),
    st.floats(-3, 5, width=16),
    st.randoms(use_true_random=False),
)
def test_order_of_the_layers_and_scale_of_the_weight(
    layout: str, schedule: str, weight: float, random: random.Random
):
    layers = layers_of(layout)
    found = spread(schedule, layers, weight)
    assert spread(schedule, random.sample(layers, len(layers)), weight) == found
    double = {layer: entry._replace(weight=2 * entry.weight) for layer, entry in found.items()}
    assert spread(schedule, layers, 2 * weight) == double


WRITTEN = {  # text: {t: factor} on SDXL
    "3:1.0, 6:0.5": {3: 1, 6: 0.5},
    " 10 : -2 ,\n 0:.25,\n": {10: -2, 0: 0.25},
    "3:1, 6:0": {3: 1},
    "3:1, 3:0.5": {3: 0.5},  # the later one
    "3:0": {},
    "style: 0.5": {6: 0.5},
    "Composition:1": {3: 1},
    "input: 0.5, input 8: 1": {0: 0.5, 1: 0.5, 2: 0.5, 3: 1},
    "output: 1, style: 0": {5: 1, 7: 1, 8: 1, 9: 1, 10: 1},
    "middle:1, output  1:2": {4: 1, 6: 2},
    "middle 0:1e-1": {4: 0.1},
}


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("schedule", ["even", "ease in", "style transfer"])
def test_written_weights_replace_the_schedule(schedule, text):
    found = spread(schedule, layers_of("SDXL"), W, SECOND, text)
    check("SDXL", found, {t: W * factor for t, factor in WRITTEN[text].items() if factor})


@pytest.mark.parametrize("schedule", ["style transfer precise", "composition precise"])
def test_written_weights_steer_away_by_role(schedule):
    found = spread(schedule, layers_of("SDXL"), W, SECOND, "3:1, 6:0.5, 9:2")
    check("SDXL", found, {3: W, 6: 0.5 * W, 9: 2 * W}, AWAY["SDXL", schedule])


@pytest.mark.parametrize("role", ["composition", "style"])
def test_a_written_role_is_as_strong_as_its_schedule(role):
    schedule = {"composition": "composition", "style": "style transfer"}[role]
    found = spread("even", layers_of("SD1.5"), W, layer_weights=f"{role}: 1")
    assert found == spread(schedule, layers_of("SD1.5"), W)


@pytest.mark.parametrize("text", ["", " ", "\n", " , ,\n"])
def test_nothing_written_is_the_schedule(text):
    layers = layers_of("SDXL")
    assert spread("ease in", layers, W, layer_weights=text) == spread("ease in", layers, W)


def test_layers_are_written_by_number_on_any_layout():
    found = spread("even", layers_of("SSD-1B"), W, layer_weights="4: 1, output 5: 0.5")
    assert found == {
        **{Layer("output", 0, i): LayerWeight(W) for i in range(4)},
        Layer("output", 5, 0): LayerWeight(W / 2),
    }


BAD = ["3", "3:", ":1", "3:x", "3:1:2", "11:1", "-1:1", "3:nan", "3:inf", "3:1e999", "input 3:1"]
BAD += ["t3:1", "3=1", "face:1", "output 6:1", "\x00:1", "middle 1:1", "3.0:1"]


@pytest.mark.parametrize("bad", BAD)
def test_bad_text_is_shown_with_what_is_possible(bad):
    with pytest.raises(IPAdapterError) as error:
        spread("even", layers_of("SDXL"), W, layer_weights=f"3:1,\n {bad} , 4:1")
    message = str(error.value)
    assert message.startswith(f"layer_weights: {bad!r} is not a layer")
    assert "\n" not in message
    assert "0 to 10, input, middle, output, style, composition or one block such as" in message


@pytest.mark.parametrize("bad", ["10:1", "middle:1", "style:1", "composition:1"])
def test_what_a_layout_lacks_cannot_be_written(bad):
    with pytest.raises(IPAdapterError, match="number from 0 to 9, input, output or one block"):
        spread("even", layers_of("SSD-1B"), W, layer_weights=bad)


def test_a_long_text_is_not_repeated():
    with pytest.raises(IPAdapterError) as error:
        spread("even", layers_of("SDXL"), W, layer_weights="x" * 100_000)
    assert len(str(error.value)) < 400


def test_names_and_order_of_the_choices_are_for_ever():
    assert list(SCHEDULES) == [*BY_DEPTH, *BY_ROLE["SDXL"]]


@given(st.text("0123456789:, .-\nestyl"))
def test_any_text_is_read_or_refused(text: str):
    try:
        found = spread("even", layers_of("SDXL"), W, layer_weights=text)
    except IPAdapterError:
        return
    assert all(math.isfinite(entry.weight) for entry in found.values())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
def test_blocks_can_be_left_out_without_changing_the_others(name, layout):
    layers = [Layer(b, n, i) for b, n, depth in LAYOUTS[layout] for i in range(depth)]
    whole = spread(name, layers, W, SECOND)
    left = spread(name, layers, W, SECOND, without=("middle",))
    assert left == {layer: w for layer, w in whole.items() if layer.block != "middle"}
