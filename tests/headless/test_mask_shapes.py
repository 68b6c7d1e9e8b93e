"""Nodes that draw, shape and combine masks, with whatever anybody may connect to them."""

import comfy.nested_tensor
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.masks.shapes import OPERATIONS
from ipadapter_pack.nodes.masking.adjust import AdjustMask, FitMask
from ipadapter_pack.nodes.masking.draw import FeatherMask, MaskComposite, SolidMask
from ipadapter_pack.nodes.shared.checks import check_mask
from ipadapter_pack.tests.headless.mask_inputs import (
    BAD_IMAGES,
    BAD_MASKS,
    MOST_PIXELS,
    PROPERTIES,
    any_mask,
    check_mask_output,
    refuses,
    run,
)

import nodes as comfyui_nodes

SIDE = st.integers(0, 200)
FRACTION = st.integers(0, 100).map(lambda percent: percent / 100)
NONE = {"left": 0, "top": 0, "right": 0, "bottom": 0}
LARGE = [(1, 5000), (5000, 1), (2048, 2048)]
DIRECTIONS = {"inward": 0.0, "outward": 1.0, "centered": 0.5}  # how much of a fade lies outside
SIZE = {"value": 1.0, "width": 64, "height": 32}


def shape(mask):
    return tuple(check_mask(mask, "mask").shape)


# Solid Mask


@PROPERTIES
@given(st.floats(0, 1), st.integers(1, 1000), st.integers(1, 1000), *[FRACTION] * 4)
def test_solid_has_the_boxes_area(value, width, height, left, top, box_width, box_height):
    box = {"box_left": left, "box_top": top, "box_width": box_width, "box_height": box_height}
    (mask,) = run(SolidMask, value=value, width=width, height=height, **box)
    check_mask_output(mask)
    assert mask.shape == (1, height, width)
    area = min(box_width, 1 - left) * min(box_height, 1 - top)
    assert mask.mean().item() == pytest.approx(value * area, abs=0.004)


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_a_box_on_a_large_canvas(height, width):
    (mask,) = run(SolidMask, value=0.5, width=width, height=height, box_left=0.5, box_width=0.25)
    assert mask.mean().item() == pytest.approx(0.125)


def test_size_from_a_latent_as_comfyui_makes_it():
    (latent,) = comfyui_nodes.EmptyLatentImage().generate(width=320, height=192)
    assert run(SolidMask, **SIZE, latent=latent)[0].shape == (1, 192, 320)
    assert run(FitMask, mask=torch.ones(1, 4, 4), latent=latent)[0].shape == (1, 192, 320)


@pytest.mark.parametrize(
    ("latent", "expected"),
    [
        ({"samples": torch.zeros(2, 4, 5, 7)}, (40, 56)),
        ({"samples": torch.zeros(1, 16, 3, 5, 7)}, (40, 56)),
        ({"samples": torch.zeros(1, 64, 5, 7), "downscale_ratio_spacial": 16}, (80, 112)),
        (
            {
                "samples": comfy.nested_tensor.NestedTensor(
                    [torch.zeros(1, 128, 3, 5, 7), torch.zeros(1, 8, 25, 16)]
                ),
                "downscale_ratio_spacial": 32,
            },
            (160, 224),
        ),
    ],
)
def test_size_from_any_latent_of_pictures(latent, expected):
    assert run(SolidMask, **SIZE, latent=latent)[0].shape[1:] == expected


@pytest.mark.parametrize(
    "latent",
    [
        {"samples": torch.zeros(1, 64, 100)},
        {"samples": torch.zeros(1, 8, 25, 16), "type": "audio"},
        {"samples": torch.zeros(1, 4, 0, 8)},
    ],
)
def test_a_latent_that_is_no_picture_is_refused(latent):
    with pytest.raises(IPAdapterError, match="latent has the shape"):
        SolidMask.execute(**SIZE, latent=latent)


def test_an_image_wins_over_a_latent_and_both_over_the_numbers():
    image, latent = torch.rand(3, 11, 13, 3), {"samples": torch.zeros(1, 4, 2, 3)}
    assert run(SolidMask, **SIZE)[0].shape == (1, 32, 64)
    assert run(SolidMask, **SIZE, latent=latent)[0].shape == (1, 16, 24)
    assert run(SolidMask, **SIZE, image=image, latent=latent)[0].shape == (1, 11, 13)
    mask = torch.ones(2, 5, 5)
    assert run(FitMask, mask=mask, width=9, height=8)[0].shape == (2, 8, 9)
    assert run(FitMask, mask=mask, image=image, latent=latent)[0].shape == (2, 11, 13)


# Feather Mask


@PROPERTIES
@given(any_mask(), SIDE, SIDE, SIDE, SIDE, SIDE, st.sampled_from(list(DIRECTIONS)), st.booleans())
def test_feather_any_mask(mask, left, top, right, bottom, pixels, direction, cosine):
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    curve = "cosine" if cosine else "linear"
    inputs = {"shape_feather": pixels, "direction": direction, "curve": curve}
    (result,) = run(FeatherMask, mask=mask, **sides, **inputs)
    check_mask_output(result)
    assert result.shape == shape(mask)
    (shaped,) = run(FeatherMask, mask=mask, **NONE, **inputs)
    assert (result <= shaped).all()
    assert not result[shaped == 0].any()


@PROPERTIES
@given(any_mask(), *[SIDE] * 4)
def test_feather_as_saved_before_is_as_before(mask, left, top, right, bottom):
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    (result,) = run(FeatherMask, mask=mask, **sides)
    assert (result <= check_mask(mask, "mask")).all()
    (untouched,) = run(FeatherMask, mask=mask, **NONE)
    assert torch.equal(untouched, check_mask(mask, "mask"))


@pytest.mark.parametrize(("direction", "shift"), DIRECTIONS.items())
@pytest.mark.parametrize(("height", "width"), LARGE)
def test_half_of_a_large_mask_is_feathered(height, width, direction, shift):
    length = max(height, width)
    from_middle = torch.arange(length) + 0.5 - length // 2
    line = (from_middle > 0).float()
    across = (1, length, 1) if height == length else (1, 1, length)
    mask = line.view(across).expand(1, height, width)
    (result,) = run(FeatherMask, mask=mask, **NONE, shape_feather=100, direction=direction)
    expected = (from_middle / 100 + shift).clamp(0, 1).view(across).expand_as(mask)
    torch.testing.assert_close(result, expected)


# Mask Composite


@PROPERTIES
@given(
    any_mask(MOST_PIXELS // 2),
    any_mask(MOST_PIXELS // 2),
    st.integers(-300, 300),
    st.integers(-300, 300),
    st.sampled_from(list(OPERATIONS)),
)
def test_composite_any_masks(destination, source, x, y, operation):
    inputs = {"source": source, "x": x, "y": y, "operation": operation}
    (result,) = run(MaskComposite, destination=destination, **inputs)
    check_mask_output(result)
    masks, height, width = shape(destination)
    assert result.shape == (max(masks, shape(source)[0]), height, width)
    beside = torch.ones(height, width, dtype=torch.bool)
    beside[max(y, 0) : max(y + shape(source)[1], 0), max(x, 0) : max(x + shape(source)[2], 0)] = 0
    canvas = check_mask(destination, "destination")
    for i, mask in enumerate(result):
        assert torch.equal(mask[beside], canvas[min(i, masks - 1)][beside])


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_large_masks_are_combined(height, width):
    canvas, source = torch.zeros(1, height, width), torch.ones(2, height, width)
    (result,) = run(MaskComposite, destination=canvas, source=source, x=-1, y=0, operation="add")
    assert result[:, :, : width - 1].eq(1).all()
    assert not result[:, :, width - 1 :].any()


# Adjust Mask


@PROPERTIES
@given(any_mask(), FRACTION, st.integers(-40, 40), st.booleans())
def test_adjust_any_mask(mask, threshold, grow, invert):
    (result,) = run(AdjustMask, mask=mask, threshold=threshold, grow=grow, invert=invert)
    check_mask_output(result)
    assert result.shape == shape(mask)
    (plain,) = run(AdjustMask, mask=mask, threshold=threshold)
    (turned,) = run(AdjustMask, mask=plain, grow=grow)
    assert torch.equal(result, 1 - turned if invert else turned)
    assert ((turned >= plain) if grow > 0 else (turned <= plain)).all()
    if threshold:
        assert torch.equal(plain, (check_mask(mask, "mask") >= threshold).float())


@PROPERTIES
@given(any_mask(), st.integers(0, 20))
def test_shrinking_is_growing_the_inverse(mask, pixels):
    (inverse,) = run(AdjustMask, mask=mask, invert=True)
    (grown,) = run(AdjustMask, mask=inverse, grow=pixels, invert=True)
    torch.testing.assert_close(run(AdjustMask, mask=mask, grow=-pixels)[0], grown)


@pytest.mark.parametrize(("height", "width"), LARGE)
def test_a_large_mask_grows_into_a_disk(height, width):
    mask = torch.zeros(1, height, width)
    mask[:, height // 2, width // 2] = 1
    (result,) = run(AdjustMask, mask=mask, grow=50)
    area = 7845 if min(height, width) > 1 else 101  # the points of a grid within 50 of one
    assert result.sum() == area


# Fit Mask


@PROPERTIES
@given(
    any_mask(),
    st.sampled_from(["stretch", "cover", "contain"]),
    st.integers(1, 700),
    st.integers(1, 700),
    FRACTION,
)
def test_fit_any_mask(mask, mode, width, height, outside):
    inputs = {"mask": mask, "mode": mode, "width": width, "height": height, "outside": outside}
    (result,) = run(FitMask, **inputs)
    check_mask_output(result)
    given_mask = check_mask(mask, "mask")
    assert result.shape == (len(given_mask), height, width)
    values = torch.cat([given_mask.flatten(), torch.tensor([outside] if mode == "contain" else [])])
    assert values.min() - 1e-5 <= result.min()
    assert result.max() <= values.max() + 1e-5
    if mode == "stretch" and width <= given_mask.shape[2] and height <= given_mask.shape[1]:
        torch.testing.assert_close(result.mean((1, 2)), given_mask.mean((1, 2)), atol=1e-4, rtol=0)


@PROPERTIES
@given(any_mask(), st.sampled_from(["stretch", "cover", "contain"]))
def test_fit_to_its_own_size_changes_nothing(mask, mode):
    _, height, width = shape(mask)
    if max(height, width) <= 16384:
        (result,) = run(FitMask, mask=mask, mode=mode, width=width, height=height)
        assert torch.equal(result, check_mask(mask, "mask"))


# Refusals


@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_an_unusable_mask_is_refused(mask, problem):
    refuses(AdjustMask, "mask", problem, mask=mask)
    refuses(FitMask, "mask", problem, mask=mask)
    refuses(FeatherMask, "mask", problem, mask=mask, **NONE, shape_feather=3)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_an_unusable_image_is_refused(image, problem):
    refuses(SolidMask, "image", problem, **SIZE, image=image)
    refuses(FitMask, "image", problem, mask=torch.ones(1, 2, 2), image=image)


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        (FitMask, {"mode": "fill"}, "mode fill: choose one of stretch, cover, contain"),
        (FeatherMask, {**NONE, "direction": "up"}, "direction up: choose one of inward"),
        (FeatherMask, {**NONE, "curve": "sine"}, "curve sine: choose one of linear, cosine"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(node, inputs, message):
    with pytest.raises(IPAdapterError, match=message):
        node.execute(mask=torch.ones(1, 4, 4), **inputs)


def test_a_latent_without_samples_is_refused():
    with pytest.raises(IPAdapterError, match="latent has no samples"):
        FitMask.execute(torch.ones(1, 4, 4), latent={})
