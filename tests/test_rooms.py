"""The rooms of nodes/: which may look into which, no circle of imports, nothing else in the hall."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NODES = ROOT / "nodes"

# Room -> those that it may import; each also imports from itself.
ROOMS = {
    "shared": set(),
    "model": {"shared"},
    "loading": {"shared", "model"},
    "references": {"shared", "model", "loading"},
    "sampling": {"shared", "model", "loading"},
    "masking": {"shared"},
    "regions": {"shared", "model", "loading", "references", "sampling", "masking"},
}
ROOMS["legacy"] = set(ROOMS)
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server"}


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The path of every module of ours that a file imports, for types alone too; from the root."""
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) + 1 - node.level]
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                inner = (*module, alias.name)
                yield inner if ROOT.joinpath(*inner).with_suffix(".py").is_file() else module


def files(folder: Path = NODES) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*.py")) if path.name != "__init__.py"]
    assert found
    return found


def test_the_hall_holds_the_extension_alone():
    assert [p.name for p in NODES.glob("*.py") if p.name != "__init__.py"] == ["extension.py"]
    assert {p.parent.name for p in NODES.glob("*/*.py")} == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_looks_only_downwards(room):
    for path in files(NODES / room):
        seen = {parts[1] for parts in imported(path) if parts[0] == "nodes"}
        assert seen <= ROOMS[room] | {room}, f"{path.relative_to(ROOT)} looks into {seen}"


def test_no_imports_go_in_a_circle():
    arrows = {
        path.relative_to(ROOT).with_suffix("").parts: set(imported(path))
        for folder in ("nodes", "ipadapter", "masks", "weight_types")
        for path in files(ROOT / folder)
    }
    while arrows:
        free = {module for module, others in arrows.items() if not others & arrows.keys()}
        assert free, f"in a circle: {sorted('.'.join(module) for module in arrows)}"
        arrows = {module: others for module, others in arrows.items() if module not in free}


def test_the_formulas_of_older_packs_import_no_comfyui():
    for path in files(NODES / "legacy" / "formulas"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {
            alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names
        }
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names |= {n.module or "" for n in tree if isinstance(n, ast.ImportFrom) and not n.level}
        assert not {name.split(".")[0] for name in names} & COMFYUI, path.name
