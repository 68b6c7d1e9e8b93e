"""Load InsightFace and reading faces, with the real insightface and a tiny model folder."""

import gc
import logging
import os
import socket
import sys
import urllib.request
import warnings
import weakref
from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.faces import FaceChoice, FaceRequest
from ipadapter_pack.nodes.loading import insightface
from ipadapter_pack.nodes.loading import insightface_models as face_models
from ipadapter_pack.workflows.tiny import faces as tiny_faces

PICTURE = tiny_faces.picture(
    [("red", 300, 40, 40), ("green", 60, 200, 90), ("blue", 400, 160, 200)]
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whoever reaches for the network fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a loader used the network")

    import requests

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests.Session, "request", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty models/insightface."""
    folder = tmp_path / "models" / "insightface"
    folder.mkdir(parents=True)
    known = {**folder_paths.folder_names_and_paths, "insightface": ([str(folder)], set())}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tiny_faces.build(tmp_path_factory.mktemp("faces") / "tiny")
    face_analysis = face_models.import_insightface()
    return face_models.read_folder(face_analysis, str(folder), ["CPUExecutionProvider"], "tiny")


def load(provider="CPU", model_name="buffalo_l"):
    return insightface.IPAdapterInsightFaceLoader.execute(provider, model_name).args[0]


def read(app, picture=PICTURE, number=1, select="largest", index=0, crop="aligned", size=112):
    request = FaceRequest(FaceChoice(select, index), crop, size)
    return insightface.read_faces(app, picture[0], number, request)


def bgr(picture):
    return np.ascontiguousarray((picture[0].numpy() * 255).round().astype(np.uint8)[..., ::-1])


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def alone(color, seed=0):
    return tiny_faces.picture([(color, 100, 100, 150)], seed=seed)


# The node


def test_words_that_saved_graphs_depend_on(root):
    schema = insightface.IPAdapterInsightFaceLoader.GET_SCHEMA()
    assert schema.node_id == "IPAdapterInsightFaceLoader"
    assert schema.display_name == "Load InsightFace"
    assert schema.category == "IPAdapter Regions/advanced"
    assert "non-commercial research" in schema.description
    provider, model_name = schema.inputs
    assert (provider.id, provider.default) == ("provider", "CPU")
    assert provider.options == ["CPU", "CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML"]
    assert (model_name.id, model_name.default) == ("model_name", "buffalo_l")
    assert model_name.options == ["buffalo_l", "antelopev2"]
    assert schema.outputs[0].io_type == "INSIGHTFACE"
    assert all(socket.tooltip for socket in [*schema.inputs, *schema.outputs])
    docs = Path(insightface.__file__).parents[1] / "web" / "docs" / f"{schema.node_id}.md"
    text = docs.read_text()
    assert text.startswith(f"# {schema.display_name}\n")
    assert "non-commercial research" in text
    assert all(f"| {widget.id} |" in text for widget in schema.inputs)


def test_further_folders_are_offered_after_the_published(root):
    tiny_faces.build(root / "models" / "mine")
    tiny_faces.build(root / "flat")
    tiny_faces.build(root / "models" / "zipped" / "zipped")
    (root / "models" / "empty").mkdir()
    (root / "inswapper_128.onnx").write_bytes(b"another pack's")
    expected = ["buffalo_l", "antelopev2", "mine", "zipped", "flat"]
    assert face_models.model_names() == expected


# Finding the folder


@pytest.mark.parametrize("place", ["models/buffalo_l", "buffalo_l", "models/buffalo_l/buffalo_l"])
def test_the_folder_is_found_where_people_put_it(root, place):
    tiny_faces.build(root / place)
    app = load()
    assert set(app.models) == {"detection", "recognition"}
    assert len(read(app)) == 1


def test_an_absolute_folder_beside_models_is_found(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    folder_paths.add_model_folder_path("insightface", str(elsewhere))
    tiny_faces.build(elsewhere / "models" / "antelopev2")
    assert Path(load(model_name="antelopev2").model_dir).is_relative_to(elsewhere)


@pytest.mark.parametrize("exists", [False, True])
def test_a_missing_or_empty_folder_says_which_files_belong_where(root, exists):
    folder = root / "models" / "buffalo_l"
    if exists:
        folder.mkdir(parents=True)
    with pytest.raises(IPAdapterError) as error:
        load()
    message = str(error.value)
    assert message.startswith(f"{folder} has no .onnx files: put det_10g.onnx and w600k_r50.onnx")
    assert "buffalo_l.zip" in message
    assert "\n" not in message
    with pytest.raises(IPAdapterError, match=r"scrfd_10g_bnkps\.onnx and glintr100\.onnx"):
        load(model_name="antelopev2")


@pytest.mark.parametrize(("file", "missing"), [("det", "finds"), ("rec", "recognizes")])
def test_half_a_folder_says_which_half_is_missing(root, file, missing):
    folder = tiny_faces.build(root / "models" / "buffalo_l")
    (folder / f"{file}.onnx").unlink()
    with pytest.raises(IPAdapterError, match=f"has no model that {missing} faces: put det_10g"):
        load()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"version https://git-lfs"])
def test_a_broken_file_is_named(root, content):
    folder = tiny_faces.build(root / "models" / "buffalo_l")
    (folder / "rec.onnx").write_bytes(content)
    with pytest.raises(
        IPAdapterError, match=r"rec\.onnx cannot be read.*download it again"
    ) as error:
        load()
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_short_is_named(root):
    folder = tiny_faces.build(root / "models" / "buffalo_l")
    os.truncate(folder / "det.onnx", 5000)
    with pytest.raises(IPAdapterError, match=r"det\.onnx cannot be read"):
        load()


def test_a_path_that_insightface_cannot_read_is_named(root):
    tiny_faces.build(root / "models" / "mine [new]")
    with pytest.raises(IPAdapterError, match=r"mine \[new\].*rename"):
        load(model_name="mine [new]")


def test_names_stay_inside_the_model_folders(root, tmp_path):
    tiny_faces.build(tmp_path / "outside")
    with pytest.raises(IPAdapterError, match=r"no \.onnx files"):
        load(model_name="../../outside")


def test_a_folder_of_that_name_where_comfyui_runs_is_not_taken(root, tmp_path, monkeypatch):
    tiny_faces.build(root / "models" / "buffalo_l")
    (tmp_path / "cwd" / "buffalo_l").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    assert Path(load().model_dir) == root / "models" / "buffalo_l"


# What stays in memory


def test_a_folder_in_use_is_loaded_once(root):
    folder = tiny_faces.build(root / "models" / "buffalo_l")
    first = load()
    assert load() is first
    os.utime(folder / "rec.onnx", (1, 1))
    assert load() is not first


def test_nothing_is_kept_that_nobody_uses(root):
    tiny_faces.build(root / "models" / "buffalo_l")
    app = weakref.ref(load())
    gc.collect()
    assert app() is None


# Providers


@pytest.mark.parametrize("provider", ["CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML"])
def test_a_provider_that_is_missing_is_said_aloud(root, caplog, monkeypatch, provider):
    import onnxruntime

    _, wanted, package = face_models.PROVIDERS[provider]
    there = set(onnxruntime.get_available_providers()) - set(wanted)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(there))
    tiny_faces.build(root / "models" / "buffalo_l")
    with caplog.at_level(logging.WARNING):
        app = load(provider)
    assert app.det_model.session.get_providers() == ["CPUExecutionProvider"]
    (said,) = [r.getMessage() for r in caplog.records if "IPAdapter Regions" in r.getMessage()]
    assert f"provider {provider}" in said
    assert "faces run on the CPU" in said
    if package:
        assert f'"{sys.executable}" -m pip install {package}' in said
    assert load("CPU") is app


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_said_aloud(root, caplog, monkeypatch):
    """onnxruntime drops it when the session is made, and goes on."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
    absent = ((p, row.names[0]) for p, row in face_models.PROVIDERS.items() if row.names)
    provider, name = next((p, name) for p, name in reversed(list(absent)) if name not in there)
    listed = [name, "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    tiny_faces.build(root / "models" / "buffalo_l")
    with caplog.at_level(logging.WARNING):
        load(provider)
    assert f"{provider}: onnxruntime has it, but it did not start" in caplog.text


def test_the_cpu_is_not_worth_a_word(root, caplog):
    tiny_faces.build(root / "models" / "buffalo_l")
    load()
    assert "provider" not in caplog.text


def test_without_insightface_the_message_is_the_command(root, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(IPAdapterError) as error:
        load()
    message = str(error.value)
    assert f'"{sys.executable}" -m pip install "insightface>=2.0,<3"' in message
    assert "onnxruntime-gpu" in message
    assert "\n" not in message


# Reading faces


def test_the_embedding_is_insightfaces_own(app):
    for color in tiny_faces.COLORS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            (theirs,) = app.get(bgr(alone(color)))
        ours = read(app, alone(color))[0].identity
        assert ours.shape == (512,)
        assert ours.dtype == torch.float32
        assert cosine(ours, torch.from_numpy(theirs.embedding)) > 0.9999
        assert torch.allclose(ours.norm(), torch.tensor(theirs.embedding_norm), rtol=0.02)
        assert ours.norm() > 2  # not normalized


@pytest.mark.parametrize(
    ("select", "order"),
    [
        ("largest", ["blue", "green", "red"]),
        ("best score", ["red", "green", "blue"]),
        ("left to right", ["green", "red", "blue"]),
        ("index", ["red", "green", "blue"]),
    ],
)
def test_order_and_choice(app, select, order):
    expected = {color: read(app, alone(color))[0].identity for color in order}
    for index, color in enumerate(order):
        (face,) = read(app, select=select, index=index)
        assert cosine(face.identity, expected[color]) > 0.9


def test_all_faces_come_left_to_right(app):
    every = read(app, select="all", index=9)
    one_by_one = [read(app, select="left to right", index=i)[0] for i in range(3)]
    assert all(torch.equal(a.identity, b.identity) for a, b in zip(every, one_by_one, strict=True))


def test_the_same_person_elsewhere_is_close_and_another_is_not(app):
    here = read(app, alone("red", seed=1))[0].identity
    there = read(app, tiny_faces.picture([("red", 30, 200, 220)], seed=1))[0].identity
    other = read(app, alone("red", seed=2))[0].identity
    assert cosine(here, there) > 0.95
    assert abs(cosine(here, other)) < 0.5


def test_an_index_out_of_range_names_the_picture(app):
    with pytest.raises(IPAdapterError, match=r"face_index 3: picture 2 has 3 faces.*from 0 to 2"):
        read(app, number=2, index=3)


def test_no_face_names_the_picture_and_the_sizes(app):
    with pytest.raises(IPAdapterError, match=r"no face found in picture 4 .*640 to 256 px"):
        read(app, tiny_faces.picture([]), number=4)


# The tiny detector sees faces of at most 300 px.
@pytest.mark.parametrize(
    ("side", "width", "expected"),
    [
        (300, 640, [640]),
        (400, 640, [640, 576, 512, 448]),
        (700, 720, [640, 576, 512, 448, 384, 320, 256]),
    ],
)
def test_large_faces_are_found_at_a_smaller_size(app, monkeypatch, side, width, expected):
    sizes, detect = [], app.det_model.detect

    def watched(*arguments, **options):
        sizes.append(options["input_size"][0])
        return detect(*arguments, **options)

    monkeypatch.setattr(app.det_model, "detect", watched)
    read(app, tiny_faces.picture([("red", 10, 10, side)], width, width))
    assert sizes == expected


@pytest.mark.parametrize("shape", [(1, 700), (2000, 1), (1, 1)])
def test_a_sliver_of_a_picture_has_no_face(app, shape):
    with pytest.raises(IPAdapterError, match="no face found"):
        read(app, torch.full((1, *shape, 3), 0.5))


def test_a_transparent_face_is_none_and_gray_pictures_are_read(app):
    opaque = torch.cat([PICTURE, torch.ones_like(PICTURE[..., :1])], -1)
    assert torch.equal(read(app, opaque)[0].identity, read(app)[0].identity)
    with pytest.raises(IPAdapterError, match="no face found"):
        read(app, opaque * torch.tensor([1, 1, 1, 0]))
    with pytest.raises(IPAdapterError, match="no face found"):
        read(app, PICTURE[..., :1])


def test_pixels_are_rounded(app):
    nearly = (PICTURE - 0.4 / 255).clamp(0, 1)
    assert torch.equal(read(app, nearly)[0].identity, read(app)[0].identity)


@pytest.mark.parametrize("size", [112, 224, 336])
def test_the_crop_is_a_square_picture_of_the_face(app, size):
    left, top, side = 400, 160, 200
    (square,) = read(app, crop="square", size=size)
    (aligned,) = read(app, crop="aligned", size=size)
    for face in (square, aligned):
        assert face.crop.shape == (size, size, 3)
        assert face.crop.dtype == torch.float32
        assert face.crop.min() >= 0
        assert face.crop.max() <= 1
    there = PICTURE[0, top : top + side, left : left + side]
    assert torch.allclose(square.crop.mean((0, 1)), there.mean((0, 1)), atol=0.01)
    assert square.crop[..., 2].mean() > square.crop[..., 0].mean()  # blue, so still RGB
    # An upright face of the tiny models fills its box as the template does.
    assert (square.crop - aligned.crop).abs().mean() < 0.05


def test_nothing_deprecated_is_called(app):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(app, select="all")
        with pytest.raises(FutureWarning):  # insightface's own alignment does
            app.get(bgr(PICTURE))


# Values of other packs


def test_what_is_no_insightface_is_refused(app):
    with pytest.raises(IPAdapterError, match="a dict is no face model; connect Load InsightFace"):
        read({})


def test_a_model_without_recognition_is_refused(tmp_path):
    from insightface.app import FaceAnalysis

    folder = tiny_faces.build(tmp_path / "tiny")
    detection = FaceAnalysis(
        name=str(folder), allowed_modules=["detection"], providers=["CPUExecutionProvider"]
    )
    with pytest.raises(IPAdapterError, match="no model that recognizes faces"):
        read(detection)


def test_a_model_that_another_pack_prepared_is_read(root):
    """Auto sizes, and every model of the folder."""
    from insightface.app import FaceAnalysis

    folder = tiny_faces.build(root / "tiny")
    theirs = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"])
    theirs.prepare(ctx_id=0)
    assert "genderage" in theirs.models
    assert len(read(theirs, select="all")) == 3
