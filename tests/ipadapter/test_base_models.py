"""Which base model a list of layers is, by where its spatial transformers stand."""

import pytest
from ipadapter_pack.ipadapter.base_models import (
    BASE_MODELS,
    Layer,
    base_model_name,
    base_model_of,
    transformers_in_order,
)

# Cross-attentions of each block, in the order of adapter files: input, output, middle.
SD15 = {("input", n): 1 for n in (1, 2, 4, 5, 7, 8)} | {("output", n): 1 for n in range(3, 12)}
SD15 |= {("middle", 0): 1}
SDXL = {("input", 4): 2, ("input", 5): 2, ("input", 7): 10, ("input", 8): 10}
SDXL |= {("output", n): 10 if n < 3 else 2 for n in range(6)} | {("middle", 0): 10}
SSD1B = {("input", 4): 2, ("input", 5): 2, ("input", 7): 4, ("input", 8): 4}
SSD1B |= {("output", n): depth for n, depth in enumerate([4, 4, 10, 2, 1, 1])}
DEPTHS = {"SD1.5": SD15, "SDXL": SDXL}


def layers_of(depths):
    return [Layer(*at, index) for at, depth in depths.items() for index in range(depth)]


@pytest.mark.parametrize("base", BASE_MODELS, ids=lambda base: base.name)
def test_a_row_fits_its_layout(base):
    layers = layers_of(DEPTHS[base.name])
    assert base_model_of(layers) is base
    assert base_model_of(reversed(layers)) is base
    assert len(layers) == base.layers
    assert base_model_name(len(layers), base.context) == base.name


@pytest.mark.parametrize("base", BASE_MODELS, ids=lambda base: base.name)
def test_a_transformer_has_one_role(base):
    parts = len(base.composition) + len(base.style) + len(base.others)
    assert parts == len(base.transformers) == len(DEPTHS[base.name])
    assert max(base.composition.values()) == 1


def test_depth_does_not_matter():
    assert base_model_of(layers_of(dict.fromkeys(SDXL, 1))).name == "SDXL"


@pytest.mark.parametrize(
    "depths", [{}, SSD1B, SD15 | {("output", 2): 1}, {at: 1 for at in SD15 if at != ("input", 1)}]
)
def test_other_layouts_are_nobodys(depths):
    assert base_model_of(layers_of(depths)) is None
    assert base_model_name(len(layers_of(depths)), 2048) is None


def test_transformers_run_from_input_to_output():
    order = transformers_in_order(layers_of(SDXL))
    inputs, outputs = [("input", n) for n in (4, 5, 7, 8)], [("output", n) for n in range(6)]
    assert order == [*inputs, ("middle", 0), *outputs]
    assert transformers_in_order(layers_of(SD15))[-2:] == [("output", 10), ("output", 11)]
