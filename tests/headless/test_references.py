"""References as values: encoded, combined, saved and loaded."""

import asyncio
import errno
import os
import pickle
import resource
import signal
from pathlib import Path

import comfy.model_management
import comfy.utils
import execution
import folder_paths
import pytest
import safetensors.torch
import torch
from ipadapter_pack.ipadapter.combine import METHODS
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.noise import NOISES
from ipadapter_pack.ipadapter.preprocess import CLIP_MEAN, fit_to_encoder
from ipadapter_pack.ipadapter.reference import Features, PromptPair
from ipadapter_pack.ipadapter.saved import pack
from ipadapter_pack.nodes.loading.adapter import AdapterBundle, LoadedAdapter
from ipadapter_pack.nodes.references.encode import project
from ipadapter_pack.nodes.references.encode_nodes import CombineReferences, EncodeReference
from ipadapter_pack.nodes.references.provenance import made_with
from ipadapter_pack.nodes.references.saved import (
    FOLDER,
    LoadReference,
    SaveReference,
    saved_references,
    write_new,
)
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply
from ipadapter_pack.tests.near import assert_near
from torch.nn.functional import normalize

import nodes as comfyui_nodes

KINDS = ["base", "plus", "full"]
FACES = ["faceid", "faceid-plus", "portrait", "unnorm"]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request):
    return adapter(kind=request.param)


@pytest.fixture(scope="module")
def plus():
    return adapter(kind="plus")


def pictures(*seeds):
    return torch.cat([tiny.picture(seed) for seed in seeds])


def encode(loaded, image, **inputs):
    inputs = {"clip_vision": ENCODER, **inputs}
    return EncodeReference.execute(ipadapter=loaded, image=image, **inputs)[0]


def combine(loaded, *references, method="concat"):
    named = {f"reference_{i}": reference for i, reference in enumerate(references, 1)}
    return CombineReferences.execute(ipadapter=loaded, references=named, method=method)[0]


def face_reference(loaded, seed=0, faces=1, shortcut_scale=None):
    """What Encode FaceID would give, of random identities and views."""
    generator = torch.Generator().manual_seed(seed)
    face = torch.randn(faces, 512, generator=generator)
    face = normalize(face, dim=-1) if loaded.projection.face.normed else 20 * face
    clip = None
    if loaded.projection.feature is not None:
        clip = torch.randn(faces, 17, loaded.projection.width, generator=generator)
    positive = Features(clip, face, shortcut_scale)
    negative = Features(clip, torch.zeros_like(face), shortcut_scale)
    return made_with(project(loaded, PromptPair(positive, negative)), loaded)


def tensors_of(reference):
    return pack(reference)[0]


def assert_same(one, other):
    assert one.adapter == other.adapter
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [f.shortcut_scale for f in one.features] == [f.shortcut_scale for f in other.features]


def message_of(function, *arguments, **inputs):
    with pytest.raises(IPAdapterError) as caught:
        function(*arguments, **inputs)
    message = str(caught.value)
    assert "\n" not in message
    return message


class Counted:
    """The encoder, counting how often it is asked."""

    def __init__(self, monkeypatch):
        self.calls = 0
        encode_image = ENCODER.encode_image

        def counting(*arguments, **options):
            self.calls += 1
            return encode_image(*arguments, **options)

        monkeypatch.setattr(ENCODER, "encode_image", counting)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


# Encode Reference


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_reference_acts_as_its_pictures_would(loaded, noise):
    image = pictures(1, 2)
    model = tiny.shared_model()
    direct = apply(model, loaded, image, weight=0.7, noise=noise)
    reference = encode(loaded, image, noise=noise)
    through = apply(model, loaded, image=None, clip_vision=None, reference=reference, weight=0.7)
    assert torch.equal(tiny.sample(through), tiny.sample(direct))


def test_it_remembers_what_it_was_made_with(loaded):
    reference = encode(loaded, pictures(1))
    assert reference.adapter == (loaded.projection.name, "tiny.safetensors", loaded.digest)
    other = adapter(kind="plus", seed=1)
    message = message_of(
        apply, tiny.shared_model(), other, image=None, reference=reference, clip_vision=None
    )
    assert message.startswith("reference: it was made with tiny.safetensors (")


def test_the_loaders_encoder_is_used(loaded):
    brought = encode(AdapterBundle(loaded, ENCODER), pictures(1), clip_vision=None)
    assert_same(brought, encode(loaded, pictures(1)))


@pytest.mark.parametrize("text", ["0.5, 2, -1", "0.5,2.0,-1.0 ", "5e-1,2,-1,7"])
def test_weights_scale_what_the_encoder_saw(loaded, text):
    plain, weighted = (encode(loaded, pictures(1, 2, 3), weights=w) for w in ("1.0", text))
    for i, weight in enumerate([0.5, 2.0, -1.0]):
        expected = (plain.features.positive.clip[i].double() * weight).float()
        assert torch.equal(weighted.features.positive.clip[i], expected)
    assert torch.equal(weighted.negative, plain.negative)
    expected = project(loaded, weighted.features).positive
    assert torch.equal(weighted.positive, expected)


def test_the_last_weight_is_for_all_that_follow(plus):
    ours = encode(plus, pictures(1, 2, 3), weights="1, 0.5")
    assert_same(ours, encode(plus, pictures(1, 2, 3), weights="1, 0.5, 0.5"))
    assert_same(encode(plus, pictures(1), weights=" "), encode(plus, pictures(1)))


@pytest.mark.parametrize(
    ("text", "wrong"), [("1,,2", ""), ("a", "a"), ("1; 2", "1; 2"), ("nan", "nan"), ("1e9", "1e9")]
)
def test_weights_that_are_none(plus, counted, text, wrong):
    message = message_of(encode, plus, tiny.picture(77), weights=text)
    assert message.startswith(f"weights: {wrong!r} is no number from -10 to 10; give one per")
    assert counted.calls == 0


def test_weights_for_pictures_that_are_not_there_are_said(plus, caplog):
    encode(plus, pictures(1, 2), weights="1, 2, 3")
    assert "weights: 3 numbers, pictures: 2; the last are not used" in caplog.text


def test_sweeping_weights_and_ratio_encodes_nothing(plus, counted):
    image = pictures(50, 51)
    inputs = {"noise": 0.2, "enhance_tiles": 2}
    first = encode(plus, image, **inputs)
    assert counted.calls == 2 + 2 + 2 * 4  # the pictures, their negatives, their tiles
    second = encode(plus, image, weights="0.5", enhance_ratio=0.1, **inputs)
    assert counted.calls == 12
    assert not torch.equal(first.positive, second.positive)
    encode(plus, image, **{**inputs, "enhance_tiles": 3})
    assert counted.calls == 12 + 2 * 9


@pytest.mark.parametrize("kind", NOISES)
def test_noise_makes_the_negative(loaded, kind):
    image = pictures(1, 2)
    ours = encode(loaded, image, noise=0.4, noise_type=kind)
    assert_same(ours, encode(loaded, image, image_negative=NOISES[kind].value(image, 0.4)))
    assert not torch.equal(ours.negative, encode(loaded, image).negative)


def test_a_negative_picture_replaces_noise(plus):
    image, negative = pictures(1, 2, 3), pictures(4, 5)
    ours = encode(plus, image, image_negative=negative, noise=0.5)
    expected = encode(plus, pictures(4, 5, 5)).positive
    assert torch.equal(ours.negative, expected)


@pytest.mark.parametrize("noise_type", NOISES)
@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(plus, channels, noise_type):
    """Gray is read as colors; what is transparent is nothing to CLIP."""
    image = torch.rand(1, 70, 60, channels, generator=torch.Generator().manual_seed(channels))
    rgb = image[..., :3].expand(-1, -1, -1, 3)
    if channels == 4:
        image[..., 3] = image[..., 3].round()
        rgb = torch.where(image[..., 3:] == 1, rgb, torch.tensor(CLIP_MEAN))
    inputs = {"enhance_tiles": 2, "noise": 0.3, "noise_type": noise_type}
    assert_same(encode(plus, image, **inputs), encode(plus, rgb, **inputs))


def tiles_by_hand(image, feature, tiles):
    """Each tile encoded by itself, and averaged in float64; the picture is square."""
    side = image.shape[1] // tiles
    seen = {}
    for row in range(tiles):
        for column in range(tiles):
            y, x = row * side, column * side
            tile = fit_to_encoder(image[:, y : y + side, x : x + side], 56)
            seen[row, column] = ENCODER.encode_image(tile)[feature][0].double()
    mean = sum(seen.values()) / tiles**2
    if feature == "image_embeds":
        return mean[None]
    tokens = [mean[0]]
    for y in range(4):
        for x in range(4):
            cell = torch.zeros(48, dtype=torch.float64)
            for sub_y in range(y * tiles, (y + 1) * tiles):
                for sub_x in range(x * tiles, (x + 1) * tiles):
                    tile = seen[sub_y // 4, sub_x // 4]
                    cell += tile[1 + sub_y % 4 * 4 + sub_x % 4]
            tokens.append(cell / tiles**2)
    return torch.stack(tokens)[None]


@pytest.mark.parametrize("tiles", [2, 3])
def test_the_enhancer_mixes_in_what_tiles_show(loaded, tiles):
    image = tiny.picture(9, 192, 192)
    whole = encode(loaded, image).features.positive.clip.double()
    expected = 0.7 * whole + 0.3 * tiles_by_hand(image, loaded.projection.feature, tiles)
    ours = encode(loaded, image, enhance_tiles=tiles, enhance_ratio=0.3)
    assert_near(ours.features.positive.clip, expected, 1e-5, effect=expected - whole)


def test_the_enhancer_is_off_with_one_tile_or_no_part(plus, counted):
    plain = encode(plus, pictures(60))
    assert_same(encode(plus, pictures(60), enhance_tiles=1, enhance_ratio=1.0), plain)
    assert_same(encode(plus, pictures(60), enhance_tiles=8, enhance_ratio=0.0), plain)
    assert counted.calls == 1


def test_more_tiles_than_pixels(plus):
    message = message_of(encode, plus, torch.rand(1, 9, 30, 3), enhance_tiles=16)
    assert message.startswith("enhance_tiles is 16, more than the 9 pixels")


def test_it_asks_for_the_face_nodes():
    message = message_of(encode, adapter(kind="faceid"), pictures(1))
    assert "tiny.safetensors is a FaceID adapter, which reads faces" in message


def test_it_needs_an_encoder_and_pictures(plus):
    assert "clip_vision is not connected" in message_of(encode, plus, pictures(1), clip_vision=None)
    assert "image is an empty batch" in message_of(encode, plus, torch.zeros(0, 8, 8, 3))
    nothing = torch.full((1, 8, 8, 3), float("nan"))
    assert "image_negative contains NaN" in message_of(
        encode, plus, pictures(1), image_negative=nothing
    )


# Progress and interruption


@pytest.fixture
def progress():
    """(how many are done, of how many), as it is shown."""
    shown = []
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview=None, **_: shown.append((value, total))
    )
    yield shown
    comfy.utils.set_progress_bar_global_hook(None)


def test_progress_is_shown_picture_by_picture_and_tile_by_tile(progress):
    encode(adapter(), tiny.picture(3, batch=5))
    assert progress[0] == (1, 5)
    assert progress[-1] == (5, 5)
    progress.clear()
    encode(adapter(), tiny.picture(3, batch=2), enhance_tiles=4)
    assert [total for _, total in progress if total == 16]
    assert progress.count((16, 16)) == 2


@pytest.mark.parametrize("inputs", [{}, {"enhance_tiles": 4}])
def test_it_can_be_interrupted_and_run_again(counted, monkeypatch, inputs):
    """In the middle: the third encoding asks for it."""
    fresh = adapter()
    image = tiny.picture(4, batch=5) if not inputs else tiny.picture(4)
    encode_image = ENCODER.encode_image

    def interrupting(*arguments):
        if counted.calls == 2:
            comfy.model_management.interrupt_current_processing(True)
        return encode_image(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ENCODER, "encode_image", interrupting)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            encode(fresh, image, **inputs)
    assert counted.calls == 3
    assert_same(encode(fresh, image, **inputs), encode(adapter(), image, **inputs))


# Combine References


def test_concat_acts_as_a_batch_would(loaded):
    model = tiny.shared_model()
    one, two = encode(loaded, pictures(1)), encode(loaded, pictures(2, 3))
    both = combine(loaded, one, two)
    together = encode(loaded, pictures(1, 2, 3))
    for name, tensor in tensors_of(both).items():
        assert_near(tensor, tensors_of(together)[name], 1e-5)
    assert both.adapter == together.adapter
    through = apply(model, loaded, image=None, reference=both, clip_vision=None)
    direct = tiny.sample(apply(model, loaded, pictures(1, 2, 3)))
    assert_near(tiny.sample(through), direct, 1e-4, effect=direct - tiny.sample(model))


def test_concat_of_one_is_that_one(loaded):
    one = encode(loaded, pictures(1, 2))
    assert_same(combine(loaded, one), one)


def test_the_order_is_that_of_the_inputs(plus):
    one, two = encode(plus, pictures(1)), encode(plus, pictures(2))
    assert torch.equal(combine(plus, two, one).positive, torch.cat([two.positive, one.positive]))
    forth, back = (combine(plus, *pair, method="subtract") for pair in ((one, two), (two, one)))
    torch.testing.assert_close(forth.features.positive.clip, -back.features.positive.clip)


@pytest.mark.parametrize("method", METHODS)
def test_features_are_mixed_before_they_are_projected(loaded, method):
    one, two = encode(loaded, pictures(1, 2), noise=0.3), encode(loaded, pictures(3), noise=0.2)
    rows = torch.cat([one.features.positive.clip, two.features.positive.clip])
    ours = combine(loaded, one, two, method=method)
    assert torch.equal(ours.features.positive.clip, METHODS[method].value(rows)[None])
    expected = project(
        loaded, PromptPair(ours.features.positive, Features(one.features.negative.clip[:1]))
    )
    assert torch.equal(ours.positive, expected.positive)
    assert torch.equal(ours.negative, expected.negative)  # the first picture's
    assert ours.adapter == one.adapter
    assert tiny.sample(
        apply(tiny.shared_model(), loaded, image=None, reference=ours, clip_vision=None)
    ).isfinite().all()  # fmt: skip


@pytest.mark.parametrize("method", ["average", "max", "min"])
def test_of_two_equal_ones_it_is_the_one(loaded, method):
    one = encode(loaded, pictures(1))
    for ours in (combine(loaded, one, one, method=method), combine(loaded, one, method=method)):
        assert_near(ours.positive, one.positive, 1e-5)
        assert torch.equal(ours.negative, one.negative)


def test_pictures_of_different_sizes(plus):
    wide, high = tiny.picture(1, 40, 90), tiny.picture(2, 120, 64)
    both = combine(plus, encode(plus, wide), encode(plus, high))
    assert both.positive.shape == (2, 16, 64)


@pytest.mark.parametrize("kind", FACES)
@pytest.mark.parametrize("method", METHODS)
def test_identities_stay_of_the_length_that_the_family_reads(kind, method):
    loaded = adapter(kind=kind)
    one, two = face_reference(loaded, 1, faces=2), face_reference(loaded, 2)
    ours = combine(loaded, one, two, method=method).features.positive.face
    assert ours.shape == (1, 512)
    rows = torch.cat([one.features.positive.face, two.features.positive.face])
    expected = METHODS[method].value(rows)[None]
    if loaded.projection.face.normed:
        torch.testing.assert_close(ours.norm(), torch.tensor(1.0))
        expected = normalize(expected, dim=-1)
    assert torch.equal(ours, expected)


def test_structure_is_kept_and_must_agree():
    loaded = adapter(kind="faceid-plus")
    one, two = (
        face_reference(loaded, 1, shortcut_scale=0.5),
        face_reference(loaded, 2, shortcut_scale=0.5),
    )
    for method in ("concat", "average"):
        assert combine(loaded, one, two, method=method).features.positive.shortcut_scale == 0.5
    other = face_reference(loaded, 3, shortcut_scale=1.0)
    message = message_of(combine, loaded, one, two, other)
    assert message.startswith("reference_1 and reference_3 do not go together")
    assert "weight_v2 0.5" in message
    assert "weight_v2 1;" in message


def test_references_of_another_adapter_are_refused(plus):
    other = adapter(kind="plus", seed=5)
    message = message_of(combine, plus, encode(plus, pictures(1)), encode(other, pictures(1)))
    assert message.startswith(
        "reference_2: it was made with tiny.safetensors (IP-Adapter Plus), not"
    )


def test_encoders_with_other_grids_are_not_mixed():
    full = adapter(kind="full")
    larger = tiny.clip_vision(image_size=70)
    one, two = encode(full, pictures(1)), encode(full, pictures(1), clip_vision=larger)
    message = message_of(combine, full, one, two)
    assert "reference_1 has 17 x 48 CLIP features" in message
    assert "reference_2 has 26 x 48 CLIP features" in message


def test_nothing_to_combine(plus):
    assert "references: none is connected" in message_of(combine, plus)
    assert "a str is no reference" in message_of(combine, plus, "x")


@pytest.fixture
def registered(monkeypatch):
    """The nodes under their ids, as a loaded pack has them."""
    ours = (EncodeReference, CombineReferences, SaveReference, LoadReference)
    for node in ours:
        node_id = node.GET_SCHEMA().node_id
        monkeypatch.setitem(comfyui_nodes.NODE_CLASS_MAPPINGS, node_id, node)


def test_comfyui_hands_over_a_growing_number_of_inputs(plus, registered):
    """As its executor does it, from what an API client sends."""
    connected = {f"references.reference_{i}": ["1", 0] for i in (1, 2, 12)}
    inputs = {"ipadapter": ["0", 0], "method": "concat", **connected}
    given = {f"references.reference_{i}": encode(plus, pictures(i)) for i in (1, 2, 12)}

    async def run():
        data, _, v3 = execution.get_input_data(inputs, CombineReferences, "2")
        data |= {name: [reference] for name, reference in given.items()} | {"ipadapter": [plus]}
        results = await execution._async_map_node_over_list(
            "prompt", "2", CombineReferences, data, "EXECUTE_NORMALIZED", v3_data=v3
        )
        return await execution.resolve_map_node_over_list_results(results)

    (output,) = asyncio.run(run())
    assert_same(output[0], combine(plus, *given.values()))


# Save Reference, Load Reference


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for kind in ("input", "output"):
        (tmp_path / kind).mkdir()
        monkeypatch.setattr(folder_paths, f"{kind}_directory", str(tmp_path / kind))
    return tmp_path


def save(reference, prefix=f"{FOLDER}/anna"):
    """The file that it has written."""
    (saved,) = SaveReference.execute(reference=reference, filename_prefix=prefix).ui["references"]
    return saved["subfolder"], saved["filename"]


def load(loaded, name="anna_00001_.safetensors [output]"):
    return LoadReference.execute(ipadapter=loaded, reference_file=name)[0]


def test_saved_and_loaded_is_the_same(loaded, folders):
    reference = encode(loaded, pictures(1, 2), noise=0.3, weights="0.5, 1")
    assert SaveReference.execute(reference=reference)[0] is reference
    back = load(loaded, "reference_00001_.safetensors [output]")
    assert_same(back, reference)
    model = tiny.shared_model()
    direct, through = (
        tiny.sample(apply(model, loaded, image=None, clip_vision=None, reference=r))
        for r in (reference, back)
    )
    assert torch.equal(direct, through)
    averaged = [combine(loaded, r, method="average") for r in (reference, back)]
    assert torch.equal(averaged[0].positive, averaged[1].positive)


@pytest.mark.parametrize("shortcut_scale", [None, 0.1])
@pytest.mark.parametrize("kind", FACES)
def test_faces_are_saved_with_their_structure(folders, kind, shortcut_scale):
    loaded = adapter(kind=kind)
    if kind != "faceid-plus" and shortcut_scale is not None:
        return
    reference = face_reference(loaded, 1, faces=2, shortcut_scale=shortcut_scale)
    save(reference)
    assert_same(load(loaded), reference)


def test_the_notes_say_what_it_belongs_to(plus, folders):
    save(encode(plus, pictures(1)))
    path = saved_references()["anna_00001_.safetensors [output]"]
    with safetensors.safe_open(str(path), "pt") as file:
        notes = file.metadata()
    assert notes == {
        "format": "ipadapter reference",
        "version": "1",
        "family": "IP-Adapter Plus",
        "file": "tiny.safetensors",
        "digest": plus.digest,
        "encoder": "penultimate_hidden_states, 48 wide",
    }


def test_nothing_is_overwritten(plus, folders):
    one, two = encode(plus, pictures(1)), encode(plus, pictures(2))
    assert save(one) == (FOLDER, "anna_00001_.safetensors")
    assert save(two) == (FOLDER, "anna_00002_.safetensors")
    assert_same(load(plus), one)
    assert_same(load(plus, "anna_00002_.safetensors [output]"), two)


def test_a_file_that_appears_meanwhile_is_not_overwritten(plus, folders, monkeypatch):
    reference = encode(plus, pictures(1))
    save(reference)
    monkeypatch.setattr(os, "listdir", lambda folder: [])  # what ComfyUI numbers by
    assert save(reference) == (FOLDER, "anna_00002_.safetensors")


@pytest.fixture
def full_disk():
    """No file grows beyond 4 KiB: the real error of a write that ends in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(folders, full_disk):
    message = message_of(write_new, bytes(5000), "anna")
    assert message.startswith("filename_prefix 'anna': ")
    assert list(folders.rglob("*.*")) == []


def test_a_kill_in_the_middle_leaves_nothing_that_is_listed(folders, full_disk):
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # kills at the limit
        write_new(bytes(5000), f"{FOLDER}/anna")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGXFSZ
    assert list(folders.rglob("*.part"))
    assert saved_references() == {}


def no_links(*names):
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_another_run_takes_meanwhile_stays_its_own(folders, monkeypatch, links):
    """Also on a file system without hard links, which none here is."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    output = folders / "output"
    (output / "anna_00001_.safetensors").write_bytes(b"theirs")
    monkeypatch.setattr(os, "listdir", lambda folder: [])  # what ComfyUI numbers by
    path, _ = write_new(b"ours", "anna")
    assert path.name == "anna_00002_.safetensors"
    files = [Path(file) for file in os.scandir(output)]
    assert sorted(file.read_bytes() for file in files) == [b"ours", b"theirs"]


def test_the_menu_lists_both_folders_and_nothing_else(plus, folders):
    reference = encode(plus, pictures(1))
    save(reference)
    save(reference, f"{FOLDER}/friends/bob")
    save(reference, "elsewhere/carl")
    there = folders / "input" / FOLDER
    there.mkdir()
    (there / "dora.safetensors").write_bytes(b"")
    (there / "notes.txt").write_text("x")
    (there / "folder.safetensors").mkdir()
    menu = [
        "dora.safetensors [input]",
        "anna_00001_.safetensors [output]",
        "friends/bob_00001_.safetensors [output]",
    ]
    assert list(saved_references()) == menu
    inputs = LoadReference.INPUT_TYPES()["required"]
    assert inputs["reference_file"][1]["options"] == menu
    assert_same(load(plus, menu[2]), reference)


def test_a_place_that_is_not_listed_is_said(plus, folders, caplog):
    save(encode(plus, pictures(1)))
    assert not caplog.text
    save(encode(plus, pictures(1)), "carl")
    assert "Load Reference lists only files in the folder ipadapter_references" in caplog.text


@pytest.mark.parametrize("prefix", ["", "  ", "../x", "a/../../x", "/tmp/x"])
def test_only_the_output_folder_is_written_to(plus, folders, prefix):
    before = sorted(folders.rglob("*"))
    message = message_of(save, encode(plus, pictures(1)), prefix)
    assert message.startswith(f"filename_prefix {prefix!r} is no name within the output folder")
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    [
        "gone.safetensors [output]",
        "../../secret.safetensors [output]",
        "../secret.safetensors [input]",
        "secret.safetensors [temp]",
        "/etc/passwd",
        "",
    ],
)
def test_other_files_are_out_of_reach(plus, folders, name):
    save(encode(plus, pictures(1)), "secret")
    (folders / "secret.safetensors").write_bytes(b"x")
    (folders / "input" / "secret.safetensors").write_bytes(b"x")
    message = message_of(load, plus, name)
    where = "is not in the folder ipadapter_references of ComfyUI's input or output folder (any"
    assert message == f"reference_file: {name} {where} more)"
    assert LoadReference.validate_inputs(reference_file=name) == message.split(": ", 1)[1]


def test_comfyui_refuses_a_missing_file_before_it_runs(folders, registered, plus):
    prompt = {
        "1": {
            "class_type": "IPAdapterLoadReference",
            "inputs": {"reference_file": "anna_00001_.safetensors [output]"},
        },
        "2": {"class_type": "IPAdapterSaveReference", "inputs": {"reference": ["1", 0]}},
    }

    def errors():
        prompt["2"]["inputs"]["filename_prefix"] = "x"
        _, _, _, node_errors = asyncio.run(execution.validate_prompt("id", prompt, None))
        found = [e for node in node_errors.values() for e in node["errors"]]
        return [e["details"] for e in found if e["type"] != "required_input_missing"]

    (details,) = errors()
    assert details.startswith("reference_file - anna_00001_.safetensors [output] is not in the")
    save(encode(plus, pictures(1)))
    assert errors() == []


def test_a_changed_file_is_read_again(plus, folders):
    save(encode(plus, pictures(1)))
    name, path = next(iter(saved_references().items()))
    before = LoadReference.fingerprint_inputs(reference_file=name, ipadapter=None)
    assert LoadReference.fingerprint_inputs(reference_file=name) == before
    other = encode(plus, pictures(2))
    path.write_bytes(safetensors.torch.save(*pack(other)))
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert LoadReference.fingerprint_inputs(reference_file=name) != before
    assert_same(load(plus), other)


def test_a_renamed_adapter_is_the_same_and_another_is_not(plus, folders):
    save(encode(plus, pictures(1)))
    file = tiny.adapter_file(tiny.widths(tiny.shared_model()), "plus")
    assert load(LoadedAdapter(file, "renamed.safetensors")).positive.shape == (1, 16, 64)
    for other in (adapter(kind="plus", seed=1), adapter(kind="base"), adapter(kind="faceid")):
        message = message_of(load, other)
        assert message.startswith("reference: it was made with tiny.safetensors (IP-Adapter Plus)")


def test_a_reference_of_unknown_origin_is_not_saved(plus, folders):
    bare = project(plus, encode(plus, pictures(1)).features)
    assert "does not say which adapter it was made with" in message_of(save, bare)


def without(name):
    return lambda tensors, notes: (
        {key: tensor for key, tensor in tensors.items() if key != name},
        notes,
    )


def changed(name, change):
    return lambda tensors, notes: ({**tensors, name: change(tensors[name]).contiguous()}, notes)


def noted(**new):
    return lambda tensors, notes: (tensors, {**notes, **new})


def poisoned(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.flatten()[7] = value
        return tensor

    return change


HOSTILE = {
    "not finite": (changed("positive", poisoned(float("nan"))), "positive contains infinity or NaN"),
    "infinite": (changed("negative.clip", poisoned(float("inf"))), "negative.clip contains infin"),
    "no features": (without("negative.clip"), "negative.clip is missing"),
    "no tokens": (without("positive"), "is no saved reference"),
    "a face": (
        lambda tensors, notes: ({**tensors, "positive.face": torch.zeros(2, 512)}, notes),
        "positive.face belongs to no reference of this adapter",
    ),
    "other tensors": (
        lambda tensors, notes: ({**tensors, "x" * 500: torch.zeros(1)}, notes),
        "xxx belongs to no",
    ),
    "too wide": (
        changed("positive", lambda t: torch.cat([t, t], -1)),
        "positive is float32 [2, 16, 128], not float32 [any, any, 64]",
    ),
    "half": (changed("positive.clip", lambda t: t.half()), "positive.clip is float16 [2, 17, 48]"),
    "flat": (changed("positive", lambda t: t.flatten()), "positive is float32 [2048], not"),
    "a number": (changed("positive", lambda t: t.sum()), "positive is float32 [], not"),
    "empty": (changed("negative", lambda t: t[:0]), "negative is float32 [0, 16, 64], not"),
    "fewer pictures": (changed("negative", lambda t: t[:1]), "negative does not go with its other"),
    "fewer features": (
        lambda tensors, notes: (
            {**tensors, **{f"{s}.clip": tensors[f"{s}.clip"][:1] for s in ("positive", "negative")}},
            notes,
        ),
        ".clip does not go with its other tensors",
    ),
    "no notes": (lambda tensors, notes: (tensors, {}), "is no saved reference; choose one that"),
    "newer": (noted(version="2"), "was saved by a newer version (format 2, this one reads 1)"),
    "no digest": (
        lambda tensors, notes: (tensors, {k: v for k, v in notes.items() if k != "digest"}),
        "it was made with tiny.safetensors (IP-Adapter Plus), not with tiny.safetensors",
    ),
    "shortcut_scale": (noted(shortcut_scale="much"), "its weight_v2 is no number"),
    "endless shortcut_scale": (noted(shortcut_scale="inf"), "its weight_v2 is no number"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_contents_that_do_not_fit_are_refused(plus, folders, what):
    change, expected = HOSTILE[what]
    save(encode(plus, pictures(1, 2)))
    path = next(iter(saved_references().values()))
    path.write_bytes(safetensors.torch.save(*change(*pack(encode(plus, pictures(1, 2))))))
    message = message_of(load, plus)
    assert expected in message
    assert message.startswith("anna_00001_.safetensors ") or what == "no digest"


class Payload:
    def __reduce__(self):
        return os.system, ("touch payload-was-executed",)


def test_files_that_are_no_safetensors_are_refused(plus, folders, monkeypatch):
    monkeypatch.chdir(folders)
    save(encode(plus, pictures(1)))
    path = next(iter(saved_references().values()))
    content = path.read_bytes()
    adapter_file = tiny.adapter_file([32])["image_proj"]
    for bad in (
        pickle.dumps(Payload()),
        b"",
        b"<!DOCTYPE html>",
        content[: len(content) // 2],
        content[:100],
        content + b"more",
        (2**60).to_bytes(8, "little") + content[8:],
        os.urandom(500),
        safetensors.torch.save({k: t.contiguous() for k, t in adapter_file.items()}),
    ):
        path.write_bytes(bad)
        message = message_of(load, plus)
        assert message.startswith("anna_00001_.safetensors ")
        assert "download it again" not in message
    torch.save({"positive": Payload()}, path)
    assert message_of(load, plus).startswith("anna_00001_.safetensors ")
    assert not (folders / "payload-was-executed").exists()


@pytest.mark.parametrize("part", [0.5, 0.99])
def test_a_file_that_is_cut_short_is_to_be_saved_again(plus, folders, part):
    save(encode(plus, pictures(1)))
    path = next(iter(saved_references().values()))
    os.truncate(path, int(part * path.stat().st_size))
    assert message_of(load, plus).endswith("; save the reference again")


def test_a_pickle_in_a_value_of_the_header_is_text_only(plus, folders):
    """Notes are compared and shown, nothing else."""
    save(encode(plus, pictures(1)))
    path = next(iter(saved_references().values()))
    tensors, notes = pack(encode(plus, pictures(1)))
    notes |= {"file": "../../etc/passwd", "family": "x", "digest": "y", "extra": "z"}
    path.write_bytes(safetensors.torch.save(tensors, notes))
    assert "it was made with ../../etc/passwd (x), not with" in message_of(load, plus)
