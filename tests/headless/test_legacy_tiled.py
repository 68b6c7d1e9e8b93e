"""A picture in tiles is one region for each of them."""

import functools

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.noise import distorted
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.legacy.formulas.tiles import overlapping
from ipadapter_pack.nodes.legacy.formulas.tiles_v1 import numbered
from ipadapter_pack.nodes.legacy.tiled import (
    IPAdapterTiled,
    IPAdapterTiledBatch,
    IPAdapterTilesMasked,
)
from ipadapter_pack.nodes.loading.adapter import AdapterBundle
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, BAD_MASKS, refuses, run
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half

WIDE = tiny.picture(1, 50, 120)


@functools.cache
def plus():
    return adapter(kind="plus")


def tiled(node=IPAdapterTiled, /, **inputs):
    given = {"model": tiny.shared_model(), "ipadapter": plus(), "clip_vision": ENCODER}
    return run(node, **{**given, "image": WIDE, **inputs})


def chained(node, tiles, **settings):
    """The nodes that a user would chain by hand."""
    model = tiny.shared_model()
    for picture, mask in tiles:
        model = node.execute(
            model=model, ipadapter=plus(), image=picture, attn_mask=mask, clip_vision=ENCODER,
            **settings,
        )[0]  # fmt: skip
    return model


@pytest.mark.parametrize("compat", ["faithful", "v2"])
@pytest.mark.parametrize("size", [(50, 120), (64, 64), (150, 40)])
def test_every_tile_is_a_region(size, compat):
    image = tiny.picture(1, *size)
    settings = {
        "weight": 0.8, "weight_type": "ease in", "embeds_scaling": "K+V", "end_at": 0.5,
        "image_negative": tiny.picture(2), "compat": compat,
    }  # fmt: skip
    model, pictures, masks = tiled(image=image, sharpening=0.5, **settings)
    tiles = overlapping(image, None, 0.5)
    assert torch.equal(pictures, torch.cat([t.picture for t in tiles]))
    assert torch.equal(masks, torch.cat([t.mask for t in tiles]))
    expected = chained(IPAdapterAdvanced, tiles, **settings)
    assert torch.equal(tiny.sample(model), tiny.sample(expected))
    assert not torch.equal(tiny.sample(model), tiny.sample(tiny.shared_model()))


def test_batches_of_pictures_and_masks():
    """Of different lengths; the outputs go tile by tile."""
    image = tiny.picture(3, 50, 120, batch=2)
    mask = torch.rand(3, 40, 70, generator=torch.Generator().manual_seed(1))
    tiles = overlapping(image, mask, 0.0)
    for node, plain, more in (
        (IPAdapterTiled, IPAdapterAdvanced, {"combine_embeds": "average"}),
        (IPAdapterTiledBatch, IPAdapterBatch, {"weight": 0.7, "encode_batch_size": 2}),
    ):
        model, pictures, masks = tiled(node, image=image, attn_mask=mask, **more)
        assert torch.equal(pictures, torch.cat([t.picture for t in tiles]))
        assert torch.equal(masks, torch.cat([t.mask for t in tiles]))
        assert len(pictures) == 2 * len(tiles)
        assert len(masks) == 3 * len(tiles)
        expected = chained(plain, tiles, **more)
        assert torch.equal(tiny.sample(model, batch=3), tiny.sample(expected, batch=3))


def test_a_pipeline_brings_the_encoder():
    expected = tiny.sample(tiled()[0])
    piped = tiled(ipadapter=AdapterBundle(plus(), ENCODER), clip_vision=None)[0]
    assert torch.equal(tiny.sample(piped), expected)


def test_style_and_composition_gives_the_composition_its_full_weight():
    ours = tiled(weight=0.5, weight_type="style and composition")[0]
    expected = chained(
        IPAdapterAdvanced, overlapping(WIDE, None, 0.0), weight=0.5,
        weight_type="style and composition",
    )  # fmt: skip
    assert torch.equal(tiny.sample(ours), tiny.sample(expected))


@pytest.mark.parametrize("node", [IPAdapterTiled, IPAdapterTiledBatch])
def test_what_does_nothing_leaves_the_model(node, caplog):
    model, pictures, masks = tiled(node, weight=0.0)
    assert model is tiny.shared_model()
    assert len(pictures) == len(masks) == 3
    assert not caplog.text
    assert tiled(node, attn_mask=torch.zeros(1, 8, 8))[0] is tiny.shared_model()
    assert caplog.text.count("attn_mask is all black") == 1


def test_a_tile_that_the_mask_leaves_black_is_no_mistake(caplog):
    """Of three tiles, the last lies outside of the left half."""
    model, _, masks = tiled(attn_mask=left_half())
    assert [bool(mask.any()) for mask in masks] == [True, True, False]
    assert not caplog.text
    expected = chained(IPAdapterAdvanced, overlapping(WIDE, left_half(), 0.0))
    assert torch.equal(tiny.sample(model), tiny.sample(expected))


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(channels):
    image = torch.rand(1, 30, 80, channels)
    rgb = image[..., :3].expand(-1, -1, -1, 3)
    for node in (IPAdapterTiled, IPAdapterTilesMasked):
        ours, expected = (tiled(node, image=i)[0] for i in (image, rgb))
        assert torch.equal(tiny.sample(ours), tiny.sample(expected))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (3, 2)])
def test_odd_pictures(size):
    model, pictures, masks = tiled(image=torch.rand(1, *size, 3), sharpening=1.0)
    assert pictures.shape == (4 if 5000 in size or size == (1, 1) else 2, 256, 256, 3)
    assert len(masks) == len(pictures)
    assert torch.isfinite(tiny.sample(model)).all()


def test_faces_need_face_models():
    for node in (IPAdapterTiled, IPAdapterTilesMasked):
        with pytest.raises(IPAdapterError, match="brings no face models") as caught:
            tiled(node, ipadapter=adapter(kind="portrait"))
        assert "\n" not in str(caught.value)


NODES = [IPAdapterTiled, IPAdapterTiledBatch, IPAdapterTilesMasked]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_pictures_that_are_none(node, image, problem):
    refuses(node, "image", problem, model=tiny.shared_model(), ipadapter=plus(), image=image)


@pytest.mark.parametrize("node", NODES[:2])
@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_masks_that_are_none(node, mask, problem):
    given = {"model": tiny.shared_model(), "ipadapter": plus(), "image": WIDE}
    refuses(node, "attn_mask", problem, attn_mask=mask, **given)


def applied(tiles, negatives=None, **settings):
    """Of our own node: one for each tile."""
    model = tiny.shared_model()
    for i, (picture, mask) in enumerate(tiles):
        negative = None if negatives is None else negatives[i : i + 1]
        model = apply(model, plus(), picture, attn_mask=mask, image_negative=negative, **settings)
    return model


@pytest.mark.parametrize("kind", ["original", "linear", "channel penalty"])
@pytest.mark.parametrize(("count", "noise"), [(1, 0.0), (2, 0.0), (2, 0.3)])
def test_version_1_cuts_the_first_picture(kind, count, noise):
    image = tiny.picture(4, 60, 80, batch=2)
    settings = {"weight": 0.9, "weight_type": kind, "end_at": 0.5}
    (ours,) = tiled(
        IPAdapterTilesMasked, image=image, noise=noise, short_side_tiles=count, tile_weight=0.4,
        **settings,
    )  # fmt: skip
    tiles = numbered(image[:1], count, 0.4)
    assert len(tiles) == {1: 2, 2: 8}[count]
    pictures = torch.cat([t.picture for t in tiles])
    negatives = distorted(pictures, noise) if noise else None
    expected = applied(tiles, negatives, **settings)
    assert torch.equal(tiny.sample(ours), tiny.sample(expected))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_no_tiles_are_all_pictures_as_they_are(noise):
    image = tiny.picture(4, 60, 80, batch=2)
    (ours,) = tiled(IPAdapterTilesMasked, image=image, short_side_tiles=0, noise=noise)
    expected = apply(tiny.shared_model(), plus(), image, weight=0.7, noise=noise)
    assert torch.equal(tiny.sample(ours), tiny.sample(expected))


def test_a_tile_weight_of_0_leaves_the_coarse_tiles():
    image = tiny.picture(4, 60, 80)
    (ours,) = tiled(IPAdapterTilesMasked, image=image, short_side_tiles=2, tile_weight=0.0)
    expected = applied(numbered(image, 2, 0.0)[:2], weight=0.7)
    assert torch.equal(tiny.sample(ours), tiny.sample(expected))


def test_version_1_with_weight_0():
    assert tiled(IPAdapterTilesMasked, weight=0.0)[0] is tiny.shared_model()


def test_version_1_refuses_too_many_tiles():
    with pytest.raises(IPAdapterError, match="image is 5000 x 1 pixels, which is 5000 tiles"):
        tiled(IPAdapterTilesMasked, image=torch.rand(1, 1, 5000, 3))
    model = tiled(IPAdapterTilesMasked, image=torch.rand(1, 1, 1, 3), short_side_tiles=3)[0]
    assert torch.isfinite(tiny.sample(model)).all()
