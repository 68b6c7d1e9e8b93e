"""Who may import whom: the arrows between folders and rooms, read from the source; of types too."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Folder -> which others of ours it may import, and which packages beside the standard library's.
# What is not listed is not allowed, ComfyUI above all.
PURE = {
    "masks": (set(), {"torch", "einops", "PIL", "numpy", "scipy"}),
    "ipadapter": (set(), {"torch", "torchvision", "einops", "numpy", "safetensors", "cv2", "PIL"}),
    "weight_types": ({"ipadapter"}, {"torch", "numpy"}),
    "nodes/legacy/formulas": (
        {"ipadapter", "weight_types", "nodes"},
        {"torch", "torchvision", "einops"},
    ),
}
# Room of nodes/ -> those that it may import; each also imports from itself.
ROOMS: dict[str, set[str]] = {
    "shared": set(),
    "model": {"shared"},
    "loading": {"shared", "model"},
    "references": {"shared", "model", "loading"},
    "sampling": {"shared", "model", "loading"},
    "masking": {"shared"},
    "regions": {"shared", "model", "loading", "references", "sampling", "masking"},
}
ROOMS["legacy"] = set(ROOMS)
KNOW_OPTIONS = {"patching.py", "wrappers.py", "run.py", "conds.py"}
OPTIONS = {"transformer_options", "patches_replace", "cond_or_uncond", "activations_shape"}


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[tuple[bool, tuple[str, ...]]]:
    """(relative, path of the module) of every import; relative ones from the root."""
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((False, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                inner = (*module, alias.name)
                whole = bool(node.level) and ROOT.joinpath(*inner).with_suffix(".py").is_file()
                yield node.level > 0, inner if whole or not module else module


def ours(path: Path) -> set[tuple[str, ...]]:
    return {module for relative, module in imports(path) if relative}


@pytest.mark.parametrize("folder", PURE)
def test_a_pure_folder_imports_only_what_it_may(folder):
    folders, packages = PURE[folder]
    allowed = {True: folders | {folder}, False: packages | set(sys.stdlib_module_names)}
    for path in sources(folder):
        wrong = {m[0] for relative, m in imports(path) if m[0] not in allowed[relative]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_our_folders_are_imported_relatively():
    """ComfyUI imports the pack under any name; an absolute ``nodes`` is ComfyUI's own."""
    for path in sources("nodes"):
        absolute = {module[0] for relative, module in imports(path) if not relative}
        assert not absolute & {*PURE, "ipadapter_pack"}, path.relative_to(ROOT)


def test_the_root_imports_nothing_at_module_scope():
    """pytest imports that file by itself, outside any package."""
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert not [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]


def test_one_file_knows_the_base_models_by_name():
    """Elsewhere they are the rows of base_models.py, and what differs between them is a field."""
    home = ROOT / "ipadapter" / "base_models.py"
    for path in [path for folder in ("nodes", *PURE) for path in sources(folder)]:
        words = {
            w.value for w in ast.walk(ast.parse(path.read_text())) if isinstance(w, ast.Constant)
        }
        named = words & {"SD1.5", "SDXL"}
        assert path == home or not named, f"{path.relative_to(ROOT)} names {sorted(named)}"
    assert "SDXL" in home.read_text(encoding="utf-8")


def test_only_four_files_know_the_keys_of_the_sampling_options():
    for path in sources("nodes"):
        words = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        used = OPTIONS & {w.value for w in words if isinstance(w, ast.Constant)}
        assert not used or path.name in KNOW_OPTIONS, f"{path.relative_to(ROOT)} reads {used}"


def test_the_hall_holds_the_extension_alone():
    files = {path.name for path in (ROOT / "nodes").glob("*.py")}
    assert files == {"__init__.py", "extension.py"}
    assert {path.parent.name for path in (ROOT / "nodes").glob("*/*.py")} == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_looks_only_downwards(room):
    for path in sources(f"nodes/{room}"):
        seen = {module[1] for module in ours(path) if module[0] == "nodes"}
        assert seen <= ROOMS[room] | {room}, f"{path.relative_to(ROOT)} looks into {seen}"


def test_no_imports_go_in_a_circle():
    arrows = {
        path.relative_to(ROOT).with_suffix("").parts: ours(path)
        for folder in ("nodes", "ipadapter", "masks", "weight_types")
        for path in sources(folder)
    }
    while arrows:
        free = {module for module, others in arrows.items() if not others & arrows.keys()}
        assert free, f"in a circle: {sorted('.'.join(module) for module in arrows)}"
        arrows = {module: others for module, others in arrows.items() if module not in free}


def test_the_formulas_of_older_packs_look_into_no_room():
    """ComfyUI is imported in all of those."""
    formulas = ("nodes", "legacy", "formulas")
    for path in sources("/".join(formulas)):
        wrong = {m for m in ours(path) if m[0] == "nodes" and m[:3] != formulas}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"
