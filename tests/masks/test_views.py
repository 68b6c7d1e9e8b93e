"""Pictures of masks and their statistics, against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.masks import views
from ipadapter_pack.masks.grid import pyramid, to_grid
from ipadapter_pack.masks.views import attention_levels, overlay, panel_size, statistics
from PIL import Image, ImageChops, ImageDraw, ImageFont

sides = st.integers(1, 70)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def panels(page, grid):
    """The drawn levels, cut out again."""
    height, width = panel_size(grid)
    labels = [views.written(text) for text in labels_of(grid)]
    down = height + labels[0].shape[0]
    right = max([width, *(label.shape[1] for label in labels)]) + views.GAP
    corners = [(i // 2 * down, i % 2 * right) for i in range(len(labels))]
    return [page[y : y + height, x : x + width] for y, x in corners]


def labels_of(grid):
    sizes = pyramid(*grid)
    return [
        f"{name}: {columns} x {rows}"
        for name, (rows, columns) in zip(views.LEVELS, sizes, strict=False)
    ]


@settings(deadline=None)
@given(st.tuples(sides, sides), st.sampled_from([1, 3, 4]))
def test_black_leaves_the_picture_as_it_is(size, channels):
    image = noise(*size, channels)
    expected = image[..., :3].expand(-1, -1, 3)
    assert torch.equal(overlay(image, torch.zeros(7, 9)), expected)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_white_tints_any_picture_clearly(level):
    image = torch.full((4, 6, 3), level)
    tinted = overlay(image, torch.ones(2, 3))
    assert (tinted - image).abs().amax(-1).min() > 0.3
    assert tinted[..., 0].min() > tinted[..., 1].max() + 0.3  # pink: more red than green


def test_the_mask_is_stretched_over_the_picture():
    mask = torch.zeros(2, 2)
    mask[:, 1] = 1
    tinted = overlay(torch.zeros(10, 40, 3), mask)[..., 0]
    assert not tinted[:, :10].any()
    assert torch.equal(tinted[:, 30:], torch.full((10, 10), views.TINT_STRENGTH))


def test_a_mask_of_the_pictures_size_is_not_resampled():
    mask, image = noise(5, 7), noise(5, 7, 3, seed=1)
    expected = torch.empty(5, 7, 3)
    for y in range(5):
        for x in range(7):
            a = mask[y, x] * views.TINT_STRENGTH
            expected[y, x] = image[y, x] * (1 - a) + torch.tensor(views.TINT) * a
    torch.testing.assert_close(overlay(image, mask), expected)


@pytest.mark.parametrize("grid", [(64, 64), (128, 128), (64, 32), (8, 8), (256, 512)])
def test_each_level_draws_the_grid_that_sampling_uses(grid):
    mask = noise(96, 80)
    size = panel_size(grid)
    drawn = panels(attention_levels(mask, grid), grid)
    assert len(drawn) == 4
    for panel, (rows, columns) in zip(drawn, pyramid(*grid), strict=False):
        cells = to_grid(mask, rows, columns)
        down, right = size[0] // rows, size[1] // columns
        centers = panel[down // 2 :: down, right // 2 :: right, 0]
        torch.testing.assert_close(centers, cells, rtol=0, atol=1e-5)
        blocks = cells.repeat_interleave(down, 0).repeat_interleave(right, 1)
        torch.testing.assert_close(panel[..., 1], blocks, rtol=0, atol=1e-5)


def test_a_grid_that_does_not_halve_evenly_keeps_its_cells():
    mask, size = noise(104, 64), panel_size((13, 8))
    drawn = panels(attention_levels(mask, (13, 8)), (13, 8))
    for panel, (rows, columns) in zip(drawn, [(13, 8), (7, 4), (4, 2), (2, 1)], strict=True):
        cells = to_grid(mask, rows, columns)
        for y in range(rows):
            for x in range(columns):
                center = panel[
                    int((y + 0.5) * size[0] / rows), int((x + 0.5) * size[1] / columns), 0
                ]
                assert center.item() == pytest.approx(cells[y, x].item(), abs=1e-5)


def test_a_grid_finer_than_the_panel_is_averaged_and_loses_nothing():
    mask = torch.zeros(8, 8192)
    mask[:, 3 * 8 : 4 * 8] = 1  # one cell of 1024
    finest = panels(attention_levels(mask, (1, 1024)), (1, 1024))[0]
    assert finest[0, 1, 0].item() == pytest.approx(0.5)
    assert finest.sum().item() == pytest.approx(1.5)  # half a pixel in three colors


def test_a_cell_that_ends_within_a_pixel_shares_it():
    mask = noise(8, 2400)
    cells = to_grid(mask, 1, 300)[0]
    finest = panels(attention_levels(mask, (1, 300)), (1, 300))[0]
    expected = cells.repeat_interleave(512).view(512, 300).mean(-1)
    torch.testing.assert_close(finest[0, :, 0], expected, rtol=0, atol=1e-5)


def test_a_level_over_a_picture_tints_it():
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    image = torch.full((64, 64, 3), 0.5)
    for panel in panels(attention_levels(mask, (8, 8), image), (8, 8))[:3]:
        torch.testing.assert_close(panel[:, :256], torch.full((512, 256, 3), 0.5))
        tint = torch.tensor(views.TINT) * views.TINT_STRENGTH + 0.5 * (1 - views.TINT_STRENGTH)
        torch.testing.assert_close(panel[:, 256:], tint.expand(512, 256, 3))


def test_the_label_says_width_before_height_and_is_readable():
    page = attention_levels(noise(64, 96), (8, 12))
    height, width = panel_size((8, 12))
    label = (page[height : height + views.FONT, :width, 0] * 255).round().byte()
    wanted = Image.new("L", (width, views.FONT), round(views.PAPER * 255))
    font = ImageFont.load_default(views.FONT)
    ImageDraw.Draw(wanted).text((0, 0), "1/8: 12 x 8", fill=255, font=font)
    found = Image.fromarray(label.numpy())
    assert not ImageChops.difference(found, wanted).getbbox()
    assert (label > 200).sum() > 100


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (torch.zeros(4, 6), "all black, covers 0 %: a reference with it acts nowhere"),
        (torch.ones(4, 6), "all white, covers 100 %: a reference with it acts everywhere"),
        (torch.full((4, 6), 0.25), "0.25 everywhere"),
        (
            torch.tensor([[0.0, 0.0, 0.5, 1.0]]),
            "covers 37.5 %, above 0 in 50.0 %, 0 to 1",
        ),
        (
            torch.tensor([[0.2, 0.4]]),
            "covers 30.0 %, above 0 in 100.0 %, 0.2 to 0.4",
        ),
    ],
)
def test_what_is_said_of_a_mask(mask, line):
    size = f"{mask.shape[1]} x {mask.shape[0]}"
    assert statistics(mask[None]) == [f"1 of 1: {line}, {size}."]


def test_there_is_a_line_per_mask():
    lines = statistics(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]))
    assert [line.split(",")[0] for line in lines] == ["1 of 2: all black", "2 of 2: all white"]


def test_a_single_pixel_is_never_called_nothing_nor_a_hole_everything():
    dot = torch.zeros(100, 100)
    dot[3, 4] = 1
    assert "covers less than 0.1 %" in statistics(dot[None])[0]
    assert "covers more than 99.9 %" in statistics(1 - dot[None])[0]
