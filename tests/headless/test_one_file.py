"""Extending the pack is a change to one file: a copy of it with a few lines more, in a ComfyUI."""

import importlib
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from ipadapter_pack.tests.conftest import ROOT
from ipadapter_pack.tests.headless.runs import result, set_inputs, small
from ipadapter_pack.tests.weight_types.test_layers import SSD1B, layers_of
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.model_files import options_of
from ipadapter_pack.workflows.runner.server import running
from ipadapter_pack.workflows.tiny import models
from ipadapter_pack.workflows.tiny.layers import Random, layer, save

# What is written at the end of each of these files.
ADDED = {
    "weight_types/attention.py": """

def doubled(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    return original(k, v, 2 * weight)


WEIGHT_TYPES["doubled"] = Option(doubled, "scales what the reference adds by twice the weight")
""",
    "masks/shapes.py": """

def screen(under: Tensor, over: Tensor) -> Tensor:
    return under + over - under * over


OPERATIONS["screen"] = Option(screen, "joins regions and keeps their fades smooth")
""",
    "ipadapter/projections.py": """

class TwoLayers(ImageProjection):
    name = "Two Layers"

    def __init__(self, hidden: int, *sizes: int, operations: Any):
        super().__init__(hidden, *sizes, operations)
        self.first = operations.Linear(hidden, hidden)

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return "first.weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> TwoLayers:
        rows, hidden = tensors["proj.weight"].shape
        (channels,) = tensors["norm.weight"].shape
        return cls(hidden, whole(rows, channels), channels, operations=operations)

    def forward(self, features: Features) -> Tensor:
        return super().forward(Features(self.first(features.clip)))


CLIP_FAMILIES.insert(0, TwoLayers)
""",
    "ipadapter/base_models.py": """

BASE_MODELS.append(
    BaseModel(
        "SSD-1B",
        layers=34,
        context=2048,
        composition={Transformer("input", 8): 1.0},
        style=_at("output", 1),
        others=_at("input", 4, 5, 7) | _at("output", 0, 2, 3, 4, 5),
    )
)
""",
}
TWO_LAYERS = "two_layers.safetensors"


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """The copy, with its help pages written anew."""
    pack = tmp_path_factory.mktemp("copy") / "ipadapter_regions"
    unwanted = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache", "demo")
    shutil.copytree(ROOT, pack, ignore=unwanted)
    for file, text in ADDED.items():
        with open(pack / file, "a", encoding="utf-8") as end:
            end.write(text)
    subprocess.run([sys.executable, pack / "tools" / "choice_tables.py"], check=True)
    return pack


@pytest.fixture(scope="module")
def client(pack, model_folders, tmp_path_factory):
    """A ComfyUI with the copy, and with an adapter of the new family."""
    folder = tmp_path_factory.mktemp("ipadapter")
    two_layers(folder / TWO_LAYERS)
    folders = model_folders | {"ipadapter": [*model_folders["ipadapter"], folder]}
    with running(folders, packs=[pack], options=["--cache-classic"]) as url:
        yield Client(url)


@pytest.fixture(scope="module")
def before(client):
    return result(client, small("two_references"))


def two_layers(path: Path) -> None:
    """The tiny adapter, behind a first layer that changes nothing."""
    random = Random(3)
    first = layer("image_proj.first", torch.eye(models.EMBEDS))
    projection = [*models.image_projection(random), *first]
    save(path, [*projection, *models.key_value_projections(random)])


def described(pack, client, node, name, choice):
    """The sentence about a choice on the node and on its help page."""
    kind, options = client.object_info()[node]["input"]["required"][name]
    assert choice in options_of([kind, options])
    _, found, rest = options["tooltip"].partition(f" {choice}: ")
    assert found
    page = (pack / "nodes" / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    _, found, row = page.partition(f"\n| {choice} | ")
    assert found
    return rest.partition(".")[0], row.partition(" |\n")[0]


def test_a_weight_type(pack, client, before):
    said = described(pack, client, "IPAdapterApply", "weight_type", "doubled")
    assert set(said) == {"scales what the reference adds by twice the weight"}
    graph = set_inputs(small("two_references"), "IPAdapterApply", weight_type="doubled")
    assert not np.array_equal(result(client, graph), before)
    half = set_inputs(graph, "IPAdapterApply", weight=0.375)
    assert np.array_equal(result(client, half), before)


def test_a_way_to_combine_masks(pack, client, before):
    said = described(pack, client, "IPAdapterMaskComposite", "operation", "screen")
    assert set(said) == {"joins regions and keeps their fades smooth"}
    graph = set_inputs(small("two_references"), "IPAdapterMaskComposite", operation="screen")
    assert np.array_equal(result(client, graph), before)  # on black it is the same as add
    graph = set_inputs(graph, "canvas", value=0.5)
    added = set_inputs(graph, "IPAdapterMaskComposite", operation="add")
    assert not np.array_equal(result(client, graph), result(client, added))


def test_an_adapter_family(client, before):
    graph = set_inputs(small("two_references"), "IPAdapterModelLoader", ipadapter_file=TWO_LAYERS)
    assert np.array_equal(result(client, graph), before)


def test_the_auto_loader_takes_an_adapter_of_that_family(client, before):
    graph = small("two_references")
    (loader,) = [key for key, node in graph.items() if node["class_type"] == "IPAdapterModelLoader"]
    (model,) = [
        key for key, node in graph.items() if node["class_type"] == "CheckpointLoaderSimple"
    ]
    graph[loader] = {
        "class_type": "IPAdapterAutoLoader",
        "_meta": {"title": "auto"},
        "inputs": {
            "model": [model, 0],
            "preset": TWO_LAYERS,
            "lora_strength": 1,
            "provider": "CPU",
        },
    }
    graph = set_inputs(graph, "IPAdapterApply", ipadapter=[loader, 1])
    assert np.array_equal(result(client, graph), before)


def test_a_base_model(pack, monkeypatch):
    """The layers of style and composition, which that of fewer layers is refused without."""
    copy = types.ModuleType("copied_pack")
    copy.__path__ = [str(pack)]
    monkeypatch.setitem(sys.modules, "copied_pack", copy)
    schedules = importlib.import_module("copied_pack.weight_types.layers")
    reference = importlib.import_module("copied_pack.ipadapter.reference")
    layers = layers_of("SSD-1B")
    assert len(layers) == sum(depth for *_, depth in SSD1B)
    found = schedules.spread(reference.LayerSchedule("style transfer"), layers, 0.7)
    assert {(layer.block, layer.number) for layer in found} == {("output", 1)}
    named = importlib.import_module("copied_pack.ipadapter.base_models").base_by_layers(len(layers))
    assert named == "SSD-1B"
