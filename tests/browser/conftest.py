"""A real ComfyUI with this pack, and its own frontend in a headless Chromium."""

import json

import pytest
from ipadapter_pack.tests.browser.frontend import Frontend
from ipadapter_pack.tests.legacy_graphs.files import upload
from ipadapter_pack.tools.browser import BrowserError, chromium
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.server import PACK, running
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# All of module scope: while Playwright runs, no other test in this process could use asyncio.
@pytest.fixture(scope="module")
def browser():
    try:
        program = chromium()
    except BrowserError as error:
        pytest.fail(str(error), pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


# What the old graphs ask for.
TINY = {
    "checkpoints": ["tiny"],
    "clip_vision": ["tiny"],
    "ipadapter": ["tiny", "tiny_plus", "tiny_faceid_plusv2", "tiny_portrait"],
}


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    """The address of a ComfyUI that knows the graphs' models by name, and has their pictures."""
    folder = tmp_path_factory.mktemp("models")
    kinds = {kind: [folder / kind] for kind in TINY}
    for kind, names in TINY.items():
        (folder / kind).mkdir()
        for name in names:
            (folder / kind / f"{name}.safetensors").touch()
    for path in (PACK / "workflows").glob("*.json"):
        for node in json.loads(path.read_text())["nodes"]:
            for model in node["properties"].get("models", []):
                kinds[model["directory"]] = [folder / model["directory"]]
                (folder / model["directory"]).mkdir(exist_ok=True)
                (folder / model["directory"] / model["name"]).touch()
    with running(models=kinds) as address:
        upload(Client(address).upload)
        yield address


@pytest.fixture(scope="module")
def frontend(browser, url):
    return Frontend(browser, url)
