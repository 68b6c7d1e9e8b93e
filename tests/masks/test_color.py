"""A color in a picture becomes a mask; a color that cannot be read is refused in one line."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ipadapter_pack.masks.color import SOFT_EDGE, mask_from_color, read_color
from PIL import ImageColor

LEVEL = st.integers(0, 255)


def picture(levels) -> torch.Tensor:
    """8-bit levels [..., channels] as ComfyUI's image [1, 1, pixels, channels]."""
    levels = torch.tensor(levels, dtype=torch.float32)
    return levels.reshape(1, 1, -1, levels.shape[-1]) / 255


def expected(levels, color, tolerance) -> float:
    """One pixel, in plain Python."""
    if len(levels) == 4 and levels[3] == 0:
        return 0.0
    distance = max(abs(int(a) - b) for a, b in zip(levels[:3], color, strict=True))
    if distance <= tolerance:
        return 1.0
    return max(0.0, 1 - (distance - tolerance) / SOFT_EDGE)


@settings(deadline=None)
@given(
    arrays(np.uint8, (2, 3, 2, 4), elements=LEVEL),
    st.tuples(LEVEL, LEVEL, LEVEL),
    LEVEL,
    st.sampled_from([3, 4]),
)
def test_every_pixel_by_its_largest_channel_difference(levels, color, tolerance, channels):
    levels = levels[..., :channels]
    image = torch.from_numpy(levels.astype(np.float32) / 255)
    mask = mask_from_color(image, "{},{},{}".format(*color), tolerance)
    assert mask.shape == (2, 3, 2)
    assert mask.dtype == torch.float32
    pixels = levels.reshape(-1, channels)
    assert mask.flatten().tolist() == [expected(pixel, color, tolerance) for pixel in pixels]


@pytest.mark.parametrize("tolerance", [0, 16, 100])
def test_mask_falls_in_a_straight_line_beyond_the_tolerance(tolerance):
    distances = [0, tolerance, tolerance + 2, tolerance + 4, tolerance + 8, tolerance + 9]
    image = picture([[d, 0, 0] for d in distances])
    assert mask_from_color(image, "black", tolerance)[0, 0].tolist() == [1, 1, 0.75, 0.5, 0, 0]


def test_largest_tolerance_takes_every_color():
    assert mask_from_color(torch.rand(2, 4, 4, 3), "white", 255).min() == 1


def test_transparent_pixels_have_no_color():
    image = picture([[255, 0, 0, 0], [255, 0, 0, 1], [255, 0, 0, 255]])
    assert mask_from_color(image, "red", 0)[0, 0].tolist() == [0, 1, 1]


def test_gray_picture_is_the_same_as_its_rgb():
    gray = torch.linspace(0, 1, 256).reshape(2, 8, 16, 1)
    ours = mask_from_color(gray, "#808080", 60)
    assert ours.unique().numel() > 2
    assert torch.equal(ours, mask_from_color(gray.expand(-1, -1, -1, 3), "#808080", 60))


def test_picture_is_rounded_to_eight_bits():
    image = torch.tensor([100.4, 99.6, 99.4, 300.0, -20.0]).reshape(1, 1, 5, 1) / 255
    assert mask_from_color(image, "100,100,100", 0)[0, 0].tolist() == [1, 1, 7 / 8, 0, 0]
    assert mask_from_color(image, "white", 0)[0, 0, 3] == 1
    assert mask_from_color(image, "black", 0)[0, 0, 4] == 1


def test_half_precision_picture_keeps_its_colors():
    image = picture([[255, 99, 71], [0, 0, 0]])
    assert mask_from_color(image.half(), "tomato", 0)[0, 0].tolist() == [1, 0]


def test_picture_is_not_changed_and_decides_the_device():
    image = torch.rand(1, 3, 3, 4)
    before = image.clone()
    mask_from_color(image, "red", 16)
    assert torch.equal(image, before)
    assert mask_from_color(image.to("meta"), "red", 16).device.type == "meta"


@given(LEVEL, LEVEL, LEVEL)
def test_every_way_to_write_a_color_reads_the_same(red, green, blue):
    color = (red, green, blue)
    number = red * 65536 + green * 256 + blue
    ways = [
        f"#{red:02x}{green:02x}{blue:02X}",
        f"{red},{green},{blue}",
        f" {red}, {green} ,{blue} ",
        f"rgb({red},{green},{blue})",
        f"RGB( {red}, {green}, {blue} )",
        number,
        str(number),
        np.int64(number),
    ]
    assert [read_color(way) for way in ways] == [color] * len(ways)


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#F00", (255, 0, 0)),
        ("#1aB", (17, 170, 187)),
        ("tomato", (255, 99, 71)),
        ("RebeccaPurple", (102, 51, 153)),
        ("16711680", (255, 0, 0)),
        (0, (0, 0, 0)),
    ],
)
def test_known_colors(text, color):
    assert read_color(text) == color


def test_every_css_name():
    for name in ImageColor.colormap:
        assert read_color(name) == ImageColor.getrgb(name)


@pytest.mark.parametrize(
    "color",
    [
        *("", "reddish", "FF0000", "#GG0000", "#ff00f", "1,2", "1,2,3,4", "256,0,0", "-1,0,0"),
        *("rgb(1,2,3", "rgb(0,0,999)", "hsl(0,300%,20%)", "16777216", -1, "1.5", "²", "a\nb"),
        pytest.param("9" * 5000, id="digits"),
    ],
)
def test_color_that_cannot_be_read_is_named_in_one_line(color):
    with pytest.raises(ValueError, match="is not a color") as caught:
        read_color(color)
    text = str(caught.value)
    assert text.startswith(repr(color))
    assert "\n" not in text
    for form in ("#RRGGBB", "#RGB", "r,g,b", "rgb(r,g,b)", "CSS name", "16777215"):
        assert form in text
