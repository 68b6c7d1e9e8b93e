"""A real ComfyUI with this pack, and its own frontend in a headless Chromium."""

import json

import pytest
from ipadapter_pack.tests.browser.frontend import Frontend
from ipadapter_pack.tools.browser import BrowserError, chromium
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


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a ComfyUI that knows, by name only, the models that the graphs ask for."""
    folder = tmp_path_factory.mktemp("models")
    kinds = {}
    for path in (PACK / "workflows").glob("*.json"):
        for node in json.loads(path.read_text())["nodes"]:
            for model in node["properties"].get("models", []):
                kinds[model["directory"]] = [folder / model["directory"]]
                (folder / model["directory"]).mkdir(exist_ok=True)
                (folder / model["directory"] / model["name"]).touch()
    with running(models=kinds) as address:
        yield address


@pytest.fixture(scope="module")
def frontend(browser, url):
    return Frontend(browser, url)
