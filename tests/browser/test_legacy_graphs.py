"""Graphs that people saved with ComfyUI_IPAdapter_plus, in ComfyUI's own frontend of today."""

import json
import urllib.request

import pytest
from ipadapter_pack.tests import legacy_graphs
from ipadapter_pack.tests.browser.frontend import Frontend
from ipadapter_pack.tests.headless.legacy_runs import PROMPTS, kind_of
from ipadapter_pack.tests.legacy_graphs.files import upload
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.server import running

SAVED = legacy_graphs.saved()
MODELS = {
    "checkpoints": ["tiny"],
    "clip_vision": ["tiny"],
    "ipadapter": ["tiny", "tiny_plus", "tiny_faceid_plusv2", "tiny_portrait"],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a ComfyUI that knows the graphs' models by name, and has their pictures."""
    folder = tmp_path_factory.mktemp("models")
    for kind, names in MODELS.items():
        (folder / kind).mkdir()
        for name in names:
            (folder / kind / f"{name}.safetensors").touch()
    with running({kind: [folder / kind] for kind in MODELS}) as address:
        upload(Client(address).upload)
        yield address


@pytest.fixture(scope="module")
def frontend(url, browser):
    return Frontend(browser, url)


@pytest.fixture(scope="module")
def known(url):
    with urllib.request.urlopen(f"{url}/object_info") as response:
        return json.load(response)


@pytest.mark.parametrize("name", SAVED)
def test_saved_graph_opens_and_runs_as_the_prompt_says(frontend, known, name):
    frontend.open(SAVED[name])
    assert frontend.notices() == []
    assert frontend.failures == []
    shown, sent = frontend.widgets(), frontend.as_sent()
    assert sent.keys() == PROMPTS[name].keys()
    for key, node in PROMPTS[name].items():
        assert sent[key]["class_type"] == kind_of(node)
        check_inputs(sent[key], node["inputs"], known)
        for widget, value in node["inputs"].items():
            assert isinstance(value, list) or shown[key][widget] == value, (key, widget)


def check_inputs(sent, expected, known):
    """Just these; what newer nodes have more is at its default."""
    kind, inputs = sent["class_type"], sent["inputs"]
    assert {k: v for k, v in inputs.items() if k in expected} == expected, kind
    more = {k: v for k, v in inputs.items() if k not in expected}
    specs = {k: v for part in known[kind]["input"].values() for k, v in part.items()}
    assert more == {k: specs[k][1]["default"] for k in more}, kind


SUBGRAPH, OUTER = "7a0e7d9c-6f0f-4b53-9c5e-0f1f6b0c9a12", 100
ENDS = ("origin_id", "origin_slot", "target_id", "target_slot", "type")


def in_a_subgraph(graph):
    """The whole of a graph as somebody put it into one node."""
    edge = {"bounding": [0, 0, 100, 60]}
    definition = {
        "id": SUBGRAPH, "version": 1, "revision": 0, "name": "old", "config": {}, "groups": [],
        "state": {
            "lastGroupId": 0, "lastNodeId": graph["last_node_id"],
            "lastLinkId": graph["last_link_id"], "lastRerouteId": 0,
        },
        "inputNode": {"id": -10, **edge}, "outputNode": {"id": -20, **edge}, "inputs": [],
        "outputs": [], "widgets": [], "nodes": graph["nodes"], "extra": {},
        "links": [
            {"id": number, **dict(zip(ENDS, ends, strict=True))} for number, *ends in graph["links"]
        ],
    }  # fmt: skip
    outer = {
        "id": OUTER, "type": SUBGRAPH, "pos": [0, 0], "size": [300, 200], "flags": {}, "order": 0,
        "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [],
    }  # fmt: skip
    return {
        "last_node_id": OUTER, "last_link_id": 0, "nodes": [outer], "links": [], "groups": [],
        "config": {}, "extra": {}, "version": 0.4, "definitions": {"subgraphs": [definition]},
    }  # fmt: skip


@pytest.mark.parametrize("name", ["v1/IPAdapterEncoder", "v2/IPAdapterEncoder"])
def test_saved_graph_inside_a_subgraph(frontend, known, name):
    frontend.open(in_a_subgraph(SAVED[name]))
    assert frontend.notices() == []
    assert frontend.failures == []
    sent = frontend.as_sent()
    assert sent.keys() == {f"{OUTER}:{key}" for key in PROMPTS[name]}
    for key, node in PROMPTS[name].items():
        assert sent[f"{OUTER}:{key}"]["class_type"] == kind_of(node)
        inputs = {k: inside(v) for k, v in node["inputs"].items()}
        check_inputs(sent[f"{OUTER}:{key}"], inputs, known)


def inside(value):
    return [f"{OUTER}:{value[0]}", value[1]] if isinstance(value, list) else value
