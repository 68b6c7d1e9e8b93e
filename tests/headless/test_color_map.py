"""Masks From Color Map: a painted map, however it was saved, becomes masks that cover it."""

import logging
import re
from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.masking import color_map
from ipadapter_pack.nodes.masking.color_map import MasksFromColorMap
from ipadapter_pack.nodes.masking.swatches import SWATCH, WIDTH, swatches
from ipadapter_pack.tests.headless.mask_inputs import (
    BAD_IMAGES,
    PROPERTIES,
    any_image,
    check_mask_output,
    refuses,
    run,
)
from ipadapter_pack.tests.painted import jpeg, scaled, tensor
from PIL import Image, ImageDraw, ImageFilter

DOCS = Path(color_map.__file__).parents[1] / "web" / "docs"
GROUND, SUN, HOUSE, TREE, CAR = PALETTE = [
    *((235, 240, 250), (255, 200, 0), (200, 40, 40), (20, 120, 60), (60, 30, 150)),
]
TEXT = "235,240,250; 255,200,0; 200,40,40; 20,120,60; 60,30,150"


def drawn_labels(width: int = 480, height: int = 320) -> Image.Image:
    """Which color of the palette each pixel has."""
    labels = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(labels)
    draw.ellipse([30, 20, 130, 120], fill=1)
    draw.polygon([(180, 140), (270, 60), (360, 140), (360, 290), (180, 290)], fill=2)
    draw.rectangle([70, 150, 180, 300], fill=3)
    draw.ellipse([330, 200, 470, 300], fill=4)
    return labels


LABELS = drawn_labels()
MAP = Image.fromarray(np.array(PALETTE, dtype=np.uint8)[np.array(LABELS)])
JOURNEYS = {
    "scaled, then jpeg": lambda image, by, quality: jpeg(scaled(image, by), quality),
    "jpeg, then scaled": lambda image, by, quality: scaled(jpeg(image, quality), by),
}


@pytest.mark.parametrize("text", [TEXT, ""], ids=["given", "found"])
@pytest.mark.parametrize(("by", "rim"), [(0.5, 2), (0.8, 2), (1.0, 2), (1.7, 2), (3.0, 6)])
@pytest.mark.parametrize("quality", [75, pytest.param(90, marks=pytest.mark.release)])
@pytest.mark.parametrize("journey", JOURNEYS)
def test_five_colors_survive_jpeg_and_rescaling(journey, quality, by, rim, text):
    image = tensor(JOURNEYS[journey](MAP, by, quality))[None]
    masks, written, *_ = run(MasksFromColorMap, image=image, colors=text)
    assert set(masks.unique().tolist()) == {0, 1}
    assert (masks.sum(dim=0) == 1).all()
    colors = [tuple(bytes.fromhex(color)) for color in re.findall("#(......)", written)]
    names = [np.abs(np.array(PALETTE) - color).sum(axis=1).argmin() for color in colors]
    assert sorted(names) == [0, 1, 2, 3, 4]
    wanted = LABELS.resize(image.shape[2:0:-1], Image.Resampling.NEAREST)
    ours = np.array(names)[masks.argmax(dim=0).numpy()]
    deep = away_from_borders(wanted, rim)
    assert deep.mean() > 0.8
    assert (ours == np.array(wanted))[deep].all()


def away_from_borders(labels: Image.Image, pixels: int) -> np.ndarray:
    """Where all that lies within so many pixels has one label."""
    size = 2 * pixels + 1
    return np.array(labels.filter(ImageFilter.MaxFilter(size))) == np.array(
        labels.filter(ImageFilter.MinFilter(size))
    )


# What is promised of any picture


@PROPERTIES
@given(any_image(), st.sampled_from(["", "red, blue", "#fff;black;0,128,0"]), st.integers(0, 10),
       st.sampled_from(["nearest", "soft"]), st.sampled_from([0, 1, 128, 441]))  # fmt: skip
def test_every_opaque_pixel_is_shared_out(image, colors, count, mode, softness):
    if image.shape[-1] == 4:
        image[..., 3] = (image[..., 3] - 0.5).clamp(min=0)
        image[0, 0, 0, 3] = 1
    inputs = {"colors": colors, "count": count, "mode": mode, "softness": softness}
    masks, written, *single = run(MasksFromColorMap, image=image, **inputs)
    check_mask_output(masks)
    amount = len(written.split(", "))
    assert amount <= 10
    masks = masks.unflatten(0, (amount, len(image)))
    opaque = image[..., 3] * 255 >= 0.5 if image.shape[-1] == 4 else torch.ones(image.shape[:3])
    assert torch.equal(masks.sum(dim=0), opaque.float())
    assert torch.equal(torch.stack(single[:amount]), masks)
    assert all(isinstance(output, ExecutionBlocker) for output in single[amount:])
    assert len(single) == 10
    if mode == "nearest" or softness == 0:
        assert set(masks.unique().tolist()) <= {0, 1}
    again, *_ = run(MasksFromColorMap, image=image, **{**inputs, "colors": written})
    assert torch.equal(again, masks.flatten(0, 1))  # the colors, fed back, give the same masks


@pytest.mark.parametrize("size", [(1, 2048, 2048), (2, 1, 3000), (3, 1999, 33)])
@pytest.mark.parametrize("mode", ["nearest", "soft"])
def test_large_pictures(size, mode):
    batch, height, width = size
    picture = torch.zeros(height, width, 3)
    picture[:, : width * 3 // 8, 0] = 1
    picture[:, width * 3 // 8 :, 2] = 1
    picture[:, width * 3 // 8] = 0.5
    masks, colors, left, right, *_ = run(
        MasksFromColorMap, image=picture.expand(batch, -1, -1, -1), mode=mode
    )
    assert colors == "#FF0000, #0000FF"
    assert (left + right == 1).all()
    assert abs(float(left.mean()) * width - width * 3 // 8) < 1.01
    assert masks.shape == (2 * batch, height, width)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_unfit_pictures_are_refused_by_name(image, problem):
    refuses(MasksFromColorMap, "image", problem, image=image)


# Masks, colors and batches


def halves(left: str, right: str) -> torch.Tensor:
    image = Image.new("RGB", (20, 10), left)
    ImageDraw.Draw(image).rectangle([10, 0, 20, 10], fill=right)
    return tensor(image)


def test_masks_are_grouped_by_color():
    image = torch.stack([halves("red", "blue"), halves("blue", "red")])
    masks, colors, red, blue, *_ = run(MasksFromColorMap, image=image, colors="red, blue")
    assert colors == "#FF0000, #0000FF"
    assert masks[:, 0, 0].tolist() == [1, 0, 0, 1]
    assert torch.equal(masks, torch.cat([red, blue]))
    _, found, *_ = run(MasksFromColorMap, image=image)
    assert set(found.split(", ")) == {"#FF0000", "#0000FF"}


def test_given_colors_keep_their_order_and_found_ones_go_from_left_to_right():
    image = halves("blue", "red")[None]
    assert run(MasksFromColorMap, image=image)[1] == "#0000FF, #FF0000"
    assert run(MasksFromColorMap, image=image, colors="red blue")[1] == "#FF0000, #0000FF"
    assert run(MasksFromColorMap, image=image, count=1)[1] in ("#0000FF", "#FF0000")


def test_masks_beyond_the_palette_block_what_is_connected():
    *_, mask_10 = run(MasksFromColorMap, image=halves("blue", "red")[None])
    assert mask_10.message == (
        "mask_10 of Masks From Color Map does not exist: this run has 2 colors. Use only mask_1 up "
        "to mask_2, set count to 0 or 10, or name 10 colors in colors"
    )


def test_a_given_color_that_the_map_lacks_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        outputs = run(MasksFromColorMap, image=halves("blue", "red")[None], colors="red lime blue")
    assert not outputs[3].any()
    (line,) = caplog.messages
    assert "mask_2 is black: no pixel of the image is nearest to #00FF00" in line


def test_fewer_colors_than_asked_for_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        run(MasksFromColorMap, image=halves("blue", "red")[None], count=5)
    (line,) = caplog.messages
    assert "the image has 2 colors, count asks for 5" in line


def test_more_colors_than_fit_is_said(caplog):
    names = "red lime blue yellow magenta cyan orange purple black gray white"
    image = torch.cat([halves(name, name) for name in names.split()])[None]
    with caplog.at_level(logging.WARNING):
        _, colors, *_ = run(MasksFromColorMap, image=image)
    assert len(colors.split(", ")) == 10
    (line,) = caplog.messages
    assert "the image has more than 10 colors: the smallest are left out" in line


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"colors": "red, reddish"}, "colors: 'reddish' is not a color: write #RRGGBB"),
        ({"colors": "red, #F00"}, "colors: #FF0000 is there twice"),
        (
            {"colors": "255 0 0"},
            "colors: #000000 is there twice: name every region's color once, and put commas "
            "between red, green and blue: 255,0,0",
        ),
        ({"colors": " ".join(map(str, range(11)))}, "colors: 11 colors are more than the 10"),
        ({"image": torch.zeros(1, 4, 4, 4)}, "image is fully transparent"),
        ({"mode": "hard"}, "mode hard: choose one of nearest, soft"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(inputs, message):
    with pytest.raises(IPAdapterError) as caught:
        MasksFromColorMap.execute(**{"image": torch.zeros(1, 4, 4, 3), **inputs})
    assert str(caught.value).startswith(message)


# What the node shows


def test_node_shows_the_regions_and_a_swatch_of_each_color(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    shown = MasksFromColorMap.execute(image=tensor(MAP)[None], colors=TEXT).ui
    lines = shown["text"][0].split("\n")
    assert [line.split()[:2] for line in lines] == [
        [str(number), "#{:02X}{:02X}{:02X}".format(*color)]
        for number, color in enumerate(PALETTE, start=1)
    ]
    shares = np.bincount(np.array(LABELS).flatten()) / LABELS.width / LABELS.height * 100
    assert [float(line.split()[2]) for line in lines] == pytest.approx(shares.tolist(), abs=0.05)
    (file,) = shown["images"]
    picture = Image.open(tmp_path / file["filename"]).convert("RGB")
    height = round(WIDTH * MAP.height / MAP.width)
    regions = MAP.resize((WIDTH, height), Image.Resampling.NEAREST)
    same = np.array(regions) == np.array(picture)[:height]
    assert same.mean() > 0.98
    below = picture.crop((0, height, WIDTH, picture.height)).getcolors(10**6)
    seen = {color: pixels for pixels, color in below}
    assert all(seen[color] > SWATCH**2 / 2 for color in PALETTE)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (3, 2), (900, 1600)])
@pytest.mark.parametrize("amount", [1, 3, 10])
def test_picture_of_any_shape_can_be_shown(size, amount):
    masks = torch.zeros(amount, *size)
    picture, text = swatches(masks, [(9, 9, i) for i in range(amount)], [0.0004] * amount)
    assert picture.shape[2] == WIDTH
    assert picture.shape[1] <= WIDTH + 5 * (SWATCH + 8) + 8
    assert text.count("less than 0.1 %") == amount


def test_help_page_names_every_input_and_output():
    schema = MasksFromColorMap.GET_SCHEMA()
    page = (DOCS / "IPAdapterMasksFromColorMap.md").read_text()
    assert page.startswith(f"# {schema.display_name}\n")
    for socket in schema.inputs:
        assert f"| {socket.id} |" in page
    assert schema.is_output_node
    assert [output.display_name for output in schema.outputs] == [
        *("masks", "colors"),
        *(f"mask_{number}" for number in range(1, 11)),
    ]
