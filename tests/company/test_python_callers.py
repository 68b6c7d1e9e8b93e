"""Packs and scripts that take version 2's classes by their ids and call their Python methods.

The stand-ins call as Inspire, Impact, Easy-Use and exported scripts do; what they get is what the
nodes' own execute gives.
"""

import inspect

import folder_paths
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.loading.adapter import AdapterBundle
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.packs import registered
from ipadapter_pack.tests.headless.support import ENCODER, adapter, left_half
from ipadapter_pack.tests.headless.test_auto import (
    add_adapter,
    encoder_file,  # noqa: F401  a fixture
    models,  # noqa: F401  a fixture
)
from ipadapter_pack.tests.headless.test_faceid import (
    ANNA,
    face_adapter,
    recognizer,  # noqa: F401  a fixture
)

NODES = {node.GET_SCHEMA().node_id: node for node in registered()}
PHOTO, OTHER = tiny.picture(1), tiny.picture(2, 48, 96)

# Version 2's methods, from its source: the arguments in their order, those with a default with it;
# how many values it returns.
APPLY = (
    "apply_ipadapter(model, ipadapter, start_at=0.0, end_at=1.0, weight=1.0, weight_style=1.0, "
    "weight_composition=1.0, expand_style=False, weight_type='linear', combine_embeds='concat', "
    "weight_faceidv2=None, image=None, image_style=None, image_composition=None, "
    "image_negative=None, clip_vision=None, attn_mask=None, insightface=None, "
    "embeds_scaling='V only', layer_weights=None, ipadapter_params=None, encode_batch_size=0, "
    "style_boost=None, composition_boost=None, enhance_tiles=1, enhance_ratio=1.0, "
    "weight_kolors=1.0)",
    2,
)
EMBEDS = (
    "apply_ipadapter(model, ipadapter, pos_embed, weight, weight_type, start_at, end_at, "
    "neg_embed=None, attn_mask=None, clip_vision=None, embeds_scaling='V only')",
    2,
)
TILED = (
    "apply_tiled(model, ipadapter, image, weight, weight_type, start_at, end_at, sharpening, "
    "combine_embeds='concat', image_negative=None, attn_mask=None, clip_vision=None, "
    "embeds_scaling='V only', encode_batch_size=0)",
    3,
)
LOAD = ("load_models(model, preset, lora_strength=0.0, provider='CPU', ipadapter=None)", 2)
WEIGHTS = (
    "weights(weights='', timing='custom', frames=0, start_frame=0, end_frame=9999, "
    "add_starting_frames=0, add_ending_frames=0, method='full batch', weights_strategy=None, "
    "image=None)",
    6,
)
ALIKE = {
    APPLY: """IPAdapterAdvanced IPAdapterBatch IPAdapterFaceID IPAdapterFaceIDKolors
        IPAAdapterFaceIDBatch IPAdapterStyleComposition IPAdapterStyleCompositionBatch IPAdapterMS
        IPAdapterClipVisionEnhancer IPAdapterClipVisionEnhancerBatch IPAdapterFromParams
        IPAdapterPreciseStyleTransfer IPAdapterPreciseStyleTransferBatch
        IPAdapterPreciseComposition IPAdapterPreciseCompositionBatch""",
    EMBEDS: "IPAdapterEmbeds IPAdapterEmbedsBatch",
    TILED: "IPAdapterTiled IPAdapterTiledBatch",
    LOAD: "IPAdapterUnifiedLoader IPAdapterUnifiedLoaderFaceID IPAdapterUnifiedLoaderCommunity",
    WEIGHTS: "IPAdapterWeights IPAdapterWeightsFromStrategy",
}
METHODS = {
    "IPAdapter": (
        "apply_ipadapter(model, ipadapter, image, weight, start_at, end_at, weight_type, "
        "attn_mask=None)",
        2,
    ),
    "IPAdapterModelLoader": ("load_ipadapter_model(ipadapter_file)", 1),
    # model_name had no default; that Inspire leaves it out failed there too.
    "IPAdapterInsightFaceLoader": ("load_insightface(provider, model_name='buffalo_l')", 1),
    "IPAdapterEncoder": ("encode(ipadapter, image, weight, mask=None, clip_vision=None)", 2),
    "IPAdapterCombineEmbeds": (
        "batch(embed1, method, embed2=None, embed3=None, embed4=None, embed5=None)",
        1,
    ),
    "IPAdapterNoise": ("make_noise(type, strength, blur, image_optional=None)", 1),
    "PrepImageForClipVision": (
        "prep_image(image, interpolation='LANCZOS', crop_position='center', sharpening=0.0)",
        1,
    ),
    "IPAdapterSaveEmbeds": ("save(embeds, filename_prefix)", 1),
    "IPAdapterLoadEmbeds": ("load(embeds)", 1),
    "IPAdapterPromptScheduleFromWeightsStrategy": (
        "prompt_schedule(weights_strategy, prompt='')",
        1,
    ),
    "IPAdapterCombineWeights": ("combine(weights_1, weights_2)", 2),
    "IPAdapterRegionalConditioning": (
        "conditioning(image, image_weight, prompt_weight, weight_type, start_at, end_at, "
        "mask=None, positive=None, negative=None)",
        3,
    ),
    "IPAdapterCombineParams": (
        "combine(params_1, params_2, params_3=None, params_4=None, params_5=None)",
        1,
    ),
    **{node_id: method for method, ids in ALIKE.items() for node_id in ids.split()},
}


def test_all_ids_of_version_2_are_there():
    assert len(METHODS) == 37
    assert METHODS.keys() <= NODES.keys()


@pytest.mark.parametrize("node_id", METHODS)
def test_every_id_answers_to_its_method(node_id):
    name, _, arguments = METHODS[node_id][0].partition("(")
    method = getattr(NODES[node_id](), name)
    assert str(inspect.signature(method)) == f"({arguments}"
    assert NODES[node_id].FUNCTION == "EXECUTE_NORMALIZED"


@pytest.mark.parametrize("node_id", METHODS)
def test_an_instance_has_lists_for_menus_and_the_class_what_comfyui_expects(node_id):
    """A link from a node's menu to an input that is a list would be refused."""
    asked, shown = NODES[node_id]().INPUT_TYPES(), NODES[node_id].INPUT_TYPES()
    assert shown == NODES[node_id].GET_NODE_INFO_V1()["input"]
    assert [[need, *inputs] for need, inputs in asked.items()] == [
        [need, *inputs] for need, inputs in shown.items()
    ]
    for need, inputs in shown.items():
        for name, (kind, *options) in inputs.items():
            expected = options[0]["options"] if kind == "COMBO" else kind
            assert asked[need][name] == (expected, *options)


@pytest.fixture(scope="module")
def loaded():
    return adapter()


@pytest.fixture(scope="module")
def bundle(loaded):
    return AdapterBundle(loaded, ENCODER)


def model(layout="SD1.5"):
    return tiny.shared_model(layout)


def call(node_id, *args, **inputs):
    """What a method gives: a plain tuple of as many values as version 2's."""
    text, outputs = METHODS[node_id]
    values = getattr(NODES[node_id](), text.partition("(")[0])(*args, **inputs)
    assert type(values) is tuple
    assert len(values) == outputs
    return values


def execute(node_id, **inputs):
    return NODES[node_id].execute(**inputs).args


def assert_same(ours, expected, layout="SD1.5", **run):
    """Two models, which sample to the same bits, and not as without a reference."""
    run = {"steps": 1, "layout": layout, **run}
    result = tiny.sample(ours, **run)
    assert torch.equal(result, tiny.sample(expected, **run))
    assert not torch.equal(result, tiny.sample(model(layout), **run))


# Inspire


@pytest.fixture
def weight_type():
    """Read as its nodes read their menu."""
    menu = NODES["IPAdapterAdvanced"]().INPUT_TYPES()["required"]["weight_type"][0]
    assert isinstance(menu, list)
    return menu[menu.index("ease out")]


def test_inspires_regions(loaded, weight_type):
    settings = {"weight": 0.7, "weight_type": weight_type, "start_at": 0.0, "end_at": 0.9}
    shared = {"ipadapter": loaded, "clip_vision": ENCODER, "attn_mask": left_half(), **settings}
    more = {"combine_embeds": "concat", "image": PHOTO, "image_negative": OTHER}
    inputs = {"insightface": None, "weight_faceidv2": False, **more, **shared}
    ours = call("IPAdapterAdvanced", model=model(), **inputs)[0]
    expected = execute("IPAdapterAdvanced", model=model(), **more, **shared)[0]
    assert_same(ours, expected)
    pos_embed, neg_embed = execute(
        "IPAdapterEncoder", ipadapter=loaded, image=OTHER, clip_vision=ENCODER
    )
    embeds = {"pos_embed": pos_embed, "neg_embed": neg_embed, **shared}
    ours = call("IPAdapterEmbeds", model=ours, **embeds)[0]
    assert_same(ours, execute("IPAdapterEmbeds", model=expected, **embeds)[0])


def test_inspires_helper_loads_models(models, recognizer, monkeypatch):  # noqa: F811
    add_adapter(models, "ip-adapter_sd15.safetensors")
    names = folder_paths.get_filename_list("ipadapter")
    value = call("IPAdapterModelLoader", ipadapter_file=names[0])[0]
    assert value is execute("IPAdapterModelLoader", ipadapter_file=names[0])[0]
    asked = []
    module = inspect.getmodule(NODES["IPAdapterInsightFaceLoader"])
    monkeypatch.setattr(
        module, "load_insightface", lambda *given: asked.append(given) or recognizer
    )
    load_insightface = NODES["IPAdapterInsightFaceLoader"]().load_insightface
    assert load_insightface("CPU") == (recognizer,)
    assert load_insightface(provider="CUDA", model_name="antelopev2") == (recognizer,)
    assert asked == [("CPU", "buffalo_l"), ("CUDA", "antelopev2")]


# Impact


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
def test_impacts_segs(loaded, weight_type):
    """It still has the menu of version 1, which version 2 took for linear."""
    inputs = {
        "ipadapter": loaded, "weight": 0.7, "start_at": 0.0, "end_at": 0.9, "image": PHOTO,
        "combine_embeds": "concat", "clip_vision": ENCODER, "image_negative": None,
        "attn_mask": None,
    }  # fmt: skip
    more = {"insightface": None, "weight_faceidv2": 1.0, "weight_type": weight_type}
    ours = call("IPAdapterAdvanced", model=model(), **inputs, **more)[0]
    assert_same(ours, execute("IPAdapterAdvanced", model=model(), **inputs)[0])


# Easy-Use


def easy_bundle(layout="SD1.5"):
    """What its own loader hands to the classes."""
    file = tiny.adapter_file(tiny.widths(model(layout)))
    return {
        "clipvision": {"file": "a", "model": ENCODER},
        "ipadapter": {"file": "b", "model": file},
        "insightface": {"provider": None, "model": None},
    }


def test_easy_use_applies(bundle):
    shared = {"image": PHOTO, "weight": 0.8, "start_at": 0.0, "end_at": 0.9}
    first = ("start_at", "end_at")
    simple = [shared["image"], shared["weight"], *(shared[name] for name in first)]
    ours, images = call("IPAdapter", model(), easy_bundle(), *simple, weight_type="standard")
    assert images is None
    assert_same(ours, execute("IPAdapter", model=model(), ipadapter=bundle, **shared)[0])
    more = {"weight_type": "style transfer", "combine_embeds": "add", "embeds_scaling": "K+V"}
    ignored = {
        "weight_style": 1.0, "weight_composition": 1.0, "image_style": None, "insightface": None,
        "image_composition": None, "expand_style": False, "weight_kolors": 0.8,
        "weight_faceidv2": 1.0, "attn_mask": None, "clip_vision": None, "image_negative": None,
    }  # fmt: skip
    inputs = {**shared, **more, **ignored}
    ours, images = call("IPAdapterAdvanced", model(), easy_bundle(), **inputs)
    assert images is None
    expected = {"model": model(), "ipadapter": bundle, **shared, **more}
    assert_same(ours, execute("IPAdapterAdvanced", **expected)[0])
    ours, _ = call("IPAdapterAdvanced", model(), bundle, **inputs, layer_weights="1:0.5, 3: 1")
    assert_same(ours, execute("IPAdapterMS", **expected, layer_weights="1:0.5, 3: 1")[0])


def test_easy_use_tiles(bundle):
    start = (PHOTO, 0.8, "linear", 0.0, 1.0)
    more = {"combine_embeds": "concat", "image_negative": None, "attn_mask": left_half()}
    more |= {"clip_vision": None, "embeds_scaling": "V only"}
    names = ("image", "weight", "weight_type", "start_at", "end_at")
    inputs = {**dict(zip(names, start, strict=True)), "sharpening": 0.2, **more}
    for node_id in ("IPAdapterTiled", "IPAdapterTiledBatch"):
        ours = call(node_id, model(), easy_bundle(), *start, sharpening=0.2, **more)
        expected = execute(node_id, model=model(), ipadapter=bundle, **inputs)
        assert_same(ours[0], expected[0])
        assert all(torch.equal(*both) for both in zip(ours[1:], expected[1:], strict=True))


@pytest.mark.parametrize("expand_style", [False, True])
def test_easy_use_takes_style_and_composition(expand_style):
    value = easy_bundle("SDXL")
    shared = {
        "weight_style": 0.8, "weight_composition": 0.6, "combine_embeds": "average",
        "image_style": PHOTO, "expand_style": expand_style, "embeds_scaling": "V only",
    }  # fmt: skip
    more = {"weight_type": "linear", "weight_faceidv2": 0.6, "insightface": None}
    ours, _ = call(
        "IPAdapterAdvanced", model("SDXL"), value, image_composition=OTHER, **shared, **more
    )
    inputs = {"model": model("SDXL"), "ipadapter": value, **shared}
    expected = execute("IPAdapterStyleComposition", image_composition=OTHER, **inputs)[0]
    assert_same(ours, expected, "SDXL")
    alone, _ = call(
        "IPAdapterAdvanced", model("SDXL"), value, image_composition=None, **shared, **more
    )
    expected = execute("IPAdapterStyleComposition", image_composition=PHOTO, **inputs)[0]
    assert_same(alone, expected, "SDXL")


def test_easy_use_encodes(bundle):
    """And combines by itself what it got."""
    pairs = [
        call("IPAdapterEncoder", easy_bundle(), image, weight, mask, clip_vision=ENCODER)
        for image, weight, mask in ((PHOTO, 1.0, None), (OTHER, 0.5, left_half()))
    ]
    first = execute("IPAdapterEncoder", ipadapter=bundle, image=PHOTO)
    second = execute(
        "IPAdapterEncoder", ipadapter=bundle, image=OTHER, weight=0.5, mask=left_half()
    )
    for ours, expected in zip(pairs, (first, second), strict=True):
        assert all(torch.equal(*both) for both in zip(ours, expected, strict=True))
    pos_embed, neg_embed = (torch.cat(each) for each in zip(*pairs, strict=True))
    more = {"neg_embed": neg_embed, "embeds_scaling": "K+V"}
    ours, images = call(
        "IPAdapterEmbeds", model(), bundle, pos_embed, 0.7, "linear", 0.0, 0.8,
        attn_mask=None, clip_vision=None, **more,
    )  # fmt: skip
    assert images is None
    inputs = {"pos_embed": pos_embed, "weight": 0.7, "end_at": 0.8, **more}
    expected = execute("IPAdapterEmbeds", model=model(), ipadapter=bundle, **inputs)[0]
    assert_same(ours, expected)


def test_easy_use_joins_regions_itself(bundle):
    regions = [(PHOTO, 0.8, 1.0, "linear", 0.0, 1.0), (OTHER, 0.5, 1.3, "ease in", 0.2, 0.9)]
    texts = {"positive": tiny.conditioning(3), "negative": tiny.conditioning(4)}
    masks = [left_half(), None]
    one, other = (
        call("IPAdapterRegionalConditioning", *region, mask=mask, **texts)
        for region, mask in zip(regions, masks, strict=True)
    )
    joined = {key: values + other[0][key] for key, values in one[0].items()}
    positive, negative = (a + b for a, b in zip(one[1:], other[1:], strict=True))
    assert [len(positive), len(negative)] == [2, 2]
    more = {"combine_embeds": "average", "embeds_scaling": "V only", "image_negative": None}
    ours, images = call(
        "IPAdapterFromParams", model(), easy_bundle(), clip_vision=None, ipadapter_params=joined, **more
    )  # fmt: skip
    assert images is None
    combined = call("IPAdapterCombineParams", one[0], other[0])[0]
    inputs = {"model": model(), "ipadapter": bundle, "ipadapter_params": combined, **more}
    expected = execute("IPAdapterFromParams", **inputs)[0]
    assert_same(ours, expected, positive=positive, negative=negative)


def test_easy_use_goes_on_with_what_our_loader_gave(bundle):
    """It takes the parts out and puts them together again."""
    value = {
        "clipvision": {"file": None, "model": bundle["clipvision"]["model"]},
        "ipadapter": {"file": "x", "model": bundle["ipadapter"]["model"]},
        "insightface": {"provider": "CPU", "model": bundle["insightface"]["model"]},
    }
    assert value["ipadapter"]["model"]
    assert bundle["ipadapter"]["file"].endswith(".safetensors")
    ours, _ = call("IPAdapterAdvanced", model(), value, image=PHOTO)
    expected = execute("IPAdapterAdvanced", model=model(), ipadapter=bundle, image=PHOTO)[0]
    assert_same(ours, expected)


@pytest.mark.parametrize("node_id", ["IPAdapter", "IPAdapterAdvanced", "IPAdapterFaceID"])
@pytest.mark.parametrize("name", ["plusv2.bin", "plus.bin"])
def test_faces_come_back_from_every_node(recognizer, node_id, name):  # noqa: F811
    value = AdapterBundle(face_adapter("faceid-plus", name=name), ENCODER, recognizer)
    start = (model(), value)
    inputs = {"image": ANNA, "weight": 0.6}
    if node_id == "IPAdapter":
        ours, images = call(node_id, *start, ANNA, 0.6, 0.0, 1.0, weight_type="standard")
    else:
        ours, images = call(node_id, *start, **inputs)
    inputs |= {"model": model(), "ipadapter": value, "weight_faceidv2": 1.2}  # twice the weight
    expected, crops = execute("IPAdapterFaceID", **inputs)
    assert torch.equal(images, crops)
    assert_same(ours, expected)
    connected = {"clip_vision": ENCODER, "insightface": recognizer, "weight_faceidv2": 1.2}
    if node_id != "IPAdapter":
        parts = call(node_id, model(), value.loaded, image=ANNA, weight=0.6, **connected)
        assert torch.equal(parts[1], crops)
        assert_same(parts[0], expected)


# Scripts: one call for each node of the graph that they were made from, by keyword


@pytest.mark.parametrize(
    ("node_id", "inputs"),
    [
        ("IPAdapterBatch", {"weight": [0.8, 0.3], "weight_type": "ease in"}),
        ("IPAdapterPreciseStyleTransfer", {"style_boost": 1.5, "weight": 0.7}),
        ("IPAdapterPreciseStyleTransferBatch", {"style_boost": 0.5}),
        ("IPAdapterPreciseComposition", {"composition_boost": 0.3, "weight": 0.7}),
        ("IPAdapterPreciseCompositionBatch", {"composition_boost": 0.0}),
        ("IPAdapterMS", {"layer_weights": "0:1, 4:0.5", "weight": 0.7}),
        ("IPAdapterClipVisionEnhancer", {"enhance_tiles": 2, "enhance_ratio": 0.7}),
        ("IPAdapterClipVisionEnhancerBatch", {"enhance_tiles": 2, "enhance_ratio": 0.5}),
        ("IPAdapterAdvanced", {"weight_type": "style and composition", "weight": 0.5}),
    ],
)
def test_scripts_apply_as_the_node_does(bundle, node_id, inputs):
    inputs = {"ipadapter": bundle, "image": torch.cat([PHOTO, tiny.picture(3)]), **inputs}
    expected = execute(node_id, model=model(), **inputs)[0]
    assert_same(call(node_id, model=model(), **inputs)[0], expected, batch=2)


def test_scripts_weigh_the_composition_apart(bundle):
    """Which no node with that weight type has an input for: without it, the style is left."""
    both = {"weight_type": "style and composition", "weight_composition": 0.0}
    ours = call("IPAdapterAdvanced", model(), bundle, image=PHOTO, weight=0.5, **both)[0]
    inputs = {"image": PHOTO, "weight": 0.5, "weight_type": "style transfer"}
    assert_same(ours, execute("IPAdapterAdvanced", model=model(), ipadapter=bundle, **inputs)[0])


@pytest.mark.parametrize("batch", ["", "Batch"])
def test_scripts_apply_two_pictures(batch):
    node_id, value = f"IPAdapterStyleComposition{batch}", easy_bundle("SDXL")
    inputs = {"ipadapter": value, "image_style": PHOTO, "image_composition": OTHER}
    inputs |= {"weight_style": 0.9} if batch else {"combine_embeds": "average"}
    expected = execute(node_id, model=model("SDXL"), **inputs)[0]
    ours = call(node_id, model=model("SDXL"), **inputs)[0]
    assert_same(ours, expected, "SDXL", batch=2)


def test_scripts_load_models(models, encoder_file):  # noqa: F811
    (models / "clip_vision" / "clip_vision_l.safetensors").symlink_to(encoder_file)
    add_adapter(models, "ip-adapter-plus_sd15.safetensors", "plus")
    add_adapter(models, "ip-adapter-plus_sd15_composition.safetensors", "plus")
    preset = "PLUS (high strength)"
    given, value = call("IPAdapterUnifiedLoader", model=model(), preset=preset)
    assert given is model()
    again = call("IPAdapterUnifiedLoaderFaceID", model(), preset, 0.6, "CPU", ipadapter=value)
    expected = execute("IPAdapterUnifiedLoader", model=model(), preset=preset)[1]
    assert value.loaded is again[1].loaded is expected.loaded
    assert value.clip_vision is not None
    ours = call("IPAdapterAdvanced", model=given, ipadapter=value, image=PHOTO)[0]
    assert_same(
        ours, execute("IPAdapterAdvanced", model=model(), ipadapter=expected, image=PHOTO)[0]
    )


def test_scripts_load_faces_without_a_lora_unless_they_say_how_strong(
    models, encoder_file, recognizer, monkeypatch  # noqa: F811
):  # fmt: skip
    from ipadapter_pack.nodes.loading import auto

    monkeypatch.setattr(auto, "load_insightface", lambda *given: recognizer)
    (models / "clip_vision" / "clip_vision_l.safetensors").symlink_to(encoder_file)
    add_adapter(models, "ip-adapter-faceid_sd15.bin", "faceid")
    given, value = call("IPAdapterUnifiedLoaderFaceID", model(), "FACEID")
    assert given is model()
    assert value["insightface"]["model"] is recognizer
    given, _ = call("IPAdapterUnifiedLoaderFaceID", model(), "FACEID", 0.5)
    assert given.patches


def test_scripts_prepare_pictures():
    tall = tiny.picture(2, 96, 48)
    ours = call("PrepImageForClipVision", tall)[0]
    expected = execute("PrepImageForClipVision", image=tall, crop_position="center")[0]
    assert torch.equal(ours, expected)
    ours = call("PrepImageForClipVision", OTHER, "BICUBIC", "left", 0.3)[0]
    named = {"interpolation": "BICUBIC", "crop_position": "left", "sharpening": 0.3}
    assert torch.equal(ours, execute("PrepImageForClipVision", image=OTHER, **named)[0])
    ours = call("IPAdapterNoise", "dissolve", 0.4, 3, image_optional=OTHER)[0]
    named = {"type": "dissolve", "strength": 0.4, "blur": 3, "image_optional": OTHER}
    assert torch.equal(ours, execute("IPAdapterNoise", **named)[0])


def test_scripts_keep_embeds(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    one, two = (
        call("IPAdapterEncoder", ipadapter=bundle, image=image, weight=1.0)[0]
        for image in (PHOTO, OTHER)
    )
    both = call("IPAdapterCombineEmbeds", one, "average", two)[0]
    assert torch.equal(
        both, execute("IPAdapterCombineEmbeds", embed1=one, embed2=two, method="average")[0]
    )
    assert call("IPAdapterSaveEmbeds", both, "IP_embeds") == (None,)
    [name] = NODES["IPAdapterLoadEmbeds"]().INPUT_TYPES()["required"]["embeds"][0]
    assert torch.equal(call("IPAdapterLoadEmbeds", name)[0], both)


def test_scripts_make_weights_for_frames():
    made = call("IPAdapterWeights", "1.0, 0.0", "linear", 3)
    assert made[:5] == ([1.0, 0.5, 0.0], [0.0, 0.5, 1.0], 3, None, None)
    pictures = torch.cat([PHOTO, tiny.picture(3)])
    again = call("IPAdapterWeightsFromStrategy", weights_strategy=made[5], image=pictures)
    expected = execute("IPAdapterWeightsFromStrategy", weights_strategy=made[5], image=pictures)
    assert again[0] == expected[0]
    assert torch.equal(again[3], expected[3])
    assert again[4] is None
    named = {"weights_strategy": again[5], "prompt": "a cat\na dog"}
    schedule = call("IPAdapterPromptScheduleFromWeightsStrategy", **named)
    assert schedule == execute("IPAdapterPromptScheduleFromWeightsStrategy", **named)
    assert call("IPAdapterCombineWeights", [1.0, 0.5], 0.2) == ([1.0, 0.5, 0.2], 3)
    assert call("IPAdapterWeights")[0] == [0.0]


# Mistakes


def test_mistakes_are_told(bundle):
    apply_ipadapter = NODES["IPAdapterAdvanced"]().apply_ipadapter
    with pytest.raises(TypeError, match="missing a required argument: 'ipadapter'"):
        apply_ipadapter(model())
    with pytest.raises(TypeError, match="unexpected keyword argument 'strength'"):
        apply_ipadapter(model(), bundle, strength=1.0)
    with pytest.raises(IPAdapterError, match="weight is nan: give it a number"):
        apply_ipadapter(model(), bundle, image=PHOTO, weight=float("nan"))
    with pytest.raises(IPAdapterError, match="backwards: choose one of"):
        apply_ipadapter(model(), bundle, image=PHOTO, weight_type="backwards")
