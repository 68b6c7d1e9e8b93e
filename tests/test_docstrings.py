"""What a docstring of the tensor folders says: the shape of every tensor that goes in."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ipadapter", "masks", "weight_types", "nodes")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
SHAPE = re.compile(r"\[(\.\.\.|[^\]]*[A-Za-z])[^\]]*\]")  # [images, H, W, 3]; [..., 3]
MANY = ("dict[", "Mapping[", "Callable[")
# Methods that ComfyUI calls: their sockets say what they take.
SOCKETS = {"execute", "validate_inputs", "fingerprint_inputs"}


def functions(tree, inside=""):
    """(name, function, docstring of its class), public ones."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((n, f, ast.get_docstring(node) or "") for n, f, _ in functions(node))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ""


def takes_tensors(function):
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    notes = [ast.unparse(argument.annotation) for argument in arguments if argument.annotation]
    # A file's tensors have as many shapes as names; a function's are said where its type is.
    return any(re.search(r"\bTensor\b", note) and not note.startswith(MANY) for note in notes)


def without_shapes(path):
    for name, function, of_class in functions(ast.parse(path.read_text(encoding="utf-8"))):
        said = (ast.get_docstring(function) or "") + of_class
        if name not in SOCKETS and takes_tensors(function) and not SHAPE.search(said):
            yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shape_of_a_tensor_is_in_the_docstring(path):
    assert list(without_shapes(path)) == []
