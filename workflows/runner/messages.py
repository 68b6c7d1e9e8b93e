"""What went wrong in a server's run, in one line each that names the node by its title."""

from __future__ import annotations

from .graphs import Graph, title


def named(graph: Graph, node: str) -> str:
    return f"{title(graph, node)} ({graph.get(node, {}).get('class_type', 'unknown class')})"


def refusals(graph: Graph, answer: dict) -> list[str]:
    """One line for each mistake that ComfyUI found in the graph before running it."""
    lines = [
        f"{named(graph, node)}: {error['message']}: {error['details']}{hint(error)}"
        for node, errors in (answer.get("node_errors") or {}).items()
        for error in errors["errors"]
    ]
    return lines or [answer["error"]["message"]]


def hint(error: dict) -> str:
    """Where a model of the workflow is not there: which option chooses another."""
    chosen = {
        "ckpt_name": "--checkpoint",
        "ipadapter_file": "--ipadapter",
        "clip_name": "--clip-vision",
        "model_name": "--insightface",
    }
    name = str((error.get("extra_info") or {}).get("input_name"))
    missing = error.get("type") in NOT_THERE and name in chosen
    return f" (choose one with {chosen[name]})" if missing else ""


NOT_THERE = ("value_not_in_list", "custom_validation_failed")


def failure(graph: Graph, error: dict) -> str:
    message = " ".join(error["exception_message"].split())
    return f"{named(graph, error['node_id'])}: {message}"
