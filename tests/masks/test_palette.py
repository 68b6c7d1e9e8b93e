"""The colors of a painted map: read as people write them, found as they painted them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.masks.color import Color, write_color
from ipadapter_pack.masks.palette import MOST, find_colors, read_colors
from ipadapter_pack.tests.painted import jpeg, scaled, tensor
from PIL import Image, ImageColor, ImageDraw

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
LEVEL = st.integers(0, 255)


@pytest.mark.parametrize(
    ("text", "colors"),
    [
        ("", []),
        (" \n; ", []),
        ("red", [RED]),
        ("255, 0, 0", [RED]),
        ("#f00, #008000, blue", [RED, GREEN, BLUE]),
        ("#f00 green\tblue", [RED, GREEN, BLUE]),
        ("red;green\nblue;", [RED, GREEN, BLUE]),
        ("255,0,0\n0, 128, 0\n0 , 0 , 255", [RED, GREEN, BLUE]),
        ("255,0,0; 0,128,0; blue", [RED, GREEN, BLUE]),
        ("255,0,0 0,128,0 blue", [RED, GREEN, BLUE]),
        ("rgb(255, 0, 0), green, RGB(0,0,255)", [RED, GREEN, BLUE]),
        ("16711680, 32768, 255", [RED, GREEN, BLUE]),
    ],
)
def test_colors_of_a_text(text, colors):
    assert read_colors(text) == colors


@given(st.lists(st.tuples(LEVEL, LEVEL, LEVEL), max_size=12), st.sampled_from([", ", " ", ";\n"]))
def test_written_colors_are_read_back(colors, between):
    assert read_colors(between.join(map(write_color, colors))) == colors


@pytest.mark.parametrize("text", ["red, reddish", "red reddish", "reddish\nred", "rgb(1,2), red"])
def test_what_is_no_color_is_named(text):
    wrong = "rgb(1,2)" if "(" in text else "reddish"
    with pytest.raises(ValueError, match="is not a color") as caught:
        read_colors(text)
    assert str(caught.value).startswith(repr(wrong))


# Found in a picture


def colors_of(*pictures: torch.Tensor, count: int = 0) -> list[Color]:
    return find_colors(pictures, count)[0]


def boxes(width: int, height: int, ground, *drawn) -> Image.Image:
    """Boxes, as (color, left, top, right, bottom) in parts of the picture, over a ground."""
    image = Image.new("RGB", (width, height), ground)
    for color, *corners in drawn:
        places = [part * side for part, side in zip(corners, (width, height) * 2, strict=True)]
        ImageDraw.Draw(image).rectangle(places, fill=color)
    return image


HARD = boxes(
    512, 384, (250, 250, 245),
    ((220, 40, 40), 0.05, 0.1, 0.4, 0.6), ((220, 80, 40), 0.4, 0.1, 0.6, 0.9),
    ((40, 60, 200), 0.7, 0.2, 0.95, 0.5), ((20, 20, 20), 0.8, 0.8, 0.87, 0.875),
)  # fmt: skip
# white paper, two reds 40 levels apart that touch, and black on half a percent of the picture
HARD_COLORS = {(250, 250, 245), (220, 40, 40), (220, 80, 40), (40, 60, 200), (20, 20, 20)}
CHANGES = {
    "as drawn": lambda image: image,
    "jpeg 90": lambda image: jpeg(image, 90),
    "jpeg 75": lambda image: jpeg(image, 75),
    "smaller": lambda image: scaled(image, 0.5),
    "larger": lambda image: scaled(image, 3),
    "larger jpeg": lambda image: jpeg(scaled(image, 2.2), 75),
    "enlarged jpeg": lambda image: scaled(jpeg(image, 75), 1.6),
}


def test_colors_of_a_clean_map_are_exact():
    assert set(colors_of(tensor(HARD))) == HARD_COLORS


@pytest.mark.parametrize("change", CHANGES)
def test_small_and_similar_colors_are_found_and_no_others(change):
    found = np.array(colors_of(tensor(CHANGES[change](HARD))))
    assert len(found) == len(HARD_COLORS)
    for color in HARD_COLORS:
        assert np.abs(found - color).max(axis=1).min() <= 6


NINE = "red lime blue yellow magenta cyan orange purple black"


@pytest.mark.parametrize(
    ("size", "quality", "share", "names"),
    [
        ((512, 512), 60, 0.005, "red"),
        ((512, 512), 60, 0.005, "red lime blue yellow"),
        ((1000, 512), 50, 0.005, "red lime blue yellow"),
        ((1024, 1024), 30, 0.05, "red lime blue yellow orange"),
        ((768, 512), 40, 0.05, "red lime blue yellow magenta cyan"),
        ((768, 512), 60, 0.02, NINE),
        ((1000, 512), 50, 0.05, NINE),
        ((1024, 1024), 40, 0.05, NINE),
        ((1024, 1024), 50, 0.005, NINE),
    ],
)
def test_discs_of_a_jpeg_are_found_however_small(size, quality, share, names):
    image = discs(size, share, *names.split())
    found = colors_of(tensor(jpeg(image, quality)))
    wanted = np.array([ImageColor.getrgb(name) for name in ("white", *names.split())])
    assert len(found) == len(wanted)
    for color in wanted:
        assert np.abs(np.array(found) - color).max(axis=1).min() <= 20


def discs(size: tuple[int, int], share: float, *names: str) -> Image.Image:
    """On white, side by side, a disc of each color with this share of the picture."""
    image = Image.new("RGB", size, "white")
    width, height = size
    radius = (share * width * height / np.pi) ** 0.5
    for place, name in enumerate(names):
        x, y = width * (place + 0.5) / len(names), height * (0.3 + 0.4 * (place % 2))
        ImageDraw.Draw(image).ellipse([x - radius, y - radius, x + radius, y + radius], fill=name)
    return image


def test_count_takes_the_most_frequent():
    image = tensor(boxes(64, 64, RED, (BLUE, 0.6, 0.6, 1, 1), (GREEN, 0, 0, 0.2, 0.2)))
    assert colors_of(image) == [GREEN, RED, BLUE]
    assert colors_of(image, count=2) == [RED, BLUE]
    assert colors_of(image, count=1) == [RED]
    assert colors_of(image, count=7) == [GREEN, RED, BLUE]


def test_count_finds_what_is_tiny():
    image = tensor(boxes(512, 512, RED, (BLUE, 0.5, 0.5, 0.512, 0.512)))
    assert colors_of(image) == [RED]
    assert colors_of(image, count=2) == [RED, BLUE]


@pytest.mark.parametrize("amount", [MOST - 1, MOST, MOST + 1])
def test_of_more_colors_than_fit_the_smallest_is_left_out(amount):
    names = [*NINE.split(), "gray", "white"][:amount]
    colors = [ImageColor.getrgb(name) for name in names]
    columns = np.repeat(np.array(colors), [9] * (amount - 1) + [5], axis=0)
    image = torch.from_numpy(columns / 255)[None].repeat(20, 1, 1)
    assert find_colors([image]) == (colors[:MOST], amount > MOST)


def test_colors_of_all_pictures_of_a_batch():
    batch = [tensor(boxes(32, 32, RED)), tensor(boxes(32, 32, BLUE, (WHITE, 0, 0, 1, 0.4)))]
    assert set(colors_of(*batch)) == {RED, BLUE, WHITE}


def test_gradients_and_noise_give_no_more_than_fit():
    gradient = torch.linspace(0, 1, 700)[None, :, None].repeat(50, 1, 3)
    assert len(colors_of(gradient)) == MOST
    assert 1 <= len(colors_of(torch.rand(50, 50, 3))) <= MOST
    assert colors_of(torch.ones(1, 1, 1)) == [WHITE]


def test_transparent_places_have_no_color():
    image = torch.cat([tensor(boxes(64, 64, RED, (BLUE, 0, 0, 1, 0.5))), torch.ones(64, 64, 1)], -1)
    image[:32, :, 3] = 0
    assert colors_of(image) == [RED]
    image[..., 3] = 0
    assert colors_of(image) == []


# Their order


def order(image: Image.Image) -> list[str]:
    """The names, from the table below, of the colors that are found."""
    return [
        min(NAMES, key=lambda name: sum(abs(a - b) for a, b in zip(NAMES[name], c, strict=True)))
        for c in colors_of(tensor(image))
    ]


NAMES = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE, "black": (0, 0, 0)}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (boxes(300, 200, RED, (GREEN, 0.3, 0, 0.6, 1), (BLUE, 0.6, 0, 1, 1)), "red green blue"),
        (boxes(300, 200, RED, (GREEN, 0, 0.3, 1, 0.6), (BLUE, 0, 0.6, 1, 1)), "red green blue"),
        (
            boxes(240, 240, BLUE, (RED, 0, 0, 0.5, 0.5), (WHITE, 0.5, 0, 1, 0.5),
                  (GREEN, 0, 0.5, 0.5, 1)),
            "red green white blue",
        ),
        (boxes(240, 240, RED, (BLUE, 0.3, 0.3, 0.7, 0.7)), "red blue"),
    ],
    ids=["columns", "rows", "quarters", "frame"],
)  # fmt: skip
def test_from_left_to_right_and_from_top_to_bottom(image, expected, change):
    assert order(CHANGES[change](image)) == expected.split()
