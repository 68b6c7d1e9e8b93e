"""Tiles side by side: which parts of the picture, where they act, and with which weight."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.formulas.tiles_v1 import MASK_SIDE, covered, numbered, spans
from ipadapter_pack.tests.ipadapter.test_preprocess import photo

SPANS = {
    224: [(0, 224)],
    225: [(0, 224)],
    244: [(10, 244)],  # 20 over: half before it, and it is wider by 10
    279: [(27, 278)],  # 55 over
    280: [(0, 224), (56, 280)],  # 56 over: one more
    300: [(0, 224), (76, 300)],
    448: [(0, 224), (224, 448)],
    470: [(11, 246), (235, 470)],
    671: [(0, 224), (224, 448), (447, 671)],
}


@pytest.mark.parametrize("size", SPANS)
def test_what_the_tiles_of_a_side_cover(size):
    assert spans(size) == SPANS[size]


def pictures(height, width):
    return torch.from_numpy(photo(height, width))[None] / 255


def scaled(image, height, width):
    return F.interpolate(image.movedim(-1, 1), (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(
    ("size", "sides"), [((100, 100), (224, 224)), ((90, 250), (224, 622)), ((301, 120), (561, 224))]
)
def test_one_row_or_column(size, sides):
    """Weight 1, whatever tile_weight says."""
    whole = scaled(pictures(*size), *sides).movedim(1, -1)
    tiles = numbered(pictures(*size), 1, 0.6)
    cuts = [(rows, columns) for rows in spans(sides[0]) for columns in spans(sides[1])]
    for tile, ((top, bottom), (left, right)) in zip(tiles, cuts, strict=True):
        assert torch.equal(tile.picture, whole[:, top:bottom, left:right])
        expected = torch.zeros(1, *sides)
        expected[:, top:bottom, left:right] = 1
        assert torch.equal(tile.mask, expected)


def test_several_rows_and_columns_come_after_the_coarse_ones():
    """300 x 200: with 2 tiles 672 x 448, which are 3 x 2; with 1 tile 336 x 224, which are 2 x 1."""
    tiles = numbered(pictures(200, 300), 2, 0.6)
    assert len(tiles) == 2 + 6
    whole = scaled(pictures(200, 300), 448, 672)
    small = scaled(whole.movedim(1, -1), 224, 336)
    for tile, left in zip(tiles[:2], (0, 112), strict=True):
        assert torch.equal(tile.picture.movedim(-1, 1), small[..., left : left + 224])
        mask = torch.zeros(1, 1, 224, 336)
        mask[..., left : left + 224] = 1
        mask = F.interpolate(mask, (448, 672), mode="bicubic").clamp(0, 1)[0]
        torch.testing.assert_close(tile.mask, mask)
    for number, tile in enumerate(tiles[2:]):
        y, x = (224 * i for i in divmod(number, 3))
        assert torch.equal(tile.picture.movedim(-1, 1), whole[..., y : y + 224, x : x + 224])
        mask = torch.zeros(1, 448, 672)
        mask[:, y : y + 224, x : x + 224] = 0.6
        assert torch.equal(tile.mask, mask)


def test_coarse_tiles_get_the_shape_of_the_others():
    """240 x 200 makes 537 x 448, cut 224 wide, and coarsely 268 x 224, cut 246 wide."""
    tiles = numbered(pictures(200, 240), 2, 0.5)
    assert [tuple(t.picture.shape) for t in tiles] == [(1, 224, 224, 3)] * len(tiles)
    assert len({tuple(t.mask.shape) for t in tiles}) == 1
    assert len(tiles) == 1 + 6


@pytest.mark.parametrize("span", [(0, 224), (1120, 1344), (37, 261), (1343, 1344)])
def test_masks_of_many_pixels_are_stored_smaller(span):
    """A cell's value is the covered part of it, in float64."""
    cells = covered(1344, spans(1344)[0]._replace(start=span[0], end=span[1]))
    assert len(cells) == MASK_SIDE
    for i, value in enumerate(cells.tolist()):
        left, right = i * 1344 / MASK_SIDE, (i + 1) * 1344 / MASK_SIDE
        part = max(min(right, span[1]) - max(left, span[0]), 0) / (right - left)
        assert abs(value - part) < 1e-6


def test_less_than_an_eighth_of_a_tile_is_left_out_at_each_end():
    for size in range(224, 1500):
        found = spans(size)
        assert found[0].start < 28
        assert size - found[-1].end <= 1
        assert all(left.end >= right.start for left, right in pairwise(found))


def test_too_many():
    with pytest.raises(
        IPAdapterError,
        match=r"image is 5000 x 1 pixels, which is 5000 tiles with short_side_tiles 1; at most 256",
    ):
        numbered(torch.rand(1, 1, 5000, 3), 1, 0.6)


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(channels):
    image = torch.rand(1, 30, 80, channels)
    rgb = image[..., :3].expand(-1, -1, -1, 3)
    for ours, expected in zip(numbered(image, 2, 0.5), numbered(rgb, 2, 0.5), strict=True):
        assert torch.equal(ours.picture, expected.picture)
        assert ours.picture.shape[-1] == 3
