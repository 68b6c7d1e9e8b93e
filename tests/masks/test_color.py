"""A color in a picture becomes a mask; a color that cannot be read is refused in one line."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ipadapter_pack.masks.color import (
    SOFT_EDGE,
    mask_from_color,
    partition,
    read_color,
    write_color,
)
from ipadapter_pack.tests.painted import jpeg, scaled, tensor
from PIL import Image, ImageColor, ImageDraw

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


def test_eight_bit_picture_is_taken_as_it_is():
    levels = torch.randint(0, 256, (2, 4, 8, 4), dtype=torch.uint8)
    ours = mask_from_color(levels, "gray", 60)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, mask_from_color(levels.float() / 255, "gray", 60))


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
    assert read_color(write_color(color)) == color


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


# Partition: every pixel belongs to one color of a palette

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WHITE, BLACK, GRAY = (255, 255, 255), (0, 0, 0), (128, 128, 128)


def painted(labels: np.ndarray, *colors) -> torch.Tensor:
    """labels [H, W] in these colors: a batch of one picture."""
    return torch.from_numpy(np.array(colors, dtype=np.float32)[labels] / 255)[None]


def labels_of(masks: torch.Tensor) -> np.ndarray:
    assert set(masks.unique().tolist()) <= {0, 1}
    assert (masks.sum(dim=0) == 1).all()
    return masks[:, 0].argmax(dim=0).numpy()


def test_noise_goes_pixel_by_pixel_to_the_nearest_color():
    random = np.random.default_rng(0)
    levels, colors = random.integers(0, 256, (24, 24, 3)), random.integers(0, 256, (7, 3)).tolist()
    squares = [
        [sum((int(x) - c) ** 2 for x, c in zip(pixel, color, strict=True)) for color in colors]
        for pixel in levels.reshape(-1, 3)
    ]
    ours = labels_of(partition(torch.from_numpy(levels / 255)[None], colors)).flatten()
    assert ours.tolist() == [row.index(min(row)) for row in squares]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_clean_map_comes_out_as_drawn_with_its_outlines(width):
    drawn = np.zeros((40, 40), dtype=int)
    drawn[:, 20:] = 1
    drawn[:, 20 : 20 + width] = 2
    drawn[5 : 5 + width, :15] = 3
    ours = partition(painted(drawn, RED, BLUE, BLACK, GREEN), [RED, BLUE, BLACK, GREEN])
    assert (labels_of(ours) == drawn).all()


def test_map_of_a_few_pixels_comes_out_as_drawn():
    drawn = np.array([[0, 0, 1, 1], [2, 2, 3, 3]])
    colors = [RED, BLUE, GREEN, BLACK]
    assert (labels_of(partition(painted(drawn, *colors), colors)) == drawn).all()


@pytest.mark.parametrize("softness", [0, 128])
@pytest.mark.parametrize(
    "change",
    [
        lambda image: scaled(image, 0.37),
        lambda image: scaled(image, 4),
        lambda image: jpeg(image, 75),
        lambda image: jpeg(image, 50),
        lambda image: jpeg(scaled(image, 1.5), 75),
        lambda image: scaled(jpeg(image, 75), 2),
    ],
    ids=["down", "up", "jpeg 75", "jpeg 50", "up and jpeg", "jpeg and up"],
)
@pytest.mark.parametrize(
    ("ground", "disc", "mix"),
    [(RED, BLUE, (128, 0, 128)), (WHITE, BLACK, GRAY), (RED, (0, 255, 255), GRAY)],
    ids=["purple", "gray", "gray of complements"],
)
def test_seam_of_two_colors_has_no_third_that_looks_like_their_mix(
    ground, disc, mix, change, softness
):
    image = Image.new("RGB", (256, 256), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse([60, 20, 200, 160], fill=disc)
    draw.rectangle([20, 200, 230, 240], fill=mix)
    picture = tensor(change(image))[None]
    third = partition(picture, [ground, disc, mix], softness)[2, 0]
    rows = len(third)
    assert not third[: rows * 185 // 256].any()
    assert third[rows * 215 // 256 : rows * 225 // 256].any(dim=1).all()


def test_edge_is_shared_as_it_was_mixed():
    blue = torch.tensor([0, 0, 0, 0, 0.2, 0.6, 1, 1, 1, 1])  # of each column
    picture = torch.stack([1 - blue, torch.zeros(10), blue], dim=-1).expand(1, 6, 10, 3)
    whole = partition(picture, [RED, BLUE, GREEN], softness=441)
    torch.testing.assert_close(whole[1, 0], blue.expand(6, 10))
    assert (whole.sum(dim=0) == 1).all()
    assert not whole[2].any()
    narrow = partition(picture, [RED, BLUE, GREEN], softness=144)  # 0.2 is 216 levels nearer to red
    assert narrow[1, 0, 0, 4] == 0
    assert 0.6 < narrow[1, 0, 0, 5] < 1
    hard = partition(picture, [RED, BLUE, GREEN], softness=0)
    assert torch.equal(hard[1, 0], blue.round().expand(6, 10))


def test_flat_places_are_never_shared():
    """Though 40 levels apart, and noisy."""
    noise = np.random.default_rng(0).integers(-5, 6, (30, 40, 3))
    drawn = np.arange(40)[None].repeat(30, 0) // 20
    levels = np.array([[100, 100, 100], [123, 123, 123]])[drawn] + noise
    picture = torch.from_numpy(levels / 255).float()[None]
    masks = partition(picture, [(100, 100, 100), (123, 123, 123)], softness=441)
    assert masks[0, 0, :, :19].min() == 1
    assert masks[1, 0, :, 21:].min() == 1


SPOTS = {"red": RED, "lime": GREEN, "blue": BLUE}


def outlined(side: int, width: int, outline=BLACK) -> Image.Image:
    """Three ellipses side by side on white, each with an outline."""
    image = Image.new("RGB", (side, side), WHITE)
    for place, color in enumerate(SPOTS.values()):
        box = [(place + 0.06) * side / 3, side / 8, (place + 0.94) * side / 3, side * 7 / 8]
        ImageDraw.Draw(image).ellipse(box, fill=color, outline=outline, width=width)
    return image


@pytest.mark.parametrize("softness", [0, 128])
@pytest.mark.parametrize("outline", [BLACK, (110, 90, 60)], ids=["black", "brown"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda outline: outlined(512, 3, outline),
        lambda outline: outlined(512, 8, outline),
        lambda outline: jpeg(outlined(512, 8, outline), 60),
        lambda outline: scaled(outlined(2048, 12, outline), 1 / 4),
        lambda outline: scaled(outlined(512, 3, outline), 3),
    ],
    ids=["3 px", "8 px", "8 px jpeg", "3 px smooth", "enlarged"],
)
def test_outline_without_a_color_of_its_own_goes_to_what_it_borders(draw, outline, softness):
    picture = tensor(draw(outline))[None]
    masks = partition(picture, [WHITE, *SPOTS.values()], softness)[1:, 0]
    width = masks.shape[-1]
    for place, mask in enumerate(masks):
        assert not mask[:, : width * place // 3].any()
        assert not mask[:, -(-width * (place + 1) // 3) :].any()
    assert (masks.sum(dim=(1, 2)) > 0.1 * width**2).all()


def test_wide_places_of_no_given_color_go_to_the_nearest():
    """A user may write tomato for what is painted (220, 90, 60), next to two other colors."""
    drawn = np.zeros((90, 120), dtype=int)
    drawn[:, 60:] = 1
    drawn[20:70, 30:90] = 2
    picture = painted(drawn, WHITE, BLUE, (220, 90, 60))
    ours = labels_of(partition(picture, [WHITE, BLUE, (255, 60, 110), RED]))
    assert (ours == drawn).all()


def test_transparent_pixels_belong_to_no_color():
    picture = torch.rand(2, 9, 9, 4).clamp(min=1 / 255)
    picture[:, 2:7, 3:8, 3] = 0
    for softness in (0, 200):
        covered = partition(picture, [RED, BLUE], softness).sum(dim=0)
        assert torch.equal(covered, (picture[..., 3] > 0).float())


def test_gray_and_eight_bit_pictures_are_shared_as_their_rgb():
    levels = torch.randint(0, 256, (1, 20, 20, 1), dtype=torch.uint8)
    rgb = (levels.float() / 255).expand(-1, -1, -1, 3)
    assert torch.equal(partition(levels, [BLACK, WHITE]), partition(rgb, [BLACK, WHITE]))
