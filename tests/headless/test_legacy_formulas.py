"""Version 2's weights in every layer of a real UNet, against float64 (see legacy_oracle.py)."""

import itertools

import pytest
import torch
from ipadapter_pack.nodes.legacy import styles
from ipadapter_pack.nodes.legacy.apply import IPAdapter, IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.loading.adapter import AdapterBundle
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.cases import product
from ipadapter_pack.tests.headless.legacy_layers import (
    CLOSE,
    EITHER,
    WEIGHT_TYPES,
    Acts,
    adapter_of,
    call_node,
    mean_mask,
    pictures,
    recorded,
    sees,
    silent,
    weights,
    worst,
)
from ipadapter_pack.tests.headless.legacy_oracle import COMBINE, FIRST_VERSION, SCALING
from ipadapter_pack.tests.headless.support import ENCODER, apply, left_half
from ipadapter_pack.tests.weight_types.test_layers import AWAY

# One that every layer takes part in, and those that choose layers and tokens by the base model.
ON_SDXL = {
    "linear", "style and composition", "style transfer precise", "composition precise",
}  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "weight_type"),
    product(
        ["SD1.5", "SDXL"], WEIGHT_TYPES,
        quick=lambda layout, weight_type: layout == "SD1.5" or weight_type in ON_SDXL,
    ),
)  # fmt: skip
def test_weight_types_and_scalings(layout, weight_type):
    adapter = adapter_of(layout)
    pair = adapter.pair(pictures(0))
    tokens = sees(pair, AWAY.get((layout, weight_type), []))
    both = [(IPAdapterAdvanced, 0.8), (IPAdapterBatch, -0.6)]
    for scaling, (node, weight) in itertools.product(SCALING, both):
        inputs = {"weight": weight, "weight_type": weight_type, "embeds_scaling": scaling}
        calls = recorded(call_node(node, layout, adapter, pictures(0), **inputs), layout)
        # The composition's weight has no input here: version 2 took 1.
        second = 1.0 if weight_type == "style and composition" else weight
        table = weights(layout, weight_type, weight, second)
        acts = Acts(adapter.file, tokens, table, SCALING[scaling])
        assert worst(calls, layout, acts) < CLOSE, (scaling, weight)


@EITHER
def test_it_is_added_to_the_text(layout):
    adapter = adapter_of(layout)
    model = tiny.shared_model(layout)
    model = call_node(IPAdapterAdvanced, layout, adapter, pictures(0), model, weight=0.8)
    tokens = sees(adapter.pair(pictures(0)))
    acts = Acts(adapter.file, tokens, lambda t, frame: 0.8, SCALING["V only"])
    calls = recorded(model, layout)
    assert worst(calls, layout, acts) < CLOSE
    assert all(call.text.any() for call in calls)


@EITHER
@pytest.mark.parametrize("weight", [0.8, -0.6])
@pytest.mark.parametrize("weight_type", FIRST_VERSION)
def test_weight_types_of_version_1(layout, weight_type, weight):
    adapter = adapter_of(layout)
    mask = left_half() * 0.7
    inputs = {"weight": weight, "weight_type": weight_type, "attn_mask": mask}
    calls = recorded(apply(silent(layout), adapter.loaded, pictures(0), **inputs), layout)
    tokens = sees(adapter.pair(pictures(0)))
    masked = lambda call, frame: mean_mask(mask[0], call)  # noqa: E731
    how = FIRST_VERSION[weight_type]
    acts = Acts(adapter.file, tokens, lambda t, frame: weight, how, masked)
    assert worst(calls, layout, acts) < CLOSE


SIMPLE = {
    "standard": "linear",
    "prompt is more important": "ease out",
    "style transfer": "style transfer",
}


@EITHER
@pytest.mark.parametrize("choice", SIMPLE)
def test_the_simple_node_has_three_weight_types(layout, choice):
    adapter = adapter_of(layout)
    inputs = {
        "ipadapter": AdapterBundle(adapter.loaded, ENCODER),
        "image": pictures(0),
        "weight": 1.7,
    }
    model = IPAdapter.execute(model=silent(layout), weight_type=choice, **inputs)[0]
    tokens, table = sees(adapter.pair(pictures(0))), weights(layout, SIMPLE[choice], 1.7, None)
    acts = Acts(adapter.file, tokens, table, SCALING["V only"])
    assert worst(recorded(model, layout), layout, acts) < CLOSE


@EITHER
@pytest.mark.parametrize("boost", [1.4, -0.5, 0.0])
@pytest.mark.parametrize(
    ("node", "boosted"),
    [
        (styles.IPAdapterPreciseStyleTransfer, "style"),
        (styles.IPAdapterPreciseStyleTransferBatch, "style"),
        (styles.IPAdapterPreciseComposition, "composition"),
        (styles.IPAdapterPreciseCompositionBatch, "composition"),
    ],
)
def test_precise_nodes_push_the_negative(layout, node, boosted, boost):
    adapter = adapter_of(layout)
    name = {"style": "style transfer precise", "composition": "composition precise"}[boosted]
    tokens = sees(adapter.pair(pictures(0)), AWAY[layout, name])
    for scaling in SCALING if boost == 1.4 else ["K+V"]:
        inputs = {"weight": 0.8, f"{boosted}_boost": boost, "embeds_scaling": scaling}
        calls = recorded(call_node(node, layout, adapter, pictures(0), **inputs), layout)
        table = weights(layout, name, 0.8, boost)
        assert worst(calls, layout, Acts(adapter.file, tokens, table, SCALING[scaling])) < CLOSE


@EITHER
@pytest.mark.parametrize(
    "node", [styles.IPAdapterStyleComposition, styles.IPAdapterStyleCompositionBatch]
)
@pytest.mark.parametrize("expand_style", [False, True])
@pytest.mark.parametrize("image_negative", [None, 5])
def test_style_and_composition_of_two_pictures(layout, node, expand_style, image_negative):
    """The composition's picture is seen where the composition is made, the style's elsewhere."""
    adapter = adapter_of(layout)
    style, composition = (adapter.features(pictures(i)) for i in (0, 1))
    negative = torch.zeros_like(style)
    inputs = {"weight_style": 0.8, "weight_composition": -0.6, "expand_style": expand_style}
    if image_negative is not None:
        inputs["image_negative"] = pictures(image_negative)
        negative = adapter.features(pictures(image_negative))
    inputs |= {"image_style": pictures(0), "image_composition": pictures(1)}
    name = "strong style and composition" if expand_style else "style and composition"
    table = weights(layout, name, 0.8, -0.6)
    layers = {"SD1.5": (4, 5), "SDXL": (3,)}[layout]

    def tokens(t, positive, frame):
        return adapter.of((composition if t in layers else style) if positive else negative)

    for scaling in ["V only"] if image_negative is None else SCALING:
        inputs["embeds_scaling"] = scaling
        calls = recorded(call_node(node, layout, adapter, None, **inputs), layout)
        acts = Acts(adapter.file, tokens, table, SCALING[scaling])
        assert worst(calls, layout, acts) < CLOSE, scaling


WRITTEN = {0: 1.0, 3: 0.5, 4: -0.7, 5: 0.25, 9: 2.0, 99: 1.0}


@EITHER
@pytest.mark.parametrize(
    "weight_type",
    ["linear", "ease in", "style transfer", "style transfer precise", "composition precise"],
)
def test_layer_weights_are_factors_by_number(layout, weight_type, caplog):
    adapter = adapter_of(layout)
    text = ", ".join(f"{t}:{factor}" for t, factor in WRITTEN.items())
    tokens = sees(adapter.pair(pictures(0)), AWAY.get((layout, weight_type), []))
    for scaling in SCALING:
        inputs = {"layer_weights": text, "weight_type": weight_type, "embeds_scaling": scaling}
        model = call_node(styles.IPAdapterMS, layout, adapter, pictures(0), weight=0.8, **inputs)
        table = {t: 0.8 * factor for t, factor in WRITTEN.items()}
        acts = Acts(adapter.file, tokens, lambda t, frame, of=table: of.get(t), SCALING[scaling])
        assert worst(recorded(model, layout), layout, acts) < CLOSE, scaling
    assert "layer_weights: this model's layers are 0 to" in caplog.text
    assert "not used: 99:1.0" in caplog.text


@EITHER
@pytest.mark.parametrize("kind", ["base", "plus"])
@pytest.mark.parametrize("method", ["concat", *COMBINE])
def test_several_pictures(layout, kind, method):
    """All but concat are of what CLIP says, before the projection; the negative is the first."""
    adapter = adapter_of(layout, kind)
    features, negative = (adapter.features(pictures(*seeds)) for seeds in ((0, 1, 2), (5, 6, 7)))
    if method != "concat":
        features, negative = COMBINE[method](features.double())[None], negative[:1]
    tokens = sees((adapter.of(features), adapter.of(negative)))
    for scaling in SCALING if method == "concat" else ["V only"]:
        inputs = {"combine_embeds": method, "embeds_scaling": scaling, "weight": 0.8}
        inputs["image_negative"] = pictures(5, 6, 7)
        model = call_node(IPAdapterAdvanced, layout, adapter, pictures(0, 1, 2), **inputs)
        acts = Acts(adapter.file, tokens, lambda t, frame: 0.8, SCALING[scaling])
        assert worst(recorded(model, layout), layout, acts) < CLOSE, scaling
