"""ComfyUI's own frontend, as a test uses it."""

import json
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Route

SETTINGS = {"Comfy.TutorialCompleted": True}  # else it opens with a list of templates
NOTICES = "[role=dialog], [role=alertdialog], [role=alert], [role=status]"
COUNT_REQUESTS = """(() => {
    const fetch = window.fetch
    window.requests = 0
    window.fetch = (...what) => {
        window.requests++
        return fetch(...what).finally(() => window.requests--)
    }
})()"""
# It checks models and lays out Vue's nodes a moment after a graph is loaded.
SETTLED = """async notices => {
    const seen = () => JSON.stringify([
        document.querySelectorAll(notices).length,
        ...[...document.querySelectorAll("[data-node-id]")].map(
            node => Object.values(node.getBoundingClientRect().toJSON())),
    ])
    let before = "", still = 0
    for (let frames = 0; still < 12 && frames < 600; frames++) {
        await new Promise(requestAnimationFrame)
        const now = seen()
        still = now === before && window.requests === 0 ? still + 1 : 0
        before = now
    }
}"""


class Frontend:
    """One open tab; ``failures`` collects what the browser's console calls an error."""

    def __init__(self, browser: Browser, url: str):
        for name, value in SETTINGS.items():
            post(f"{url}/api/settings/{name}", value)
        self.failures: list[str] = []
        self.page = browser.new_page(viewport={"width": 1920, "height": 1080})
        self.page.add_init_script(COUNT_REQUESTS)
        self.page.route("**/*", only_local)
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("console", self.note)
        self.page.goto(url)
        self.page.wait_for_function(
            "!!window.app?.graph && 'IPAdapterApply' in LiteGraph.registered_node_types"
        )
        self.failures_at_start = list(self.failures)

    def note(self, message: Any) -> None:
        on_the_internet = "https://" in message.text  # where it cannot get to here
        if message.type == "error" and not on_the_internet:
            self.failures.append(f"{message.text} ({message.location.get('url')})")

    def open(self, graph: dict[str, Any], vue: bool = False) -> None:
        """Load a graph, with nodes drawn on the canvas or made by Vue, and show all of it."""
        self.run("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", vue)
        self.failures.clear()
        self.run("graph => app.loadGraphData(graph)", graph)
        self.run("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.run(SETTLED, NOTICES)

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def as_sent(self) -> dict[str, Any]:
        """The open graph as the Run button sends it."""
        return self.run("async () => (await app.graphToPrompt()).output")

    def widgets(self) -> dict[str, dict[str, Any]]:
        """For each node what its widgets show."""
        return self.run(
            """() => Object.fromEntries(app.graph.nodes.map(node => [String(node.id),
                Object.fromEntries((node.widgets ?? []).map(w => [w.name, w.value]))]))"""
        )

    def notices(self) -> list[str]:
        return self.page.locator(NOTICES).all_inner_texts()

    def boxes(self, vue: bool) -> list[tuple[str, float, float, float, float]]:
        """Title, left, top, right and bottom of every node, title bars included."""
        return self.run(VUE_BOXES if vue else CANVAS_BOXES)


CANVAS_BOXES = """() => app.graph.nodes.map(node => {
    const [width, height] = node.computeSize()
    const [x, y] = node.pos
    const bar = LiteGraph.NODE_TITLE_HEIGHT
    return [node.title, x, y - bar,
        x + Math.max(width, node.size[0]), y + Math.max(height, node.size[1])]
})"""

VUE_BOXES = """() => app.graph.nodes.map(node => {
    const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect()
    const scale = app.canvas.ds.scale
    return [node.title, ...[box.left, box.top, box.right, box.bottom].map(edge => edge / scale)]
})"""


def only_local(route: Route) -> None:
    if urlsplit(route.request.url).hostname == "127.0.0.1":
        route.continue_()
    else:
        route.abort()


def post(url: str, value: Any) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(value).encode(), headers)
    urllib.request.urlopen(request).close()
