"""FaceID: whole calls against diffusers, the LoRA inside the checkpoint, and the nodes."""

import gc
import itertools
import weakref
from types import SimpleNamespace

import comfy.sd
import comfy.utils
import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.loading import insightface_models as face_models
from ipadapter_pack.nodes.loading.adapter import AdapterBundle, LoadedAdapter, accept_adapter
from ipadapter_pack.nodes.model.lora import apply_face_lora, apply_lora, attention_names
from ipadapter_pack.nodes.regions.apply_face import ApplyIPAdapterFaceID, EncodeFaceID
from ipadapter_pack.nodes.regions.change import RemoveReferences
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless import oracle
from ipadapter_pack.tests.headless.support import ENCODER, apply, left_half, with_schedule
from ipadapter_pack.tests.near import assert_near
from ipadapter_pack.workflows.tiny import faces as tiny_faces
from safetensors.torch import load_file, save_file

TIMESTEP = 500
ANNA = tiny_faces.picture([("red", 40, 30, 120)], 240, 320)
BEN = tiny_faces.picture([("green", 150, 60, 100)], 240, 320, seed=5)
THREE = tiny_faces.picture([("red", 300, 40, 40), ("green", 60, 200, 90), ("blue", 400, 160, 200)])


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder = tiny_faces.build(tmp_path_factory.mktemp("faces") / "tiny")
    analysis = face_models.import_insightface()
    return face_models.read_folder(analysis, str(folder), ["CPUExecutionProvider"], "tiny")


def face_adapter(kind="faceid", layout="SD1.5", name="tiny.bin", **options):
    widths = tiny.widths(tiny.shared_model(layout))
    return LoadedAdapter(tiny.adapter_file(widths, kind, **options), name)


def apply_face(recognizer, loaded, image=ANNA, model=None, **inputs):
    inputs = {"clip_vision": ENCODER, "insightface": recognizer, **inputs}
    model = model or tiny.shared_model()
    return ApplyIPAdapterFaceID.execute(
        ipadapter=loaded, image=image, model=model, **with_schedule(inputs)
    )


def encode_face(recognizer, loaded, image, **inputs):
    inputs = {"clip_vision": ENCODER, "insightface": recognizer, **inputs}
    return EncodeFaceID.execute(ipadapter=loaded, image=image, **inputs)


def message_of(call):
    with pytest.raises(IPAdapterError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def merge_lora(unet, file, strength=1.0):
    """Adds the file's LoRA to diffusers' weights, where diffusers says that it belongs."""
    [lora] = unet._load_ip_adapter_loras([file]).values()
    weights = dict(unet.named_parameters())
    for key, down in lora.items():
        if ".down." not in key:
            continue
        name = key.removeprefix("unet.").replace(".processor", "")
        name = name.replace("to_out_lora", "to_out.0").replace("_lora", "").replace(".down", "")
        weights[name].data += strength * lora[key.replace(".down.", ".up.")] @ down


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
def test_faceid_plus_v2_equals_diffusers_with_its_lora(recognizer, layout, cfg):
    model = tiny.shared_model(layout)
    file = tiny.adapter_file(tiny.widths(model), "faceid-plus")
    loaded = LoadedAdapter(file, "tiny.bin")
    inputs = {"weight": 0.8, "faceid_v2": True, "weight_v2": 1.3, "lora_strength": 0.7}
    applied, crops = apply_face(recognizer, loaded, model=model, **inputs).result
    x, ours, sigma = oracle.one_call(applied, layout, cfg, TIMESTEP)
    _, without, _ = oracle.one_call(model, layout, cfg, TIMESTEP)

    unet = oracle.diffusers_unet(model, layout)
    unet._load_ip_adapter_weights([file])
    merge_lora(unet, file, 0.7)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.8]
    identity = encode_face(recognizer, loaded, ANNA)[0].features.positive.face
    mean, std = torch.tensor(ENCODER.image_mean), torch.tensor(ENCODER.image_std)
    normal = ((crops - mean) / std).movedim(-1, 1)
    clip, no_clip = (
        ENCODER.model(pixel_values=p, intermediate_output=-2)[1] for p in (normal, 0 * normal)
    )
    [layer] = unet.encoder_hid_proj.image_projection_layers
    layer.shortcut, layer.shortcut_scale = True, 1.3
    noises = []
    for positive, embedding, view in ((True, identity, clip), (False, 0 * identity, no_clip)):
        layer.clip_embeds = view[:, None]
        call = (unet, layout, x, sigma, TIMESTEP, positive, [embedding])
        noises.append(oracle.predicted_noise(*call))
    theirs = noises[1] + cfg * (noises[0] - noises[1])
    assert_near(ours, theirs, 1e-5)
    assert_near(ours, theirs, 1e-3, effect=theirs - without)


def bgr(picture):
    return (picture * 255).round().byte().flip(-1).numpy()


@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
def test_the_lora_inside_is_weight_exact(layout):
    model = tiny.shared_model(layout)
    file = tiny.adapter_file(tiny.widths(model), "faceid")
    loaded = LoadedAdapter(file, "tiny.bin")
    patched = apply_face_lora(model, loaded.lora, 0.6, "tiny.bin")
    unet = oracle.diffusers_unet(model, layout)
    merge_lora(unet, file, 0.6)
    expected = unet.state_dict()
    names = comfy.utils.unet_to_diffusers(tiny.LAYOUTS[layout][1])
    changed = 0
    for theirs, ours in names.items():
        key = f"diffusion_model.{ours}"
        if key in patched.patches:
            weight = comfy.utils.get_attr(patched.model, key).clone()
            merged = comfy.lora.calculate_weight(patched.patches[key], weight, key)
            assert_near(merged, expected[theirs], 1e-6)
            changed += 1
    assert changed == len(patched.patches) == 8 * len(tiny.widths(model))
    assert not model.patches  # the model that came in is as it was


def test_the_same_lora_is_not_applied_twice(recognizer, caplog):
    loaded = face_adapter()
    once = apply_face(recognizer, loaded)[0]
    assert "already carries" not in caplog.text
    twice = apply_face(recognizer, loaded, BEN, once)[0]
    assert "the model already carries the LoRA of tiny.bin" in caplog.text
    assert all(len(patches) == 1 for patches in twice.patches.values())
    other = apply_face(recognizer, face_adapter(seed=1, name="other.bin"), BEN, once)[0]
    assert all(len(patches) == 2 for patches in other.patches.values())
    assert all(len(patches) == 1 for patches in once.patches.values())


def test_removing_references_takes_their_lora_along_and_nobody_elses(recognizer, tmp_path):
    model, loaded = tiny.shared_model(), face_adapter()
    path = str(tmp_path / "another.safetensors")
    save_file(kohya(model, face_adapter(seed=3).lora), path)
    own = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(path), 0.6, 0)[0]
    applied = apply_face(recognizer, loaded, model=own)[0]
    plain = RemoveReferences.execute(applied)[0]
    assert torch.equal(tiny.sample(plain), tiny.sample(own))
    assert not torch.equal(tiny.sample(applied), tiny.sample(own))
    assert plain.patches_uuid != applied.patches_uuid
    again = apply_face(recognizer, loaded, model=plain)[0]
    assert torch.equal(tiny.sample(again), tiny.sample(applied))
    bare = RemoveReferences.execute(apply_face(recognizer, loaded)[0])[0]
    assert not bare.patches


def distance(picture, other):
    return (picture - other).norm() / other.norm()


def kohya(model, lora):
    """The separate file: the same tensors, in half precision, under kohya's names."""
    renamed = {}
    for key, tensor in lora.items():
        number, which, half, _ = key.replace("_lora", "").split(".")
        name = attention_names(model)[int(number)].removeprefix("diffusion_model.")
        which = which.replace("to_out", "to_out.0")
        name = f"lora_unet_{name}.{which}".replace(".", "_")
        renamed[f"{name}.lora_{half}.weight"] = tensor.half().contiguous()
    return renamed


@pytest.mark.parametrize("loader", ["ours", "core's"])
def test_a_separate_lora_file_is_the_same_lora(recognizer, tmp_path, caplog, loader):
    model, loaded = tiny.shared_model(), face_adapter()
    path = str(tmp_path / "tiny_lora.safetensors")
    save_file(kohya(model, loaded.lora), path)
    if loader == "ours":
        carrying = apply_lora(model, load_file(path), 0.6, "tiny_lora.safetensors")
    else:
        carrying = comfy.sd.load_lora_for_models(
            model, None, comfy.utils.load_torch_file(path), 0.6, 0
        )[0]
    assert len(carrying.patches) == 8 * 16
    applied = apply_face(recognizer, loaded, model=carrying)[0]
    assert "already carries" in caplog.text
    assert all(len(patches) == 1 for patches in applied.patches.values())
    inside = apply_face_lora(model, loaded.lora, 0.6, "tiny.bin")
    one, other, without = map(tiny.sample, (carrying, inside, model))
    assert_near(one, other, 1e-2)
    assert distance(one, without) > 0.05


def test_lora_strength_zero_and_portraits_leave_the_weights_alone(recognizer):
    assert not apply_face(recognizer, face_adapter(), lora_strength=0.0)[0].patches
    assert not apply_face(recognizer, face_adapter("portrait"))[0].patches


def test_a_lora_for_another_model_is_refused(recognizer):
    loaded = face_adapter("faceid", "SD1.5")
    message = message_of(lambda: apply_face_lora(tiny.shared_model("SDXL"), loaded.lora, 1, "x"))
    assert message.startswith("x: its LoRA is for 32 attentions, the model has 140")
    wide = face_adapter()
    key = "0.to_q_lora.up.weight"
    wide.lora[key] = torch.zeros(7, wide.lora[key].shape[1])
    message = message_of(lambda: apply_face_lora(tiny.shared_model(), wide.lora, 1, "x"))
    assert "7 x 32 for diffusion_model.input_blocks.1.1" in message


@pytest.mark.parametrize("kind", ["faceid", "faceid-plus", "portrait", "unnorm"])
def test_a_face_changes_the_picture_only_in_its_region(recognizer, kind):
    loaded = face_adapter(kind)
    model = tiny.shared_model()
    applied = {
        name: apply_face(recognizer, loaded, image, lora_strength=0.0)[0]
        for name, image in (("anna", ANNA), ("ben", BEN))
    }
    anna, ben = (tiny.sample(m) for m in applied.values())
    assert (anna - ben).abs().max() > 1e-3
    assert torch.equal(anna, tiny.sample(apply_face(recognizer, loaded, lora_strength=0.0)[0]))
    black = apply_face(recognizer, loaded, lora_strength=0.0, attn_mask=0 * left_half())[0]
    assert torch.equal(tiny.sample(black), tiny.sample(model))


def test_identities_are_normed_or_not_as_the_family_was_trained(recognizer):
    [face] = recognizer.get(bgr(ANNA[0]))
    for kind, expected in (("portrait", face.normed_embedding), ("unnorm", face.embedding)):
        positive, negative = encode_face(recognizer, face_adapter(kind), ANNA)[0].features
        given = positive.face[0]
        assert F.cosine_similarity(given, torch.from_numpy(expected), dim=0) > 0.9999
        assert abs(given.norm() / float((expected**2).sum() ** 0.5) - 1) < 0.01
        assert not negative.face.any()


def test_only_plus_looks_through_clip(recognizer):
    apply_face(recognizer, face_adapter(), clip_vision=None)
    apply_face(recognizer, face_adapter("portrait"), clip_vision=object())
    message = message_of(
        lambda: apply_face(recognizer, face_adapter("faceid-plus"), clip_vision=None)
    )
    assert message.startswith("clip_vision is not connected: FaceID Plus also looks at the face")


def test_the_crops_are_what_clip_is_shown(recognizer):
    for kind, size in (("faceid", 224), ("faceid-plus", ENCODER.image_size)):
        crops = apply_face(recognizer, face_adapter(kind), torch.cat([ANNA, BEN]))[1]
        assert crops.shape == (2, size, size, 3)
        assert crops[0, ..., 0].mean() > crops[0, ..., 1].mean()  # Anna is red
        assert crops[1, ..., 1].mean() > crops[1, ..., 0].mean()


@pytest.mark.parametrize(
    ("select", "index", "dominant"),
    [
        ("largest", 0, [2]),
        ("largest", 2, [0]),
        ("best score", 0, [0]),
        ("left to right", 0, [1]),
        ("left to right", 1, [0]),
        ("index", 1, [1]),
        ("all", 5, [1, 0, 2]),
    ],
)
def test_the_chosen_face(recognizer, select, index, dominant):
    inputs = {"face_select": select, "face_index": index}
    loaded = face_adapter("portrait")
    reference, crops = encode_face(recognizer, loaded, THREE, **inputs).result
    assert crops.flatten(1, 2).mean(1).argmax(1).tolist() == dominant
    assert reference.positive.shape == (len(dominant), 16, tiny.CONTEXT)


def test_all_is_the_faces_side_by_side(recognizer):
    """One reference of three faces is what three photos, cut apart, would give."""
    loaded = face_adapter("portrait")
    crowd = encode_face(recognizer, loaded, THREE, face_select="all")[0].positive
    order = [("left to right", i) for i in range(3)]
    single = [
        encode_face(recognizer, loaded, THREE, face_select=s, face_index=i)[0].positive
        for s, i in order
    ]
    assert_near(crowd, torch.cat(single), 1e-5)
    apply_face(recognizer, loaded, THREE, face_select="all")


def test_several_photos_act_together(recognizer):
    """Portrait: five photos are 80 tokens in one pass; their order does not matter."""
    loaded = face_adapter("portrait")
    photos = torch.cat(
        [tiny_faces.picture([("red", 40, 30, 120)], 240, 320, seed=s) for s in range(5)]
    )
    there = apply_face(recognizer, loaded, photos)[0]
    [(k, *_)] = {
        (patch.regions[0].tokens,) for patch in there.attachments["ipadapter_regions"].values()
    }
    assert k == 80
    back = apply_face(recognizer, loaded, photos.flip(0))[0]
    one, other, without = map(tiny.sample, (there, back, RemoveReferences.execute(there)[0]))
    assert_near(one, other, 1e-4, effect=other - without)


def test_unfold_batch_gives_each_latent_its_face(recognizer):
    loaded = face_adapter("portrait")
    both = apply_face(recognizer, loaded, torch.cat([ANNA, BEN]), unfold_batch=True)[0]
    frames = tiny.sample(both, batch=2)
    for i, image in enumerate((ANNA, BEN)):
        alone = tiny.sample(apply_face(recognizer, loaded, image)[0], batch=2)
        assert_near(frames[i], alone[i], 1e-4)
        assert distance(frames[1 - i], alone[1 - i]) > 1e-2
    crowd = {"unfold_batch": True, "face_select": "all"}
    message = message_of(lambda: apply_face(recognizer, loaded, THREE, **crowd))
    assert message.startswith("unfold_batch: 3 faces from 1 photos")


def test_a_photo_without_a_face_is_named(recognizer):
    gray = torch.full_like(ANNA, 0.5)
    loaded = face_adapter()
    message = message_of(lambda: apply_face(recognizer, loaded, torch.cat([ANNA, gray])))
    assert "no face found in picture 2 (looked at sizes 640 to 256 px)" in message


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        ("my-face-plusv2.bin", {}, "V2 (by its name)"),
        ("ip-adapter-faceid-plus_sd15.bin", {}, "V1 (by its name)"),
        ("renamed.bin", {}, "V1 (its name does not say V2)"),
        ("renamed.bin", {"faceid_v2": True}, "V2 (as chosen)"),
        ("renamed.bin", {"plus_version": "v2"}, "V2 (as chosen)"),
        ("my-face-plusv2.bin", {"plus_version": "v1"}, "V1 (as chosen)"),
    ],
)
def test_plus_or_plus_v2_is_said(recognizer, caplog, name, inputs, expected):
    loaded = face_adapter("faceid-plus", name=name)
    shortcut_scale = encode_face(recognizer, loaded, ANNA, weight_v2=0.4, **inputs)[
        0
    ].features.positive
    assert f"{name} is taken as FaceID Plus {expected}" in caplog.text
    assert shortcut_scale.shortcut_scale == (0.4 if expected.startswith("V2") else None)


def test_for_sdxl_there_is_only_v2(recognizer, caplog):
    model = tiny.shared_model("SDXL")
    apply_face(recognizer, face_adapter("faceid-plus", "SDXL", "renamed.bin"), model=model)
    assert "is taken as FaceID Plus V2 (for SDXL there is no other)" in caplog.text


def test_changing_the_weight_finds_and_encodes_nothing_again(recognizer, monkeypatch):
    loaded = face_adapter("faceid-plus")
    apply_face(recognizer, loaded, weight=1.0)
    monkeypatch.setattr(recognizer.det_model, "detect", None)
    monkeypatch.setattr(ENCODER, "encode_image", None)
    apply_face(recognizer, loaded, weight=0.5, weight_v2=0.5)


def test_noise_shows_the_negative_a_distorted_face(recognizer):
    loaded = face_adapter("faceid-plus")
    quiet, noisy = (encode_face(recognizer, loaded, ANNA, noise=n)[0] for n in (0.0, 0.4))
    assert torch.equal(quiet.positive, noisy.positive)
    assert not torch.equal(quiet.negative, noisy.negative)


def test_weight_zero_is_the_model_itself_and_still_shows_the_face(recognizer):
    model = tiny.shared_model()
    applied, crops = apply_face(recognizer, face_adapter(), weight=0.0).result
    assert applied is model
    assert len(crops) == 1


def test_a_reference_is_applied_as_the_photo_is(recognizer):
    loaded = face_adapter("portrait")
    reference = encode_face(recognizer, loaded, ANNA)[0]
    there = tiny.sample(apply(tiny.shared_model(), loaded, None, reference=reference))
    assert torch.equal(there, tiny.sample(apply_face(recognizer, loaded)[0]))


def test_a_face_reference_brings_its_lora(recognizer):
    loaded = face_adapter()
    reference = encode_face(recognizer, loaded, ANNA)[0]
    there = tiny.sample(apply(tiny.shared_model(), loaded, None, reference=reference))
    assert torch.equal(there, tiny.sample(apply_face(recognizer, loaded)[0]))
    other = face_adapter(seed=1, name="other.bin")
    message = message_of(lambda: apply(tiny.shared_model(), other, None, reference=reference))
    assert message.startswith("reference: it was made with tiny.bin (FaceID), not with other.bin")


def test_a_reference_takes_the_lora_strength_of_its_loader(recognizer):
    loaded, model = face_adapter(), tiny.shared_model()
    reference = encode_face(recognizer, loaded, ANNA)[0]
    for strength in (0.0, 0.6):
        pipeline = AdapterBundle(loaded, ENCODER, recognizer, strength)
        there = apply(model, pipeline, None, reference=reference)
        assert {entry[0] for [entry] in there.patches.values()} == (
            {strength} if strength else set()
        )


def test_a_loader_may_bring_encoder_and_recognizer(recognizer):
    loaded = face_adapter("faceid-plus")
    pipeline = AdapterBundle(loaded, ENCODER, recognizer)
    given = {"clip_vision": None, "insightface": None}
    there = tiny.sample(apply_face(recognizer, pipeline, **given)[0])
    assert torch.equal(there, tiny.sample(apply_face(recognizer, loaded)[0]))
    theirs = {
        "ipadapter": {"model": tiny.adapter_file(tiny.widths(tiny.shared_model()), "faceid-plus")},
        "clipvision": {"model": ENCODER},
        "insightface": {"provider": "CPU", "model": recognizer},
    }
    theirs["ipadapter"]["model"]["faceidplusv2"] = True
    foreign = apply_face(recognizer, theirs, **given)[0]
    ours = apply_face(recognizer, loaded, faceid_v2=True)[0]
    assert torch.equal(tiny.sample(foreign), tiny.sample(ours))


def test_another_packs_adapter_is_freed_with_its_tensors():
    """Also where the first of its tensors is of the LoRA, as in the published files."""
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()), "faceid")
    layers = file["ip_adapter"]
    file["ip_adapter"] = {key: layers[key] for key in sorted(layers, key=lambda k: "_ip" in k)}
    assert "_lora" in next(iter(file["ip_adapter"]))
    loaded = weakref.ref(accept_adapter(file).loaded)
    assert loaded() is accept_adapter(file).loaded
    del file, layers
    gc.collect()
    assert loaded() is None


def test_no_layer_no_lora(recognizer):
    model, loaded = tiny.shared_model(), face_adapter()
    assert apply_face(recognizer, loaded, layer_weights="3: 0")[0] is model
    reference = encode_face(recognizer, loaded, ANNA)[0]
    assert apply(model, loaded, None, reference=reference, layer_weights="3: 0") is model


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
def test_a_lora_is_known_in_another_precision_and_where_part_of_it_is_there(recognizer, dtype):
    model, loaded = tiny.shared_model(), face_adapter()
    whole = apply_face_lora(model, loaded.lora, 0.6, "x")
    patches = dict(list(whole.patches.items())[:48])
    rounded = {
        key: type(entry[1])(
            entry[1].loaded_keys,
            (*(w.to(dtype) for w in entry[1].weights[:2]), *entry[1].weights[2:]),
        )
        for key, [entry] in patches.items()
    }
    part = model.clone()
    part.add_patches(rounded, 0.5)
    applied = apply_face(recognizer, loaded, model=part)[0]
    assert len(applied.patches) == 128
    assert all(len(entries) == 1 for entries in applied.patches.values())


def test_what_is_missing_is_named(recognizer):
    loaded = face_adapter()
    message = message_of(lambda: apply_face(recognizer, loaded, insightface=None))
    assert message == "insightface is not connected: add a Load InsightFace node"
    base = face_adapter("base")
    message = message_of(lambda: apply_face(recognizer, base))
    assert message.startswith(
        "tiny.bin (IP-Adapter) reads whole pictures, no faces: use Apply IPAdapter"
    )
    wrong = SimpleNamespace()
    assert "insightface: a SimpleNamespace is no face model" in message_of(
        lambda: apply_face(recognizer, loaded, insightface=wrong)
    )


def test_two_people_in_two_regions(recognizer):
    """Each change stays where its mask is white, at every layer (the LoRA apart, which is global)."""
    loaded = face_adapter("portrait")
    left, right = left_half(), 1 - left_half()
    model = apply_face(recognizer, loaded, ANNA, attn_mask=left)[0]
    both = apply_face(recognizer, loaded, BEN, model, attn_mask=right)[0]
    patches = both.attachments["ipadapter_regions"]
    assert all(len(patch.regions) == 2 for patch in patches.values())
    assert torch.isfinite(tiny.sample(both)).all()
    masks = {
        id(patch.regions[i].region.settings.mask)
        for patch, i in itertools.product(patches.values(), (0, 1))
    }
    assert len(masks) == 2
