"""Write the tables of choices on the help pages, which say what the rows say:
``python3 tools/with_comfyui.py --dev tools/choice_tables.py``.

A page says which belongs where: ``<!-- choices: direction = masks.edges.DIRECTIONS -->``.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "nodes" / "web" / "docs"
MARKED = re.compile(
    r"(<!-- choices: (\w+) = ([\w.]+)\.(\w+) -->\n).*?(<!-- /choices -->)", re.DOTALL
)


def up_to_date(page: str) -> str:
    """A page with what stands between its marks written anew."""
    return MARKED.sub(lambda found: f"{found[1]}\n{table(*found.group(2, 3, 4))}\n{found[5]}", page)


def table(name: str, module: str, rows: str) -> str:
    """The choices of the input ``name``, in Markdown."""
    choices = getattr(importlib.import_module(f"ipadapter_pack.{module}"), rows)
    lines = [f"| {key} | {row.description} |\n" for key, row in choices.items()]
    return "".join([f"| {name} | what it does |\n|---|---|\n", *lines])


def main() -> None:
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.conftest")  # after which the pack has a name
    importlib.import_module("ipadapter_pack.tests.comfyui").import_comfyui("--cpu")
    for page in PAGES.glob("*.md"):
        page.write_text(up_to_date(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
