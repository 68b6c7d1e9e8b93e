"""What must hold of the files that are published: help pages, version, nothing of one machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import tomllib
from PIL import Image

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


def test_the_publisher_is_set_in_one_file():
    publisher = tomllib.loads(PYPROJECT.read_text())["tool"]["comfy"]["PublisherId"]
    places = {
        path for path in published() if PLACEHOLDER in path.read_bytes().decode(errors="replace")
    }
    # Once registered, no trace of the placeholder is left.
    assert places == ({PYPROJECT} if publisher == PLACEHOLDER else set())
    assert PYPROJECT.read_text().count("the one placeholder") == len(places)


def test_readme_takes_address_and_name_from_pyproject():
    project = tomllib.loads(PYPROJECT.read_text())
    address = project["project"]["urls"]["Repository"]
    shown = "<this repository>" if PLACEHOLDER in address else address
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"git clone {shown} {project['project']['name']}" in readme
    assert f"Manager lists it as *{project['tool']['comfy']['DisplayName']}*" in readme


@pytest.mark.parametrize(("kind", "largest"), [("Icon", (400, 400)), ("Banner", (1344, 576))])
def test_icon_and_banner_are_in_the_repository(kind, largest):
    address = tomllib.loads(PYPROJECT.read_text())["tool"]["comfy"][kind]
    with Image.open(ROOT / address.split("/main/")[1]) as picture:
        assert picture.size == largest


def test_what_the_registry_leaves_out_is_not_needed():
    """Nothing that stays imports from a folder that .comfyignore names."""
    ignored = [line for line in (ROOT / ".comfyignore").read_text().splitlines() if line[0] != "#"]
    assert all((ROOT / line).exists() for line in ignored)
    left_out = tuple(line.rstrip("/") for line in ignored)
    for path in published():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix != ".py" or name.startswith(left_out):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = path.parents[node.level - 1].relative_to(ROOT).as_posix()
                module = f"{folder}/{(node.module or '').replace('.', '/')}".removeprefix("./")
                assert not module.startswith(left_out), f"{name} imports {module}"


def test_nothing_of_one_machine_is_published():
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in published()
        for match in PRIVATE.finditer(path.read_bytes().decode(errors="replace"))
    }
    assert not found
