"""Graphs of ComfyUI_IPAdapter_plus in the frontend: whose IPAdapterEncoder a saved one means."""

import copy

import pytest
from ipadapter_pack.workflows.runner.server import PACK

V1_VALUES = [True, 0.25, 0.9, 0.8, 0.7, 0.6]
V1_WIDGETS = {
    "ipadapter_plus": True, "noise": 0.25, "weight_1": 0.9, "weight_2": 0.8, "weight_3": 0.7,
    "weight_4": 0.6,
}  # fmt: skip
EMBEDS = {"name": "EMBEDS", "type": "EMBEDS", "links": None}


def socket(name, type, link=None):
    return {"name": name, "type": type, "link": link}


def node(number, kind, inputs, outputs, values, **more):
    return {
        "id": number, "type": kind, "pos": [number * 350, 100], "size": [300, 200], "flags": {},
        "order": number, "mode": 0, "inputs": inputs, "outputs": outputs, "widgets_values": values,
        "properties": {"Node name for S&R": kind}, **more,
    }  # fmt: skip


def encoder_v1(number=1, link=None):
    """As a graph of version 1 has it."""
    names = ["image_1", "image_2", "image_3", "image_4"]
    inputs = [socket("clip_vision", "CLIP_VISION"), *(socket(n, "IMAGE") for n in names)]
    inputs[1]["link"] = link
    return node(number, "IPAdapterEncoder", inputs, [EMBEDS], V1_VALUES)


def encoder_v2(number=1):
    names = {
        "ipadapter": "IPADAPTER", "image": "IMAGE", "mask": "MASK", "clip_vision": "CLIP_VISION",
    }  # fmt: skip
    inputs = [socket(name, type) for name, type in names.items()]
    outputs = [EMBEDS | {"name": name} for name in ("pos_embed", "neg_embed")]
    return node(number, "IPAdapterEncoder", inputs, outputs, [0.35])


def graph(*nodes, links=(), **more):
    last = max(n["id"] for n in nodes)
    return {
        "last_node_id": last, "last_link_id": len(links), "nodes": list(nodes),
        "links": list(links), "groups": [], "config": {}, "extra": {}, "version": 0.4, **more,
    }  # fmt: skip


def kinds(frontend):
    return frontend.run(
        "() => app.graph.nodes.map(n => [n.type, n.properties['Node name for S&R']])"
    )


def test_the_script_is_loaded(frontend):
    names = frontend.run("() => app.extensions.map(extension => extension.name)")
    assert "IPAdapterRegions.Legacy" in names
    own = f"/extensions/{PACK.name}/"
    assert [line for line in frontend.failures_at_start if own in line] == []


def test_version_1s_encoder_opens_with_its_values_and_links(frontend):
    image = node(
        2, "LoadImage", [], [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
        ["example.png", "image"],
    )  # fmt: skip
    saved = graph(encoder_v1(link=1), image, links=[[1, 2, 0, 1, 1, "IMAGE"]])
    frontend.open(saved)
    assert kinds(frontend)[0] == ["IPAdapterEncoderV1", "IPAdapterEncoderV1"]
    assert frontend.widgets()["1"] == V1_WIDGETS
    sent = frontend.as_sent()["1"]
    assert sent["class_type"] == "IPAdapterEncoderV1"
    assert sent["inputs"] == {**V1_WIDGETS, "image_1": ["2", 0]}
    assert frontend.notices() == []
    assert frontend.failures == []


@pytest.mark.parametrize("sign", ["six widgets", "an input image_1"])
def test_one_sign_is_enough(frontend, sign):
    encoder = encoder_v1()
    if sign == "six widgets":
        encoder["inputs"] = []
    else:
        del encoder["widgets_values"]
    frontend.open(graph(encoder))
    assert kinds(frontend) == [["IPAdapterEncoderV1", "IPAdapterEncoderV1"]]


@pytest.mark.parametrize("values", [[0.35], [0.35, "v2"]])
def test_version_2s_stays(frontend, values):
    frontend.open(graph({**encoder_v2(), "widgets_values": values}))
    assert kinds(frontend) == [["IPAdapterEncoder", "IPAdapterEncoder"]]
    assert frontend.widgets()["1"]["weight"] == 0.35
    assert frontend.widgets()["1"]["compat"] == (values[1:] or ["faithful"])[0]
    assert frontend.notices() == []
    assert frontend.failures == []


def test_both_in_one_graph(frontend):
    frontend.open(graph(encoder_v1(1), encoder_v2(2)))
    assert [kind for kind, _ in kinds(frontend)] == ["IPAdapterEncoderV1", "IPAdapterEncoder"]


SUBGRAPH = "7a0e7d9c-6f0f-4b53-9c5e-0f1f6b0c9a11"


def test_in_a_subgraph(frontend):
    edge = {"bounding": [0, 0, 100, 60]}
    definition = {
        "id": SUBGRAPH, "version": 1, "revision": 0, "name": "encoding", "config": {}, "groups": [],
        "state": {"lastGroupId": 0, "lastNodeId": 4, "lastLinkId": 0, "lastRerouteId": 0},
        "inputNode": {"id": -10, **edge}, "outputNode": {"id": -20, **edge}, "inputs": [],
        "outputs": [], "widgets": [], "nodes": [encoder_v1(3), encoder_v2(4)], "links": [],
        "extra": {},
    }  # fmt: skip
    outer = node(1, SUBGRAPH, [], [], [])
    frontend.open(graph(outer, definitions={"subgraphs": [definition]}))
    inner = frontend.run("() => app.graph.nodes[0].subgraph.nodes.map(n => n.type)")
    assert inner == ["IPAdapterEncoderV1", "IPAdapterEncoder"]
    assert frontend.failures == []


def test_the_file_itself_is_not_changed(frontend):
    """What is opened is a copy."""
    saved = graph(encoder_v1())
    unchanged = frontend.run(
        """async graph => {
            await app.loadGraphData(graph)
            return graph
        }""",
        copy.deepcopy(saved),
    )
    assert unchanged == saved
