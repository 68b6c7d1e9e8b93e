"""Whatever a user chooses by name says what it does: on the node, and on a help page."""

import re

import folder_paths
import pytest
from comfy_api.latest import io
from ipadapter_pack.ipadapter.options import Option
from ipadapter_pack.nodes.shared.inputs import choice_input
from ipadapter_pack.tests.contract import FROM_OUTSIDE
from ipadapter_pack.tests.headless.packs import own_nodes
from ipadapter_pack.tools.choice_tables import PAGES, up_to_date

MENUS = {
    f"{name}.{menu.id}": menu
    for name, schema in own_nodes().items()
    for menu in schema.inputs
    if isinstance(menu, io.Combo.Input) and menu.id not in FROM_OUTSIDE
}
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES.glob("IPAdapter*.md")}


def descriptions(menu):
    """Of each choice, the sentence behind its name in the tooltip."""
    files = folder_paths.get_filename_list("ipadapter")
    said = {}
    rest = menu.tooltip
    for choice in reversed([choice for choice in menu.options if choice not in files]):
        rest, found, said[choice] = rest.rpartition(f" {choice}: ")
        assert found, f"{menu.id}: the tooltip does not know {choice}"
        sentence = said[choice]
        assert re.fullmatch(r"[^.\s|](?:[^|\n]*[^.\s|])?\.", sentence), f"{choice}: {sentence!r}"
    assert rest.endswith((".", ";")), f"{menu.id}: the tooltip begins with no sentence"
    return dict(reversed(said.items()))


@pytest.mark.parametrize("menu", MENUS)
def test_each_choice_is_described_on_the_node(menu):
    descriptions(MENUS[menu])


@pytest.mark.parametrize("menu", MENUS)
def test_a_help_page_has_the_same_table(menu):
    rows = [f"| {name} | {said[:-1]} |" for name, said in descriptions(MENUS[menu]).items()]
    assert any("\n".join(rows) in text for text in TEXTS.values()), rows


@pytest.mark.parametrize("name", TEXTS)
def test_the_tables_of_a_page_are_those_of_the_rows(name):
    """If not: python3 tools/with_comfyui.py --dev tools/choice_tables.py"""
    assert TEXTS[name] == up_to_date(TEXTS[name])


@pytest.mark.parametrize("said", ["", " ", "ends twice.", "of a table | with columns"])
def test_a_row_that_says_nothing_is_found(said):
    table = {"a": Option(1, "does this"), "b": Option(2, said)}
    with pytest.raises(AssertionError):
        descriptions(choice_input("menu", table, "What becomes of it."))


def test_every_menu_is_looked_at():
    assert len(MENUS) > 25
    assert {"IPAdapterApply.weight_type", "IPAdapterFitMask.mode"} < MENUS.keys()
