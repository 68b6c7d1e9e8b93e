"""Preview Mask inside a real ComfyUI: what it shows, what it says, what it hands on."""

import json
import logging
from urllib.request import urlopen

import folder_paths
import numpy as np
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.masking.preview import PreviewMask
from ipadapter_pack.tests.headless.mask_inputs import (
    BAD_IMAGES,
    BAD_MASKS,
    PROPERTIES,
    any_image,
    any_mask,
    refuses,
    run,
)
from PIL import Image
from server import PromptServer

GRIDS = settings(PROPERTIES, max_examples=15)  # each draws a large picture
MOST_SIDE = 2000  # a longer one makes the matrices of to_grid large


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


@pytest.fixture
def shown(temporary_folder):
    """Runs the node: its pictures [H, W, 3] as 8-bit levels, and its text."""

    def shows(**inputs):
        output = PreviewMask.execute(**inputs)
        assert output.args[0] is inputs["mask"]
        names = [picture["filename"] for picture in output.ui["images"]]
        (text,) = output.ui["text"]
        return [np.asarray(Image.open(temporary_folder / name)) for name in names], text

    return shows


def shape(tensor, last):
    """Whether both sides of a mask (last 2) or picture (last 3) are of a usual length."""
    return max(tensor.shape[-last:][:2]) <= MOST_SIDE


def latent(height, width, batch=1):
    return {"samples": torch.zeros(batch, 4, height, width)}


def test_every_mask_is_shown_and_the_input_passed_on(shown):
    pictures, _ = shown(mask=torch.tensor([[[0.0, 1.0]], [[1.0, 0.5]]]))
    assert [p[0, :, 0].tolist() for p in pictures] == [[0, 255], [255, 127]]
    assert PreviewMask.GET_SCHEMA().is_output_node


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_flat_masks_are_shown(shown, dtype):
    ((picture,), _) = shown(mask=torch.ones(2, 3, dtype=dtype))
    assert picture.shape == (2, 3, 3)
    assert (picture == 255).all()


def test_what_is_new_may_be_left_open():
    inputs = PreviewMask.GET_SCHEMA().inputs
    assert [i.id for i in inputs if not i.optional] == ["mask"]
    assert {i.id: i.default for i in inputs if i.id == "view"} == {"view": "mask"}


# Over a picture


def test_the_overlay_has_the_pictures_size(shown):
    mask = torch.zeros(1, 32, 48)
    mask[..., 24:] = 1
    image = torch.full((1, 64, 96, 3), 0.4)
    ((picture,), text) = shown(mask=mask, image=image)
    assert picture.shape == (64, 96, 3)
    assert (picture[:, :46] == 102).all()
    assert (picture[:, 50:, 0].astype(int) - picture[:, 50:, 1] > 100).all()
    assert text == ("1 of 1: covers 50.0 %, above 0 in 50.0 %, 0 to 1, 48 x 32.")


@pytest.mark.parametrize(("masks", "images"), [(3, 1), (1, 3), (3, 2), (2, 3)])
def test_each_mask_lies_over_its_own_picture(shown, masks, images):
    values = torch.arange(4) / 4
    mask = values[:masks, None, None].expand(-1, 8, 8)
    image = values[:images, None, None, None].expand(-1, 8, 8, 3)
    pictures, text = shown(mask=mask, image=image)
    assert len(pictures) == 3
    assert len(text.splitlines()) == masks
    for i, picture in enumerate(pictures):
        green = values[min(i, images - 1)] * (1 - 0.65 * values[min(i, masks - 1)])
        assert picture[..., 1].max() == int(green * 255)


def test_another_aspect_ratio_is_said_with_both_sizes(shown, caplog):
    with caplog.at_level(logging.WARNING):
        _, text = shown(mask=torch.ones(1, 512, 512), image=torch.zeros(1, 512, 768, 3))
    line = "mask is 512 x 512, the picture 768 x 512: the mask is stretched"
    assert text.splitlines()[0] == f"{line}."
    assert [message.endswith(line) for message in caplog.messages] == [True]


def test_another_size_of_the_same_shape_is_silent(shown, caplog):
    with caplog.at_level(logging.WARNING):
        shown(mask=torch.ones(1, 256, 384), image=torch.zeros(1, 512, 768, 3))
        shown(mask=torch.ones(1, 256, 384), latent=latent(64, 96), view="attention")
        shown(mask=torch.ones(1, 100, 300))
    assert not caplog.messages


# As attention sees it


@pytest.mark.parametrize(
    ("inputs", "panel"),
    [
        ({}, (512, 256)),
        ({"image": torch.zeros(1, 256, 256, 3)}, (512, 512)),
        ({"image": torch.zeros(1, 256, 256, 3), "latent": latent(16, 64)}, (128, 512)),
        ({"latent": latent(64, 16)}, (512, 128)),
        ({"latent": {"samples": torch.zeros(1, 4, 5, 16, 64)}}, (128, 512)),
    ],
)
def test_the_grid_is_the_latents_else_the_pictures_else_the_masks(shown, inputs, panel):
    """A white mask fills its panels, whose shape is the grid's."""
    ((picture,), _) = shown(mask=torch.ones(1, 128, 64), view="attention", **inputs)
    white = (picture[: panel[0]] > 150)[..., 0]
    assert white[:, : panel[1]].all()
    assert not (picture[panel[0] :, :, 0] > 150).all(axis=1).any()
    assert not white[:, panel[1]].any()


def test_a_thin_line_is_gray_in_coarse_grids(shown):
    mask = torch.zeros(1, 512, 512)
    mask[..., 104:112] = 1  # a cell of 1/8, an eighth of one of 1/64
    ((picture,), _) = shown(mask=mask, view="attention")
    below, beside = picture.shape[0] // 2, picture.shape[1] // 2
    rows = [picture[y + 256, x : x + 512, 0] for y in (0, below) for x in (0, beside + 8)]
    assert [int(row.max()) for row in rows] == [255, 127, 63, 31]


def test_every_mask_of_a_batch_gets_its_levels(shown):
    mask = torch.stack([torch.zeros(64, 64), torch.ones(64, 64)])
    pictures, text = shown(mask=mask, view="attention")
    assert [int(picture[10, 10, 0]) for picture in pictures] == [0, 255]
    assert "1 of 2: all black, covers 0 %" in text
    assert "2 of 2: all white, covers 100 %" in text


def test_masks_smaller_than_a_cell_have_one(shown):
    ((picture,), _) = shown(mask=torch.ones(1, 3, 2), view="attention")
    assert (picture[:512, :512] == 255).all()


# What is said


class Recorder(PromptServer):
    """ComfyUI's server, whose messages go into a list."""

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, sid=None):
        self.sent.append(data)


def test_the_statistics_appear_on_the_running_node(temporary_folder, monkeypatch):
    server = Recorder()
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    inputs = {"mask": torch.zeros(1, 8, 8), "image": torch.zeros(1, 64, 256, 3)}
    with CurrentNodeContext("prompt", "17"):
        PreviewMask.execute(**inputs)
    *_, last = server.sent
    assert b"17" in last
    assert last.endswith(
        b"the mask is stretched\n"
        b"1 of 1: all black, covers 0 %: a reference with it acts nowhere, 8 x 8."
    )


def test_a_server_sends_pictures_and_text(client):
    """Over HTTP, as the frontend and scripts read it."""
    graph = {
        "1": {"class_type": "SolidMask", "inputs": {"value": 0.5, "width": 64, "height": 32}},
        "2": {"class_type": "EmptyImage", "inputs": EMPTY_IMAGE},
        "3": {
            "class_type": "IPAdapterPreviewMask",
            "inputs": {"mask": ["1", 0], "image": ["2", 0], "view": "attention"},
        },
        "4": {"class_type": "IPAdapterPreviewMask", "inputs": {"mask": ["1", 0]}},
    }
    client.run(graph, progress=False)
    with urlopen(f"{client.url}/history?max_items=1") as answer:
        (ran,) = json.load(answer).values()
    outputs = ran["outputs"]
    for node in ("3", "4"):
        assert len(outputs[node]["images"]) == 1
        assert outputs[node]["text"] == ["1 of 1: 0.5 everywhere, 64 x 32."]


EMPTY_IMAGE = {"width": 128, "height": 64, "batch_size": 1, "color": 255}


# What comes in


@PROPERTIES
@given(any_mask())
def test_any_mask_is_shown_as_it_is(mask):
    assert run(PreviewMask, mask=mask)[0] is mask


@GRIDS
@given(any_mask(), any_image())
def test_any_mask_is_shown_over_any_picture(mask, image):
    assume(shape(mask, 2) and shape(image, 3))
    assert run(PreviewMask, mask=mask, image=image)[0] is mask


@GRIDS
@given(
    any_mask(),
    st.none() | any_image(),
    st.none() | st.tuples(st.integers(1, 160), st.integers(1, 160)),
)
def test_any_mask_is_shown_as_attention_sees_it(mask, image, grid):
    assume(shape(mask, 2) and (image is None or shape(image, 3)))
    size = {} if grid is None else {"latent": latent(*grid)}
    assert run(PreviewMask, mask=mask, image=image, view="attention", **size)[0] is mask


@pytest.mark.parametrize("view", ["mask", "attention"])
@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_an_unusable_mask_is_refused(mask, problem, view):
    refuses(PreviewMask, "mask", problem, mask=mask, view=view)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_an_unusable_picture_is_refused(image, problem):
    refuses(PreviewMask, "image", problem, mask=torch.ones(1, 4, 4), image=image)


def test_very_long_masks_are_shown_too(shown):
    long = torch.zeros(1, 2, 40000)
    assert shown(mask=long)[0][0].shape == (2, 40000, 3)
    ((picture,), _) = shown(mask=long, view="attention")
    assert picture.shape[1] <= 2 * 512 + 2 * 16 + 512


def test_a_view_that_does_not_exist_is_refused():
    with pytest.raises(IPAdapterError, match="view sideways: choose one of mask, attention"):
        PreviewMask.execute(mask=torch.ones(1, 4, 4), view="sideways")


@pytest.mark.parametrize("cells", [{}, {"samples": torch.zeros(1, 4, 0, 0)}])
def test_a_latent_without_cells_is_refused(cells):
    refuses(
        PreviewMask, "latent", "has no cells", mask=torch.ones(1, 4, 4), view="attention",
        latent=cells,
    )  # fmt: skip
