"""How the weight enters: against the formulas, written out in float64."""

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.weight_types.attention import WEIGHT_TYPES

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
    ours = attend(q, *WEIGHT_TYPES[name](k, v, W))
    torch.testing.assert_close(ours, FORMULAS[name](q, k, v), rtol=1e-5, atol=1e-6)


def test_order_of_the_combo_is_for_ever():
    assert list(WEIGHT_TYPES) == ["original", "linear", "channel penalty"]
