"""What must hold of the files that are published: help pages, version, nothing of one machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "nodes" / "web" / "docs"
PYPROJECT = ROOT / "pyproject.toml"
PLACEHOLDER = "PUBLISHER-ID-" + "PLACEHOLDER"  # in two pieces: this file does not count
# Folders of a developer's machine, and addresses of package indexes.
PRIVATE = re.compile(
    r"(?<![\w.])/(?:root|work|tmp/dl|Users/\w+)/"
    r"|pypi\.|python[h]osted|download\.pytorch|://[^\s\"']*/simple\b"
)


def nodes() -> dict[str, list[str]]:
    """Node id -> names of its inputs, which are those of ``execute``."""
    found = {}
    for path in sorted((ROOT / "nodes").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
            for word in ast.walk(node):
                if isinstance(word, ast.keyword) and word.arg == "node_id":
                    inputs = methods["execute"].args
                    names = [a.arg for a in inputs.args[1:] + inputs.kwonlyargs]
                    found[ast.literal_eval(word.value)] = names
    return found


def published() -> list[Path]:
    """Every file of the repository, those not committed yet too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


NODES = nodes()


@pytest.mark.parametrize("node", NODES)
def test_a_page_names_every_input(node):
    page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
    missing = [name for name in NODES[node] if not re.search(rf"\b{name}\b", page)]
    assert not missing


def test_the_newest_change_is_of_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changes, re.MULTILINE)
    assert versions[0] == tomllib.loads(PYPROJECT.read_text())["project"]["version"]
    for release in re.split(r"^## ", changes, flags=re.MULTILINE)[1:]:
        assert "Breaks saved workflows:" in release, release.splitlines()[0]


def test_the_publisher_is_set_in_one_place():
    publisher = tomllib.loads(PYPROJECT.read_text())["tool"]["comfy"]["PublisherId"]
    places = [
        (path, line)
        for path in published()
        for line in path.read_bytes().decode(errors="replace").splitlines()
        if PLACEHOLDER in line
    ]
    if publisher != PLACEHOLDER:  # registered: no trace of the placeholder is left
        assert not places
        return
    [(path, line)] = places
    assert path == PYPROJECT
    assert "the one placeholder" in line


def test_nothing_of_one_machine_is_published():
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in published()
        for match in PRIVATE.finditer(path.read_bytes().decode(errors="replace"))
    }
    assert not found
