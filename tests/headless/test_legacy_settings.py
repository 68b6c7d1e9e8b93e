"""What people connect to version 2's nodes, and what the nodes make of it."""

import asyncio

import execution
import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy import compat, faces, styles
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.sampling.types import KEY
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.packs import legacy_nodes, registered
from ipadapter_pack.tests.headless.support import ENCODER, adapter

import nodes as comfyui_nodes


def applied(node, layout="SDXL", kind="base", **settings):
    settings = {"image": tiny.picture(0), "clip_vision": ENCODER, **settings}
    model = tiny.shared_model(layout)
    return model, node.execute(model=model, ipadapter=adapter(layout, kind), **settings)[0]


def weights_of(model):
    """Every layer's keys and values, of all regions."""
    patches = model.attachments.get(KEY, {})
    return {
        slot: [(*kv.seen.positive, *kv.seen.negative) for kv in patch.regions]
        for slot, patch in patches.items()
    }


def same(one, two):
    one, two = weights_of(one), weights_of(two)
    assert one.keys() == two.keys()
    return all(
        torch.equal(a, b)
        for slot in one
        for pair in zip(one[slot], two[slot], strict=True)
        for a, b in zip(*pair, strict=True)
    )


# Weight types, as prompts that were written for another version send them

MENU = {
    key: schema
    for key, schema in legacy_nodes().items()
    if "style transfer precise" in next(
        (i.options for i in schema.inputs if i.id == "weight_type"), ()
    )
}  # fmt: skip


@pytest.mark.parametrize("key", MENU)
def test_comfyui_lets_version_1s_weight_types_pass(monkeypatch, key):
    node = next(node for node in registered() if node.GET_SCHEMA().node_id == key)
    monkeypatch.setitem(comfyui_nodes.NODE_CLASS_MAPPINGS, key, node)

    def told(value):
        prompt = {"1": {"class_type": key, "inputs": {"weight_type": value}}}
        _, errors, _ = asyncio.run(execution.validate_inputs("id", prompt, "1", {}))
        return [e["details"] for e in errors if e["type"] != "required_input_missing"]

    for value in ("linear", "style transfer", "original", "channel penalty"):
        assert told(value) == []
    (details,) = told("odd")
    assert "weight_type odd: choose one of linear, ease in" in details


@pytest.mark.parametrize("weight_type", ["original", "channel penalty"])
def test_version_1s_weight_types_are_linear(weight_type):
    ours, linear = (applied(IPAdapterAdvanced, weight_type=t)[1] for t in (weight_type, "linear"))
    assert same(ours, linear)


def test_a_weight_type_that_is_connected_is_looked_at_later():
    assert IPAdapterAdvanced.validate_inputs(weight_type=None) is True
    with pytest.raises(IPAdapterError, match="odd"):
        applied(IPAdapterAdvanced, weight_type="odd")


# Layer weights, as people write them


def test_a_list_for_a_larger_model_loses_what_this_one_has_not():
    long = ",".join(f"{t}:{1 - t / 20}" for t in range(16))
    short = ",".join(f"{t}:{1 - t / 20}" for t in range(11))
    assert same(
        applied(styles.IPAdapterMS, layer_weights=long)[1],
        applied(styles.IPAdapterMS, layer_weights=short)[1],
    )


@pytest.mark.parametrize("text", ["3:1\n12:1", "3:1, 12:1,", " 3 : 1 ,\n14:0.5\n"])
def test_commas_and_lines_separate_them(text):
    assert same(
        applied(styles.IPAdapterMS, layer_weights=text)[1],
        applied(styles.IPAdapterMS, layer_weights="3:1")[1],
    )


def test_where_none_is_left_nothing_acts():
    model, with_none = applied(styles.IPAdapterMS, layer_weights="12:1")
    assert with_none is model


# Weights


@pytest.mark.parametrize(
    "several", [(0.2, 0.9), np.array([0.2, 0.9]), torch.tensor([0.2, 0.9], dtype=torch.float64)]
)
def test_several_weights_may_come_in_any_kind_of_list(several):
    assert same(
        applied(IPAdapterBatch, weight=several, embeds_scaling="K+V")[1],
        applied(IPAdapterBatch, weight=[0.2, 0.9], embeds_scaling="K+V")[1],
    )


def test_where_pictures_are_not_unfolded_the_first_weight_is_for_all():
    assert same(
        applied(IPAdapterAdvanced, weight=[0.3, 0.9])[1], applied(IPAdapterAdvanced, weight=0.3)[1]
    )


def test_equal_weights_are_one():
    """So that hundreds of frames do not keep as many copies of keys and values."""
    assert same(
        applied(IPAdapterBatch, weight=[0.7] * 300, embeds_scaling="K+V")[1],
        applied(IPAdapterBatch, weight=0.7, embeds_scaling="K+V")[1],
    )


def test_where_the_weight_is_a_factor_frames_share_keys_and_values():
    """Also of the style half of the node for style and composition."""
    model = styles.IPAdapterStyleCompositionBatch.execute(
        model=tiny.shared_model("SDXL"), ipadapter=adapter("SDXL"), clip_vision=ENCODER,
        image_style=tiny.picture(0), image_composition=tiny.picture(1),
        weight_style=[i / 300 for i in range(300)],
    )[0]  # fmt: skip
    assert all(len(k) == 1 for entries in weights_of(model).values() for k, *_ in entries)


def test_an_empty_list_of_weights_is_refused_in_one_line():
    with pytest.raises(IPAdapterError, match=r"^weight: the connected list is empty.*one weight$"):
        applied(IPAdapterBatch, weight=[])


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (styles.IPAdapterPreciseStyleTransferBatch, "style_boost"),
        (styles.IPAdapterPreciseComposition, "composition_boost"),
    ],
)
def test_a_list_where_one_number_belongs_is_refused_in_one_line(node, name):
    with pytest.raises(IPAdapterError, match=r"^a list of weights .* a single number$"):
        applied(node, **{name: [0.1, 0.2]})


# Faces


def test_without_faces_there_is_no_picture_of_them():
    model = tiny.shared_model()
    settings = {"image": tiny.picture(0), "clip_vision": ENCODER}
    output = faces.IPAdapterFaceID.execute(model=model, ipadapter=adapter(), **settings)
    assert "no face_image" in output[1].message
    assert not same(output[0], applied(IPAdapterAdvanced, "SD1.5", weight=0.5)[1])


def test_who_reads_faces_without_face_models_is_told_what_to_connect(loaded_face):
    with pytest.raises(IPAdapterError, match=r"reads faces, .* IPAdapter Auto Loader$"):
        IPAdapterAdvanced.execute(
            model=tiny.shared_model(), ipadapter=loaded_face, image=tiny.picture(0)
        )


@pytest.fixture
def loaded_face():
    return adapter(kind="faceid")


# The switch


def test_the_environment_decides_where_a_graph_does_not(monkeypatch):
    monkeypatch.delenv(compat.VARIABLE, raising=False)
    assert compat.ways(None) is compat.WAYS["faithful"]
    monkeypatch.setenv(compat.VARIABLE, " V2 ")
    assert compat.ways(None) is compat.WAYS["v2"]
    assert compat.ways("faithful") is compat.WAYS["faithful"]
    schema = IPAdapterAdvanced.define_schema()
    assert {i.id: i for i in schema.inputs}["compat"].default == "v2"


def test_an_unknown_way_is_said_once(monkeypatch, caplog):
    monkeypatch.setenv(compat.VARIABLE, "v3")
    for _ in range(3):
        assert compat.ways(None) is compat.WAYS["faithful"]
    assert caplog.messages == [
        "IPAdapter Regions: IPADAPTER_REGIONS_COMPAT is v3, taken as faithful; set it to faithful or v2"
    ]


def test_every_way_of_version_2_differs_from_the_faithful_one():
    ours, theirs = compat.WAYS["faithful"], compat.WAYS["v2"]
    assert all(a != b for a, b in zip(ours, theirs, strict=True))
