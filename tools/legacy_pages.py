"""Write the help pages of the nodes in nodes/legacy, which say what their sockets say:
``python3 tools/with_comfyui.py --dev tools/legacy_pages.py``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "nodes" / "web" / "docs"
COMPAT = """
## compat

**faithful** follows the adapters' training, **v2** ComfyUI_IPAdapter_plus. v2 skips the middle block, shows the negative prompt of Plus adapters a black picture, resizes pictures as ComfyUI does elsewhere, fits masks to a guessed grid, crops SDXL faces with a margin, detects faces at 640 to 320 pixels, seeds noise with the batch's pixels, and treats Kolors' faces like all others. The README has the table. `IPADAPTER_REGIONS_COMPAT=v2` in ComfyUI's environment makes v2 the default.
"""


def page(schema: Any) -> str:
    """A node's help page, in Markdown."""
    parts = [f"# {schema.display_name}", "", schema.description, "", *table("input", schema.inputs)]
    if schema.outputs:
        parts += ["", *table("output", schema.outputs)]
    text = "\n".join(parts) + "\n"
    return text + COMPAT if any(i.id == "compat" for i in schema.inputs) else text


def table(kind: str, sockets: list[Any]) -> list[str]:
    names = [socket.id if kind == "input" else socket.display_name for socket in sockets]
    rows = [f"| {name} | {s.tooltip} |" for name, s in zip(names, sockets, strict=True)]
    return [f"| {kind} | what it {'does' if kind == 'input' else 'is'} |", "|---|---|", *rows]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.conftest")  # after which the pack has a name
    importlib.import_module("ipadapter_pack.tests.comfyui").import_comfyui("--cpu")
    packs = importlib.import_module("ipadapter_pack.tests.headless.packs")
    for schema in packs.legacy_nodes().values():
        (PAGES / f"{schema.node_id}.md").write_text(page(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
