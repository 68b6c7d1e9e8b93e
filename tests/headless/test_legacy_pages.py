"""Help pages, and what is said about the nodes of older packs."""

import pytest
from ipadapter_pack.tests.headless.packs import legacy_nodes, own_nodes
from ipadapter_pack.tools.legacy_pages import PAGES, page

LEGACY, OWN = legacy_nodes(), own_nodes()
IDS = sorted(LEGACY)


def test_every_node_has_a_page_and_every_page_a_node():
    assert {page.stem for page in PAGES.glob("*.md")} == {*IDS, *OWN}


@pytest.mark.parametrize("name", IDS)
def test_the_page_says_what_the_sockets_say(name):
    """If not: python3 tools/with_comfyui.py --dev tools/legacy_pages.py"""
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == page(LEGACY[name])


@pytest.mark.parametrize("name", IDS)
def test_every_socket_is_described(name):
    schema = LEGACY[name]
    for socket in [*schema.inputs, *schema.outputs]:
        assert socket.tooltip, socket


@pytest.mark.parametrize("name", IDS)
def test_a_deprecated_node_names_its_successor(name):
    schema = LEGACY[name]
    assert "ComfyUI_IPAdapter_plus" in schema.description
    assert schema.is_deprecated == ("in new ones use" in schema.description)


@pytest.mark.parametrize("name", [n for n in IDS if LEGACY[n].is_deprecated])
def test_who_searches_for_a_deprecated_node_finds_another(name):
    wanted = LEGACY[name].display_name
    assert any(wanted in schema.search_aliases for schema in OWN.values())
