"""Pictures seen as a whole and in parts, as version 2 mixes them."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.preprocess import fit_to_encoder
from ipadapter_pack.ipadapter.reference import Features, PromptPair
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.legacy.compat import WAYS
from ipadapter_pack.nodes.legacy.encode import Encoders
from ipadapter_pack.nodes.legacy.enhancer import (
    IPAdapterClipVisionEnhancer,
    IPAdapterClipVisionEnhancerBatch,
    see_enhanced,
)
from ipadapter_pack.nodes.legacy.place import ApplyInputs
from ipadapter_pack.nodes.references.encode import picture_features, project, unconditional_features
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, BAD_MASKS, refuses, run
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half
from ipadapter_pack.tests.ipadapter.test_enhance import by_hand
from ipadapter_pack.tests.near import assert_near

FEATURES = {"base": "image_embeds", "plus": "penultimate_hidden_states"}
NODES = [IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch]


@pytest.fixture(scope="module", params=FEATURES)
def kind(request):
    return request.param


def enhanced(node=IPAdapterClipVisionEnhancer, /, **inputs):
    given = {"model": tiny.shared_model(), "clip_vision": ENCODER, "image": tiny.picture(1)}
    return run(node, **{**given, **inputs})[0]


def parts_seen(image, tiles, kind, prepare=lambda part: fit_to_encoder(part, 56)):
    """What the encoder sees in the parts of each picture, as of one."""
    rows = []
    for picture in image:
        height, width = (side // tiles for side in picture.shape[:2])
        seen = [
            ENCODER.encode_image(
                prepare(
                    picture[None, y * height : (y + 1) * height, x * width : (x + 1) * width, :3]
                )
            )[FEATURES[kind]]
            for y in range(tiles)
            for x in range(tiles)
        ]
        seen = torch.cat(seen).float()
        # 32 numbers of the tiny encoder make no square, so that they are no grid.
        rows.append(
            seen.mean(0, keepdim=True)
            if kind == "base"
            else by_hand(seen, tiles, side=4, before=1).float()
        )
    return torch.cat(rows)


def mixed(image, tiles, ratio, kind):
    loaded = adapter(kind=kind)
    whole = picture_features(loaded, ENCODER, image)
    parts = parts_seen(image, tiles, kind)
    if len(image) == 1:
        return torch.cat([whole * ratio, parts])
    return whole * ratio + parts * (1 - ratio)


def seen_in(image, kind, tiles, ratio, **settings):
    """What the node's encoders see, positive and negative."""
    loaded = adapter(kind=kind)
    inputs = ApplyInputs(model=None, ipadapter=loaded, image=image, **settings)
    return see_enhanced(Encoders(loaded, ENCODER, None), inputs, tiles, ratio).features


@pytest.mark.parametrize("size", [(64, 64), (101, 67), (60, 200)])
@pytest.mark.parametrize(("images", "tiles", "ratio"), [(1, 2, 0.7), (2, 3, 0.3), (3, 2, 0.0)])
def test_whole_and_parts_are_mixed(kind, size, images, tiles, ratio):
    image = tiny.picture(1, *size, batch=images)
    seen = seen_in(image, kind, tiles, ratio)
    expected = mixed(image, tiles, ratio, kind)
    assert_near(seen.positive.clip, expected, 1e-5)
    assert len(expected) == max(images, 2)
    assert seen.negative.clip.shape == expected.shape


def test_version_2_gives_the_parts_to_the_encoder_as_they_are(kind):
    image = tiny.picture(1, 101, 67, batch=2)
    seen = seen_in(image, kind, 2, 0.0, compat="v2")
    expected = parts_seen(image, 2, kind, prepare=lambda part: part)
    assert_near(seen.positive.clip, expected, 1e-5)
    if kind == "plus":
        black = ENCODER.encode_image(torch.zeros(1, 56, 56, 3))[FEATURES[kind]]
        assert_near(seen.negative.clip, black.expand_as(expected), 1e-5)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("images", [1, 3])
def test_the_model_sees_the_mixture(kind, node, images):
    """As our own node makes it act; the Batch node gives picture i to latent i."""
    loaded = adapter(kind=kind)
    image = tiny.picture(1, 90, 70, batch=images)
    positive = mixed(image, 2, 0.4, kind)
    negative = unconditional_features(loaded, ENCODER, positive)
    reference = project(loaded, PromptPair(Features(positive), Features(negative)))
    settings = {"weight": 0.8, "attn_mask": left_half(), "end_at": 0.5}
    expected = apply(
        tiny.shared_model(),
        loaded,
        None,
        reference=reference,
        unfold_batch=node is NODES[1],
        **settings,
    )
    ours = enhanced(node, ipadapter=loaded, image=image, enhance_ratio=0.4, **settings)
    without, expected, ours = (
        tiny.sample(m, batch=3) for m in (tiny.shared_model(), expected, ours)
    )
    assert_near(ours, expected, 1e-3, effect=expected - without)


def test_a_picture_and_its_parts_are_combined(kind):
    loaded, image = adapter(kind=kind), tiny.picture(1, 90, 70)
    positive = mixed(image, 2, 1.0, kind)
    positive = positive[:1] - positive[1:]
    negative = unconditional_features(loaded, ENCODER, positive)
    reference = project(loaded, PromptPair(Features(positive), Features(negative)))
    expected = apply(tiny.shared_model(), loaded, None, reference=reference)
    ours = enhanced(ipadapter=loaded, image=image, combine_embeds="subtract")
    without, expected, ours = (tiny.sample(m) for m in (tiny.shared_model(), expected, ours))
    assert_near(ours, expected, 1e-3, effect=expected - without)


@pytest.mark.parametrize(
    ("node", "plain"), zip(NODES, [IPAdapterAdvanced, IPAdapterBatch], strict=True)
)
@pytest.mark.parametrize("compat", ["faithful", "v2"])
def test_one_tile_is_the_plain_node(kind, node, plain, compat):
    inputs = {
        "ipadapter": adapter(kind=kind), "image": tiny.picture(1, batch=2), "weight": 0.6,
        "weight_type": "style and composition", "compat": compat,
    }  # fmt: skip
    expected = plain.execute(model=tiny.shared_model(), clip_vision=ENCODER, **inputs)[0]
    ours = enhanced(node, enhance_tiles=1, **inputs)
    assert torch.equal(tiny.sample(ours, batch=2), tiny.sample(expected, batch=2))


def test_a_negative_picture(kind):
    image, negative = tiny.picture(1, batch=3), tiny.picture(2, batch=2)
    seen = seen_in(image, kind, 2, 0.5, image_negative=negative)
    expected = picture_features(adapter(kind=kind), ENCODER, negative)[[0, 1, 1]]
    assert_near(seen.negative.clip, expected, 1e-5)


@pytest.mark.parametrize("node", NODES)
def test_what_does_nothing_leaves_the_model(node):
    assert enhanced(node, ipadapter=adapter(), weight=0.0) is tiny.shared_model()


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(channels):
    image = torch.rand(2, 30, 40, channels)
    rgb = image[..., :3].expand(-1, -1, -1, 3)
    for compat in WAYS:
        ours, expected = (
            enhanced(ipadapter=adapter(kind="plus"), image=i, compat=compat, enhance_ratio=0.5)
            for i in (image, rgb)
        )
        assert torch.equal(tiny.sample(ours), tiny.sample(expected))


def test_more_than_16_tiles_are_16():
    image, loaded = tiny.picture(1), adapter()
    ours, expected = (
        enhanced(ipadapter=loaded, image=image, enhance_tiles=n, enhance_ratio=0.5)
        for n in (40, 16)
    )
    assert torch.equal(tiny.sample(ours), tiny.sample(expected))


@pytest.mark.parametrize("node", NODES)
def test_what_is_refused(node):
    cases = {
        "reads faces: use the FaceID nodes": {"ipadapter": adapter(kind="portrait")},
        "clip_vision is not connected": {"clip_vision": None},
        "enhance_tiles is 3, more than the 2 pixels": {
            "image": torch.rand(1, 2, 50, 3), "enhance_tiles": 3
        },
        "tiny.safetensors is for another base model": {"model": tiny.shared_model("SDXL")},
    }  # fmt: skip
    for message, inputs in cases.items():
        with pytest.raises(IPAdapterError) as caught:
            enhanced(node, **{"ipadapter": adapter(), **inputs})
        assert message in str(caught.value)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("tiles", [1, 2])
def test_pictures_and_masks_that_are_none(node, tiles):
    given = {
        "model": tiny.shared_model(), "ipadapter": adapter(), "clip_vision": ENCODER, "enhance_tiles": tiles
    }  # fmt: skip
    for image, problem in BAD_IMAGES:
        refuses(node, "image", problem, image=image, **given)
    for mask, problem in BAD_MASKS:
        refuses(node, "attn_mask", problem, attn_mask=mask, image=tiny.picture(1), **given)
