"""Every bundled workflow runs in a ComfyUI over HTTP, with its stock loaders and tiny models."""

import urllib.request

import numpy as np
import pytest
from ipadapter_pack.tests.headless.legacy_table import BOTH, RENAMED
from ipadapter_pack.tests.headless.runs import (
    key_of,
    left_half,
    narrow,
    person,
    result,
    set_inputs,
    small,
    stripes,
    uploaded,
)
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.errors import RunError
from ipadapter_pack.workflows.runner.graphs import bundled, title
from ipadapter_pack.workflows.runner.server import PACK, running
from PIL import Image

APPLY = ("IPAdapterApply", "IPAdapterApplyFaceID", "IPAdapterRegion")
COLORS = ("red", "navy", "yellow", "green")
PARTS = {
    "portrait_several_photos": "1234",
    "face_and_style": ("face", "style"),
    "style_and_composition": ("style", "composition"),
}


def with_references(client, graph, *colors, again=False):
    """The graph with a picture of each color, in turn, as its references; of a person where the
    workflow wants faces."""
    titles = {title(graph, key) for key in graph}
    references = sorted(name for name in titles if name.startswith("reference"))
    wants_faces = any(node["class_type"] == "IPAdapterApplyFaceID" for node in graph.values())
    for number, name in enumerate(references):
        color = colors[number % len(colors)]
        picture = person(COLORS.index(color)) if wants_faces else stripes(color)
        graph = set_inputs(graph, name, image=uploaded(client, picture, again))
    return graph


def differ(one, other, by=0.002):
    """Of a clip, frames that are equal may have become one."""
    return one.shape != other.shape or np.abs(one - other).mean() > by


def at_weight_zero(graph):
    for kind in APPLY:
        graph = set_inputs(graph, kind, weight=0.0)
    return graph


def paint_mask(client, graph):
    """Paint the mask where the workflow leaves that to the user."""
    if any(
        node["inputs"].get("attn_mask") == [key_of(graph, "mask"), 1] for node in graph.values()
    ):
        return set_inputs(graph, "mask", image=uploaded(client, left_half()))
    return graph


@pytest.mark.parametrize("name", bundled())
def test_workflow_runs_with_the_stock_loaders(client, name):
    picture = result(
        client, with_references(client, paint_mask(client, small(name)), "red", "navy")
    )
    assert np.isfinite(picture).all()
    assert picture.std() > 0.01


@pytest.mark.parametrize("name", bundled())
def test_workflow_moves_with_its_references_and_repeats(client, name):
    graph = narrow(paint_mask(client, small(name)))
    first = with_references(client, graph, "red", "navy")
    picture = result(client, first)
    other = result(client, with_references(client, graph, "yellow", "green"))
    without = result(client, at_weight_zero(first))
    again = result(client, with_references(client, graph, "red", "navy", again=True))
    assert np.isfinite(picture).all()
    assert picture.std() > 0.01
    assert differ(picture, other)
    assert differ(picture, without)
    assert (picture == again).all()


@pytest.mark.parametrize("name", PARTS)
def test_workflow_moves_with_each_of_its_references(client, name):
    graph = with_references(client, narrow(small(name)), "red", "navy")
    picture = result(client, graph)
    for part in PARTS[name]:
        image = uploaded(client, person(COLORS.index("green")))
        other = result(client, set_inputs(graph, f"reference_{part}", image=image))
        assert np.abs(picture - other).mean() > 0.001, part


def test_workflow_at_weight_zero_is_the_plain_model_without_the_lora(client):
    graph = with_references(client, small("face_and_style"), "red", "navy")
    plain = set_inputs(graph, "KSampler", model=[key_of(graph, "Load Checkpoint"), 0])
    nothing = result(client, plain)
    without = at_weight_zero(graph)
    assert (result(client, without) == nothing).all()
    with_lora = set_inputs(without, "IPAdapterApplyFaceID", weight=1e-6)
    assert np.abs(result(client, with_lora) - nothing).mean() > 0.002


def test_workflow_says_that_a_picture_shows_no_face(client):
    graph = set_inputs(
        small("faceid"), "reference", image=uploaded(client, Image.new("RGB", (320, 240), "gray"))
    )
    with pytest.raises(RunError, match=r"^Apply IPAdapter FaceID .*no face found in picture 1"):
        client.run(graph, progress=False)


def test_workflow_runs_with_a_plus_adapter(client):
    graph = with_references(client, small("two_references"), "red", "navy")
    plus = set_inputs(graph, "IPAdapterModelLoader", ipadapter_file="tiny_plus.safetensors")
    assert np.abs(result(client, plus) - result(client, graph)).mean() > 0.002


STAND_IN = '''
"""Another pack that owns IPAdapterModelLoader, as widely installed ones do."""

import comfy.clip_vision
import comfy.utils
import folder_paths

if "ipadapter" not in folder_paths.folder_names_and_paths:
    folder_paths.add_model_folder_path("ipadapter", "models/ipadapter")
folder_paths.folder_names_and_paths["ipadapter"][1].update(folder_paths.supported_pt_extensions)


class Loader:
    CATEGORY, RETURN_TYPES, FUNCTION = "stand-in", ("IPADAPTER",), "load"

    @classmethod
    def INPUT_TYPES(cls):
        files = folder_paths.get_filename_list("ipadapter")
        return {"required": {"ipadapter_file": (files,)}}

    def load(self, ipadapter_file):
        flat = comfy.utils.load_torch_file(
            folder_paths.get_full_path("ipadapter", ipadapter_file), safe_load=True
        )
        nested = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in flat.items():
            part, key = name.split(".", 1)
            nested[part][key] = tensor
        return (RETURNED,)


def encoder():
    return comfy.clip_vision.load(folder_paths.get_full_path("clip_vision", "tiny.safetensors"))


NODE_CLASS_MAPPINGS = {"IPAdapterModelLoader": Loader, "IPAdapterAdvanced": Loader}
'''
VALUES = {
    "loader": "nested",
    "pipeline": '{"ipadapter": {"model": nested}, "clipvision": {"model": encoder()}}',
}


@pytest.fixture(scope="module", params=VALUES)
def beside(request, model_folders, tmp_path_factory):
    """What the other pack's loader gives, and a ComfyUI with both packs: for one it is the first
    that is loaded, for the other the last."""
    stand_in = tmp_path_factory.mktemp("packs") / "stand_in"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text(STAND_IN.replace("RETURNED", VALUES[request.param]))
    packs = [stand_in, PACK] if request.param == "loader" else [PACK, stand_in]
    with running(model_folders, packs) as url:
        yield request.param, Client(url)


def test_workflow_runs_beside_a_pack_that_owns_the_loader(client, beside):
    value, other = beside
    graph = small("two_references")
    if value == "pipeline":  # it brings its own encoder
        for node in graph.values():
            node["inputs"].pop("clip_vision", None)
    loader = other.object_info()["IPAdapterModelLoader"]
    assert loader["python_module"] == "custom_nodes.stand_in"
    there = result(other, with_references(other, graph, "red", "navy"))
    here = with_references(client, small("two_references"), "red", "navy")
    assert (there == result(client, here)).all()


@pytest.mark.parametrize("beside", ["loader"], indirect=True)
def test_ids_of_another_pack_are_left_to_it_and_said_once(beside):
    _, other = beside
    known = other.object_info()
    with urllib.request.urlopen(f"{other.url}/internal/logs") as response:
        log = response.read().decode()
    theirs = ("IPAdapterModelLoader", "IPAdapterAdvanced")
    owners = {name: known[name]["python_module"] for name in BOTH}
    assert {name for name in BOTH if owners[name] == "custom_nodes.stand_in"} == set(theirs)
    assert {owners[name] for name in BOTH.keys() - theirs} == {f"custom_nodes.{PACK.name}"}
    assert set(RENAMED.values()) <= known.keys()
    said = "left to the pack that already has them: "
    assert log.count(said + ", ".join(theirs)) == log.count(said) == 1
    assert log.count("IPAdapterAdvanced") == 1
