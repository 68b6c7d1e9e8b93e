"""How the weight enters by version 2's names: against the formulas, written out in float64."""

import pytest
import torch
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.formulas.scaling import EMBEDS_SCALING, embeds_scaling
from ipadapter_pack.tests.near import assert_near
from ipadapter_pack.tests.weight_types.test_attention import FORMULAS as OURS
from ipadapter_pack.tests.weight_types.test_attention import C, W, attend, check_each_picture

FORMULAS = {
    "V only": OURS["original"],
    "K+V": OURS["linear"],
    "K+V w/ C penalty": lambda q, k, v: attend(q, W * C / 1280 * k, W * C / 1280 * v),
    "K+mean(V) w/ C penalty": OURS["channel penalty"],
}


@pytest.mark.parametrize("name", FORMULAS)
def test_names_of_version_2_equal_their_formulas(name):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, C)
    ours = attend(q, *embeds_scaling(name)(k, v, W))
    assert_near(ours, FORMULAS[name](q, k, v), 1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_each_picture_may_have_a_weight_of_its_own(name):
    check_each_picture(embeds_scaling(name))


def test_no_name_is_forgotten():
    assert EMBEDS_SCALING.keys() == FORMULAS.keys()


def test_an_unknown_name_lists_those_of_our_own_nodes():
    with pytest.raises(IPAdapterError, match=r"original, linear, channel penalty$"):
        embeds_scaling("cubic")
