"""Calculating with features, against loops in float64."""

import math

import pytest
import torch
from ipadapter_pack.ipadapter.combine import METHODS, alike, combined, first_picture, joined
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.reference import EncodedReference, Features, PromptPair


def length(numbers):
    return math.sqrt(sum(n * n for n in numbers))


def norm_average(rows):
    """The survey's formula: the mean of e / |e|, where |e| runs over the pictures."""
    if len(rows) == 1:
        return rows[0]
    return [sum(column) / length(column) / len(rows) for column in zip(*rows, strict=True)]


# On lists of numbers, a list per picture.
BY_HAND = {
    "average": lambda rows: [sum(column) / len(rows) for column in zip(*rows, strict=True)],
    "norm average": norm_average,
    "add": lambda rows: [sum(column) for column in zip(*rows, strict=True)],
    "subtract": lambda rows: [
        first - (sum(others) / len(others) if others else 0)
        for first, *others in zip(*rows, strict=True)
    ],
    "max": lambda rows: [max(column) for column in zip(*rows, strict=True)],
    "min": lambda rows: [min(column) for column in zip(*rows, strict=True)],
}


@pytest.mark.parametrize("pictures", [1, 2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_the_numbers(method, pictures):
    clip = torch.randn(pictures, 3, 6)
    face = torch.randn(pictures, 512)
    ours = combined(Features(clip, face, 0.7), method, normed=False)
    tokens = [BY_HAND[method](clip.double()[:, token].tolist()) for token in range(3)]
    torch.testing.assert_close(ours.clip, torch.tensor([tokens]), rtol=1e-5, atol=1e-6)
    by_hand = torch.tensor([BY_HAND[method](face.double().tolist())])
    torch.testing.assert_close(ours.face, by_hand, rtol=1e-5, atol=1e-6)
    assert ours.shortcut_scale == 0.7
    normed = combined(Features(clip, face), method, normed=True)
    expected = by_hand / length(by_hand[0].tolist())
    torch.testing.assert_close(normed.face, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["average", "max", "min"])
def test_of_two_equal_ones_it_is_the_one(method):
    one = torch.randn(1, 17, 48)
    ours = combined(Features(torch.cat([one, one])), method, normed=False)
    torch.testing.assert_close(ours.clip, one)
    assert ours.face is None


def test_norm_average_gives_every_feature_the_same_say():
    """A feature that is zero in all pictures stays zero; nothing is divided by it."""
    rows = torch.tensor([[3.0, 0.0, 300.0], [4.0, 0.0, 400.0]])
    ours = combined(Features(rows), "norm average", normed=False).clip
    torch.testing.assert_close(ours, torch.tensor([[0.7, 0.0, 0.7]]))


def test_nothing_is_not_divided_by_its_length():
    nothing = Features(torch.zeros(2, 8), torch.zeros(2, 512))
    for method in METHODS:
        ours = combined(nothing, method, normed=True)
        assert not ours.clip.any()
        assert not ours.face.any()


def reference(*features):
    tokens = torch.zeros(len(features[0].clip), 4, 64)
    return EncodedReference(tokens, tokens, PromptPair(features[0], features[-1]))


def test_pictures_keep_their_order():
    rows = torch.randn(5, 32)
    both = joined([Features(rows[:2]), Features(rows[2:])])
    assert torch.equal(both.clip, rows)
    assert torch.equal(first_picture(both).clip, rows[:1])
    assert both.face is first_picture(both).face is None


def test_positive_and_negative_of_each():
    given = [reference(Features(torch.randn(n, 32)), Features(torch.randn(n, 32))) for n in (1, 2)]
    pairs = alike({"reference_1": given[0], "reference_2": given[1]})
    assert pairs == [given[0].features, given[1].features]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Features(torch.zeros(1, 577, 1280)), "reference_3 has 577 x 1280 CLIP features, no face"),
        (Features(torch.zeros(1, 1280)), "reference_3 has 1280 CLIP features, no face features;"),
        (
            Features(torch.zeros(1, 257, 1280), torch.zeros(1, 512), 0.5),
            "reference_3 has 257 x 1280 CLIP features, 512 face features and weight_v2 0.5; encode",
        ),
    ],
)
def test_what_cannot_be_mixed_is_named(other, message):
    first = reference(Features(torch.zeros(2, 257, 1280)))
    given = {"reference_1": first, "reference_2": first, "reference_3": reference(other)}
    with pytest.raises(IPAdapterError) as caught:
        alike(given)
    text = str(caught.value)
    assert message in text
    assert text.startswith("reference_1 and reference_3 do not go together: reference_1 has 257 x")
    assert "\n" not in text


def test_versions_of_faceid_plus_are_not_mixed():
    features = torch.zeros(1, 257, 1280), torch.zeros(1, 512)
    given = {
        "reference_1": reference(Features(*features, 1.0)),
        "reference_2": reference(Features(*features, None)),
    }
    with pytest.raises(IPAdapterError, match=r"reference_1 and reference_2 .* weight_v2 1, "):
        alike(given)


def test_a_reference_without_features():
    tokens = torch.zeros(1, 4, 64)
    with pytest.raises(IPAdapterError, match="reference_1 has lost its encoder's features"):
        alike({"reference_1": EncodedReference(tokens, tokens)})
