"""A picture in even parts, and embeddings of the parts as one."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.formulas.enhance import even_parts, pooled_as_grids
from ipadapter_pack.tests.ipadapter.test_enhance import by_hand


@pytest.mark.parametrize("shape", [(64, 64), (64, 100), (101, 7), (5, 5)])
@pytest.mark.parametrize("tiles", [2, 3, 5])
def test_the_parts_make_up_the_picture_without_its_remainder(shape, tiles):
    picture = torch.rand(*shape, 3)
    parts = even_parts(picture, tiles)
    assert len({part.shape for part in parts}) == 1
    rows = [torch.cat(parts[i * tiles : (i + 1) * tiles], 1) for i in range(tiles)]
    height, width = (side // tiles * tiles for side in shape)
    assert torch.equal(torch.cat(rows), picture[:height, :width])


def test_more_tiles_than_pixels():
    with pytest.raises(IPAdapterError, match=r"enhance_tiles is 16, more than the 9 pixels"):
        even_parts(torch.rand(40, 9, 3), 16)


@pytest.mark.parametrize("tiles", [2, 3])
def test_embeddings_of_a_square_number_are_grids(tiles):
    features = torch.randn(tiles * tiles, 16)
    expected = by_hand(features[..., None], tiles, side=4, before=0)[..., 0].float()
    ours = pooled_as_grids(features, tiles)
    assert ours.shape == (1, 16)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [12, 17, 1280])
def test_other_embeddings_are_averaged(width):
    features = torch.randn(9, width)
    torch.testing.assert_close(pooled_as_grids(features, 3)[0], features.mean(0))


def test_tokens_are_averaged_where_they_lie():
    features = torch.randn(4, 1 + 16, 16)
    expected = by_hand(features, 2, side=4, before=1).float()
    torch.testing.assert_close(pooled_as_grids(features, 2), expected, rtol=0, atol=1e-6)
