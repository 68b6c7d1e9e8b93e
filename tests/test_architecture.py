"""Who may import whom: the arrows between the folders, read from the source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Folder -> which others of ours it may import, and which packages beside the standard library's.
# What is not listed is not allowed, ComfyUI above all.
PURE = {
    "masks": (set(), {"torch", "PIL", "numpy", "scipy"}),
    "ipadapter": (set(), {"torch", "torchvision", "numpy", "cv2", "PIL"}),
    "weight_types": ({"ipadapter"}, {"torch"}),
}
KNOW_OPTIONS = {"patching.py", "run.py", "conds.py"}
OPTIONS = {"transformer_options", "patches_replace", "cond_or_uncond", "activations_shape"}


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[tuple[bool, str]]:
    """(relative, first part of what is meant) of every import; relative ones from the root."""
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((False, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else ()
            module = (node.module or "").split(".") if node.module else []
            for alias in node.names:
                yield node.level > 0, (*base, *module, alias.name)[0]


@pytest.mark.parametrize("folder", PURE)
def test_a_pure_folder_imports_only_what_it_may(folder):
    ours, packages = PURE[folder]
    allowed = {True: ours | {folder}, False: packages | set(sys.stdlib_module_names)}
    for path in sources(folder):
        wrong = {name for relative, name in imports(path) if name not in allowed[relative]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_our_folders_are_imported_relatively():
    """ComfyUI imports the pack under any name; an absolute ``nodes`` is ComfyUI's own."""
    for path in sources("nodes"):
        absolute = {name for relative, name in imports(path) if not relative}
        assert not absolute & {*PURE, "ipadapter_pack"}, path.relative_to(ROOT)


def test_the_root_imports_nothing_at_module_scope():
    """pytest imports that file by itself, outside any package."""
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert not [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]


def test_only_three_files_know_the_keys_of_the_sampling_options():
    for path in sources("nodes"):
        words = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        used = OPTIONS & {w.value for w in words if isinstance(w, ast.Constant)}
        assert not used or path.name in KNOW_OPTIONS, f"{path.relative_to(ROOT)} reads {used}"
