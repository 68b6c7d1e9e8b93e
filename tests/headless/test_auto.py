"""IPAdapter Auto Loader: real files in real folders, found by content and put together."""

import builtins
import io
import json
from pathlib import Path

import comfy.clip_vision
import folder_paths
import pytest
import safetensors
import torch
from ipadapter_pack.ipadapter.detection import CORE, adapter_kind
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.published import PRESETS
from ipadapter_pack.nodes.loading.adapter import AdapterBundle
from ipadapter_pack.nodes.loading.auto import IPAdapterAutoLoader, requirements_of
from ipadapter_pack.nodes.loading.scan import find_files
from ipadapter_pack.nodes.regions.apply import ApplyIPAdapter
from ipadapter_pack.nodes.regions.apply_face import ApplyIPAdapterFaceID
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.test_faceid import face_adapter, kohya
from ipadapter_pack.workflows.tiny import faces as tiny_faces
from ipadapter_pack.workflows.tiny import models as tiny_models
from ipadapter_pack.workflows.tiny.layers import save
from safetensors.torch import load_file, save_file

FOLDERS = ("ipadapter", "clip_vision", "loras", "insightface")
VIT_L, VIT_H = (1024, 24, 768), (1280, 32, 1024)  # width, depth, embedding
SAYS = "IPAdapter Regions: "


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    """A ViT-L that ComfyUI's own loader reads."""
    return tiny_models.clip_vision(tmp_path_factory.mktemp("encoder") / "vit_l.safetensors")


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Empty models folders, each with an extra one as extra_model_paths gives them."""
    paths = {**folder_paths.folder_names_and_paths}
    for name in FOLDERS:
        places = [tmp_path / "models" / name, tmp_path / "extra" / name]
        for place in places:
            place.mkdir(parents=True)
        paths[name] = ([str(p) for p in places], folder_paths.supported_pt_extensions)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", paths)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path / "models"


def add_adapter(folder, name, kind="base", layout="SD1.5", **options):
    """An adapter for the tiny model that reads ViT-L, unless ``width`` says otherwise."""
    options.setdefault("width", 768 if kind == "base" else 1024)
    file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), kind, **options)
    path = folder / "ipadapter" / name
    if path.suffix == ".bin":
        torch.save(file, path)
    else:
        save_file({f"{half}.{k}": t for half, part in file.items() for k, t in part.items()}, path)
    return path


def add_shapes(path, shapes):
    """A .safetensors file of zeros, which the disk does not store."""
    save(path, [(key, tuple(shape), None) for key, shape in shapes.items()])


def add_encoder(folder, name, size):
    width, depth, embeds = size
    add_shapes(
        folder / "clip_vision" / name,
        {
            "vision_model.embeddings.patch_embedding.weight": (width, 3, 14, 14),
            "vision_model.embeddings.position_embedding.weight": (257, width),
            "visual_projection.weight": (embeds, width),
            **{
                f"vision_model.encoder.layers.{i}.layer_norm1.weight": (width,)
                for i in range(depth)
            },
        },
    )


def add_lora(folder, name, layers=16, rank=2):
    """Under kohya's names, for the tiny model's first block and as many more as there are."""
    shapes = {}
    for i in range(layers):
        for attention in (1, 2):
            for which in ("q", "k", "v", "out_0"):
                block = f"lora_unet_block{i}_attn{attention}_to_{which}"
                shapes[f"{block}.lora_down.weight"] = (rank, 32)
                shapes[f"{block}.lora_up.weight"] = (32, rank)
    add_shapes(folder / "loras" / name, shapes)


def run(preset="auto", layout="SD1.5", **inputs):
    model = tiny.shared_model(layout)
    return IPAdapterAutoLoader.execute(model=model, preset=preset, **inputs)


def message_of(*args, **inputs):
    with pytest.raises(IPAdapterError) as caught:
        run(*args, **inputs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def took(caplog):
    return [r.getMessage().removeprefix(SAYS) for r in caplog.records if "took" in r.getMessage()]


def test_the_encoders_of_the_table_are_those_that_comfyui_has_configurations_for():
    folder = Path(comfy.clip_vision.__file__).parent
    theirs = {}
    for file in folder.glob("clip_vision_*.json"):
        config = json.loads(file.read_text())
        if "naflex" in file.name:
            continue
        side = config["image_size"] // config["patch_size"]
        has_class = config["model_type"] == "clip_vision_model"
        key = config["hidden_size"], config["num_hidden_layers"], config["patch_size"]
        theirs.setdefault(key, set()).add(side**2 + has_class)
    assert {key: set(positions) for key, positions in CORE.items()} == theirs


def test_adapter_and_encoder_come_together_and_act(models, encoder_file, caplog):
    (models / "clip_vision" / "renamed.safetensors").symlink_to(encoder_file)
    add_encoder(models, "clip_vision_h.safetensors", VIT_H)
    add_adapter(models, "ip-adapter-plus_sd15.safetensors", "plus")
    add_adapter(models, "ip-adapter_sd15.bin")
    model, pipeline = run().args
    assert model is tiny.shared_model("SD1.5")
    assert isinstance(pipeline, AdapterBundle)
    assert pipeline.loaded.file == "ip-adapter-plus_sd15.safetensors"
    assert pipeline.insightface is None
    assert took(caplog) == [
        "took ip-adapter-plus_sd15.safetensors (IP-Adapter Plus); encoder renamed.safetensors"
    ]
    applied = ApplyIPAdapter.execute(ipadapter=pipeline, image=tiny.picture(1), model=model)[0]
    assert not torch.equal(tiny.sample(applied), tiny.sample(model))
    again = run("STANDARD").args[1]
    assert again.loaded.file == "ip-adapter_sd15.bin"
    assert again.clip_vision is pipeline.clip_vision


def test_a_file_of_an_unknown_name_is_taken_and_said(models, encoder_file, caplog):
    (models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(models, "something.bin", "plus")
    add_adapter(models, "for_sdxl.bin", "plus", "SDXL")
    assert run().args[1].loaded.file == "something.bin"
    assert "something.bin (IP-Adapter Plus, under no published name)" in took(caplog)[0]
    add_adapter(models, "another.bin", "plus")
    assert "another.bin, something.bin; choose one of them in preset" in message_of()
    assert run("another.bin").args[1].loaded.file == "another.bin"


def test_extra_folders_and_subfolders_are_searched(models, encoder_file):
    extra = models.parent / "extra"
    (extra / "clip_vision" / "sub").mkdir()
    (extra / "clip_vision" / "sub" / "l.safetensors").symlink_to(encoder_file)
    (extra / "ipadapter" / "mine").mkdir()
    add_adapter(extra, "mine/ip-adapter_sd15.safetensors")
    assert run().args[1].loaded.file == "ip-adapter_sd15.safetensors"


def test_what_is_missing(models):
    assert f"put ip-adapter-plus_sd15.safetensors into {models / 'ipadapter'}" in message_of()
    add_adapter(models, "ip-adapter_sd15.bin", width=1024)
    add_encoder(models, "l.safetensors", VIT_L)
    (models / "clip_vision" / "page.safetensors").write_text("<html>")
    message = message_of()
    assert "ip-adapter_sd15.bin needs an image encoder whose image_embeds are 1024 wide" in message
    assert "l.safetensors (is CLIP ViT-L (257 positions)" in message
    assert "page.safetensors (is no model file: it is a web page" in message
    assert (
        f"put CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors into {models / 'clip_vision'}" in message
    )


@pytest.fixture
def face_models(models):
    tiny_faces.build(models / "insightface" / "models" / "buffalo_l")
    return models


def test_face_adapter_with_everything_it_needs(face_models, encoder_file, caplog):
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(face_models, "ip-adapter-faceid-plusv2_sd15.bin", "faceid-plus")
    model, pipeline = run("FACEID PLUS V2", lora_strength=0.7).args
    assert len(model.patches) == 8 * 16
    assert {patch[0] for patches in model.patches.values() for patch in patches} == {0.7}
    photo = tiny_faces.picture([("red", 40, 30, 120)], 240, 320)
    out = ApplyIPAdapterFaceID.execute(ipadapter=pipeline, image=photo, model=model)[0]
    assert "already carries" in caplog.text
    assert "taken as FaceID Plus V2" in caplog.text
    assert torch.isfinite(tiny.sample(out)).all()


@pytest.mark.parametrize(("preset", "version"), [("FACEID PLUS", "V1"), ("FACEID PLUS V2", "V2")])
def test_the_preset_is_the_name_of_a_renamed_file(
    face_models, encoder_file, caplog, preset, version
):
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(face_models, "renamed.bin", "faceid-plus")
    model, pipeline = run(preset).args
    photo = tiny_faces.picture([("red", 40, 30, 120)], 240, 320)
    ApplyIPAdapterFaceID.execute(ipadapter=pipeline, image=photo, model=model)
    assert f"renamed.bin is taken as FaceID Plus {version}" in caplog.text


def test_a_renamed_adapter_is_still_one_copy(face_models, encoder_file):
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(face_models, "renamed.bin", "faceid-plus")
    one, two = (run(preset).args[1].loaded for preset in ("FACEID PLUS", "FACEID PLUS V2"))
    assert one.name != two.name
    assert one.adapter is two.adapter


def test_portraits_need_no_lora_and_no_encoder(face_models):
    add_adapter(face_models, "ip-adapter-faceid-portrait_sd15.bin", "portrait")
    model, pipeline = run("FACEID PORTRAIT").args
    assert model is tiny.shared_model("SD1.5")
    assert pipeline.clip_vision is None
    assert pipeline.insightface is not None


def test_a_separate_lora_is_found_by_name_and_content(face_models):
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid", lora=False)
    needs = "ip-adapter-faceid_sd15.bin holds no LoRA"
    message = message_of("FACEID")
    assert needs in message
    assert f"put ip-adapter-faceid_sd15_lora.safetensors into {face_models / 'loras'}" in message
    assert "or set lora_strength to 0" in message
    add_lora(face_models, "ip-adapter-faceid_sd15_lora.safetensors", layers=70)
    add_lora(face_models, "ip-adapter-faceid-plus_sd15_lora.safetensors")
    assert "ip-adapter-faceid_sd15_lora.safetensors is for 70 layers" in message_of("FACEID")
    assert run("FACEID", lora_strength=0.0).args[0] is tiny.shared_model("SD1.5")


def test_a_separate_lora_is_applied(face_models, caplog):
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid", lora=False)
    path = face_models / "loras" / "faceid_sd15_lora.safetensors"
    save_file(kohya(tiny.shared_model(), face_adapter().lora), path)
    assert len(run("FACEID", lora_strength=0.5).args[0].patches) == 8 * 16
    assert "faceid_sd15_lora.safetensors; faces buffalo_l" in took(caplog)[0]


def test_face_models_that_are_missing_are_named(models):
    add_adapter(models, "ip-adapter-faceid_sd15.bin", "faceid")
    assert "buffalo_l" in message_of("FACEID")


def test_a_model_without_layers_for_it(models):
    add_adapter(models, "a.bin", layout="SDXL")
    assert "a.bin (is for SDXL)" in message_of("STANDARD")
    assert "preset: a.bin is for SDXL" in message_of("a.bin")
    assert "gone.bin is not in models/ipadapter" in message_of("gone.bin")


def test_hostile_files_in_the_folders_are_passed_over(models, encoder_file):
    (models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(models, "good.bin")
    for name, content in {
        "page.bin": b"<html>",
        "empty.safetensors": b"",
        "cut.bin": (models / "ipadapter" / "good.bin").read_bytes()[:999],
        "lfs.pt": b"version https://git-lfs.github.com/spec/v1",
    }.items():
        (models / "ipadapter" / name).write_bytes(content)
    torch.save([1], models / "ipadapter" / "list.bin")
    (models / "ipadapter" / "dangling.bin").symlink_to(models / "nothing")
    assert run().args[1].loaded.file == "good.bin"


@pytest.mark.parametrize("damage", ["missing", "other shape"])
def test_a_damaged_encoder_is_passed_over(models, encoder_file, damage):
    """One whose layers are not all alike: ComfyUI would leave the weight at whatever it is."""
    add_adapter(models, "a.bin")
    tensors = load_file(encoder_file)
    key = "vision_model.encoder.layers.5.mlp.fc1.bias"
    tensors[key] = tensors[key][:-1].clone()
    if damage == "missing":
        del tensors[key]
    save_file(tensors, models / "clip_vision" / "bad.safetensors")
    assert "bad.safetensors (is damaged: some of its layers are missing" in message_of()
    (models / "clip_vision" / "good.safetensors").symlink_to(encoder_file)
    assert run().args[1].clip_vision is not None


def test_an_encoder_that_comfyui_stumbles_over_is_one_line(models, encoder_file):
    add_adapter(models, "a.bin")
    tensors = load_file(encoder_file)
    tensors["vision_model.post_layernorm.bias"] = torch.zeros(3)
    save_file(tensors, models / "clip_vision" / "bad.safetensors")
    assert message_of().startswith("bad.safetensors is damaged: ")


def test_what_could_not_be_opened_is_tried_again(models, encoder_file, monkeypatch):
    (models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(models, "a.bin")
    real = builtins.open

    def failing(file, *args, **kwargs):
        if str(file).endswith("a.bin"):
            raise PermissionError(13, "Permission denied")
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", failing)
    assert "a.bin (cannot be opened: Permission denied" in message_of()
    monkeypatch.setattr(builtins, "open", real)
    assert run().args[1].loaded.file == "a.bin"


def test_an_adapter_one_deeper_is_found_as_the_loader_finds_it(models, encoder_file):
    (models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    path = add_adapter(models, "a.bin")
    torch.save({"model": torch.load(path)}, path)
    assert run().args[1].loaded.file == "a.bin"


def test_files_are_named_with_their_folders(models):
    for folder in ("one", "two"):
        path = models / "ipadapter" / folder / "bad.bin"
        path.parent.mkdir()
        path.write_text("<html>")
    message = message_of()
    assert "one/bad.bin (is no model file" in message
    assert "two/bad.bin (is no model file" in message


class Opened:
    """Counts what opens files."""

    def __init__(self, monkeypatch):
        self.files = []
        for module, name in (
            (builtins, "open"),
            (io, "open"),
            (torch, "load"),
            (safetensors, "safe_open"),
        ):
            monkeypatch.setattr(module, name, self.counting(getattr(module, name)))

    def counting(self, real):
        def opened(file, *args, **kwargs):
            self.files.append(Path(file).name)
            return real(file, *args, **kwargs)

        return opened


def test_a_second_look_opens_no_file(face_models, encoder_file, monkeypatch):
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    for i in range(20):
        add_adapter(face_models, f"{i}.bin", layout="SDXL" if i % 2 else "SD1.5")
        add_lora(face_models, f"style{i}.safetensors", layers=2)
        add_encoder(face_models, f"h{i}.safetensors", VIT_H)
    add_adapter(face_models, "ip-adapter-faceid-plus_sd15.bin", "faceid-plus")
    opened = Opened(monkeypatch)
    kept = run("FACEID PLUS").args
    assert {"7.bin", "h7.safetensors", "l.safetensors"} <= set(opened.files)
    assert "style7.safetensors" not in opened.files  # that folder is not needed
    opened.files.clear()
    again = run("FACEID PLUS").args
    assert opened.files == []
    assert again[1].clip_vision is kept[1].clip_vision
    assert again[1].insightface is kept[1].insightface


def test_a_changed_file_is_looked_at_again(models, encoder_file):
    (models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    path = models / "ipadapter" / "a.bin"
    path.write_text("<html>")
    assert "a.bin (is no model file" in message_of()
    add_adapter(models, "a.bin")
    assert run().args[1].loaded.file == "a.bin"
    path.unlink()
    assert "models/ipadapter has" in message_of()


def test_of_a_candidate_only_the_header_is_read(models, monkeypatch):
    """A file of 4 GB (which the disk does not hold) is looked at like any other."""
    shapes = {"image_proj.latents": (1, 16, 2**15)}
    shapes |= {f"x{i}": (2**15, 2**15) for i in range(2)}
    add_shapes(models / "ipadapter" / "huge.safetensors", shapes)
    positions = []

    class Watched(io.FileIO):
        def close(self):
            if not self.closed:
                positions.append(self.tell())
            super().close()

    monkeypatch.setattr(builtins, "open", lambda path, mode: Watched(path, mode))
    found = find_files("ipadapter", adapter_kind)
    assert isinstance(found["huge.safetensors"], IPAdapterError)
    assert positions
    assert max(positions) < 4096


def test_a_file_added_later_is_seen(models):
    before = IPAdapterAutoLoader.fingerprint_inputs(preset="auto")
    assert IPAdapterAutoLoader.fingerprint_inputs(preset="auto") == before
    add_adapter(models, "a.bin")
    folder_paths.filename_list_cache.clear()  # as a refresh of the page does, or a second's wait
    assert IPAdapterAutoLoader.fingerprint_inputs(preset="auto") != before


def test_kolors_is_known_by_its_projection():
    model = tiny.model("SDXL")
    assert not requirements_of(model, []).kolors
    model.model.diffusion_model.encoder_hid_proj = torch.nn.Linear(8, tiny.CONTEXT)
    assert requirements_of(model, []).kolors


def test_the_files_are_offered_after_the_presets(models):
    add_adapter(models, "mine.bin")
    menus = {i.id: i for i in IPAdapterAutoLoader.define_schema().inputs}
    assert menus["preset"].options == ["auto", *PRESETS, "mine.bin"]
    assert (menus["preset"].default, menus["provider"].default) == ("auto", "CPU")
    strength = menus["lora_strength"]
    assert (strength.default, strength.min, strength.max, strength.step) == (1.0, 0.0, 2.0, 0.05)
