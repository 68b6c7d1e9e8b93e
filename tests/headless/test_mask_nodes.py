"""The mask nodes inside a real ComfyUI: against core's own where they agree, and their errors."""

import logging
from pathlib import Path

import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from comfy_extras import nodes_mask as core
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.masking import adjust as mask_shapes
from ipadapter_pack.nodes.masking import color as mask_from_color
from ipadapter_pack.nodes.masking import draw as masks
from ipadapter_pack.nodes.shared.checks import check_image, check_mask
from ipadapter_pack.nodes.shared.inputs import ADVANCED, CATEGORY
from ipadapter_pack.nodes.shared.notices import warn
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, BAD_MASKS, refuses
from server import PromptServer

NODES = [*masks.NODES, *mask_from_color.NODES, *mask_shapes.NODES]
WIDGETS = {
    "IPAdapterSolidMask": [
        *("value", "width", "height", "box_left", "box_top", "box_width", "box_height"),
        *("image", "latent"),
    ],
    "IPAdapterFeatherMask": [
        *("mask", "left", "top", "right", "bottom", "shape_feather", "direction", "curve"),
    ],
    "IPAdapterMaskComposite": ["destination", "source", "x", "y", "operation"],
    "IPAdapterMaskFromColor": ["image", "color", "tolerance"],
    "IPAdapterAdjustMask": ["mask", "threshold", "grow", "invert"],
    "IPAdapterFitMask": ["mask", "mode", "image", "latent", "width", "height", "outside"],
}
DOCS = Path(masks.__file__).parents[1] / "web" / "docs"


def result(node, **inputs):
    return node.execute(**inputs).args[0]


# Names and words that saved graphs and users depend on


def test_ids_and_widget_order():
    schemas = [node.GET_SCHEMA() for node in NODES]
    assert {s.node_id: [i.id for i in s.inputs] for s in schemas} == WIDGETS


@pytest.mark.parametrize("node", NODES)
def test_everything_is_described(node):
    schema = node.GET_SCHEMA()
    assert schema.category in {CATEGORY, ADVANCED}
    assert schema.display_name.endswith(" (IPAdapter)")
    assert schema.description
    assert schema.search_aliases
    for socket in [*schema.inputs, *schema.outputs]:
        assert socket.tooltip
    assert (DOCS / f"{schema.node_id}.md").read_text().startswith(f"# {schema.display_name}\n")


def test_defaults_and_ranges():
    inputs = {
        (node.GET_SCHEMA().node_id, i.id): i for node in NODES for i in node.GET_SCHEMA().inputs
    }
    solid = inputs["IPAdapterSolidMask", "value"]
    assert (solid.default, solid.min, solid.max, solid.step) == (1.0, 0.0, 1.0, 0.01)
    for size in ("width", "height"):
        widget = inputs["IPAdapterSolidMask", size]
        assert (widget.default, widget.min, widget.max, widget.step) == (512, 1, 16384, 1)
    for side in ("left", "top", "right", "bottom"):
        widget = inputs["IPAdapterFeatherMask", side]
        assert (widget.default, widget.min, widget.max) == (0, 0, 16384)
    for axis in ("x", "y"):
        widget = inputs["IPAdapterMaskComposite", axis]
        assert (widget.default, widget.min, widget.max) == (0, -16384, 16384)
    operation = inputs["IPAdapterMaskComposite", "operation"]
    assert operation.default == "add"
    assert operation.options == [*core_operations(), "max", "min"]
    assert inputs["IPAdapterMaskFromColor", "color"].default == "#FF0000"
    for name, default in (("left", 0), ("top", 0), ("width", 1), ("height", 1)):
        widget = inputs["IPAdapterSolidMask", f"box_{name}"]
        assert (widget.default, widget.min, widget.max, widget.optional) == (default, 0, 1, True)
    feather = inputs["IPAdapterFeatherMask", "shape_feather"]
    assert (feather.default, feather.min, feather.max, feather.optional) == (0, 0, 16384, True)
    assert inputs["IPAdapterFeatherMask", "direction"].options == ["inward", "outward", "centered"]
    assert inputs["IPAdapterFeatherMask", "curve"].options == ["linear", "cosine"]
    threshold, grow = (inputs["IPAdapterAdjustMask", name] for name in ("threshold", "grow"))
    assert (threshold.default, threshold.min, threshold.max) == (0, 0, 1)
    assert (grow.default, grow.min, grow.max) == (0, -1024, 1024)
    mode = inputs["IPAdapterFitMask", "mode"]
    assert (mode.default, mode.options) == ("stretch", ["stretch", "cover", "contain"])
    tolerance = inputs["IPAdapterMaskFromColor", "tolerance"]
    assert (tolerance.default, tolerance.min, tolerance.max) == (16, 0, 255)


def core_operations() -> list[str]:
    return core.MaskComposite.GET_SCHEMA().inputs[-1].options


# The same as core's nodes wherever both have an answer


def test_solid_is_cores():
    sizes = {"value": 0.3, "width": 7, "height": 4}
    assert torch.equal(result(masks.SolidMask, **sizes), result(core.SolidMask, **sizes))


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
@pytest.mark.parametrize("length", [0, 1, 3, 6, 50])
def test_feather_of_one_side_is_cores(side, length):
    inputs = {"mask": torch.rand(2, 6, 9), "left": 0, "top": 0, "right": 0, "bottom": 0}
    inputs[side] = length
    assert torch.equal(result(masks.FeatherMask, **inputs), result(core.FeatherMask, **inputs))


@settings(deadline=None)
@given(
    x=st.integers(0, 6),
    y=st.integers(0, 4),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@pytest.mark.parametrize("operation", core_operations())
def test_composite_inside_the_canvas_is_cores(operation, x, y, height, width, batch, seed):
    random = torch.Generator().manual_seed(seed)
    inputs = {
        "destination": torch.rand(batch, 5, 7, generator=random),
        "source": torch.rand(batch, height, width, generator=random),
        "x": x,
        "y": y,
        "operation": operation,
    }
    assert torch.equal(result(masks.MaskComposite, **inputs), result(core.MaskComposite, **inputs))


@pytest.mark.parametrize("expand", [-1, 0, 1])
def test_growing_by_one_pixel_is_cores(expand):
    mask = torch.rand(2, 9, 12)
    theirs = result(core.GrowMask, mask=mask, expand=expand, tapered_corners=True)
    assert torch.equal(result(mask_shapes.AdjustMask, mask=mask, grow=expand), theirs)


def test_threshold_and_invert_are_cores():
    """But for what is exactly at the threshold, which core calls black."""
    mask = torch.rand(2, 9, 12)
    theirs = result(core.ThresholdMask, mask=mask, value=0.3)
    assert torch.equal(result(mask_shapes.AdjustMask, mask=mask, threshold=0.3), theirs)
    inverted = result(core.InvertMask, mask=mask)
    assert torch.equal(result(mask_shapes.AdjustMask, mask=mask, invert=True), inverted)


@pytest.mark.parametrize("channels", [3, 4])
def test_exact_color_is_cores(channels):
    levels = torch.tensor([[255, 0, 0], [254, 0, 0], [0, 0, 255], [255, 8, 0], [255, 0, 0]])
    image = torch.ones(1, 1, 5, channels)
    image[..., :3] = levels / 255
    ours = result(mask_from_color.MaskFromColor, image=image, color="16711680", tolerance=0)
    theirs = result(core.ImageColorToMask, image=image, color=16711680)
    assert torch.equal((ours == 1).float(), theirs)


# What comes in


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool])
def test_masks_of_any_type_come_out_as_float(dtype):
    mask = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    other = mask.to(dtype)
    assert torch.equal(check_mask(other, "mask"), mask)
    assert torch.equal(check_mask(other[0], "mask"), mask)
    sides = {"left": 1, "top": 2, "right": 0, "bottom": 0}
    expected = result(masks.FeatherMask, mask=mask, **sides)
    assert torch.equal(result(masks.FeatherMask, mask=other, **sides), expected)


def test_a_mask_that_is_fit_for_use_is_not_copied():
    mask = torch.rand(3, 8, 6)
    for same in (mask, mask[0], mask[:, None], mask[..., None]):
        assert check_mask(same, "mask").data_ptr() == mask.data_ptr()
    for beyond in (mask + 1, mask - 1):
        assert torch.equal(check_mask(beyond, "mask"), beyond.clamp(0, 1))


@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (2, 8, 6, 1), (2, 1, 8, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_masks_with_a_channel_are_those_without(shape, dtype):
    """As packs for segmentation hand them out."""
    mask = (255 * torch.rand(shape)).to(dtype) if dtype == torch.uint8 else torch.rand(shape)
    mask = mask > 0.5 if dtype == torch.bool else mask
    plain = mask.squeeze(1) if shape[1] == 1 else mask.squeeze(-1)
    assert torch.equal(check_mask(mask, "mask"), check_mask(plain, "mask"))


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (2, 8, 6, 3), (2, 0, 8, 6), (1, 1, 1, 8, 6), (6,)])
def test_masks_of_other_shapes_are_refused_in_one_line(shape):
    with pytest.raises(IPAdapterError) as caught:
        check_mask(torch.ones(shape), "mask")
    assert str(caught.value) == (
        f"mask has the shape {list(shape)}: connect masks, [masks, height, width]"
    )


PLACES = {"x": 0, "y": 0, "operation": "add"}
SIDES = {"left": 0, "top": 0, "right": 0, "bottom": 0}
TAKE_MASKS = [
    (masks.FeatherMask, "mask", SIDES),
    (masks.MaskComposite, "destination", {"source": torch.ones(1, 4, 4), **PLACES}),
    (masks.MaskComposite, "source", {"destination": torch.ones(1, 4, 4), **PLACES}),
    (mask_shapes.AdjustMask, "mask", {}),
    (mask_shapes.FitMask, "mask", {}),
]


@pytest.mark.parametrize(("node", "name", "others"), TAKE_MASKS)
@pytest.mark.parametrize(("mask", "problem"), BAD_MASKS)
def test_unusable_mask_is_refused_in_one_line(node, name, others, mask, problem):
    refuses(node, name, problem, **{name: mask}, **others)


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_unusable_image_is_refused_in_one_line(image, problem):
    node = mask_from_color.MaskFromColor
    refuses(node, "image", problem, image=image, color="red", tolerance=0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_usable_images_pass(channels):
    assert check_image(torch.ones(2, 3, 3, channels), "image") is None


def test_unreadable_color_is_the_packs_own_error():
    with pytest.raises(IPAdapterError, match="'#GG0000' is not a color: write #RRGGBB"):
        mask_from_color.MaskFromColor.execute(
            image=torch.ones(1, 2, 2, 3), color="#GG0000", tolerance=0
        )


def test_masks_that_core_cannot_check_are_read_all_the_same():
    """float8 has no isfinite; a mask of a training node carries gradients."""
    mask = torch.tensor([[[0.0, 1.0]]])
    assert torch.equal(check_mask(mask.to(torch.float8_e4m3fn), "mask"), mask)
    with torch.inference_mode(False):
        assert not check_mask(mask.clone().requires_grad_(), "mask").requires_grad


# What is said


def test_color_that_is_nowhere_is_said_in_the_log(caplog):
    image = torch.zeros(2, 3, 3, 3)
    with caplog.at_level(logging.WARNING):
        assert not result(
            mask_from_color.MaskFromColor, image=image, color="tomato", tolerance=5
        ).any()
    assert [("tomato" in line, "tolerance 5" in line) for line in caplog.messages] == [(True, True)]


def test_color_that_is_somewhere_is_silent(caplog):
    image = torch.zeros(2, 3, 3, 3)
    image[1, 0, 0, 0] = 1
    with caplog.at_level(logging.WARNING):
        assert (
            result(mask_from_color.MaskFromColor, image=image, color="red", tolerance=5).sum() == 1
        )
    assert not caplog.messages


class Recorder(PromptServer):
    """ComfyUI's server, whose messages go into a list."""

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, sid=None):
        self.sent.append(data)


def test_what_is_said_appears_on_the_running_node(monkeypatch):
    server = Recorder()
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    inputs = {"image": torch.zeros(1, 2, 2, 3), "color": "tomato", "tolerance": 5}
    mask_from_color.MaskFromColor.execute(**inputs)
    assert not server.sent  # called directly, no node is running
    with CurrentNodeContext("prompt", "17"):
        mask_from_color.MaskFromColor.execute(**inputs)
    (message,) = server.sent
    assert b"17" in message
    assert b"tomato" in message


def test_a_node_that_says_two_things_shows_both(monkeypatch):
    server = Recorder()
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    for prompt in ("first", "second"):
        with CurrentNodeContext(prompt, "17"):
            for text in ("one", "two", "one"):
                warn(text)
        assert server.sent[-1].endswith(b"one\ntwo")
    with CurrentNodeContext("second", "18"):
        warn("three")
    assert server.sent[-1].endswith(b"three")
    assert b"two" not in server.sent[-1]
