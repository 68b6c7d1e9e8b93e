"""FaceID and Plus in one model: its layers launch once for each number of tokens, 4 and 16."""

import pytest
from ipadapter_pack.nodes.loading import insightface_models as face_models
from ipadapter_pack.nodes.regions.apply_face import ApplyIPAdapterFaceID
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import ENCODER, adapter, apply, left_half
from ipadapter_pack.tests.kernels import per_step
from ipadapter_pack.workflows.tiny import faces as tiny_faces

LAYERS = 16


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder = tiny_faces.build(tmp_path_factory.mktemp("faces") / "tiny")
    analysis = face_models.import_insightface()
    return face_models.read_folder(analysis, str(folder), ["CPUExecutionProvider"], "tiny")


@pytest.fixture(scope="module")
def adapters():
    return {kind: adapter(kind=kind) for kind in ("faceid-plus", "plus")}


def with_faces_and_styles(adapters, recognizer, count, **style):
    model = tiny.shared_model()
    for number in range(count):
        model = ApplyIPAdapterFaceID.execute(
            ipadapter=adapters["faceid-plus"],
            clip_vision=ENCODER,
            insightface=recognizer,
            image=tiny_faces.picture([("red", 40, 30, 120)], 240, 320, seed=number),
            model=model,
            faceid_v2=True,
            attn_mask=left_half(),
        )[0]
        model = apply(model, adapters["plus"], number, **style)
    return model


def kernels(model):
    """Of one step, in all layers; the weights have their LoRA before."""
    tiny.sample(model, steps=1)
    return per_step(lambda steps: tiny.sample(model, steps=steps)).total()


def extra_kernels(model):
    return kernels(model) - kernels(tiny.shared_model())


@pytest.fixture(scope="module")
def for_two_of_each(adapters, recognizer):
    return extra_kernels(with_faces_and_styles(adapters, recognizer, 2))


def test_face_and_style_launch_once_for_each_token_count(adapters, recognizer, for_two_of_each):
    for_one_of_each = extra_kernels(with_faces_and_styles(adapters, recognizer, 1))
    assert 0 < for_one_of_each == for_two_of_each <= 2 * 8 * LAYERS


def test_face_and_style_launch_no_style_in_the_other_layers(adapters, recognizer, for_two_of_each):
    model = with_faces_and_styles(adapters, recognizer, 2, layer_schedule="style transfer")
    assert 0 < extra_kernels(model) < for_two_of_each
