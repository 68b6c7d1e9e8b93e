"""Version 2's loaders: the files that it took, others where those do not fit, and that they act."""

import re

import folder_paths
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.published import PRESETS, named_v2
from ipadapter_pack.nodes.legacy.apply import IPAdapter
from ipadapter_pack.nodes.legacy.loaders import (
    InsightFaceLoader,
    IPAdapterUnifiedLoader,
    IPAdapterUnifiedLoaderCommunity,
    IPAdapterUnifiedLoaderFaceID,
)
from ipadapter_pack.nodes.loading.auto import IPAdapterAutoLoader, load_encoder
from ipadapter_pack.nodes.model.lora import OURS
from ipadapter_pack.nodes.references.encode_faces import find_shortcut_scale
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.test_auto import (
    FOLDERS,
    VIT_H,
    add_adapter,
    add_encoder,
    add_lora,
    encoder_file,  # noqa: F401  a fixture
    face_models,  # noqa: F401  a fixture
    models,  # noqa: F401  a fixture
    took,
)
from ipadapter_pack.tests.headless.test_faceid import face_adapter, kohya
from ipadapter_pack.workflows.tiny import faces as tiny_faces
from safetensors.torch import save_file

BASES = ("SD1.5", "SDXL")
# At tiny size, all read ViT-L. What reads ViT-bigG is given a content that no preset takes for it.
KINDS = {
    "LIGHT": "base", "STANDARD": "base", "VIT-G": "plus", "PLUS": "plus", "PLUS FACE": "plus",
    "FULL FACE": "full", "COMPOSITION": "plus", "FACEID": "faceid", "FACEID PLUS": "faceid-plus",
    "FACEID PLUS V2": "faceid-plus", "FACEID PORTRAIT": "portrait",
    "FACEID PORTRAIT UNNORM": "unnorm", "KOLORS PLUS": "plus",
}  # fmt: skip

# What version 2 looked for: SD1.5, SDXL.
END = r"\.(safetensors|bin)$"
ADAPTERS = {
    "LIGHT - SD1.5 only (low strength)": ([r"sd15.light.v11" + END, r"sd15.light" + END], []),
    "STANDARD (medium strength)": ([r"ip.adapter.sd15" + END], [r"ip.adapter.sdxl.vit.h" + END]),
    "VIT-G (medium strength)": ([r"sd15.vit.g" + END], [r"ip.adapter.sdxl" + END]),
    "PLUS (high strength)": ([r"ip.adapter.plus.sd15" + END], [r"plus.sdxl.vit.h" + END]),
    "PLUS FACE (portraits)": ([r"plus.face.sd15" + END], [r"plus.face.sdxl.vit.h" + END]),
    "FULL FACE - SD1.5 only (portraits stronger)": ([r"full.face.sd15" + END], []),
    "FACEID": ([r"faceid.sd15" + END], [r"faceid.sdxl" + END]),
    "FACEID PLUS - SD1.5 only": ([r"faceid.plus.sd15" + END], []),
    "FACEID PLUS V2": ([r"faceid.plusv2.sd15" + END], [r"faceid.plusv2.sdxl" + END]),
    "FACEID PORTRAIT (style transfer)": (
        [r"portrait.v11.sd15" + END, r"portrait.sd15" + END],
        [r"portrait.sdxl" + END],
    ),
    "FACEID PORTRAIT UNNORM - SDXL only (strong)": ([], [r"portrait.sdxl.unnorm" + END]),
    "Composition": (
        [r"plus.composition.sd15\.safetensors$"],
        [r"plus.composition.sdxl\.safetensors$"],
    ),
    "Kolors": ([], [r"(ip_adapter_plus_general|kolors.ip.adapter.plus)" + END]),
}
ENCODERS = {
    "VIT-G (medium strength)": r"(ViT.bigG.14.*39B.b160k|ipadapter.*sdxl|sdxl.*model)" + END,
    "Kolors": r"clip.vit.large.patch14.336" + END,
}
ENCODER = r"(ViT.H.14.*s32B.b79K|ipadapter.*sd15|sd1.?5.*model)" + END


def loras(preset, base):
    """What version 2 looked for in models/loras."""
    which = {"FACEID": "faceid", "FACEID PLUS - SD1.5 only": "faceid.plus"}
    name = {**which, "FACEID PLUS V2": "faceid.plusv2"}.get(preset)
    return [rf"{name}.{base.lower().replace('.', '')}.lora\.safetensors$"] if name else []


def first_in(folder, patterns):
    for pattern in patterns:
        for name in folder_paths.get_filename_list(folder):
            if re.search(pattern, name, re.IGNORECASE):
                return name
    return None


def run(preset, layout="SD1.5", **inputs):
    node = IPAdapterUnifiedLoader
    if "FACEID" in preset:
        node = IPAdapterUnifiedLoaderFaceID
    elif preset in ("Composition", "Kolors"):
        node = IPAdapterUnifiedLoaderCommunity
    return node.execute(model=tiny.shared_model(layout), preset=preset, **inputs).args


def message_of(*args, **inputs):
    with pytest.raises(IPAdapterError) as caught:
        run(*args, **inputs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def one_encoder(models, encoder_file):  # noqa: F811
    (models / "clip_vision" / "clip_vision_l.safetensors").symlink_to(encoder_file)
    return models


@pytest.fixture(scope="module")
def library(tmp_path_factory, encoder_file):  # noqa: F811
    """Everything that was published, and once more in a folder that comes before the others."""
    root = tmp_path_factory.mktemp("library")
    for folder in FOLDERS:
        (root / folder / "Sub").mkdir(parents=True)
    for preset, kind in KINDS.items():
        for base, files in PRESETS[preset].files.items():
            for file in files:
                add_adapter(root, file.name, kind, base)
                if file.lora:
                    lora = face_adapter("faceid", base).lora
                    save_file(kohya(tiny.shared_model(base), lora), root / "loras" / file.lora)
    for name in (
        "a", "CLIP-ViT-H-14-laion2B-s32B-b79K", "clip-vit-bigG-14-laion2B-39B-b160k", "sdxl_model",
        "clip-vit-large-patch14-336", "clip_vision_h",
    ):  # fmt: skip
        (root / "clip_vision" / f"{name}.safetensors").symlink_to(encoder_file)
    for folder in ("ipadapter", "loras", "clip_vision"):
        for path in [*(root / folder).glob("*.*")]:
            (root / folder / "Sub" / path.name.upper()).symlink_to(path.resolve())
    tiny_faces.build(root / "insightface" / "models" / "buffalo_l")
    encoder = load_encoder(str(encoder_file))  # in use as long as the tests here
    yield root
    del encoder


@pytest.fixture
def everything(library, monkeypatch):
    paths = {
        name: ([str(library / name)], folder_paths.supported_pt_extensions) for name in FOLDERS
    }
    known = {**folder_paths.folder_names_and_paths, **paths}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})


@pytest.mark.parametrize("layout", BASES)
@pytest.mark.parametrize("preset", ADAPTERS)
def test_the_files_are_those_that_version_2_took(everything, caplog, preset, layout):
    adapter = first_in("ipadapter", ADAPTERS[preset][BASES.index(layout)])
    if adapter is None:
        assert f" for {layout} " in (message := message_of(preset, layout))
        assert message.endswith("none was published for it; choose another preset")
        return
    model, pipeline = run(preset, layout)
    (line,) = took(caplog)
    parts = dict(part.split(" ", 1) for part in line.split("; "))
    assert parts["took"].partition(" (")[0] == adapter
    assert "under no published name" not in line
    reads_clip = pipeline.loaded.projection.feature is not None
    encoder = first_in("clip_vision", [ENCODERS.get(preset, ENCODER)])
    assert parts.get("encoder") == (encoder if reads_clip else None)
    assert (pipeline.clip_vision is not None) is reads_clip
    assert parts.get("LoRA") == first_in("loras", loras(preset, layout))
    assert parts.get("faces") == ("buffalo_l" if "FACEID" in preset else None)
    assert (pipeline.insightface is not None) is ("FACEID" in preset)
    strengths = {patch[0] for patches in model.patches.values() for patch in patches}
    assert strengths == ({0.6} if "LoRA" in parts else set())


def test_an_encoder_that_version_2_did_not_find(one_encoder):
    add_adapter(one_encoder, "ip-adapter_sd15.safetensors")
    assert run("STANDARD (medium strength)")[1].clip_vision is not None


@pytest.mark.parametrize("wrong", ["of SDXL", "no model", "of faces"])
def test_wrong_content_under_the_right_name(one_encoder, wrong):
    """Then what the content is of decides."""
    path = one_encoder / "ipadapter" / "ip-adapter_sd15.bin"
    if wrong == "no model":
        path.write_text("<html>")
    else:
        layout, kind = ("SDXL", "base") if wrong == "of SDXL" else ("SD1.5", "faceid")
        add_adapter(one_encoder, path.name, kind, layout)
    message = message_of("STANDARD (medium strength)")
    assert message.startswith("looked for STANDARD for SD1.5")
    assert "put ip-adapter_sd15.safetensors into" in message
    add_adapter(one_encoder, "mine.bin")
    folder_paths.filename_list_cache.clear()
    assert run("STANDARD (medium strength)")[1].loaded.file == "mine.bin"
    add_adapter(one_encoder, "ip-adapter_sd15.safetensors")
    folder_paths.filename_list_cache.clear()
    assert run("STANDARD (medium strength)")[1].loaded.file == "ip-adapter_sd15.safetensors"


def test_wrong_content_under_an_encoders_name(one_encoder, caplog):
    add_adapter(one_encoder, "ip-adapter_sd15.safetensors")
    add_encoder(one_encoder, "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", VIT_H)
    run("STANDARD (medium strength)")
    assert "encoder clip_vision_l.safetensors" in took(caplog)[0]


def test_several_of_unknown_names_are_not_guessed_among(one_encoder):
    for name in ("one.bin", "two.bin"):
        add_adapter(one_encoder, name, "plus")
    assert "several files fit, none with a published name" in message_of("PLUS (high strength)")


def test_what_is_missing_is_named(models):  # noqa: F811
    message = message_of("PLUS (high strength)")
    assert f"put ip-adapter-plus_sd15.safetensors into {models / 'ipadapter'}" in message
    add_adapter(models, "ip-adapter-plus_sd15.safetensors", "plus", width=1280)
    message = message_of("PLUS (high strength)")
    assert f"put CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors into {models / 'clip_vision'}" in (
        message
    )
    add_adapter(models, "ip-adapter-faceid_sd15.bin", "faceid")
    assert "buffalo_l" in message_of("FACEID")
    assert message_of("nothing").startswith("preset nothing: choose one of LIGHT - SD1.5 only")


@pytest.mark.parametrize(
    ("preset", "weight"), [("FACEID PLUS - SD1.5 only", None), ("FACEID PLUS V2", 0.5)]
)
def test_the_preset_is_the_name_of_a_renamed_file(
    face_models, encoder_file, preset, weight  # noqa: F811
):  # fmt: skip
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(face_models, "renamed.bin", "faceid-plus")
    loaded = run(preset)[1].loaded
    assert find_shortcut_scale(loaded, "by file name", False, 0.5) == weight


def test_faces_act_without_more_connections(face_models, encoder_file):  # noqa: F811
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    add_adapter(face_models, "ip-adapter-faceid-plusv2_sd15.bin", "faceid-plus")
    model, pipeline = run("FACEID PLUS V2")
    photo = tiny_faces.picture([("red", 40, 30, 120)], 240, 320)
    acting = IPAdapter.execute(model=model, ipadapter=pipeline, image=photo)[0]
    assert not torch.equal(tiny.sample(acting), tiny.sample(model))


def test_a_version_in_the_folders_names_counts(face_models, encoder_file):  # noqa: F811
    (face_models / "clip_vision" / "l.safetensors").symlink_to(encoder_file)
    (face_models / "ipadapter" / "faceid" / "plusv2").mkdir(parents=True)
    add_adapter(face_models, "faceid/plusv2/sd15.bin", "faceid-plus")
    assert named_v2(run("FACEID PLUS V2")[1].loaded.name)


def test_the_lora_in_a_file_goes_before_the_adapters_own(face_models):  # noqa: F811
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid")
    own = run("FACEID")[0]
    assert len(own.patches) == 8 * 16
    assert OURS in own.attachments
    path = face_models / "loras" / "my_faceid_sd15_lora.safetensors"
    save_file(kohya(tiny.shared_model(), face_adapter().lora), path)
    folder_paths.filename_list_cache.clear()
    model, pipeline = run("FACEID", lora_strength=0.3)
    assert len(model.patches) == 8 * 16
    assert OURS not in model.attachments
    assert {patch[0] for patches in model.patches.values() for patch in patches} == {0.3}
    assert pipeline.lora_strength == 0.3


@pytest.mark.parametrize("wrong", ["of SDXL", "no LoRA"])
def test_a_lora_file_that_does_not_fit_is_passed_over(face_models, wrong):  # noqa: F811
    name = "ip-adapter-faceid_sd15_lora.safetensors"
    if wrong == "of SDXL":
        add_lora(face_models, name, layers=70)
    else:
        (face_models / "loras" / name).write_text("<html>")
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid")
    assert OURS in run("FACEID")[0].attachments
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid", lora=False)
    assert f"holds no LoRA, and a FaceID adapter needs one: looked in models/loras for {name}" in (
        message_of("FACEID")
    )
    assert run("FACEID", lora_strength=0.0)[0] is tiny.shared_model("SD1.5")


def test_a_lora_of_a_name_that_only_the_auto_loader_knows(face_models):  # noqa: F811
    add_adapter(face_models, "ip-adapter-faceid_sd15.bin", "faceid", lora=False)
    path = face_models / "loras" / "ip-adapter-faceid_sd15_lora_fp16.safetensors"
    save_file(kohya(tiny.shared_model(), face_adapter().lora), path)
    assert len(run("FACEID")[0].patches) == 8 * 16


def test_a_pipeline_brings_all_that_the_simple_node_needs(one_encoder):
    add_adapter(one_encoder, "ip-adapter-plus_sd15.safetensors", "plus")
    model, pipeline = run("PLUS (high strength)")
    assert model is tiny.shared_model("SD1.5")
    inputs = {"model": model, "ipadapter": pipeline, "image": tiny.picture(1)}
    acting = tiny.sample(IPAdapter.execute(**inputs)[0])
    assert not torch.equal(acting, tiny.sample(model))
    assert torch.equal(tiny.sample(IPAdapter.execute(**inputs, weight=0.0)[0]), tiny.sample(model))
    again = run("PLUS (high strength)", ipadapter=pipeline)[1]
    assert again.loaded is pipeline.loaded
    assert again.clip_vision is pipeline.clip_vision


@pytest.mark.parametrize(
    ("node", "preset", "folder"),
    [
        (IPAdapterUnifiedLoader, "LIGHT - SD1.5 only (low strength)", "ipadapter"),
        (IPAdapterUnifiedLoaderCommunity, "Composition", "clip_vision"),
        (IPAdapterUnifiedLoaderFaceID, "FACEID", "loras"),
    ],
)
def test_a_file_added_later_is_seen(models, node, preset, folder):  # noqa: F811
    before = node.fingerprint_inputs(preset=preset)
    assert node.fingerprint_inputs(preset=preset) == before
    (models / folder / "new.safetensors").write_text("")
    folder_paths.filename_list_cache.clear()
    assert node.fingerprint_inputs(preset=preset) != before
    assert node.define_schema().inputs[1].options[0] == preset


@pytest.mark.parametrize(
    "node", [IPAdapterUnifiedLoader, IPAdapterUnifiedLoaderFaceID, IPAdapterAutoLoader]
)
def test_what_is_no_model_is_refused_in_one_line(one_encoder, node):
    with pytest.raises(IPAdapterError) as caught:
        node.execute(model=5)
    assert str(caught.value) == "model: a int is no model; connect Load Checkpoint"


def test_the_first_versions_face_models(face_models):  # noqa: F811
    (app,) = InsightFaceLoader.execute().args
    assert {"detection", "recognition"} <= app.models.keys()
    assert InsightFaceLoader.execute(provider="CPU").args[0] is app
    with pytest.raises(IPAdapterError, match="provider TPU: choose one of CPU"):
        InsightFaceLoader.execute(provider="TPU")
