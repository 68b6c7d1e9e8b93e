"""Tiles of a picture: how it is cut, and how what the encoder sees in them becomes one picture's."""

import pytest
import torch
from ipadapter_pack.ipadapter.enhance import mixed, pooled, split
from ipadapter_pack.ipadapter.errors import IPAdapterError


@pytest.mark.parametrize("shape", [(64, 64), (64, 100), (101, 64), (65, 65), (7, 90)])
@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_the_tiles_make_up_the_center_square(shape, tiles):
    picture = torch.rand(*shape, 3)
    side = min(shape)
    y, x = (shape[0] - side) // 2, (shape[1] - side) // 2
    parts = split(picture, tiles)
    rows = [torch.cat(parts[i * tiles : (i + 1) * tiles], 1) for i in range(tiles)]
    assert torch.equal(torch.cat(rows), picture[y : y + side, x : x + side])
    sizes = {size for part in parts for size in part.shape[:2]}
    assert max(sizes) - min(sizes) <= 1


def test_more_tiles_than_pixels():
    with pytest.raises(IPAdapterError, match=r"enhance_tiles is 16, more than the 9 pixels"):
        split(torch.rand(9, 40, 3), 16)


def by_hand(features, tiles, side, before):
    """Tokens of tiles -> of one picture, in loops and float64."""
    features = features.double()
    width = features.shape[-1]
    grid = torch.zeros(tiles * side, tiles * side, width, dtype=torch.float64)
    for number, tile in enumerate(features):
        row, column = divmod(number, tiles)
        for patch in range(side * side):
            y, x = divmod(patch, side)
            grid[row * side + y, column * side + x] = tile[before + patch]
    tokens = [features[:, i].mean(0) for i in range(before)]
    for y in range(side):
        for x in range(side):
            cell = [
                grid[y * tiles + dy, x * tiles + dx] for dy in range(tiles) for dx in range(tiles)
            ]
            tokens.append(torch.stack(cell).mean(0))
    return torch.stack(tokens)[None]


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_tokens_of_tiles_are_averaged_where_they_lie(tiles, side, before):
    features = torch.randn(tiles * tiles, before + side * side, 5)
    ours = pooled(features, tiles)
    assert ours.shape == (1, before + side * side, 5)
    expected = by_hand(features, tiles, side, before).float()
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_a_tile_acts_where_it_lies():
    """Of 2 x 2 tiles, the lower left one changes the lower left quarter of the patches."""
    features = torch.zeros(4, 1 + 16, 3)
    features[2, 1:] = 1
    cells = pooled(features, 2)[0, 1:, 0].reshape(4, 4)
    expected = torch.zeros(4, 4)
    expected[2:, :2] = 1
    assert torch.equal(cells, expected)


def test_one_tile_is_the_picture():
    features = torch.randn(1, 17, 5)
    torch.testing.assert_close(pooled(features, 1), features)


def test_embeddings_are_averaged():
    features = torch.randn(9, 32)
    expected = sum(row.double() for row in features)[None] / 9
    torch.testing.assert_close(pooled(features, 3).double(), expected, rtol=0, atol=1e-6)


def test_the_ratio_is_the_part_of_the_tiles():
    whole, parts = torch.randn(2, 17, 5), torch.randn(2, 17, 5)
    assert torch.equal(mixed(whole, parts, 0.0), whole)
    assert torch.equal(mixed(whole, parts, 1.0), parts)
    torch.testing.assert_close(mixed(whole, parts, 0.25), (3 * whole + parts) / 4)
