"""EMBEDS of both versions: encoded, combined, applied, saved, and their encoders told apart."""

import asyncio
import copy
import os
import pickle

import comfy.utils
import execution
import folder_paths
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.noise import distorted
from ipadapter_pack.ipadapter.preprocess import fit_to_encoder
from ipadapter_pack.nodes.legacy import prompts
from ipadapter_pack.nodes.legacy.apply import IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.legacy.embed_apply import IPAdapterEmbeds, IPAdapterEmbedsBatch
from ipadapter_pack.nodes.legacy.embed_files import (
    IPAdapterLoadEmbeds,
    IPAdapterSaveEmbeds,
    saved_embeds,
)
from ipadapter_pack.nodes.legacy.embeds import IPAdapterCombineEmbeds, IPAdapterEncoder
from ipadapter_pack.nodes.legacy.embeds_v1 import IPAdapterApplyEncoded, IPAdapterBatchEmbeds
from ipadapter_pack.nodes.legacy.encoder_v1 import IPAdapterEncoderV1
from ipadapter_pack.nodes.loading.adapter import AdapterBundle
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.cases import product
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

import nodes as comfyui_nodes

KINDS = {
    "base": "image_embeds",
    "plus": "penultimate_hidden_states",
    "full": "penultimate_hidden_states",
}
SIZE = ENCODER.image_size


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(kind):
    return adapter(kind=kind)


@pytest.fixture(scope="module")
def feature(kind):
    return KINDS[kind]


@pytest.fixture(scope="module")
def base():
    return adapter()


@pytest.fixture(scope="module")
def plus():
    return adapter(kind="plus")


def pictures(*seeds):
    return torch.cat([tiny.picture(seed) for seed in seeds])


def encode(loaded, image, **inputs):
    inputs = {"clip_vision": ENCODER, **inputs}
    return IPAdapterEncoder.execute(ipadapter=loaded, image=image, **inputs).args


def combine(*embeds, method="concat"):
    named = {f"embed{i}": value for i, value in enumerate(embeds, 1)}
    return IPAdapterCombineEmbeds.execute(method=method, **named)[0]


def embedded(loaded, pos_embed, neg_embed=None, node=IPAdapterEmbeds, **inputs):
    inputs = {"model": tiny.shared_model(), "clip_vision": ENCODER, **inputs}
    return node.execute(ipadapter=loaded, pos_embed=pos_embed, neg_embed=neg_embed, **inputs)[0]


def advanced(loaded, image, **inputs):
    inputs = {"model": tiny.shared_model(), "clip_vision": ENCODER, **inputs}
    return IPAdapterAdvanced.execute(ipadapter=loaded, image=image, **inputs)[0]


def same(one, other, **how):
    return torch.equal(tiny.sample(one, **how), tiny.sample(other, **how))


def seen(image, feature):
    """What the encoder's own method sees in pictures that it need not resize, one by one."""
    return torch.cat([ENCODER.encode_image(picture[None])[feature] for picture in image])


def seen_pixels(pixels, feature):
    """What its network sees in normalized pixels, one by one."""
    at = {"penultimate_hidden_states": 1, "image_embeds": 2}[feature]
    return torch.cat([ENCODER.model(pixel_values=p[None], intermediate_output=-2)[at] for p in pixels])  # fmt: skip


def normalized(image):
    mean = torch.tensor(ENCODER.image_mean).view(3, 1, 1)
    std = torch.tensor(ENCODER.image_std).view(3, 1, 1)
    rounded = (255 * image).round() / 255
    return (rounded.movedim(-1, 1) - mean) / std


def message_of(function, *arguments, **inputs):
    with pytest.raises(IPAdapterError) as caught:
        function(*arguments, **inputs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# IPAdapter Encoder


def test_it_gives_what_the_encoder_sees(loaded, feature):
    image = torch.cat([tiny.picture(1, 70, 90), tiny.picture(2, 70, 90)])
    expected = seen(fit_to_encoder(image, SIZE), feature)
    assert torch.equal(encode(loaded, image)[0], expected)
    assert torch.equal(encode(loaded, image, weight=-0.5)[0], expected * -0.5)
    assert torch.equal(encode(loaded, image, compat="v2")[0], seen(image, feature))


def test_the_negative_is_no_picture(loaded, feature):
    _, negative = encode(loaded, pictures(1, 2), weight=0.5)
    nothing = seen_pixels(torch.zeros(1, 3, SIZE, SIZE), feature)
    expected = torch.zeros(1, 32) if feature == "image_embeds" else nothing
    assert torch.equal(negative, expected)


def test_to_version_2_no_picture_is_a_black_one_for_plus(base, plus):
    black = seen(torch.zeros(1, SIZE, SIZE, 3), "penultimate_hidden_states")
    faithful, v2 = (encode(plus, pictures(1), compat=c)[1] for c in ("faithful", "v2"))
    assert torch.equal(v2, black)
    assert not torch.allclose(v2, faithful, atol=1e-3)
    assert not encode(base, pictures(1), compat="v2")[1].any()


@pytest.mark.parametrize("compat", ["faithful", "v2"])
def test_a_mask_hides_parts_of_the_reference(loaded, feature, compat):
    image = tiny.picture(3, SIZE, SIZE)
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 10:40, :30] = 1
    mask[:, :, 50:] = 0.25
    given = (encode(loaded, image, mask=m, compat=compat)[0] for m in (mask, mask[0]))
    for positive in given:
        assert_near(positive, seen_pixels(normalized(image) * mask, feature), 1e-5)


def test_a_masks_center_square_is_resized(plus):
    mask = tiny.picture(9, 64, 100)[..., 0]
    square = TF.center_crop(mask, [64, 64])
    cubic = InterpolationMode.BICUBIC
    small = TF.resize(square, [SIZE, SIZE], cubic, antialias=True).clamp(0, 1)
    image = tiny.picture(3, SIZE, SIZE)
    ours = encode(plus, image, mask=mask)[0]
    expected = seen_pixels(normalized(image) * small, KINDS["plus"])
    assert_near(ours, expected, 1e-5)


def test_white_hides_nothing_and_black_everything(loaded, feature):
    image = tiny.picture(3, 80, 60)
    white, black = torch.ones(1, 80, 60), torch.zeros(1, 80, 60)
    whole = encode(loaded, image)[0]
    assert_near(encode(loaded, image, mask=white)[0], whole, 1e-5)
    nothing = seen_pixels(torch.zeros(1, 3, SIZE, SIZE), feature)
    assert torch.equal(encode(loaded, image, mask=black)[0], nothing)


def test_masks_go_to_pictures_one_by_one(plus):
    image = pictures(1, 2, 3)
    masks = torch.cat([left_half(), 1 - left_half()])
    ours = encode(plus, image, mask=masks)[0]
    for i in range(3):
        alone = encode(plus, image[i : i + 1], mask=masks[min(i, 1)])[0]
        assert torch.equal(ours[i : i + 1], alone)


def test_what_a_loader_brought_is_used(plus):
    ours = encode(AdapterBundle(plus, ENCODER), pictures(1), clip_vision=None)
    assert torch.equal(ours[0], encode(plus, pictures(1))[0])


def test_it_refuses_what_it_cannot_encode(plus):
    faces = adapter(kind="faceid")
    assert "is a FaceID adapter, which reads faces" in message_of(encode, faces, pictures(1))
    for mask in (None, left_half()):
        message = message_of(encode, plus, pictures(1), clip_vision=None, mask=mask)
        assert message.startswith("clip_vision is not connected")
    assert "mask has the shape [1]" in message_of(encode, plus, pictures(1), mask=torch.ones(1))
    assert "image is an empty batch" in message_of(encode, plus, torch.zeros(0, 8, 8, 3))
    wide = tiny.clip_vision(width=64)
    for mask in (None, left_half()):
        message = message_of(encode, plus, pictures(1), clip_vision=wide, mask=mask)
        assert "this adapter needs 48-wide features" in message


# IPAdapter Combine Embeds


def by_hand(rows, method):
    """In float64, number by number."""
    rows = rows.double().tolist()
    columns = list(zip(*rows, strict=True))

    def one(column):
        first, *others = column
        length = sum(x * x for x in column) ** 0.5
        return {
            "add": sum(column),
            "subtract": first - sum(others) / len(others),
            "average": sum(column) / len(column),
            "norm average": sum(x / length for x in column) / len(column),
            "max": max(column),
            "min": min(column),
        }[method]

    return torch.tensor([one(column) for column in columns])


METHODS = ["add", "subtract", "average", "norm average", "max", "min"]


@pytest.mark.parametrize("method", METHODS)
def test_it_calculates_with_the_pictures_of_all(method):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(4, 3, 5, generator=generator)
    ours = combine(rows[:2], rows[2:3], rows[3:], method=method)
    assert ours.shape == (1, 3, 5)
    expected = by_hand(rows.flatten(1), method)
    torch.testing.assert_close(ours.flatten(), expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_concat_puts_them_side_by_side():
    rows = torch.randn(6, 32)
    assert torch.equal(combine(rows[:1], rows[1:3], rows[3:4], rows[4:5], rows[5:]), rows)
    assert torch.equal(combine(rows), rows)


@pytest.mark.parametrize("method", ["concat", *METHODS])
def test_one_picture_stays_as_it_is(method):
    row = torch.randn(1, 17, 48)
    assert torch.equal(combine(row, method=method), row)


def test_a_socket_between_may_be_open():
    rows = torch.randn(2, 32)
    ours = IPAdapterCombineEmbeds.execute(
        embed1=rows[:1], method="concat", embed2=None, embed5=rows[1:]
    )
    assert torch.equal(ours[0], rows)


def test_what_does_not_go_together_is_named():
    one = torch.zeros(1, 17, 48)
    for other in (torch.zeros(1, 17, 64), torch.zeros(1, 26, 48), torch.zeros(1, 48)):
        message = message_of(combine, one, one, other)
        assert message.startswith("embed1 and embed3 do not go together: embed1 has the shape ")
    assert "method x: choose one of concat, " in message_of(combine, one, method="x")
    assert message_of(combine, "x").startswith("embed1: str is no EMBEDS; connect")
    assert message_of(combine, None).startswith("embed1 is not connected")
    assert "embed2 contains infinity or NaN" in message_of(combine, one, one / 0)
    assert "embed1 has the shape [0, 32]" in message_of(combine, torch.zeros(0, 32))


# IPAdapter Embeds


@pytest.mark.parametrize(
    ("layout", "compat", "method"),
    product(
        ["SD1.5", "SDXL"], ["faithful", "v2"],
        ["concat", "add", "subtract", "average", "norm average"],
        quick=lambda layout, _, method: layout == "SD1.5" or method == "concat",
    ),
)  # fmt: skip
def test_the_chain_acts_as_the_pictures_would(layout, compat, method):
    model = tiny.shared_model(layout)
    for kind in ("base", "plus"):
        loaded = adapter(layout, kind)
        encoded = [encode(loaded, image, compat=compat) for image in (pictures(1), pictures(2))]
        positive = combine(*(e[0] for e in encoded), method=method)
        inputs = {"weight": 0.7, "model": model, "compat": compat, "attn_mask": left_half()}
        direct = advanced(loaded, pictures(1, 2), combine_embeds=method, **inputs)
        for negative in (None, encoded[0][1]):
            assert same(embedded(loaded, positive, negative, **inputs), direct, layout=layout)


def test_all_settings_arrive(plus):
    positive, negative = encode(plus, pictures(1))
    for inputs in (
        {"weight": 0.6, "weight_type": "style transfer"},
        {"weight": 0.6, "weight_type": "composition", "embeds_scaling": "V only"},
        {"weight": 0.6, "weight_type": "style and composition"},
        {"weight_type": "ease out", "embeds_scaling": "K+mean(V) w/ C penalty"},
        {"start_at": 0.3, "end_at": 0.6, "attn_mask": left_half(), "embeds_scaling": "K+V"},
    ):
        ours = embedded(plus, positive, negative, **inputs)
        assert same(ours, advanced(plus, pictures(1), **inputs), steps=4)


def test_an_open_negative_is_no_picture(loaded):
    positive, negative = encode(loaded, pictures(1, 2))
    assert same(embedded(loaded, positive), embedded(loaded, positive, negative))


def test_a_negative_is_brought_to_the_number_of_pictures(plus):
    positive, _ = encode(plus, pictures(1, 2, 3))
    negatives, _ = encode(plus, pictures(4, 5, 5, 6))
    expected = advanced(plus, pictures(1, 2, 3), image_negative=pictures(4, 5, 5))
    assert same(embedded(plus, positive, negatives), expected)
    assert same(embedded(plus, positive, negatives[:2]), expected)


def test_weight_0_changes_nothing_and_needs_no_encoder(plus):
    model = tiny.shared_model()
    positive, _ = encode(plus, pictures(1))
    assert embedded(plus, positive, weight=0.0, clip_vision=None, model=model) is model


@pytest.mark.parametrize("weight", [0.7, [0.0, 0.5, 1.0]])
def test_unfolded_picture_1_goes_to_latent_1(loaded, weight):
    image = pictures(1, 2)
    positive, negative = encode(loaded, image)
    ours = embedded(loaded, positive, negative, node=IPAdapterEmbedsBatch, weight=weight)
    direct = IPAdapterBatch.execute(
        model=tiny.shared_model(), ipadapter=loaded, image=image, clip_vision=ENCODER, weight=weight
    )[0]  # fmt: skip
    assert same(ours, direct, batch=3)


def test_version_1s_stack_is_taken_apart(base, plus):
    for loaded, ipadapter_plus in ((base, False), (plus, True)):
        stack = v1_encode(pictures(1, 2), ipadapter_plus=ipadapter_plus, noise=0.4)
        expected = embedded(loaded, stack[0], stack[1])
        assert same(embedded(loaded, stack, clip_vision=None), expected)


def test_it_refuses_embeds_that_are_not_the_adapters(base, plus):
    (positive, _), (other, _) = (encode(a, pictures(1, 2)) for a in (plus, base))
    message = message_of(embedded, base, positive)
    assert message == (
        "pos_embed has the shape [2, 17, 48]; tiny.safetensors (IP-Adapter) reads [images, 32], the "
        "image_embeds of its encoder: IPAdapter Encoder makes such EMBEDS, with this adapter "
        "connected"
    )
    message = message_of(embedded, plus, other)
    assert (
        "pos_embed has the shape [2, 32]; tiny.safetensors (IP-Adapter Plus) reads [im" in message
    )
    assert "pos_embed has the shape [2, 17, 47]" in message_of(embedded, plus, positive[..., 1:])
    message = message_of(embedded, plus, positive, positive[:, 1:])
    assert message.startswith("pos_embed and neg_embed do not go together")
    stack = torch.stack((positive, positive))
    assert "[2, 2, 17, 48]" in message_of(embedded, plus, stack, positive)
    faces = adapter(kind="faceid")
    assert "is a FaceID adapter" in message_of(embedded, faces, positive)
    sdxl = tiny.shared_model("SDXL")
    assert "another base model" in message_of(embedded, plus, positive, model=sdxl)


@pytest.mark.parametrize("compat", ["faithful", "v2"])
def test_it_refuses_encoders_that_did_not_make_the_embeds(plus, compat):
    positive, _ = encode(plus, pictures(1))
    inputs = {"compat": compat}
    message = message_of(embedded, plus, positive, clip_vision=None, **inputs)
    assert message.startswith("neg_embed and clip_vision are both open")
    larger = tiny.clip_vision(image_size=70)
    message = message_of(embedded, plus, positive, clip_vision=larger, **inputs)
    assert message.startswith("pos_embed and clip_vision do not go together")
    wide = tiny.clip_vision(width=64)
    message = message_of(embedded, plus, positive, clip_vision=wide, **inputs)
    assert "this adapter needs 48-wide features" in message


# Save and load


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for kind in ("input", "output"):
        (tmp_path / kind).mkdir()
        monkeypatch.setattr(folder_paths, f"{kind}_directory", str(tmp_path / kind))
    return tmp_path


def save(embeds, prefix="IP_embeds"):
    """The file that it has written."""
    output = IPAdapterSaveEmbeds.execute(embeds=embeds, filename_prefix=prefix)
    (saved,) = output.ui["embeds"]
    return f"{saved['subfolder']}/{saved['filename']}".lstrip("/")


def load(name="IP_embeds_00001.ipadpt [output]"):
    return IPAdapterLoadEmbeds.execute(embeds=name)[0]


@pytest.mark.parametrize("shape", [(2, 32), (2, 17, 48), (2, 3, 17, 48)])
def test_saved_and_loaded_is_the_same(folders, shape):
    embeds = torch.randn(5, *shape)[3]  # a part of something larger
    assert save(embeds) == "IP_embeds_00001.ipadpt"
    assert torch.equal(load(), embeds)
    path = saved_embeds()["IP_embeds_00001.ipadpt [output]"]
    assert path.stat().st_size < embeds.nbytes + 4096
    assert torch.equal(torch.load(path, weights_only=True), embeds)


def test_what_other_versions_saved_is_read(folders):
    embeds = torch.randn(1, 17, 48)
    folder = folders / "input" / "people"
    folder.mkdir()
    torch.save(embeds.half(), folder / "anna.ipadpt")
    assert torch.equal(load("people/anna.ipadpt"), embeds.half().float())
    assert torch.equal(load("people\\anna.ipadpt"), embeds.half().float())


def test_nothing_is_overwritten(folders):
    one, two = torch.randn(2, 1, 32)
    names = [save(e, "people/anna") for e in (one, two)]
    assert names == ["people/anna_00001.ipadpt", "people/anna_00002.ipadpt"]
    for name, embeds in zip(names, (one, two), strict=True):
        assert torch.equal(load(f"{name} [output]"), embeds)


def test_the_menu_lists_both_folders(folders):
    (folders / "input" / "sub").mkdir()
    for name in ("z.ipadpt", "sub/a.ipadpt", "b.txt", "c.safetensors"):
        (folders / "input" / name).write_bytes(b"")
    (folders / "input" / "folder.ipadpt").mkdir()
    save(torch.zeros(1, 32))
    menu = ["sub/a.ipadpt", "z.ipadpt", "IP_embeds_00001.ipadpt [output]"]
    assert list(saved_embeds()) == menu
    assert IPAdapterLoadEmbeds.INPUT_TYPES()["required"]["embeds"][1]["options"] == menu


def test_the_menu_follows_what_changes(folders):
    """A folder that has not changed is not read again, one that has is."""
    inner = folders / "input" / "people" / "friends"
    inner.mkdir(parents=True)
    (inner.parent / "loop").symlink_to(folders / "input")
    (inner / "anna.ipadpt").write_bytes(b"")
    old = [inner, inner.parent, folders / "input", folders / "output"]
    for folder in old:
        os.utime(folder, (1, 1))
    assert list(saved_embeds()) == ["people/friends/anna.ipadpt"]
    read = []
    with pytest.MonkeyPatch.context() as patch:
        scandir = os.scandir
        patch.setattr(os, "scandir", lambda folder: read.append(folder) or scandir(folder))
        assert list(saved_embeds()) == ["people/friends/anna.ipadpt"]
        assert read == []
        (inner / "bob.ipadpt").write_bytes(b"")
        assert list(saved_embeds()) == [f"people/friends/{n}.ipadpt" for n in ("anna", "bob")]
        assert read == [str(inner)]
        assert IPAdapterLoadEmbeds.validate_inputs("people/friends/bob.ipadpt") is True
    (inner / "anna.ipadpt").unlink()
    assert list(saved_embeds()) == ["people/friends/bob.ipadpt"]


def test_no_name_is_refused_in_one_line():
    for wrong in ({}, {"embeds": None}):
        assert IPAdapterLoadEmbeds.validate_inputs(**wrong) == "no .ipadpt file is chosen"
    told = IPAdapterLoadEmbeds.validate_inputs(embeds=5)
    assert told.startswith("5 is no .ipadpt file")


@pytest.mark.parametrize("prefix", ["", "../x", "a/../../x", "/tmp/x"])
def test_only_the_output_folder_is_written_to(folders, prefix):
    message = message_of(save, torch.zeros(1, 32), prefix)
    assert message.endswith("is no name within the output folder; give one such as IP_embeds")
    assert list(folders.rglob("*.ipadpt")) == []


@pytest.mark.parametrize(
    "name",
    [
        *("gone.ipadpt", "../secret.ipadpt", "/etc/passwd", "notes.txt", ""),
        *("..\\secret.ipadpt", "people/../../secret.ipadpt [output]", "C:secret.ipadpt"),
        *("x\0.ipadpt", f"{300 * 'x'}.ipadpt"),
    ],
)
def test_other_files_are_out_of_reach(folders, name):
    (folders / "secret.ipadpt").write_bytes(b"x")
    (folders / "input" / "notes.txt").write_bytes(b"x")
    message = message_of(load, name)
    assert message == (
        f"embeds: {name} is no .ipadpt file in ComfyUI's input or output folder (any more)"
    )
    assert IPAdapterLoadEmbeds.validate_inputs(embeds=name) == message.split(": ", 1)[1]


def test_a_changed_file_is_read_again(folders):
    save(torch.zeros(1, 32))
    name, path = next(iter(saved_embeds().items()))
    assert IPAdapterLoadEmbeds.validate_inputs(embeds=name) is True
    before = IPAdapterLoadEmbeds.fingerprint_inputs(embeds=name)
    assert IPAdapterLoadEmbeds.fingerprint_inputs(embeds=name) == before
    torch.save(torch.ones(1, 32), path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert IPAdapterLoadEmbeds.fingerprint_inputs(embeds=name) != before
    assert load(name).all()


class Payload:
    def __reduce__(self):
        return os.system, ("touch payload-was-executed",)


class Eater:
    def __reduce__(self):
        return bytearray, (2**28,)


UNREADABLE = "cannot be read: it is damaged or holds more than EMBEDS; save them again"
CONTENTS = {
    "a program": (Payload(), UNREADABLE),
    "memory": ([torch.zeros(1, 32), Eater()], UNREADABLE),
    "a list": ([torch.zeros(1, 32)], "holds a list, no EMBEDS"),
    "names": ({"x": torch.zeros(1, 32)}, "holds a dict, no EMBEDS"),
    "numbers": (torch.zeros(1, 32, dtype=torch.int64), ": torch.int64 is no EMBEDS"),
    "not finite": (torch.full((1, 32), float("nan")), "contains infinity or NaN"),
    "one row": (torch.zeros(32), "has the shape [32]: EMBEDS are [images, width]"),
    "many dimensions": (torch.zeros(1, 1, 1, 1, 32), "has the shape [1, 1, 1, 1, 32]"),
    "no row": (torch.zeros(0, 32), "has the shape [0, 32]"),
    "larger than its file": (torch.zeros(1).expand(2**20, 2**20), "is damaged: its shape"),
    "sparse": (torch.zeros(2**10, 2**10).to_sparse(), "holds a torch.sparse_coo, no EMBEDS"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_contents_that_are_no_embeds_are_refused(folders, monkeypatch, what):
    monkeypatch.chdir(folders)
    content, expected = CONTENTS[what]
    torch.save(content, folders / "input" / "bad.ipadpt")
    message = message_of(load, "bad.ipadpt")
    assert message.startswith("bad.ipadpt")
    assert expected in message
    assert not (folders / "payload-was-executed").exists()


def test_files_that_are_no_archive_are_refused(folders, monkeypatch):
    monkeypatch.chdir(folders)
    path = folders / "input" / "bad.ipadpt"
    torch.save(torch.zeros(4, 32), path)
    content = path.read_bytes()
    middle = len(content) // 2
    for bad in (
        b"",
        b"<!DOCTYPE html>",
        pickle.dumps(Payload()),
        content[:middle],
        content[middle:],
        content.replace(b"torch", b"crash"),
        os.urandom(500),
    ):
        path.write_bytes(bad)
        assert message_of(load, "bad.ipadpt").startswith("bad.ipadpt")
    assert not (folders / "payload-was-executed").exists()


# Version 1


def v1_encode(image_1, **inputs):
    return IPAdapterEncoderV1.execute(clip_vision=ENCODER, image_1=image_1, **inputs)[0]


def v1_apply(loaded, embeds, **inputs):
    inputs = {"model": tiny.shared_model(), **inputs}
    return IPAdapterApplyEncoded.execute(ipadapter=loaded, embeds=embeds, **inputs)[0]


@pytest.mark.parametrize("ipadapter_plus", [False, True])
def test_version_1_squares_the_weights(ipadapter_plus):
    feature = KINDS["plus" if ipadapter_plus else "base"]
    one, two, four = pictures(1, 2), pictures(3), pictures(4)
    ours = v1_encode(
        one, image_2=two, image_4=four, weight_1=0.5, weight_2=1.0, weight_3=0.3, weight_4=0.0,
        ipadapter_plus=ipadapter_plus,
    )  # fmt: skip
    rows = seen(fit_to_encoder(torch.cat((one, two, four)), SIZE), feature)
    for i, weight in enumerate([0.25, 0.25, 1.0, 0.0]):
        assert_near(ours[0, i], rows[i] * weight, 1e-5)
    nothing = seen_pixels(torch.zeros(1, 3, SIZE, SIZE), feature)[0]
    for row in ours[1]:
        assert torch.equal(row, nothing if ipadapter_plus else torch.zeros(32))


@pytest.mark.parametrize("ipadapter_plus", [False, True])
def test_version_1s_noise_makes_the_negative(ipadapter_plus):
    feature = KINDS["plus" if ipadapter_plus else "base"]
    image = pictures(1, 2)
    ours = v1_encode(image, noise=0.3, weight_1=0.5, ipadapter_plus=ipadapter_plus)
    expected = seen(fit_to_encoder(distorted(image, 0.3), SIZE), feature)
    assert torch.equal(ours[1], expected)


def test_version_1_brings_pictures_to_the_size_of_the_first():
    one, two = tiny.picture(1, 80, 64), tiny.picture(2, 100, 200)
    scaled = comfy.utils.common_upscale(two.movedim(-1, 1), 64, 80, "bilinear", "center")
    batch = torch.cat((one, scaled.movedim(1, -1)))
    ours = v1_encode(one, image_2=two)
    assert torch.equal(ours, v1_encode(batch))
    assert not torch.allclose(ours[0, 1], v1_encode(two)[0, 0], atol=1e-4)


def test_version_1_reads_gray_and_alpha_pictures():
    one = tiny.picture(1)
    with_alpha = torch.cat((one, torch.rand(1, 64, 64, 1)), -1)
    gray = one[..., :1]
    ours = v1_encode(with_alpha, image_2=gray)
    assert torch.equal(ours, v1_encode(one, image_2=gray.expand(-1, -1, -1, 3)))


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_version_1s_chain_acts_as_apply_does(weight_type, noise):
    inputs = {"weight": 0.7, "weight_type": weight_type, "attn_mask": left_half()}
    for kind in ("base", "plus"):
        loaded = adapter(kind=kind)
        stack = v1_encode(pictures(1, 2), ipadapter_plus=kind == "plus", noise=noise)
        direct = apply(tiny.shared_model(), loaded, pictures(1, 2), noise=noise, **inputs)
        assert same(v1_apply(loaded, stack, **inputs), direct)


def test_version_1_unfolds_and_keeps_to_its_steps(plus):
    stack = v1_encode(pictures(1, 2), ipadapter_plus=True)
    inputs = {"unfold_batch": True, "start_at": 0.2, "end_at": 0.8}
    direct = apply(tiny.shared_model(), plus, pictures(1, 2), **inputs)
    assert same(v1_apply(plus, stack, **inputs), direct, batch=2, steps=4)


def test_version_1_is_not_asked_for_version_2s_ways(plus, monkeypatch):
    stack = v1_encode(pictures(1), ipadapter_plus=True)
    faithful = v1_apply(plus, stack)
    monkeypatch.setenv("IPADAPTER_REGIONS_COMPAT", "v2")
    assert same(v1_apply(plus, stack), faithful)


@pytest.mark.parametrize("ipadapter_plus", [False, True])
def test_version_1_puts_stacks_side_by_side(ipadapter_plus):
    inputs = {"noise": 0.2, "ipadapter_plus": ipadapter_plus}
    one, two = v1_encode(pictures(1), **inputs), v1_encode(pictures(2, 3), weight_1=0.5, **inputs)
    both = IPAdapterBatchEmbeds.execute(embed1=one, embed2=two)[0]
    assert both.shape == (2, 3, *one.shape[2:])
    for side in (0, 1):
        assert torch.equal(both[side], torch.cat((one[side], two[side])))


def test_version_1_refuses_what_is_not_its_own(base, plus):
    positive, _ = encode(plus, pictures(1, 2))
    assert "use IPAdapter Embeds" in message_of(v1_apply, plus, positive)
    assert "use IPAdapter Embeds" in message_of(v1_apply, base, encode(base, pictures(1))[0])
    stack = v1_encode(pictures(1, 2))
    message = message_of(v1_apply, plus, stack)
    assert message.startswith("embeds has the shape [2, 2, 32]; tiny.safetensors (IP-Adapter Plus)")
    assert "reads [2, images, tokens, 48]" in message
    assert message.endswith("encode with this encoder and ipadapter_plus on")
    message = message_of(v1_apply, base, v1_encode(pictures(1), ipadapter_plus=True))
    assert message.endswith("encode with this encoder and ipadapter_plus off")
    assert "[3, 2, 32]" in message_of(v1_apply, base, torch.zeros(3, 2, 32))
    assert "is a FaceID adapter" in message_of(v1_apply, adapter(kind="faceid"), stack)

    def batch(one, two):
        return IPAdapterBatchEmbeds.execute(embed1=one, embed2=two)

    assert "embed2 has the shape [1, 32]; version 1's" in message_of(batch, stack, stack[0, :1])
    message = message_of(batch, stack, v1_encode(pictures(1), ipadapter_plus=True))
    assert message.startswith("embed1 and embed2 do not go together")
    assert "clip_vision is not connected" in message_of(
        IPAdapterEncoderV1.execute, clip_vision=None, image_1=pictures(1)
    )
    nothing = torch.full((1, 8, 8, 3), float("nan"))
    assert "image_3 contains NaN" in message_of(v1_encode, pictures(1), image_3=nothing)


# Which version a graph that a program sends is of

V1_INPUTS = {
    "clip_vision": ["1", 0], "image_1": ["2", 0], "ipadapter_plus": True, "noise": 0.1,
    "weight_1": 1.0, "weight_2": 1.0, "weight_3": 1.0, "weight_4": 1.0,
}  # fmt: skip
V2_INPUTS = {"ipadapter": ["1", 0], "image": ["2", 0], "weight": 1.0}


def sent(class_type, inputs):
    return {"class_type": class_type, "inputs": inputs}


def test_version_1s_encoder_gets_an_id_of_its_own():
    json_data = {
        "client_id": "x",
        "prompt": {
            "1": sent("IPAdapterEncoder", V1_INPUTS),
            "2": sent("IPAdapterEncoder", V2_INPUTS),
            "3": sent("Other", {"image_1": ["2", 0]}),
        },
    }
    expected = copy.deepcopy(json_data)
    expected["prompt"]["1"]["class_type"] = "IPAdapterEncoderV1"
    assert prompts.tell_encoders_apart(json_data) == expected
    assert prompts.tell_encoders_apart(json_data) == expected


@pytest.mark.parametrize(
    "json_data",
    [
        None, [], "x", {}, {"prompt": None}, {"prompt": []}, {"prompt": {"1": None, "2": "x"}},
        {"prompt": {"1": {}, "2": {"class_type": "IPAdapterEncoder"}}},
        {"prompt": {"1": sent("IPAdapterEncoder", None), "2": sent(["a"], ["image_1"])}},
        {"prompt": {"1": sent("IPAdapterEncoder", ["image_1"])}},
    ],
)  # fmt: skip
def test_what_it_cannot_read_it_leaves_alone(json_data):
    before = copy.deepcopy(json_data)
    assert prompts.tell_encoders_apart(json_data) == before
    assert json_data == before


def test_it_is_registered_once(monkeypatch):
    server = object.__new__(prompts.PromptServer)
    server.on_prompt_handlers = []
    monkeypatch.setattr(prompts.PromptServer, "instance", server, raising=False)
    for _ in range(2):
        prompts.register()
    assert len(server.on_prompt_handlers) == 1
    json_data = {"prompt": {"1": sent("IPAdapterEncoder", dict(V1_INPUTS))}}
    renamed = server.trigger_on_prompt(json_data)
    assert renamed["prompt"]["1"]["class_type"] == "IPAdapterEncoderV1"
    monkeypatch.delattr(prompts.PromptServer, "instance")
    prompts.register()


def test_comfyui_accepts_both_encoders(monkeypatch):
    for node in (IPAdapterEncoder, IPAdapterEncoderV1):
        node_id = node.GET_SCHEMA().node_id
        monkeypatch.setitem(comfyui_nodes.NODE_CLASS_MAPPINGS, node_id, node)
    for inputs in (V1_INPUTS, V2_INPUTS):
        sent_to = {"prompt": {"5": sent("IPAdapterEncoder", inputs)}}
        prompt = prompts.tell_encoders_apart(sent_to)["prompt"]
        known = comfyui_nodes.NODE_CLASS_MAPPINGS[prompt["5"]["class_type"]].INPUT_TYPES()
        assert inputs.keys() <= {*known["required"], *known["optional"]}
        widgets = {k: v for k, v in inputs.items() if not isinstance(v, list)}
        prompt["5"]["inputs"] = widgets
        _, errors, _ = asyncio.run(execution.validate_inputs("id", prompt, "5", {}, None))
        assert len(errors) == len(inputs) - len(widgets)  # the sockets
        assert {error["type"] for error in errors} == {"required_input_missing"}
