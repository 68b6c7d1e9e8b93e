"""Which face, and its cut: against insightface's own alignment, scikit-image and PIL."""

import numpy as np
import pytest
from ipadapter_pack.ipadapter import faces
from ipadapter_pack.ipadapter.errors import IPAdapterError

RNG = np.random.default_rng(0)


def photo(height=300, width=400):
    """Smooth shapes with sharp edges."""
    y, x = np.mgrid[:height, :width] / 23.0
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y) * (x > 4)], -1)
    return ((waves + 1) * 127).astype(np.uint8)


def points(turn=0.0, scale=1.0, shift=(150, 90), noise=3.0):
    angle = np.deg2rad(turn)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (faces.TEMPLATE - 56) @ matrix.T + shift
    return (moved + RNG.normal(0, noise, (5, 2))).astype(np.float32)


def face(left, top, right, bottom, score):
    return faces.Face(np.array([left, top, right, bottom], np.float32), points(), score)


# Which face


SURE, BIG, LEFT = face(50, 0, 60, 10, 0.9), face(30, 0, 130, 90, 0.8), face(0, 0, 20, 30, 0.7)
FOUND = [SURE, BIG, LEFT]  # as detectors list them
ORDERS = {
    "largest": [BIG, LEFT, SURE],
    "best score": [SURE, BIG, LEFT],
    "left to right": [LEFT, SURE, BIG],
    "index": [SURE, BIG, LEFT],
}


def test_choices_are_these_and_the_largest_is_first():
    assert list(faces.SELECTIONS) == ["largest", "best score", "left to right", "all", "index"]


@pytest.mark.parametrize("select", ORDERS)
def test_the_index_counts_in_the_chosen_order(select):
    chosen = [faces.choose(FOUND, faces.FaceChoice(select, index)) for index in range(3)]
    assert [len(one) for one in chosen] == [1, 1, 1]
    assert [id(one) for (one,) in chosen] == [id(one) for one in ORDERS[select]]


def test_the_index_is_the_detectors_even_where_scores_disagree():
    listed = [BIG, SURE]
    assert faces.choose(listed, faces.FaceChoice("index"))[0] is BIG
    assert faces.choose(listed, faces.FaceChoice("best score"))[0] is SURE


def test_all_is_left_to_right_by_the_center_and_ignores_the_index():
    chosen = faces.choose(FOUND, faces.FaceChoice("all", 7))
    assert [id(one) for one in chosen] == [id(one) for one in (LEFT, SURE, BIG)]


@pytest.mark.parametrize("index", [3, -1])
def test_an_index_without_a_face_says_how_many_there_are(index):
    with pytest.raises(
        IPAdapterError, match=rf"face_index {index}: picture 2 has 3 faces.*from 0 to 2"
    ):
        faces.choose(FOUND, faces.FaceChoice(number=index), "picture 2")
    with pytest.raises(IPAdapterError, match="has 1 face;"):
        faces.choose([SURE], faces.FaceChoice(number=index))


# The cut


@pytest.mark.parametrize("turn", [0, 17, -90, 180])
@pytest.mark.parametrize("size", [112, 224, 256, 336])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_aligned_is_norm_crop(size, turn):
    from insightface.utils.face_align import norm_crop

    picture, found = photo(), points(turn, 1.6)
    ours = faces.aligned(picture, found, size)
    theirs = norm_crop(picture, found, size)
    assert ours.shape == (size, size, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("mirrored", [False, True])
def test_similarity_is_the_least_squares_one_and_never_mirrors(mirrored):
    from skimage.transform import SimilarityTransform

    found = points(33, 2.5)
    if mirrored:
        found[:, 0] = 300 - found[:, 0]
    ours = faces.similarity(found, 224)
    theirs = SimilarityTransform.from_estimate(found.astype(np.float64), faces.TEMPLATE * 2)
    assert np.allclose(ours, theirs.params[:2], atol=1e-9)
    assert np.linalg.det(ours[:, :2]) > 0


def test_square_is_as_wide_as_the_longer_side_around_the_same_center():
    picture = photo()
    crop = faces.square(picture, np.array([100, 50, 140, 150], np.float32), 100)
    assert np.array_equal(crop, picture[50:150, 70:170])


def test_square_is_black_outside_the_picture():
    crop = faces.square(photo(), np.array([-20, -10, 30, 90], np.float32), 100)
    expected = np.zeros((100, 100, 3), np.uint8)
    expected[10:, 45:] = photo()[:90, :55]
    assert np.array_equal(crop, expected)


def test_square_is_resized_as_the_sample_of_kolors_does():
    """``Image.crop`` then ``Image.resize`` with its default filter."""
    from PIL import Image

    crop = faces.square(photo(), np.array([100.4, 50.2, 180.8, 131.1], np.float32), 336)
    expected = Image.fromarray(photo()).crop((100, 50, 181, 131)).resize((336, 336))
    assert np.array_equal(crop, np.asarray(expected))
