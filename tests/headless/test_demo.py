"""`make demo` shows that each reference acts in its own region."""

import json

import numpy as np
import pytest
from ipadapter_pack.workflows.runner import showcase
from PIL import Image

PICTURES = ("result", "masks", "difference-left", "difference-right", "contact-sheet")


# Beside the size that users see: one of which the sampling takes a twelfth.
SMALL = {"EmptyLatentImage": {"width": 192, "height": 128}, "KSampler": {"steps": 2}}


@pytest.fixture(
    scope="module",
    params=[SMALL, pytest.param(None, marks=pytest.mark.release)],
    ids=["small", "as it is"],
)
def demo(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showcase, "QUICK", request.param or showcase.QUICK)
        assert showcase.main(["--out", str(folder)]) == 0
    return folder


def test_demo_each_reference_acts_inside_its_region(demo):
    figures = json.loads((demo / "differences.json").read_text())
    assert set(figures) == {"left", "right"}
    for figure in figures.values():
        assert figure["inside"] > 0.02
        assert figure["inside"] >= 1.5 * figure["outside"]


def test_demo_leaves_its_pictures(demo):
    for name in PICTURES:
        with Image.open(demo / f"{name}.png") as picture:
            assert picture.format == "PNG"
            assert np.asarray(picture.convert("L")).std() > 1


def test_demo_difference_maps_are_bright_where_they_should_be(demo):
    def brightness(side, half):
        image = np.asarray(Image.open(demo / f"difference-{side}.png").convert("L"), np.float32)
        width = image.shape[1] // 4
        return image[:, :width].mean() if half == "left" else image[:, -width:].mean()

    assert brightness("left", "left") > 2 * brightness("left", "right")
    assert brightness("right", "right") > 2 * brightness("right", "left")


def test_demo_falls_back_on_two_different_pictures(monkeypatch):
    monkeypatch.setattr(showcase, "PICTURES", ())
    left, right = showcase.reference_pictures()
    assert np.abs(np.asarray(left, int) - np.asarray(right, int)).mean() > 20
