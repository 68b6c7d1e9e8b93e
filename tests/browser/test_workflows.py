"""The bundled workflows in ComfyUI's own frontend, and what the pack shows there."""

import itertools
import json
import urllib.request

import pytest
from ipadapter_pack.workflows.runner.server import PACK

FOLDER = PACK / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def saved(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def api(name):
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read()


def test_there_are_fourteen():
    assert len(NAMES) == 14
    assert sorted(path.stem for path in (FOLDER / "api").iterdir()) == NAMES


def test_the_frontend_starts_without_a_complaint_about_the_pack(frontend):
    assert [
        line for line in frontend.failures_at_start if f"/extensions/{PACK.name}/" in line
    ] == []


@pytest.fixture(scope="module", params=NAMES)
def opened(frontend, request):
    """The name of a bundled workflow that was just opened."""
    frontend.open(saved(request.param))
    return request.param


def test_a_graph_opens_without_a_complaint(frontend, opened):
    assert frontend.notices() == []
    assert frontend.failures == []


def test_the_api_file_is_what_the_run_button_sends(frontend, opened):
    assert frontend.as_sent() == api(opened)


def test_widgets_show_the_values(frontend, opened):
    name = opened
    shown = frontend.widgets()
    for number, node in api(name).items():
        for widget, value in node["inputs"].items():
            if not isinstance(value, list):
                assert shown[number][widget] == value, (node["_meta"]["title"], widget)
    controls = [widgets.get("control_after_generate", "fixed") for widgets in shown.values()]
    assert set(controls) == {"fixed"}


def test_nodes_do_not_overlap(frontend, opened):
    check_apart(frontend.boxes(vue=False))


@pytest.mark.parametrize("name", NAMES)
def test_nodes_made_by_vue_do_not_overlap(frontend, name):
    frontend.open(saved(name), vue=True)
    check_apart(frontend.boxes(vue=True))


def check_apart(boxes):
    for first, second in itertools.combinations(boxes, 2):
        (one, left, top, right, bottom), (other, left2, top2, right2, bottom2) = first, second
        apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
        assert apart, (one, other)


def test_missing_models_are_offered_for_download(frontend):
    text = json.dumps(saved("two_references"))
    files = [model["name"] for model in models(json.loads(text))]
    for file in files:
        text = text.replace(f'"{file}"', f'"absent-{file}"')
    frontend.open(json.loads(text))
    assert len(frontend.notices()) == 1  # so an empty list means something
    frontend.page.get_by_text("View details").click()
    buttons = frontend.page.get_by_text("Download", exact=True)
    buttons.last.wait_for()
    assert buttons.count() == len(files) == 3


def models(graph):
    return [model for node in graph["nodes"] for model in node["properties"].get("models", [])]


@pytest.mark.parametrize("name", NAMES)
def test_a_program_finds_its_inputs_by_title(name):
    titles = [node["_meta"]["title"] for node in api(name).values()]
    assert len(titles) == len(set(titles))
    assert {"prompt", "negative", "seed", "output"} <= set(titles)
    assert any(title.startswith("reference") for title in titles)


@pytest.mark.parametrize("name", NAMES)
def test_only_core_nodes_and_ours(url, name):
    known = json.loads(get(f"{url}/object_info"))
    for node in api(name).values():
        origin = known[node["class_type"]]["python_module"]
        assert origin in ("nodes", f"custom_nodes.{PACK.name}") or origin.startswith(
            "comfy_extras."
        )


def test_templates_are_listed_with_a_picture(url):
    assert sorted(json.loads(get(f"{url}/api/workflow_templates"))[PACK.name]) == NAMES
    for name in NAMES:
        address = f"{url}/api/workflow_templates/{PACK.name}/{name}"
        assert json.loads(get(f"{address}.json")) == saved(name)
        assert get(f"{address}.jpg").startswith(b"\xff\xd8\xff")


def test_every_node_has_its_help_page(url):
    known = json.loads(get(f"{url}/object_info"))
    ours = [k for k, node in known.items() if node["python_module"] == f"custom_nodes.{PACK.name}"]
    assert "IPAdapterApply" in ours
    for kind in ours:
        assert get(f"{url}/extensions/{PACK.name}/docs/{kind}.md").startswith(b"# ")
