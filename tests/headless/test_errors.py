"""What a user meets when something is wrong: one line, in the user's words, and nothing changed."""

import math
import os
import re

import comfy.supported_models
import comfy.utils
import folder_paths
import pytest
import safetensors.torch
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.faces import FaceChoice, choose
from ipadapter_pack.nodes.legacy.apply import IPAdapterBatch
from ipadapter_pack.nodes.loading.adapter import IPAdapterModelLoader, LoadedAdapter, load_adapter
from ipadapter_pack.nodes.loading.insightface_models import usable_providers
from ipadapter_pack.nodes.references.encode_faces import find_shortcut_scale
from ipadapter_pack.nodes.references.encode_nodes import EncodeReference
from ipadapter_pack.nodes.references.fit_image import FitImage
from ipadapter_pack.nodes.references.saved import SaveReference
from ipadapter_pack.nodes.regions.apply_regions import ApplyIPAdapterRegions
from ipadapter_pack.nodes.regions.region import IPAdapterRegion
from ipadapter_pack.nodes.regions.schedule import IPAdapterSchedule
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half


def flat(file):
    return {f"{half}.{key}": t for half, tensors in file.items() for key, t in tensors.items()}


@pytest.fixture(scope="module")
def file():
    return tiny.adapter_file(tiny.widths(tiny.shared_model()))


def message_of(call):
    with pytest.raises(IPAdapterError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", ["flat.safetensors", "nested.bin", "flat.bin"])
@pytest.mark.parametrize("kind", ["base", "plus", "full"])
def test_both_forms_of_file_load(tmp_path, file, form, kind):
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()), kind)
    path = tmp_path / form
    if form.endswith(".bin"):
        torch.save(flat(file) if form.startswith("flat") else file, path)
    else:
        safetensors.torch.save_file(flat(file), path)
    assert apply(tiny.shared_model(), load_adapter(str(path))) is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_load(file, dtype):
    file = {half: {k: t.to(dtype) for k, t in tensors.items()} for half, tensors in file.items()}
    out = tiny.sample(apply(tiny.shared_model(), LoadedAdapter(file, "half")))
    assert torch.isfinite(out).all()


def test_adapter_for_another_base_model():
    model = tiny.shared_model("SDXL")
    message = message_of(lambda: apply(model, adapter("SD1.5")))
    assert "tiny.safetensors" in message
    assert "has 16 layers" in message
    assert "the model has 70" in message


def test_another_base_model_is_said_before_another_encoder():
    """An SDXL adapter usually wants another encoder too; loading that would help nobody."""
    sdxl = tiny.adapter_file(tiny.widths(tiny.shared_model("SDXL")), "base", width=1280)
    loaded, regions = LoadedAdapter(sdxl, "sdxl.safetensors"), {"region_1": None}
    regions["region_1"] = IPAdapterRegion.execute(image=tiny.picture(0))[0]
    for use in (
        lambda: apply(tiny.shared_model(), loaded),
        lambda: ApplyIPAdapterRegions.execute(
            tiny.shared_model(), loaded, regions, clip_vision=tiny.clip_vision()
        ),
    ):
        assert "sdxl.safetensors is for another base model" in message_of(use)


def test_published_base_models_are_named(file):
    """SD1.5 and SDXL are told by their layers and the width of their text."""
    sd15 = tiny.adapter_file([320] * 16, context=768)
    message = message_of(lambda: apply(tiny.shared_model("SDXL"), LoadedAdapter(sd15, "x.bin")))
    assert "the adapter (SD1.5) has 16 layers" in message


def test_encoder_of_another_width():
    plus = tiny.adapter_file(tiny.widths(tiny.shared_model()), "plus", width=1280)
    big = tiny.clip_vision(width=1664)
    loaded = LoadedAdapter(plus, "plus")
    message = message_of(lambda: apply(tiny.shared_model(), loaded, clip_vision=big))
    assert "this adapter needs 1280-wide features (CLIP ViT-H)" in message
    assert "the connected encoder gives 1664 (CLIP ViT-bigG)" in message


def test_plus_on_penultimate_features_of_big_g():
    """1664 wide, as NoobAI's: the width is read from the file."""
    plus = tiny.adapter_file(tiny.widths(tiny.shared_model()), "plus", width=1664)
    model = apply(
        tiny.shared_model(), LoadedAdapter(plus, "noob"), clip_vision=tiny.clip_vision(width=1664)
    )
    assert torch.isfinite(tiny.sample(model)).all()


def test_no_encoder_connected():
    message = message_of(lambda: apply(tiny.shared_model(), adapter(), clip_vision=None))
    assert message == "clip_vision is not connected: add a Load CLIP Vision node"


WRONG_FILES = {
    "lora": ({"lora_unet_down_blocks_0.lora_up.weight": (4, 4)}, "it is a LoRA"),
    "diffusers lora": ({"unet.down.to_q.lora_A.weight": (4, 4)}, "it is a LoRA"),
    "checkpoint": ({"model.diffusion_model.input_blocks.0.0.weight": (4, 4)}, "a full checkpoint"),
    "clip vision": ({"vision_model.embeddings.class_embedding": (4,)}, "a CLIP vision model"),
    "open clip": ({"visual.conv1.weight": (4,)}, "a CLIP vision model"),
    "controlnet": ({"control_model.input_blocks.0.0.weight": (4,)}, "a ControlNet"),
    "flux": ({"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": (4, 4)}, "Flux"),
    "art": ({"down_blocks.0.attn2.processor.to_k_ip.0.weight": (4, 4)}, "IP-Adapter-Art"),
    "anima": ({"ip_cross_attns.0.to_k_ip.weight": (4, 4)}, "Anima"),
    "hunyuan": ({"blocks.0.attn2.kv_proj_ip_adapter.weight": (4, 4)}, "HunyuanDiT"),
    "pulid": ({"pulid_ca.0.weight": (4, 4)}, "PuLID"),
    "unknown": ({"some.tensor": (4,)}, "image_proj and ip_adapter were expected"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_another_file_picked_as_adapter(tmp_path, what, ending):
    shapes, expected = WRONG_FILES[what]
    tensors = {key: torch.zeros(shape) for key, shape in shapes.items()}
    path = tmp_path / f"picked.{ending}"
    safetensors.torch.save_file(tensors, path) if ending != "bin" else torch.save(tensors, path)
    message = message_of(lambda: load_adapter(str(path)))
    assert message.startswith(f"picked.{ending} is not an IP-Adapter: ")
    assert expected in message


@pytest.mark.parametrize(
    ("half", "key", "shape", "model"),
    [
        ("ip_adapter", "0.norm_ip.linear.weight", (8, 8), "SD3.5"),
        ("image_proj", "time_embedding.linear_1.weight", (8, 8), "SD3.5"),
        ("ip_adapter", "0.norm_k.weight", (128,), "Flux"),
        ("image_proj", "proj.0.weight", (2304, 1152), "Flux"),
    ],
)
def test_adapters_for_other_base_models_are_named(file, half, key, shape, model):
    image_proj = {k: t for k, t in file["image_proj"].items() if k != "proj.weight"}
    content = {**file, "image_proj": image_proj}
    content[half] = {**content[half], key: torch.zeros(shape)}
    message = message_of(lambda: LoadedAdapter(content, "other.bin"))
    assert message == f"other.bin is an adapter for {model}, which this version does not support"


def test_a_face_adapter_in_apply_names_the_node_for_it():
    face = adapter(kind="faceid")
    message = message_of(lambda: apply(tiny.shared_model(), face))
    assert message.startswith("tiny.safetensors is a FaceID adapter, which reads faces: use the")
    assert "Apply IPAdapter FaceID" in message


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("cut", [0, 6, 100, -100])
def test_truncated_file(tmp_path, file, ending, cut):
    path = tmp_path / f"cut.{ending}"
    safetensors.torch.save_file(flat(file), path) if ending != "bin" else torch.save(file, path)
    path.write_bytes(path.read_bytes()[:cut])
    message = message_of(lambda: load_adapter(str(path)))
    assert message.startswith(f"cut.{ending} ")
    assert "cut short" in message or "no plain checkpoint" in message


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_an_adapter_in_use_survives_its_file(tmp_path, file, form, monkeypatch):
    """Rewritten in place, then cut short: neither changes what was loaded."""
    monkeypatch.setattr(comfy.utils, "MMAP_TORCH_FILES", True)
    path = tmp_path / f"used.{form}"
    torch.save(file, path) if form == "bin" else safetensors.torch.save_file(flat(file), path)
    loaded = load_adapter(str(path))
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(bytes(path.stat().st_size // 4))
    model = tiny.shared_model()
    expected = tiny.sample(apply(model, LoadedAdapter(file, "used")))
    assert torch.equal(tiny.sample(apply(model, loaded)), expected)
    os.truncate(path, 100)
    assert torch.equal(tiny.sample(apply(model, loaded)), expected)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_with_code_is_refused_and_not_run(tmp_path, file, legacy):
    path, marker = tmp_path / "evil.bin", tmp_path / "ran"
    content = {**file, "extra": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    message = message_of(lambda: load_adapter(str(path)))
    assert message.startswith("evil.bin is refused: it holds code")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (torch.zeros(4, 4).to_sparse(), "torch.sparse_coo"),
        (torch.zeros(1).expand(2**20, 2**12), "shape"),
        (torch.zeros(4, 4, dtype=torch.int64), "int64"),
        ("text", "is a str"),
        ([torch.zeros(1)], "is a list"),
        (torch.full((4, 4), math.nan), "contains NaN (not a number)"),
        (torch.full((4, 4), math.nan).half(), "contains NaN (not a number)"),
        (torch.eye(4).bfloat16() / 0, "contains NaN (not a number)"),
        (torch.full((4, 4), -math.inf).half(), "contains infinity"),
    ],
    ids=[
        *("sparse", "stride 0", "integers", "string", "list"),
        *("NaN", "half NaN", "brain float NaN", "infinity"),
    ],
)
def test_damaged_tensors(file, damage, expected):
    content = {**file, "ip_adapter": {**file["ip_adapter"], "1.to_k_ip.weight": damage}}
    message = message_of(lambda: LoadedAdapter(content, "odd.bin"))
    assert message.startswith("odd.bin is damaged: ip_adapter.1.to_k_ip.weight")
    assert expected in message


@pytest.mark.parametrize("place", ["image_proj", "ip_adapter", "lora"])
def test_one_number_that_is_none_anywhere_is_found(place):
    content = tiny.adapter_file(tiny.widths(tiny.shared_model()), "faceid")
    half = "image_proj" if place == "image_proj" else "ip_adapter"
    key = next(key for key in reversed(content[half]) if ("lora" in key) == (place == "lora"))
    content[half][key] = content[half][key].clone()
    content[half][key].view(-1)[-1] = math.nan
    message = message_of(lambda: LoadedAdapter(content, "odd.bin"))
    assert message == (
        f"odd.bin is damaged: {half}.{key} contains NaN (not a number); download it again"
    )


def test_a_transposed_tensor_is_as_good_as_another(file):
    """As some trainings save them."""
    turned = {key: t.T.contiguous().T for key, t in file["ip_adapter"].items()}
    there = apply(tiny.shared_model(), LoadedAdapter({**file, "ip_adapter": turned}, "x"))
    assert torch.equal(tiny.sample(there), tiny.sample(apply(tiny.shared_model(), file)))


@pytest.mark.parametrize(
    ("kind", "key", "shape"),
    [
        ("plus", "latents", (16, 96)),
        ("plus", "latents", (96,)),
        ("plus", "proj_in.weight", (96,)),
        ("plus", "proj_out.weight", ()),
        ("plus", "layers.0.0.to_q.weight", (0, 96)),
        ("base", "norm.weight", (0,)),
        ("base", "proj.weight", (7, 32)),
        ("full", "proj.2.weight", (9,)),
        ("base", "proj.weight", (0, 32)),
        ("plus", "layers.0.0.to_q.weight", (32, 96)),
        ("faceid", "proj.2.weight", (4 * 64 + 3, 1024)),
        ("portrait", "proj.2.weight", (16 * 64 + 3, 1024)),
    ],
)
def test_tensors_of_the_wrong_shape(kind, key, shape):
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()), kind)
    file["image_proj"][key] = torch.zeros(shape)
    message = message_of(lambda: LoadedAdapter(file, "odd.bin"))
    assert message.startswith("odd.bin ")


def test_halves_that_do_not_belong_together(file):
    other = tiny.adapter_file([8], context=48)
    message = message_of(lambda: LoadedAdapter({**file, "image_proj": other["image_proj"]}, "x"))
    assert message == "x is damaged: its image tokens are 48 wide, its layers read 64"


def test_layers_of_other_widths():
    loaded = LoadedAdapter(tiny.adapter_file([320] * 16), "x")
    message = message_of(lambda: apply(tiny.shared_model(), loaded))
    assert message == "x is for another model: its layers are up to 320 wide, the model's up to 128"


def test_a_value_that_is_no_encoder():
    message = message_of(lambda: apply(tiny.shared_model(), adapter(), clip_vision={"a": 1}))
    assert message == "clip_vision: dict is no CLIP vision model; connect Load CLIP Vision"


def test_an_unknown_weight_type():
    message = message_of(lambda: apply(tiny.shared_model(), adapter(), weight_type="ease in"))
    assert message == "weight_type ease in: choose one of original, linear, channel penalty"


def test_choices_that_are_none_are_named(file):
    model, picture = tiny.shared_model(), tiny.picture(1)
    calls = {
        "mode": lambda: FitImage.execute(image=picture, mode="odd"),
        "crop_position": lambda: FitImage.execute(image=picture, crop_position="odd"),
        "noise_type": lambda: EncodeReference.execute(
            ipadapter=file, clip_vision=ENCODER, image=picture, noise=0.5, noise_type="odd"
        ),
        "layer_schedule": lambda: apply(model, adapter(), layer_schedule="odd"),
        "weight_type": lambda: apply(model, adapter(), weight_type="odd"),
        "provider": lambda: usable_providers("odd"),
        "plus_version": lambda: find_shortcut_scale(adapter(kind="faceid"), "odd", False, 1.0),
        "face_select": lambda: choose([], FaceChoice("odd")),
    }
    for name, call in calls.items():
        assert re.match(f"{name} odd: choose one of .+", message_of(call)), name


def test_a_prefix_that_is_no_name(file):
    reference = EncodeReference.execute(ipadapter=file, clip_vision=ENCODER, image=tiny.picture(1))
    for prefix in ("a\0b", "x" * 300, "../up", ""):
        message = message_of(lambda p=prefix: SaveReference.execute(reference[0], p))
        assert message.startswith("filename_prefix ")
    message = message_of(lambda: SaveReference.execute(None))
    assert message == "reference is not connected: add Encode Reference"


def test_missing_tensors(file):
    for half, key in [("ip_adapter", "3.to_v_ip.weight"), ("image_proj", "proj.bias")]:
        content = {**file, half: {k: t for k, t in file[half].items() if k != key}}
        assert "odd.bin" in message_of(lambda content=content: LoadedAdapter(content, "odd.bin"))


@pytest.mark.parametrize("content", [[], "text", torch.zeros(2), {}, {"image_proj": {}}])
def test_content_that_is_no_adapter(content):
    assert "odd.bin is not an IP-Adapter" in message_of(lambda: LoadedAdapter(content, "odd.bin"))


def test_wrong_value_on_the_socket():
    message = message_of(lambda: apply(tiny.shared_model(), {"model": 1}))
    assert message == "ipadapter: a dict is no adapter; connect Load IPAdapter Model"
    assert "NoneType" in message_of(lambda: apply(tiny.shared_model(), None))


@pytest.mark.parametrize("name", ["sub/a.safetensors", "sub\\a.safetensors"])
def test_either_kind_of_slashes_names_an_adapter(tmp_path, file, monkeypatch, name):
    """As prompts have them that were written on another system."""
    (tmp_path / "sub").mkdir()
    safetensors.torch.save_file(flat(file), tmp_path / "sub" / "a.safetensors")
    folders = {"ipadapter": ([str(tmp_path)], {".safetensors"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", folders)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    assert IPAdapterModelLoader.validate_inputs(ipadapter_file=name) is True
    assert IPAdapterModelLoader.execute(ipadapter_file=name)[0].file == "a.safetensors"
    for wrong in ("a.safetensors", "sub/b.safetensors", "../sub/a.safetensors", "sub"):
        told = IPAdapterModelLoader.validate_inputs(ipadapter_file=wrong)
        assert told == f"{wrong} is not in models/ipadapter (any more)"


def test_file_that_is_gone():
    message = message_of(lambda: IPAdapterModelLoader.execute("gone.safetensors"))
    assert message == "gone.safetensors is not in models/ipadapter (any more)"


def test_nan_and_empty_inputs():
    model, loaded = tiny.shared_model(), adapter()
    nan_mask, nan_image = left_half(), tiny.picture(1)
    nan_mask[0, 3, 3] = nan_image[0, 5, 5, 0] = float("nan")
    cases = {
        "attn_mask contains NaN": {"attn_mask": nan_mask},
        "image contains NaN": {"image": nan_image},
        "image is an empty batch": {"image": tiny.picture(1)[:0]},
        "attn_mask is an empty batch": {"attn_mask": left_half()[:0]},
        "image_negative is an empty batch": {"image_negative": tiny.picture(1)[:0]},
    }
    for expected, inputs in cases.items():
        for weight in (1.0, 0.0):
            assert message_of(
                lambda i=inputs, w=weight: apply(model, loaded, **i, weight=w)
            ).startswith(expected)
    assert "ipadapter_regions" not in model.attachments


def test_model_without_unet_cross_attention():
    config = comfy.supported_models.Flux(
        {
            "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2,
            "vec_in_dim": 8, "context_in_dim": 8, "hidden_size": 24, "mlp_ratio": 1.0, "num_heads": 1,
            "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 8, 8], "theta": 10000,
            "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
        }
    )  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    flux = tiny.patcher(config.get_model({}, ""))
    message = message_of(lambda: apply(flux, adapter()))
    assert message.startswith("model: Flux has no UNet cross-attention")


def test_unet_without_any_cross_attention():
    plain = tiny.model(
        transformer_depth=[0] * 8, transformer_depth_middle=-1, transformer_depth_output=[0] * 12
    )
    assert "no cross-attention" in message_of(lambda: apply(plain, adapter()))


def test_a_black_mask_is_legal_and_said(caplog):
    apply(tiny.shared_model(), adapter(), attn_mask=torch.zeros(1, 64, 64))
    expected = (
        "attn_mask is all black: this reference does nothing (nothing painted in the mask editor?)"
    )
    assert expected in caplog.text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_by_name(number):
    """ComfyUI's own limits let NaN pass, and the picture would come out black."""
    model, loaded = tiny.shared_model(), adapter()
    for name in ("weight", "noise", "start_at", "end_at"):
        message = message_of(lambda name=name: apply(model, loaded, **{name: number}))
        assert message == f"{name} is {number}: give it a number"
    message = message_of(lambda: IPAdapterSchedule.execute(second_weight=number))
    assert message == f"second_weight is {number}: give it a number"
    old = {"model": model, "ipadapter": loaded, "image": tiny.picture(0), "clip_vision": ENCODER}
    message = message_of(lambda: IPAdapterBatch.execute(**old, weight=[1.0, number]))
    assert message == f"weight is {number}: give it a number"


@pytest.mark.parametrize("text", ["1e39", "-1e7", "nan"])
def test_a_number_in_a_text_that_no_layer_can_hold_is_refused(text):
    for name in ("frame_weights", "step_weights", "layer_weights"):
        given = f"style: {text}" if name == "layer_weights" else f"1, {text}"
        message = message_of(
            lambda name=name, given=given: apply(tiny.shared_model(), adapter(), **{name: given})
        )
        assert message.startswith(f"{name}: ")
        assert "\n" not in message
