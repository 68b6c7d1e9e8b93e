"""Every id of ComfyUI_IPAdapter_plus as a graph or a program finds it, over HTTP."""

import pytest
from ipadapter_pack.tests.headless.legacy_table import BOTH, V1, V2
from ipadapter_pack.workflows.runner.server import PACK

OURS = f"custom_nodes.{PACK.name}"
# Nothing outside nodes/legacy does what these do, or they are nodes of ours.
GOOD = {
    "IPAdapterModelLoader", "IPAdapterInsightFaceLoader", "IPAdapterApply", "IPAdapterApplyFaceID",
    "IPAdapterTiled", "IPAdapterTiledBatch", "IPAdapterWeights", "IPAdapterWeightsFromStrategy",
    "IPAdapterPromptScheduleFromWeightsStrategy", "IPAdapterCombineWeights",
}  # fmt: skip
# What must be connected no more: a reference takes the picture's place, a loader brings the models.
LOOSENED = {
    "IPAdapterApply": ("clip_vision", "image"),
    "IPAdapterApplyFaceID": ("clip_vision", "insightface"),
}


@pytest.fixture(scope="module")
def known(client):
    return client.object_info()


def test_all_ids_of_both_versions_are_in_the_table():
    assert (len(V2), len(V1), len(BOTH)) == (37, 12, 45)
    assert V2.keys() & V1.keys() == {
        "IPAdapterModelLoader", "PrepImageForClipVision", "IPAdapterEncoder", "IPAdapterSaveEmbeds",
        "IPAdapterLoadEmbeds",
    }  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
def test_inputs_are_there_in_order(known, name):
    order = known[name]["input_order"]
    loose = LOOSENED.get(name, ())
    required = [i.name for i in BOTH[name].required if i.name not in loose]
    optional = [*loose, *(i.name for i in BOTH[name].optional)]
    assert order.get("required", []) == required
    assert order.get("optional", [])[: len(optional)] == optional


@pytest.mark.parametrize("name", BOTH)
def test_only_our_own_nodes_have_more_inputs(known, name):
    order = known[name]["input_order"]
    found = {i for part in ("required", "optional") for i in order.get(part, [])}
    more = found - {i.name for i in BOTH[name].inputs}
    if name not in LOOSENED:
        assert more <= {"compat"}


@pytest.mark.parametrize("name", BOTH)
def test_types_defaults_and_ranges(known, name):
    found = {k: v for part in known[name]["input"].values() for k, v in part.items()}
    for wanted in BOTH[name].inputs:
        kind, options = spec(found[wanted.name])
        assert kind == wanted.type, wanted.name
        if wanted.type == "COMBO":
            check_menu(options, wanted)
        elif wanted.is_widget:
            assert options["default"] == wanted.default, wanted.name
            assert type(options["default"]) in (type(wanted.default), float), wanted.name
            for limit, value in (("min", wanted.low), ("max", wanted.high), ("step", wanted.step)):
                assert value is None or options[limit] == value, (wanted.name, limit)


def spec(found):
    """Type and options of an input; a menu may be given as a mere list."""
    kind, options = [*found, {}][:2]
    return ("COMBO", {**options, "options": kind}) if isinstance(kind, list) else (kind, options)


def check_menu(options, wanted):
    choices = options["options"]
    if wanted.choices is not None:
        expected = list(wanted.choices)
        assert (choices[: len(expected)] if wanted.more else choices) == expected, wanted.name
        first = wanted.default or expected[0]
        assert options.get("default", choices[0]) == first, wanted.name
    assert options.get("default") in (None, *choices), wanted.name


@pytest.mark.parametrize("name", BOTH)
def test_outputs_are_there_in_order(known, name):
    wanted = BOTH[name].outputs
    kinds = known[name]["output"]
    assert (kinds[: len(wanted)] if name in LOOSENED else kinds) == [kind for kind, _ in wanted]
    for (_, called), found in zip(wanted, known[name]["output_name"], strict=False):
        assert called in (None, found)
    assert known[name]["output_node"] is (name == "IPAdapterSaveEmbeds")
    assert not any(known[name]["output_is_list"] or [])


@pytest.mark.parametrize("name", BOTH)
def test_where_something_is_better_a_node_says_what(known, name):
    node = known[name]
    assert node["python_module"] == OURS
    assert bool(node["deprecated"]) is (name not in GOOD)
    assert ("in new ones use" in node["description"]) is (name not in GOOD)


def test_legacy_nodes_are_kept_apart(known):
    for name in BOTH.keys() - LOOSENED.keys():
        if known[name]["deprecated"]:
            assert known[name]["category"] == "IPAdapter Regions/legacy"
