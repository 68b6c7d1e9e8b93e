"""Load CLIP Vision (OpenCLIP): real open_clip towers at tiny size, next to core and transformers."""

import json
import re
import socket
import sys
import types
import weakref

import comfy.cli_args
import comfy.clip_vision
import folder_paths
import open_clip
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.loading import openclip, openclip_towers
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.nodes.loading.openclip import LoadOpenCLIPVision
from ipadapter_pack.nodes.references.encode import encode_reference
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.near import assert_near
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import nodes as core_nodes

VISION = {"image_size": 56, "layers": 3, "width": 64, "head_width": 16, "patch_size": 14}
CONFIGS = {
    "tiny-gelu": {"embed_dim": 32, "vision_cfg": VISION},
    "tiny-quickgelu": {"embed_dim": 32, "vision_cfg": VISION, "quick_gelu": True},
    "tiny-deep": {"embed_dim": 32, "vision_cfg": {**VISION, "layers": 4}},
    # A name that no table has: reading a tokenizer's configuration would need the network.
    "tiny-xlm": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": {"hf_model_name": "no/such"}},
    **{
        f"tiny-{name}": {"embed_dim": 32, "vision_cfg": {"timm_model_name": name, **head}}
        for name, head in {
            "vit_tiny_patch16_224": {"timm_pool": "token", "timm_proj": None},
            "eva02_tiny_patch14_224": {"timm_pool": "token", "timm_proj": None},
            "vitamin_small_224": {"timm_pool": "", "timm_proj": "linear"},  # no class token
        }.items()
    },
}
TRUNKS = [name for name in CONFIGS if "224" in name]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """The tiny architectures made known to open_clip, and a folder of models/clip_vision."""
    path = tmp_path_factory.mktemp("clip_vision")
    for name, config in CONFIGS.items():
        (path / f"{name}.json").write_text(json.dumps({"text_cfg": {}, **config}))
        open_clip.add_model_config(path / f"{name}.json")
    before = list(folder_paths.get_folder_paths("clip_vision"))
    folder_paths.add_model_folder_path("clip_vision", str(path))
    yield path
    folder_paths.folder_names_and_paths["clip_vision"][0][:] = before
    folder_paths.filename_list_cache.clear()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def clip(name, seed=0):
    """The whole model as open_clip makes it, text half too, with other weights than it begins with."""
    config = {**CONFIGS[name], "text_cfg": {"layers": 1, "width": 64, "heads": 2}}
    with torch.inference_mode(False):
        model = open_clip.CustomTextCLIP(**config).eval()
        tiny.randomize(model, seed)
    return model


@pytest.fixture(scope="module")
def files(folder):
    """Each tiny model as open_clip saves it, made once."""
    models = {name: clip(name) for name in ["tiny-gelu", "tiny-quickgelu", *TRUNKS]}
    for name, model in models.items():
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    return models


def load(name, architecture):
    return LoadOpenCLIPVision.execute(clip_name=name, architecture=architecture)[0]


def refused(name, architecture):
    with pytest.raises(IPAdapterError) as raised:
        load(name, architecture)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def pictures():
    return tiny.picture(3, 56, 56, batch=2)


OUTPUTS = ("image_embeds", "penultimate_hidden_states", "last_hidden_state")


def core_encoder(name, tensors, **changes):
    config = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "hidden_act": "quick_gelu" if "quick" in name else "gelu",
        "num_channels": 3,
        "patch_size": 14,
        "image_size": 56,
        "projection_dim": 32,
    }
    encoder = tiny.core_encoder({**config, **changes})
    encoder.load_sd(comfy.clip_vision.convert_to_transformers(dict(tensors), "visual."))
    return encoder


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("name", ["tiny-gelu", "tiny-quickgelu"])
def test_equals_core(files, folder, name, crop):
    ours = load(f"{name}.safetensors", name)
    core = core_encoder(name, load_file(folder / f"{name}.safetensors"))
    image = pictures() if crop else tiny.picture(3, 60, 90)
    got, expected = ours.encode_image(image, crop), core.encode_image(image, crop)
    for output in OUTPUTS:
        assert_near(got[output], expected[output], 1e-5)
        assert getattr(got, output) is got[output]
    pixels = torch.zeros(1, 3, 56, 56)
    ours_zero = ours.model(pixel_values=pixels, intermediate_output=-2)
    core_zero = core.model(pixel_values=pixels, intermediate_output=-2)
    for a, b in zip(ours_zero[:3], core_zero[:3], strict=True):
        assert_near(a, b, 1e-5)
    assert ours_zero[3] is None


@pytest.mark.parametrize("name", ["tiny-gelu", "tiny-quickgelu"])
def test_equals_transformers_from_its_own_file(folder, name):
    """The file as transformers saves it, through ours and through transformers."""
    config = CLIPVisionConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256,
        hidden_act="quick_gelu" if "quick" in name else "gelu",
        patch_size=14, image_size=56, projection_dim=32,
    )  # fmt: skip
    with torch.inference_mode(False):
        model = CLIPVisionModelWithProjection(config).eval()
        tiny.randomize(model, 5)
    save_file(model.state_dict(), folder / "hf.safetensors")
    ours = load("hf.safetensors", name)
    got = ours.encode_image(pictures())
    expected = model(ours.pixel_values(pictures(), crop=True), output_hidden_states=True)
    for a, b in zip(
        (got[output] for output in OUTPUTS),
        (expected.image_embeds, expected.hidden_states[-2], expected.last_hidden_state),
        strict=True,
    ):
        assert_near(a, b, 1e-5)


@pytest.mark.parametrize("name", TRUNKS)
def test_a_trunk_gives_its_own_states(files, name):
    """Also rotary positions, which are in no file and must not stay unset."""
    ours, theirs = load(f"{name}.safetensors", name), files[name].visual
    image = tiny.picture(3, 224, 224)
    got = ours.encode_image(image)
    seen = []
    theirs.trunk.blocks[-2].register_forward_hook(lambda _m, _i, out: seen.append(out))
    pixels = ours.pixel_values(image, crop=True)
    assert_near(got["image_embeds"], theirs(pixels), 1e-5)
    assert_near(got["penultimate_hidden_states"], seen[0], 1e-5)
    last = theirs.trunk.forward_features(pixels)
    assert_near(got["last_hidden_state"], last, 1e-5)


def test_every_architecture_of_the_menu_gives_tokens():
    """On the meta device, where a large one costs nothing; one of each kind."""
    names = openclip.architectures()[1:]
    assert {"ViT-e-14", "EVA01-g-14", "PE-Core-bigG-14-448", "ViT-B-16-SigLIP"} <= set(names)
    assert not {"RN50", "convnext_base", "MobileCLIP-S1"} & set(names)
    kinds = {json.dumps(kind(name), sort_keys=True): name for name in reversed(names)}
    for name in kinds.values():
        visual = openclip.build(open_clip, name)
        size = visual.image_size[0]
        last, hidden, embeds, _ = openclip.Tower(visual)(torch.empty(1, 3, size, size).to("meta"))
        assert last.shape == hidden.shape
        assert embeds.shape == (1, open_clip.get_model_config(name)["embed_dim"])


def kind(name):
    """What decides which code runs, without the sizes."""
    vision = open_clip.get_model_config(name)["vision_cfg"]
    sizes = {"image_size", "width", "layers", "head_width", "mlp_ratio", "patch_size"}
    trunk = re.sub(
        r"_(tiny|small|base|large|so400m|giant).*", "", vision.get("timm_model_name", "")
    )
    return {**{k: v for k, v in vision.items() if k not in sizes}, "timm_model_name": trunk}


def test_only_the_vision_half_is_kept(files):
    ours = load("tiny-gelu.safetensors", "tiny-gelu")
    kept = {name: p.shape for name, p in ours.model.named_parameters()}
    whole = {name: p.shape for name, p in files["tiny-gelu"].named_parameters()}
    assert any(name.startswith("text.") for name in whole)
    assert kept == {name: s for name, s in whole.items() if name.startswith("visual.")}
    assert ours.patcher.model is ours.model


def test_a_text_half_from_the_hub_is_not_asked_for(folder, files):
    tensors = files["tiny-gelu"].visual.state_dict(prefix="visual.")
    tensors["visual.proj"] = tensors["visual.proj"][:, :24].contiguous()
    save_file(tensors, folder / "xlm.safetensors")
    assert load("xlm.safetensors", "tiny-xlm").encode_image(pictures())["image_embeds"].shape == (
        2,
        24,
    )


def test_float16_files_run_on_the_cpu(folder, files):
    tensors = {k: t.half() for k, t in files["tiny-gelu"].state_dict().items()}
    save_file(tensors, folder / "half.safetensors")
    ours = load("half.safetensors", "tiny-gelu")
    assert ours.dtype == torch.float32
    exact = load("tiny-gelu.safetensors", "tiny-gelu").encode_image(pictures())
    got = ours.encode_image(pictures())
    assert_near(got["image_embeds"], exact["image_embeds"], 5e-3)


def test_the_number_format_is_one_that_open_clip_computes_in(monkeypatch):
    cuda = torch.device("cuda")
    assert openclip.compute_dtype(cuda) == torch.float16
    monkeypatch.setattr(comfy.cli_args.args, "bf16_text_enc", True)
    assert openclip.compute_dtype(cuda) == torch.bfloat16
    monkeypatch.setattr(comfy.cli_args.args, "fp8_e4m3fn_text_enc", True)
    assert openclip.compute_dtype(cuda) == torch.float16
    assert openclip.compute_dtype(torch.device("cpu")) == torch.float32


def test_layers_left_on_another_device_follow_the_pixels(files):
    """ComfyUI, short of memory, loads a part: here the meta device is the other one."""
    tower = load("tiny-gelu.safetensors", "tiny-gelu").model
    tower.visual.conv1.to("meta")
    assert tower(torch.empty(1, 3, 56, 56, device="meta"))[1].shape == (1, 17, 64)


def test_pixels_are_normalized_as_the_published_weights_want():
    for name, mean in {
        "ViT-H-14": 0.48145466,
        "ViT-B-16-SigLIP": 0.5,
        "ViT-L-14": 0.48145466,
    }.items():
        assert openclip.normalization(open_clip, name)[0][0] == mean


def test_auto_names_what_the_tensors_cannot_tell(files):
    text = refused("tiny-gelu.safetensors", "auto")
    assert "tiny-gelu.safetensors" in text
    assert "tiny-gelu and tiny-quickgelu" in text


def test_auto_takes_the_only_one_that_fits(folder, files, caplog):
    save_file(clip("tiny-deep").state_dict(), folder / "deep.safetensors")
    assert load("deep.safetensors", "auto").image_size == 56
    assert "deep.safetensors is loaded as tiny-deep" in caplog.text


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("ViT-H-14", "ViT-H-14 and ViT-H-14-quickgelu;"),
        (
            "ViT-SO400M-14-SigLIP-384",  # both have 27 x 27 cells
            "ViT-SO400M-14-SigLIP-384 and ViT-SO400M-14-SigLIP2-378;",
        ),
    ],
)
def test_auto_of_published_sizes(name, listed):
    tensors = openclip.build(open_clip, name).state_dict()  # shapes only
    with pytest.raises(IPAdapterError, match=re.escape(listed)):
        openclip.recognize(open_clip, tensors, "x.safetensors")


def test_a_wrong_architecture_is_named_with_both_shapes(files):
    text = refused("tiny-gelu.safetensors", "ViT-B-32")
    assert "tiny-gelu.safetensors does not fit the architecture ViT-B-32" in text
    assert "class_embedding is [64] in the file and should be [768]" in text
    text = refused("tiny-gelu.safetensors", "tiny-deep")
    assert "the file has no transformer.resblocks.3.ln_1.weight, which should be [64]" in text
    assert "no trunk" in refused("tiny-gelu.safetensors", TRUNKS[0])
    assert "convnext_base is unknown to open_clip" in refused(
        "tiny-gelu.safetensors", "convnext_base"
    )
    assert "nothing-9 is unknown to open_clip" in refused("tiny-gelu.safetensors", "nothing-9")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.zeros(1)}, "no CLIP vision model: names in visual."),
        (["visual.", "proj"], "holds a list"),
        ({"visual.conv1.weight": "x", "b": torch.zeros(1)}, "is a str, not a tensor"),
        (
            {"visual.proj": torch.zeros(1).expand(2**20, 2**12), "b": torch.zeros(1)},
            "which cannot be in",
        ),
        (
            {"visual.proj": torch.eye(3).to_sparse(), "b": torch.zeros(1)},
            "is torch.sparse_coo",
        ),
        ({"vision_model.head.probe": torch.zeros(1), "b": torch.zeros(1)}, "such as SigLIP"),
        (
            {"vision_model.embeddings.class_embedding": torch.zeros(64), "b": torch.zeros(1)},
            "the file has no positional_embedding",
        ),
    ],
)
def test_other_files_are_refused(folder, content, words):
    torch.save(content, folder / "other.bin")
    text = refused("other.bin", "tiny-gelu")
    assert "other.bin" in text
    assert re.search(words, text)


def test_something_else_called_open_clip_does_not_disable_the_pack(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", types.ModuleType("open_clip"))
    assert openclip.architectures() == ["auto", *openclip_towers.USUAL]


def test_a_missing_file_is_named():
    assert "gone.safetensors is not in models/clip_vision" in refused("gone.safetensors", "auto")


@pytest.mark.parametrize("kind", ["base", "plus"])
def test_serves_an_adapter_like_cores_encoder(files, folder, kind):
    """Through Encode: the picture, and for Plus-like adapters "no picture"."""
    name = "tiny-gelu"
    width = 64 if kind == "plus" else 32
    content = tiny.adapter_file(tiny.widths(tiny.shared_model()), kind, width=width)
    ours = load(f"{name}.safetensors", name)
    core = core_encoder(name, load_file(folder / f"{name}.safetensors"))
    image = tiny.picture(1, 80, 100)
    got = encode_reference(LoadedAdapter(content, "tiny"), ours, image)
    expected = encode_reference(LoadedAdapter(content, "tiny"), core, image)
    assert_near(got.positive, expected.positive, 1e-5)
    assert_near(got.negative, expected.negative, 1e-5)


def test_an_encoder_is_remembered(files):
    ours = load("tiny-gelu.safetensors", "tiny-gelu")
    loaded = LoadedAdapter(tiny.adapter_file(tiny.widths(tiny.shared_model()), width=32), "tiny")
    calls, encode = [], ours.encode_image
    ours.encode_image = lambda *a: calls.append(1) or encode(*a)
    for _ in range(2):
        encode_reference(loaded, ours, tiny.picture(1))
    assert len(calls) == 1
    assert {weakref.ref(ours): 1}[weakref.ref(ours)]


def test_works_in_cores_node(files):
    ours = load("tiny-gelu.safetensors", "tiny-gelu")
    (output,) = core_nodes.CLIPVisionEncode().encode(ours, tiny.picture(1, 60, 90), "center")
    assert output.image_embeds.shape == (1, 32)
    assert output["penultimate_hidden_states"].shape == (1, 17, 64)


def test_without_open_clip_one_line_says_what_to_run(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as Python itself bars an import
    text = refused("tiny-gelu.safetensors", "tiny-gelu")
    assert f'"{sys.executable}" -m pip install "open_clip_torch>=3.3,<4"' in text
    assert "torchvision" in text
    assert openclip.architectures() == ["auto", *openclip_towers.USUAL]


def test_the_menu_begins_with_the_usual_ones():
    names = openclip.architectures()
    assert names[: len(openclip_towers.USUAL) + 1] == ["auto", *openclip_towers.USUAL]
    assert len(names) == len(set(names)) > 100


def test_the_schema():
    schema = LoadOpenCLIPVision.GET_SCHEMA()
    assert [i.id for i in schema.inputs] == ["clip_name", "architecture"]
    assert all(s.tooltip for s in [*schema.inputs, *schema.outputs])
    assert schema.outputs[0].io_type == "CLIP_VISION"
