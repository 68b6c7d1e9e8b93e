"""What a file is, told by names and shapes alone, and which of several is taken."""

import re

import pytest
import torch
from ipadapter_pack.ipadapter import choice
from ipadapter_pack.ipadapter import face_projections as faces
from ipadapter_pack.ipadapter import projections as pictures
from ipadapter_pack.ipadapter.choice import AUTO, Match, Requirements, choose, choose_encoder
from ipadapter_pack.ipadapter.detection import (
    AdapterKind,
    EncoderKind,
    adapter_kind,
    encoder_kind,
    face_lora_kind,
)
from ipadapter_pack.ipadapter.encoders import ENCODERS, SIGLIP, VIT_L_336, encoder_that_gives
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.families import FAMILIES as FAMILIES_OF_THE_PACK
from ipadapter_pack.ipadapter.published import (
    AUTO_ORDER,
    PRESETS,
    encoder_place,
    is_published_as,
    preset_of,
)
from ipadapter_pack.tests.tiny_adapters import adapter_file

WIDTHS = {"SD1.5": [32] * 16, "SDXL": [64] * 70}


def on_meta(file):
    return {half: {key: t.to("meta") for key, t in part.items()} for half, part in file.items()}


def meta(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


FAMILIES = {
    "base": (pictures.ImageProjection, 32),
    "full": (pictures.FullProjection, 48),
    "plus": (pictures.Resampler, 48),
    "faceid": (faces.FaceID, 0),
    "portrait": (faces.Portrait, 0),
    "faceid-plus": (faces.FaceIDPlus, 48),
    "unnorm": (faces.UnnormPortrait, 0),
    "kolors-faceid": (faces.KolorsFaceIDPlus, 48),
}


@pytest.mark.parametrize("base", WIDTHS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_an_adapter_is_known_by_shapes_alone(kind, base):
    family, width = FAMILIES[kind]
    found = adapter_kind(on_meta(adapter_file(WIDTHS[base], kind)), "renamed.bin")
    lora = kind in ("faceid", "faceid-plus")
    assert found == AdapterKind(family, width, tuple(WIDTHS[base]), 64, lora)
    assert found.base == base


def test_a_lora_taken_out_does_not_make_a_portrait():
    file = on_meta(adapter_file(WIDTHS["SD1.5"], "faceid", lora=False))
    found = adapter_kind(file, "x.bin")
    assert (found.family, found.has_lora) == (faces.FaceID, False)


def test_what_a_training_script_saved():
    file = {"state_dict": on_meta(adapter_file(WIDTHS["SD1.5"], "plus")), "step": 7}
    assert adapter_kind(file, "x.bin").family is pictures.Resampler


def test_what_is_no_adapter_is_refused_by_name():
    with pytest.raises(IPAdapterError, match=r"^x\.bin is not an IP-Adapter: it is a LoRA"):
        adapter_kind(meta({"lora_unet_a.lora_up.weight": (4, 4)}), "x.bin")


def transformers(width, depth, positions, embeds, patch=14):
    shapes = {
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": (positions, width),
    }
    if embeds:
        shapes["visual_projection.weight"] = (embeds, width)
    for layer in range(depth):
        shapes[f"vision_model.encoder.layers.{layer}.layer_norm1.weight"] = (width,)
        shapes[f"text_model.encoder.layers.{layer}.layer_norm1.weight"] = (width,)
    return meta(shapes)


def open_clip(width, depth, positions, embeds, patch=14):
    shapes = {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (positions, width),
        "visual.proj": (width, embeds),
        "positional_embedding": (77, 512),
    }
    for layer in range(depth):
        shapes[f"visual.transformer.resblocks.{layer}.ln_1.weight"] = (width,)
        shapes[f"transformer.resblocks.{layer}.ln_1.weight"] = (512,)
    return meta(shapes)


# width, embeds, depth, positions, patch
VITS = {
    "ViT-bigG": (EncoderKind(1664, 1280, 48, 257, 14), True),
    "ViT-H": (EncoderKind(1280, 1024, 32, 257, 14), True),
    "ViT-H-378": (EncoderKind(1280, 1024, 32, 730, 14), False),
    "ViT-g": (EncoderKind(1408, 1024, 40, 257, 14), False),
    "ViT-L": (EncoderKind(1024, 768, 24, 257, 14), True),
    "ViT-L-336": (EncoderKind(1024, 768, 24, 577, 14), True),
    "ViT-L-16": (EncoderKind(1024, 768, 24, 197, 16), False),
    "ViT-B": (EncoderKind(768, 512, 12, 197, 16), False),
}


@pytest.mark.parametrize("layout", [transformers, open_clip])
@pytest.mark.parametrize("name", VITS)
def test_an_encoder_is_known_by_shapes_alone(name, layout):
    kind, core = VITS[name]
    content = layout(kind.width, kind.depth, kind.positions, kind.embeds, kind.patch)
    assert encoder_kind(content, "renamed.bin") == kind
    assert kind.core == core


def test_siglip_gives_no_embedding():
    kind = encoder_kind(transformers(1152, 27, 729, 0), "x")
    assert kind == EncoderKind(1152, 0, 27, 729, 14)
    assert kind.core


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"visual.trunk.pos_embed": (1, 257, 64)}, "for Load CLIP Vision (OpenCLIP)"),
        ({"image_proj.latents": (1, 16, 64)}, "is no CLIP vision model"),
        ({"visual.conv1.weight": (4,), "visual.positional_embedding": (4,)}, "is no CLIP vision"),
    ],
)
def test_what_is_no_encoder_is_refused_by_name(shapes, expected):
    with pytest.raises(IPAdapterError) as caught:
        encoder_kind(meta(shapes), "x.bin")
    assert str(caught.value).startswith("x.bin is ")
    assert expected in str(caught.value)


NAMINGS = {
    "kohya": "lora_unet_block_{i}_attn{a}_to_{w}.lora_{half}.weight",
    "diffusers": "unet.block.{i}.attn{a}.processor.to_{w}_lora.{half}.weight",
    "peft": "unet.block.{i}.attn{a}.to_{w}.lora_{peft}.weight",
}


def lora(naming, layers, extra=()):
    names = [
        NAMINGS[naming].format(i=i, a=a, w=w, half=half, peft={"down": "A", "up": "B"}[half])
        for i in range(layers)
        for a in (1, 2)
        for w in ("q", "k", "v", "out_0" if naming == "kohya" else "out")
        for half in ("down", "up")
    ]
    return meta(dict.fromkeys([*names, *extra], (4, 4)))


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("layers", [16, 70])
def test_a_face_lora_is_known_by_its_layers(naming, layers):
    assert face_lora_kind(lora(naming, layers), "x").layers == layers


@pytest.mark.parametrize(
    "extra", ["lora_unet_a_ff_net.lora_down.weight", "lora_te_b.lora_down.weight"]
)
def test_a_lora_of_more_than_attention_is_another(extra):
    with pytest.raises(IPAdapterError, match=r"^x is no LoRA of a FaceID adapter$"):
        face_lora_kind(lora("kohya", 16, [extra]), "x")


def test_every_preset_is_in_the_order_of_auto():
    assert sorted(AUTO_ORDER) == sorted(PRESETS)


def test_every_family_has_a_preset():
    assert {preset.family for preset in PRESETS.values()} == set(FAMILIES_OF_THE_PACK)


PUBLISHED = [(preset, file) for preset in PRESETS for file in PRESETS[preset].all_files]


@pytest.mark.parametrize(("preset", "file"), PUBLISHED, ids=[f.name for _, f in PUBLISHED])
def test_a_published_name_means_one_preset(preset, file):
    stem = re.sub(r"\.\w+$", "", file.name)
    for name in (
        file.name,
        f"{stem.upper()}.SAFETENSORS",
        f"{stem.replace('-', '_')}.bin",
        f"{stem.replace('_', '-')}.safetensors",
        f"{stem.replace('_', '.')}.bin",
        f"sub folder/{file.name}",
        f"sub\\{file.name}",
        f"h94_{file.name}",
        f"{stem}_fp16.safetensors",
    ):
        assert preset_of(name) == preset, name
    for name in (f"{stem}2.bin", f"{stem}_mine.bin"):
        assert preset_of(name) is None, name


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("faceid.plusv2.sdxl.bin", "FACEID PLUS V2"),
        ("portrait_v11_sd15.bin", None),
        ("sd15_light_v11.bin", "LIGHT"),
        ("Kolors-IP-Adapter-Plus.bin", "KOLORS PLUS"),
        ("Kolors-IP-Adapter-FaceID-Plus.bin", "KOLORS FACEID PLUS"),
        ("ip-adapter-faceid-plusv2_sd15_lora.safetensors", None),
    ],
)
def test_names_that_people_give(name, preset):
    assert preset_of(name) == preset


def test_lora_names_are_told_apart():
    names = [file.lora for preset in PRESETS.values() for file in preset.all_files if file.lora]
    assert len(names) == 5
    for name in names:
        assert [n for n in names if is_published_as(name, n)] == [name]


H, G, L, L336 = (VITS[name][0] for name in ("ViT-H", "ViT-bigG", "ViT-L", "ViT-L-336"))


def adapter(family=pictures.Resampler, width=1280, base="SD1.5", lora=False):
    return AdapterKind(family, width, tuple(WIDTHS[base]), 64, lora)


PLUS, BASE, BASE_G = (
    adapter(),
    adapter(pictures.ImageProjection, 1024),
    adapter(pictures.ImageProjection, 1280),
)
FACE, FACE_PLUS = adapter(faces.FaceID, 0), adapter(faces.FaceIDPlus)


def requirements(base="SD1.5", *encoders, kolors=False):
    return Requirements(tuple(WIDTHS[base]), 64, kolors, frozenset(encoders or (H, G)))


def taken(found, preset=AUTO, **options):
    match = choose(found, preset, requirements(**options), "models/ipadapter")
    return match.name, match.preset, match.known


def refused(found, preset=AUTO, **options):
    with pytest.raises(IPAdapterError) as caught:
        choose(found, preset, requirements(**options), "/models/ipadapter")
    assert "\n" not in str(caught.value)
    return str(caught.value)


EQUALS = {
    "ip-adapter-plus_sd15.safetensors": PLUS,
    "ip-adapter-plus-face_sd15.safetensors": PLUS,
    "ip_plus_composition_sd15.safetensors": PLUS,
    "ip-adapter_sd15.safetensors": BASE,
    "ip-adapter_sd15_light.safetensors": BASE,
    "ip-adapter_sd15_light_v11.bin": BASE,
    "ip-adapter_sd15_vit-G.safetensors": BASE_G,
    "ip-adapter-faceid_sd15.bin": FACE,
    "ip-adapter-faceid-plus_sd15.bin": FACE_PLUS,
    "ip-adapter-faceid-plusv2_sd15.bin": FACE_PLUS,
}


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        (AUTO, "ip-adapter-plus_sd15.safetensors"),
        ("PLUS", "ip-adapter-plus_sd15.safetensors"),
        ("PLUS FACE", "ip-adapter-plus-face_sd15.safetensors"),
        ("COMPOSITION", "ip_plus_composition_sd15.safetensors"),
        ("STANDARD", "ip-adapter_sd15.safetensors"),
        ("LIGHT", "ip-adapter_sd15_light_v11.bin"),
        ("VIT-G", "ip-adapter_sd15_vit-G.safetensors"),
        ("FACEID", "ip-adapter-faceid_sd15.bin"),
        ("FACEID PLUS", "ip-adapter-faceid-plus_sd15.bin"),
        ("FACEID PLUS V2", "ip-adapter-faceid-plusv2_sd15.bin"),
    ],
)
def test_names_decide_among_equals(preset, name):
    found = dict(reversed(EQUALS.items()))
    assert taken(found, preset)[0] == name
    assert taken({**found, "something.bin": PLUS, "other.bin": BASE}, preset)[0] == name


def test_a_single_file_without_a_published_name_is_taken():
    assert taken({"mine.bin": PLUS, "sdxl.bin": adapter(base="SDXL")}) == (
        "mine.bin",
        "PLUS",
        False,
    )
    assert "my_plusv2.bin (is FACEID PLUS V2)" in refused(
        {"my_plusv2.bin": FACE_PLUS}, "FACEID PLUS"
    )
    assert taken({"mine.bin": FACE_PLUS}, "FACEID PLUS V2") == ("mine.bin", "FACEID PLUS V2", False)
    assert taken({"mine.bin": BASE_G}) == ("mine.bin", "VIT-G", False)


def test_a_name_does_not_stand_against_the_contents():
    assert taken({"ip-adapter-plus_sd15.bin": FACE})[1:] == ("FACEID", False)


def test_several_without_a_published_name_are_listed():
    message = refused({"b.bin": PLUS, "a.bin": PLUS, "c.bin": BASE})
    assert "a.bin, b.bin; choose one of them in preset" in message
    assert "c.bin" not in message


def test_a_version_that_only_the_name_tells():
    assert taken({"mine.bin": FACE_PLUS})[1] == "FACEID PLUS"
    assert taken({"my_plusv2.bin": FACE_PLUS})[1] == "FACEID PLUS V2"
    sdxl = adapter(faces.FaceIDPlus, base="SDXL")
    assert taken({"mine.bin": sdxl}, base="SDXL")[1] == "FACEID PLUS V2"


def test_auto_takes_what_has_its_encoder():
    found = {"ip-adapter-plus_sd15.bin": PLUS, "ip-adapter_sd15_vit-G.bin": BASE_G}
    assert choose(found, AUTO, requirements("SD1.5", G), "").preset == "VIT-G"
    assert choose(found, AUTO, requirements("SD1.5", L), "").preset == "PLUS"


def test_kolors_has_the_layers_of_sdxl():
    kolors = adapter(pictures.KolorsResampler, 1024, "SDXL")
    found = {"ip_adapter_plus_general.bin": kolors, "mine.bin": adapter(base="SDXL")}
    need_l = Requirements(tuple(WIDTHS["SDXL"]), 64, True, frozenset([H, L]))
    assert choose(found, AUTO, need_l, "").preset == "KOLORS PLUS"
    assert choose(found, AUTO, need_l._replace(kolors=False), "").name == "mine.bin"
    assert choose(found, "KOLORS PLUS", need_l._replace(kolors=False), "").kind is kolors


def test_what_is_missing_is_named_with_what_was_found():
    found = {
        "big.safetensors": adapter(base="SDXL"),
        "face.bin": FACE,
        "ip-adapter-plus-face_sd15.bin": PLUS,
        "lora.bin": IPAdapterError("lora.bin is not an IP-Adapter: it is a LoRA"),
    }
    message = refused(found, "PLUS")
    assert message.startswith("looked for PLUS for SD1.5 ")
    for part in (
        "big.safetensors (is for SDXL)",
        "face.bin (is FACEID)",
        "ip-adapter-plus-face_sd15.bin (is PLUS FACE)",
        "lora.bin (is not an IP-Adapter: it is a LoRA)",
        "put ip-adapter-plus_sd15.safetensors into /models/ipadapter (from huggingface.co/h94/IP-Adapter/tree/main/models)",
    ):
        assert part in message


def test_nothing_there_at_all():
    assert "models/ipadapter has no file; put ip-adapter-plus_sd15.safetensors" in refused({})
    assert "none was published for it" in refused({}, "LIGHT", base="SDXL")


def test_hundreds_of_files_make_no_endless_message():
    found = {f"{i}.bin": IPAdapterError(f"{i}.bin is something else") for i in range(500)}
    assert "and 488 more" in refused(found)
    assert len(refused(found)) < 1000


def test_a_file_chosen_by_name():
    found = {
        "a.bin": PLUS,
        "b.bin": PLUS,
        "xl.bin": adapter(base="SDXL"),
        "bad.bin": IPAdapterError("bad.bin is bad"),
    }
    assert taken(found, "b.bin") == ("b.bin", "PLUS", False)
    assert "xl.bin is for SDXL" in refused(found, "xl.bin")
    assert refused(found, "bad.bin") == "bad.bin is bad"
    assert "gone.bin is not in models/ipadapter" in refused(found, "gone.bin")


@pytest.mark.parametrize("family", FAMILIES_OF_THE_PACK)
def test_a_family_that_no_preset_stands_for(family, monkeypatch):
    """A new one is chosen by content and by the file's name before anything of it is published."""
    for key in [key for key, preset in PRESETS.items() if preset.family is family]:
        monkeypatch.delitem(PRESETS, key)
    monkeypatch.setattr(choice, "AUTO_ORDER", [key for key in AUTO_ORDER if key in PRESETS])
    kind = adapter(family)
    found = {"ip-adapter_sd15.bin": BASE, "new.bin": kind}
    need = Requirements(kind.widths, kind.context, family.kolors, frozenset([H, G, L]))
    for preset, files in ((AUTO, {"new.bin": kind}), ("new.bin", found)):
        match = choose(files, preset, need, "")
        assert match == Match("new.bin", kind, family.name, known=False)
        assert not match.published.files
    if family not in (pictures.ImageProjection, pictures.KolorsResampler, faces.KolorsFaceIDPlus):
        assert taken(found)[0] == "ip-adapter_sd15.bin"  # what has a preset goes first
        assert f"new.bin (is {family.name})" in refused({"new.bin": kind}, "LIGHT")


def encoder_for(kind, found):
    return choose_encoder(Match("a.bin", kind, "PLUS", True), found, "/models/clip_vision")


def test_an_encoder_is_taken_by_width():
    found = {"x.bin": G, "y.bin": H, "z.bin": L, "bad.bin": IPAdapterError("bad.bin is bad")}
    assert encoder_for(PLUS, found) == "y.bin"  # penultimate, 1280 wide
    assert encoder_for(BASE_G, found) == "x.bin"  # embedding, 1280 wide
    assert encoder_for(BASE, found) == "y.bin"
    assert encoder_for(FACE, found) is None
    assert encoder_for(FACE, {}) is None


@pytest.mark.parametrize(
    "name",
    [
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        "clip_vision_h.safetensors",
        "SD1.5/model.safetensors",
        "ip-adapter_sd15_image_encoder.bin",
    ],
)
def test_the_encoder_of_the_published_training_is_preferred(name):
    others = ["a_DFN5B_vit_h.bin", "MetaCLIP-H.bin", "ViT-H-14-quickgelu-dfn5b.bin", "aa.bin"]
    assert encoder_for(PLUS, dict.fromkeys([*others, name], H)) == name
    assert encoder_for(PLUS, dict.fromkeys(others, H)) == "aa.bin"
    assert encoder_for(PLUS, dict.fromkeys(others[:3], H)) in others


def test_kolors_prefers_336_pixels():
    kolors = adapter(pictures.KolorsResampler, 1024, "SDXL")
    assert encoder_for(kolors, {"a.bin": L, "b.bin": L336}) == "b.bin"
    assert encoder_for(kolors, {"a.bin": L}) == "a.bin"
    assert encoder_place(kolors, L336, VIT_L_336.file.name) == (0, 0, 0)
    assert encoder_for(adapter(width=1024), {"a.bin": L336, "b.bin": L}) == "b.bin"


def test_published_encoders_go_by_their_own_names():
    for encoder in ENCODERS:
        assert encoder is SIGLIP or re.search(encoder.names, encoder.file.name.lower())
    sizes = {(encoder.width, encoder.embeds, encoder.positions) for encoder in ENCODERS}
    assert {(kind.width, kind.embeds, kind.positions) for kind in (H, G, L, L336)} < sizes


@pytest.mark.parametrize(
    ("feature", "width", "name"),
    [
        ("image_embeds", 768, "CLIP ViT-L"),
        ("image_embeds", 1024, "CLIP ViT-H"),
        ("image_embeds", 1280, "CLIP ViT-bigG"),
        ("penultimate_hidden_states", 1024, "CLIP ViT-L"),
        ("penultimate_hidden_states", 1152, "SigLIP"),
        ("penultimate_hidden_states", 1280, "CLIP ViT-H"),
        ("penultimate_hidden_states", 1664, "CLIP ViT-bigG"),
    ],
)
def test_an_encoder_is_told_by_the_width_of_what_it_gives(feature, width, name):
    encoder = encoder_that_gives(feature, width)
    assert encoder is not None
    assert encoder.name == name
    assert encoder_that_gives(feature, width + 1) is None


def test_a_missing_encoder_is_named():
    odd = VITS["ViT-H-378"][0]
    found = {"g.bin": G, "odd.bin": odd, "bad.bin": IPAdapterError("bad.bin is bad")}
    with pytest.raises(IPAdapterError) as caught:
        encoder_for(PLUS, found)
    message = str(caught.value)
    assert "a.bin needs an image encoder whose penultimate_hidden_states are 1280 wide" in message
    assert "g.bin (is CLIP ViT-bigG (257 positions)" in message
    assert "odd.bin (is CLIP ViT-H (730 positions), for Load CLIP Vision (OpenCLIP)" in message
    assert "bad.bin (is bad)" in message
    assert "put CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors into /models/clip_vision" in message
