"""Version 2's presets: the names that they stand for, and that content must fit all the same."""

import pytest
from ipadapter_pack.ipadapter import face_projections as faces
from ipadapter_pack.ipadapter import projections as pictures
from ipadapter_pack.ipadapter.choice import AUTO, Requirements, choose
from ipadapter_pack.ipadapter.detection import AdapterKind, EncoderKind
from ipadapter_pack.ipadapter.encoders import VIT_G, VIT_H, VIT_L_336
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.published import PRESETS
from ipadapter_pack.nodes.legacy.formulas.unified import (
    COMMUNITY,
    FACES,
    PICTURES,
    adapter_by_name,
    encoder_by_name,
)

ALL = {**PICTURES, **FACES, **COMMUNITY}
WIDTHS = {"SD1.5": (32,) * 16, "SDXL": (64,) * 70}
BIG_G = EncoderKind(1664, 1280, 48, 257, 14)
HUGE = EncoderKind(1280, 1024, 32, 257, 14)
LARGE_336 = EncoderKind(1024, 768, 24, 577, 14)
OPENCLIP = EncoderKind(1280, 1024, 40, 257, 14)
DAMAGED = IPAdapterError("damaged")


def requirements(base="SD1.5", context=64):
    return Requirements(WIDTHS[base], context, False, frozenset({HUGE, BIG_G}))


def kind(base="SD1.5", family=pictures.ImageProjection, width=1024):
    return AdapterKind(family, width, WIDTHS[base], 64, False)


def published(preset, base):
    return [file.name for file in PRESETS[preset].files.get(base, ()) if "noob" not in file.name]


def taken(preset, found, base="SD1.5"):
    match = adapter_by_name(ALL[preset], found, requirements(base))
    return match and match.name


@pytest.mark.parametrize("base", WIDTHS)
@pytest.mark.parametrize("preset", ALL)
def test_what_is_published_for_a_preset_is_found_among_all_others(preset, base):
    family = PRESETS[ALL[preset].preset].family
    everything = [name for key in PRESETS for b in WIDTHS for name in published(key, b)]
    found = {name: kind(base, family) for name in sorted(everything)}
    wanted = published(ALL[preset].preset, base)
    match = adapter_by_name(ALL[preset], found, requirements(base))
    if not wanted:
        assert match is None
        return
    assert match == (wanted[0], kind(base, family), ALL[preset].preset, True)
    del found[wanted[0]]
    assert taken(preset, found, base) == (wanted[1:] or [None])[0]


def test_folders_letter_case_and_what_stands_before_do_not_matter():
    found = {"z.bin": kind(), "old/My-IP_Adapter-SD15.BIN": kind(), "ip-adapter_sd15.bin": kind()}
    assert taken("STANDARD (medium strength)", found) == "old/My-IP_Adapter-SD15.BIN"
    found = {"ip-adapter_sd15.pt": kind(), "ip-adapter_sd15.bin.part": kind()}
    assert taken("STANDARD (medium strength)", found) is None


@pytest.mark.parametrize(
    "wrong", [DAMAGED, kind("SDXL"), kind(family=faces.FaceID), kind()._replace(context=768)]
)
def test_a_name_alone_is_not_enough(wrong):
    found = {"ip-adapter_sd15.bin": wrong}
    assert taken("STANDARD (medium strength)", found) is None
    found["ip-adapter_sd15.safetensors"] = kind()
    assert taken("STANDARD (medium strength)", found) == "ip-adapter_sd15.safetensors"


def test_a_picture_adapter_under_a_faces_name_is_not_taken():
    assert taken("FACEID", {"ip-adapter-faceid_sd15.bin": kind()}) is None


def test_the_kind_of_projection_is_what_the_file_says():
    found = {"ip-adapter_sd15.bin": kind(family=pictures.Resampler)}
    assert taken("STANDARD (medium strength)", found) == "ip-adapter_sd15.bin"


def test_models_of_other_sizes_have_no_names():
    other = requirements()._replace(widths=(32,) * 22)
    found = {"ip-adapter_sd15.bin": kind()._replace(widths=(32,) * 22)}
    assert adapter_by_name(ALL["STANDARD (medium strength)"], found, other) is None


@pytest.mark.parametrize(
    ("preset", "file", "encoder", "width"),
    [
        ("PLUS (high strength)", VIT_H, HUGE, 1024),
        ("VIT-G (medium strength)", VIT_G, BIG_G, 1280),
        ("Kolors", VIT_L_336, LARGE_336, 768),
    ],
)
def test_an_encoder_is_found_under_its_published_name(preset, file, encoder, width):
    name = file.file.name
    names, adapter = ALL[preset], kind(width=width)
    found = {"a.safetensors": encoder, name: encoder}
    assert encoder_by_name(names, adapter, found) == name
    for unfit in (DAMAGED, EncoderKind(7, 8, 24, 257, 14)):
        assert encoder_by_name(names, adapter, {name: unfit}) is None
    assert encoder_by_name(names, kind(width=0), found) is None
    assert encoder_by_name(names, adapter, {"clip_vision_h.safetensors": encoder}) is None


def test_an_encoder_that_comfyui_cannot_load_is_passed_over():
    found = {"SD1.5/model.safetensors": OPENCLIP, "sd15/pytorch_model.bin": HUGE}
    names = ALL["PLUS (high strength)"]
    assert encoder_by_name(names, kind(), found) == "sd15/pytorch_model.bin"


def test_loras_are_told_apart():
    files = [f.lora for preset in PRESETS.values() for f in preset.all_files if f.lora]
    for preset, names in ALL.items():
        for base in WIDTHS:
            wanted = [file.lora for file in PRESETS[names.preset].files.get(base, ()) if file.lora]
            assert names.loras(base, files) == wanted, preset
    assert ALL["FACEID"].loras("SD1.5", ["sub/FaceID-sd15-lora.safetensors", "faceid.bin"]) == [
        "sub/FaceID-sd15-lora.safetensors"
    ]


@pytest.mark.parametrize("preset", [p for p in ALL if "only" in p])
def test_for_the_other_base_nothing_was_published(preset):
    base = "SDXL" if "SD1.5 only" in preset else "SD1.5"
    found = {f.name: kind(base) for f in PRESETS["STANDARD"].files[base]}
    assert taken(preset, found, base) is None
    with pytest.raises(IPAdapterError, match=f"looked for {ALL[preset].preset} for {base}") as why:
        choose(found, ALL[preset].preset, requirements(base), "models/ipadapter")
    assert str(why.value).endswith("; none was published for it; choose another preset")


def test_every_row_is_a_preset_of_the_auto_loader():
    assert {names.preset for names in ALL.values()} == PRESETS.keys() - {"KOLORS FACEID PLUS"}
    assert AUTO not in ALL
