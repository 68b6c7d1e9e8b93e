"""Version 2's weights for frames: what the nodes hand on, and what a batch makes of it."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.apply import IPAdapterBatch
from ipadapter_pack.nodes.legacy.weights import (
    IPAdapterCombineWeights,
    IPAdapterPromptScheduleFromWeightsStrategy,
    IPAdapterWeights,
    IPAdapterWeightsFromStrategy,
    Strategy,
)
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.mask_inputs import BAD_IMAGES, refuses, run
from ipadapter_pack.tests.headless.support import ENCODER, adapter
from ipadapter_pack.tests.near import assert_near
from ipadapter_pack.workflows.runner.errors import RunError


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def numbered(count):
    """Pictures that are recognized by their brightness: picture i is i everywhere."""
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)


def numbers_of(image):
    return image[:, 0, 0, 0].int().tolist()


def prompts(strategy, prompt):
    return IPAdapterPromptScheduleFromWeightsStrategy.execute(strategy, prompt)[0]


# Weights


def test_weights_alone():
    weights, invert, total, image_1, image_2, strategy = IPAdapterWeights.execute(frames=3).args
    assert weights == [1.0, 0.5, 0.0]
    assert invert == [0.0, 0.5, 1.0]
    assert total == 3
    assert image_1.message == "IPAdapter Weights: its image_1 is empty; connect its image"
    assert image_2.message == "IPAdapter Weights: its image_2 is empty; connect its image"
    assert strategy == Strategy(frames=3, frame_count=0)


def test_frames_are_only_added_to_pictures():
    added = {"add_starting_frames": 2, "add_ending_frames": 1}
    assert IPAdapterWeights.execute(weights="1, 0.5\n0", timing="custom", **added)[0] == [1, 0.5, 0]
    weights, invert, total, *_ = run(
        IPAdapterWeights, weights="1, 0.5\n0", timing="custom", image=numbered(1), **added
    )
    assert weights == [1, 1, 1, 0.5, 0, 0]
    assert invert == [0, 0, 0.5, 1, 1, 1]
    assert total == 6


def test_pictures_to_fade_between():
    settings = {"frames": 2, "add_starting_frames": 1, "add_ending_frames": 1}
    settings |= {"image": numbered(3), "weights": "0.9, 0.2"}
    full, shift, alternate = (
        run(IPAdapterWeights, method=method, **settings)
        for method in ("full batch", "shift batches", "alternate batches")
    )
    assert full[0] == [0.9, 0.9, 0.2, 0.9, 0.2, 0.9, 0.2, 0.2]
    assert numbers_of(full[3]) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert "its image_2 is empty; set its method to shift batches" in full[4].message
    assert shift[0] == [0.9, 0.9, 0.2, 0.9, 0.2, 0.2]
    assert numbers_of(shift[3]) == [0, 0, 0, 1, 1, 2]
    assert numbers_of(shift[4]) == [0, 1, 1, 2, 2, 2]
    assert alternate[0] == pytest.approx([0.9, 0.9, 0.2, 0.2, 0.9, 0.9])
    assert numbers_of(alternate[3]) == [0, 0, 0, 2, 2, 2]
    assert numbers_of(alternate[4]) == [0, 1, 1, 1, 1, 2]


def test_a_strategy_goes_over_other_pictures():
    settings = {"weights": "0, 2", "timing": "ease_in", "frames": 4, "start_frame": 1}
    settings |= {"end_frame": 3, "add_ending_frames": 2, "method": "shift batches"}
    strategy = IPAdapterWeights.execute(image=numbered(2), **settings)[5]
    assert strategy.frame_count == 2
    again = IPAdapterWeightsFromStrategy.execute(strategy, numbered(4)).args
    fresh = IPAdapterWeights.execute(image=numbered(4), **settings).args
    assert again[:3] == fresh[:3]
    assert again[5] == fresh[5]
    assert all(torch.equal(*pair) for pair in zip(again[3:5], fresh[3:5], strict=True))
    assert IPAdapterWeightsFromStrategy.execute(strategy)[2] == 4  # without pictures


def test_prompts_follow_the_pictures():
    settings = {"frames": 16, "add_starting_frames": 4, "image": numbered(3)}
    strategy = IPAdapterWeights.execute(**settings)[5]
    assert prompts(strategy, "a cat\n\na dog") == (
        '"0": "a cat",\n"4": "a cat",\n"20": "a dog",\n"36": "a dog",\n'
    )
    assert prompts(IPAdapterWeights.execute(frames=16)[5], "a cat") == ""


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [(0.2, 0.7, [0.2, 0.7]), ([1.0, 0.5], 0.0, [1, 0.5, 0]), ([0.1], [0.2, 0.3], [0.1, 0.2, 0.3])],
)
def test_weights_are_joined(first, second, joined):
    assert IPAdapterCombineWeights.execute(first, second).args == (joined, len(joined))
    assert first in (0.2, [1.0, 0.5], [0.1])  # as it was


# Refusals


@pytest.mark.parametrize("wrong", [None, 5, {}])
def test_what_is_no_strategy_is_refused_in_one_line(wrong):
    for node in (IPAdapterWeightsFromStrategy, IPAdapterPromptScheduleFromWeightsStrategy):
        with pytest.raises(IPAdapterError) as caught:
            node.execute(weights_strategy=wrong)
        assert str(caught.value) == (
            f"weights_strategy: a {type(wrong).__name__} is no strategy; connect IPAdapter Weights"
        )


def test_unreadable_weights_are_refused_in_one_line():
    with pytest.raises(IPAdapterError, match=r"^weights: 'x' is not a number; write numbers"):
        IPAdapterWeights.execute(weights="1.0, x")


@pytest.mark.parametrize(("image", "problem"), BAD_IMAGES)
def test_bad_images_are_refused_by_name(image, problem):
    refuses(IPAdapterWeights, "image", problem, image=image)


def test_one_picture_cannot_shift():
    with pytest.raises(IPAdapterError, match=r"^image: shift batches fades from one picture"):
        IPAdapterWeights.execute(image=numbered(1), method="shift batches")


# In ComfyUI


def test_an_empty_picture_stops_only_what_is_connected_to_it(client):
    graph = {
        "weights": {"class_type": "IPAdapterWeights", "inputs": WIDGETS},
        "joined": {
            "class_type": "IPAdapterCombineWeights",
            "inputs": {"weights_1": ["weights", 0], "weights_2": ["weights", 1]},
        },
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["joined", 0]}},
    }
    assert client.run(graph, progress=False) == []  # no picture is saved, and nothing is said
    save = {"images": ["weights", 3], "filename_prefix": "empty"}
    graph["saved"] = {"class_type": "SaveImage", "inputs": save}
    with pytest.raises(RunError, match="its image_1 is empty; connect its image"):
        client.run(graph, progress=False)


WIDGETS = {
    "weights": "1, 0",
    "timing": "linear",
    "frames": 4,
    "start_frame": 0,
    "end_frame": 9999,
    "add_starting_frames": 0,
    "add_ending_frames": 0,
    "method": "full batch",
}


@pytest.mark.parametrize("embeds_scaling", ["V only", "K+V"])
@pytest.mark.parametrize("pictures", [1, 3, 4])
def test_each_latent_of_a_batch_has_its_own_weight(loaded, embeds_scaling, pictures):
    weights = IPAdapterWeights.execute(weights="0, 1.4", frames=3)[0]

    def sampled(weight):
        model = IPAdapterBatch.execute(
            model=tiny.shared_model(),
            ipadapter=loaded,
            image=tiny.picture(0, batch=pictures),
            weight=weight,
            embeds_scaling=embeds_scaling,
            clip_vision=ENCODER,
        )[0]
        return tiny.sample(model, batch=4)

    together = sampled(weights)
    assert weights == [0, 0.7, 1.4]  # another node's output, which a run does not change
    plain = tiny.sample(tiny.shared_model(), batch=4)
    for i, weight in enumerate([*weights, weights[-1]]):
        alone = sampled(weight)
        if weight == 0:
            assert_near(together[i], plain[i], 1e-4)
        else:
            assert_near(together[i], alone[i], 1e-4, effect=alone[i] - plain[i])
