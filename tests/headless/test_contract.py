"""Nothing that saved workflows and prompts rely on changes unseen: the file and CHANGELOG say it."""

import copy
import json

import pytest
from ipadapter_pack.tests.contract import NOW, RELEASED, ROOT, changed, contract, without_texts

WRITTEN = json.loads(NOW.read_text(encoding="utf-8"))
UNRELEASED = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]


@pytest.fixture(scope="module")
def today():
    return json.loads(json.dumps(contract()))


def named(nodes, key):
    """What CHANGELOG may call a node."""
    return {key, *(node["display_name"] for node in nodes if node)}


def test_every_node_is_as_the_contract_says(today):
    hint = "; make contract writes it anew, and CHANGELOG.md has to name the nodes"
    assert changed(WRITTEN, today) == [], f"{NOW.name} says otherwise{hint}"
    for key, node in today.items():  # dictionaries are equal in any order
        assert list(node["inputs"]) == list(WRITTEN[key]["inputs"]), key


def test_changelog_names_every_node_that_changed_since_the_release():
    before = json.loads(RELEASED.read_text(encoding="utf-8"))
    for key in changed(before, WRITTEN):
        names = named((before.get(key), WRITTEN.get(key)), key)
        assert any(name in UNRELEASED for name in names), f"CHANGELOG.md does not name {key}"


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node["inputs"]["weight"].update(default=0.5),
        lambda node: node["inputs"].update(strength=node["inputs"].pop("weight")),
        lambda node: node["inputs"]["weight_type"]["options"].append("cubic"),
        lambda node: node["outputs"].reverse() or node["outputs"].append(["mask", "MASK"]),
        lambda node: node["inputs"]["weight"].update(need="optional"),
    ],
)
def test_a_changed_input_or_output_is_seen(today, change):
    other = copy.deepcopy(today)
    change(other["IPAdapterApply"])
    assert changed(today, other) == ["IPAdapterApply"]


def test_a_changed_text_is_none_of_it():
    assert without_texts(["FLOAT", {"min": 0, "tooltip": "old"}]) == ["FLOAT", {"min": 0}]
