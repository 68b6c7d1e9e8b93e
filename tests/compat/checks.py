"""What a running ComfyUI must do with the pack in it; each check says why it failed, or nothing."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...workflows.runner.client import Client
from ...workflows.runner.errors import RunError
from ...workflows.runner.graphs import Graph, bundled, title
from ..headless.runs import decoded, key_of, left_half, person, set_inputs, small, uploaded
from ..legacy_graphs import prompts
from ..legacy_graphs.files import upload

Check = Callable[[], str]
# A second run of these shows that references act.
MOVES = {"two_references", "regions_with_own_prompts"}
FAILURES = ("Traceback", "IMPORT FAILED")
# 0.16.3 and 0.18.2 want the package glfw for one node of their own; newer ones do not.
NOT_OURS = ("nodes_glsl",)


def of(url: str, nodes: set[str]) -> Iterator[tuple[str, Check]]:
    """Each check by its name. nodes: the ids that the pack has to bring."""
    client, log = Client(url), Log(url)
    checks: dict[str, Check] = {"the pack loads": partial(missing, client, nodes)}
    for name in bundled():
        checks[f"workflow {name}"] = partial(workflow, client, name)
    upload(client.upload)
    for name, graph in prompts().items():
        checks[f"prompt {name}"] = partial(prompt, client, graph)
    for name, check in checks.items():
        yield name, partial(with_log, check, log)


def with_log(check: Check, log: Log) -> str:
    """A check that also fails where the server wrote of a failure meanwhile; in one line."""
    try:
        reason = check()
    except RunError as error:
        reason = str(error)
    written = log.complaint()
    return " | ".join((reason or written).splitlines())


def missing(client: Client, nodes: set[str]) -> str:
    has = client.object_info().items()
    absent = nodes - {name for name, node in has if "custom_nodes" in node["python_module"]}
    return f"not registered: {', '.join(sorted(absent))}" if absent else ""


def workflow(client: Client, name: str) -> str:
    """Its pictures, and where it is one of MOVES that they change with the references."""
    saved = pictures(client, with_pictures(client, small(name), 0))
    if name not in MOVES or poor(saved):
        return poor(saved) or ("" if saved else "no picture was saved")
    other = pictures(client, with_pictures(client, small(name), 1))
    moved = any(np.abs(a - b).mean() > 0.002 for (_, a), (_, b) in zip(saved, other, strict=True))
    return "" if moved else "another reference gives the same picture"


def with_pictures(client: Client, graph: Graph, seed: int) -> Graph:
    """The graph with somebody's photo as each of its references, and its mask painted."""
    photo, painted = uploaded(client, person(seed)), uploaded(client, left_half())
    for name in {title(graph, key) for key in graph}:
        if name.startswith("reference"):
            graph = set_inputs(graph, name, image=photo)
    mask = [key_of(graph, "mask"), 1]
    if any(node["inputs"].get("attn_mask") == mask for node in graph.values()):
        graph = set_inputs(graph, "mask", image=painted)
    return graph


def prompt(client: Client, graph: Graph) -> str:
    """Its pictures; some prompts save something else."""
    return poor(pictures(client, graph))


def pictures(client: Client, graph: Graph) -> list[tuple[str, np.ndarray]]:
    """What a run saves: the title of each node and its picture."""
    return [(saved.node, decoded(saved.data)) for saved in client.run(graph, progress=False)]


def poor(saved: list[tuple[str, np.ndarray]]) -> str:
    """What is wrong with the pictures of a run."""
    flat = [name for name, picture in saved if not picture.std() > 0.01]
    return f"one color all over: {', '.join(flat)}" if flat else ""


class Log:
    """What a server has written since it was last asked; it keeps its last 300 lines."""

    def __init__(self, url: str) -> None:
        self.address = f"{url}/internal/logs/raw"
        self.until = ""

    def complaint(self) -> str:
        try:
            with urllib.request.urlopen(self.address, timeout=60) as answer:
                entries = json.load(answer)["entries"]
        except OSError as error:
            return f"ComfyUI does not answer: {error}"
        new = [entry["m"] for entry in entries if entry["t"] > self.until]
        self.until = entries[-1]["t"]
        for text in new:
            if any(word in text for word in FAILURES) and not any(n in text for n in NOT_OURS):
                return "in the log:\n" + "\n".join(text.strip().splitlines()[-2:])
        return ""
