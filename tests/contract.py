"""What saved workflows and API prompts rely on, read from the nodes: ``make contract`` writes it.

contract/nodes.json is how every node is now, contract/released.json how it was at the last release.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "contract"
NOW, RELEASED = FOLDER / "nodes.json", FOLDER / "released.json"

TEXTS = {"tooltip", "advanced"}  # of an input: may change at any time
# Their choices are the files of a machine, or what another package knows.
FROM_OUTSIDE = {
    "ipadapter_file", "clip_name", "model_name", "architecture", "reference_file", "embeds",
}  # fmt: skip


def contract() -> dict[str, Any]:
    """Every node by its id: inputs in their order with types, defaults, ranges and choices; outputs."""
    from ipadapter_pack.tests.headless.packs import registered

    nodes = {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in registered()}
    return {key: described(nodes[key]) for key in sorted(nodes)}


def described(info: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        name: {"need": need} | values(name, *info["input"][need][name])
        for need in ("required", "optional")
        for name in info["input_order"].get(need, ())
    }
    outputs = list(zip(info["output_name"], info["output"], strict=True))
    return {"display_name": info["display_name"], "inputs": inputs, "outputs": outputs}


def values(name: str, kind: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    kept = without_texts(options or {})
    if name in FROM_OUTSIDE:
        kept = {key: value for key, value in kept.items() if key not in ("options", "default")}
    return {"type": kind} | kept


def without_texts(value: Any) -> Any:
    """The same with no tooltip at any depth: a growing row keeps its inputs in a template."""
    if isinstance(value, dict):
        return {k: without_texts(v) for k, v in value.items() if k not in TEXTS}
    return [without_texts(v) for v in value] if isinstance(value, list | tuple) else value


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Ids of the nodes that are new, gone or otherwise."""
    return [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]


def main(*arguments: str) -> None:
    """``--release`` makes what is now what the next changes are told from."""
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.conftest")
    from ipadapter_pack.tests.comfyui import import_comfyui

    import_comfyui("--cpu")
    text = json.dumps(contract(), indent=1, ensure_ascii=False) + "\n"
    for file in [NOW, *([RELEASED] if "--release" in arguments else [])]:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
