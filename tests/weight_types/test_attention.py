"""How the weight enters: against the formulas, written out in float64."""

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.tests.near import assert_near
from ipadapter_pack.weight_types.attention import WEIGHT_TYPES, find_weight_type

W, C = 0.6, 320


def attend(q, k, v):
    return F.scaled_dot_product_attention(q.double(), k.double(), v.double())


def penalty(q, k, v):
    weight = W * C / 1280
    mean = v.double().mean(1, keepdim=True)
    return attend(q, weight * k, (v - mean) + weight * mean)


FORMULAS = {
    "original": lambda q, k, v: W * attend(q, k, v),
    "linear": lambda q, k, v: attend(q, W * k, W * v),
    "channel penalty": penalty,
}


@pytest.mark.parametrize("name", WEIGHT_TYPES)
def test_weight_types_equal_their_formulas(name):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, C)
    ours = attend(q, *WEIGHT_TYPES[name].value(k, v, W))
    assert_near(ours, FORMULAS[name](q, k, v), 1e-5)


def test_order_of_the_combo_is_for_ever():
    assert list(WEIGHT_TYPES) == ["original", "linear", "channel penalty"]


@pytest.mark.parametrize("name", WEIGHT_TYPES)
def test_each_picture_may_have_a_weight_of_its_own(name):
    check_each_picture(WEIGHT_TYPES[name].value)


def check_each_picture(weigh):
    torch.manual_seed(0)
    k, v = torch.randn(2, 3, 5, C)
    weights = [0.2, 1.0, -0.7]
    together = weigh(k, v, torch.tensor(weights)[:, None, None])
    for i, weight in enumerate(weights):
        alone = weigh(k[[i]], v[[i]], weight)
        for ours, expected in zip(together, alone, strict=True):
            assert_near(ours[[i]], expected, 1e-6)


def test_an_unknown_name_lists_those_of_our_own_nodes():
    with pytest.raises(IPAdapterError, match=r"original, linear, channel penalty$"):
        find_weight_type("cubic")
