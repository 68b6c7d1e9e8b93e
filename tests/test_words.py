"""Words that the code has left behind for the field's own."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("nodes", "ipadapter", "masks", "weight_types")
# Old word -> what the field, diffusers or ComfyUI call it.
RETIRED = {
    "Lane": "TokenGroup", "LaneMasks": "GroupMasks", "Rows": "PackedKV", "lay_out": "pack_kv",
    "Call": "UNetCall", "CallInputs": "LayerInputs", "Chunk": "CondChunk", "Slot": "PatchKey",
    "Gauge": "AttentionProbe", "Meter": "AttentionAccumulator", "Moment": "StepState",
    "Timetable": "StepSchedule", "Now": "MaskState", "Planned": "RegionSpec",
    "settle": "resolve_overlaps", "Pipeline": "AdapterBundle", "FeatureMemo": "FeatureCache",
    "memo": "feature_cache", "MadeWith": "AdapterId", "check_origin": "check_adapter",
    "Need": "Requirements", "Choice": "Match", "Taken": "Selection", "within": "limit_step_masks",
    "times": "multiply", "steer_away": "negative_only", "say": "warn", "show": "show_on_node",
    "tell": "warn_about_sizes", "NOTHING": "CLIP_MEAN", "no_picture": "unconditional",
    "structure_weight": "find_shortcut_scale", "roles": "conds", "rows": "keys_values",
    "catalog": "detection, scan",
}  # fmt: skip
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def names(path):
    """Of the file, its classes and its functions."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_is_a_word_left_behind(path):
    found = {name: RETIRED[name.lstrip("_")] for name in names(path) if name.lstrip("_") in RETIRED}
    assert not found, f"{path.name}: the field says {found}"


def test_the_glossary_of_the_sampling_path_names_its_types():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = re.findall(r"^\| (`\w+`.*?) (?:\(`.*?`\) )?\|", text, re.MULTILINE)
    listed = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    defined = {
        node.name
        for path in [*(ROOT / "nodes/sampling").glob("*.py"), ROOT / "ipadapter/reference.py"]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert {"Region", "RegionKV", "UNetCall", "LayerInputs"} <= listed & defined
