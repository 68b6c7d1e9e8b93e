"""Attention over image tokens, against a loop in float64 over every query."""

import math

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.ipadapter.attention import Rows, add_references

HEADS, DIM = 2, 4


def attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def loop(text, q, references):
    """references: [(k, v, mask)] with k, v [rows, tokens, heads * dim] and mask [rows, queries]."""
    out = text.double().clone()
    q = q.double().reshape(len(references[0][0]), -1, HEADS * DIM)
    flat = out.view(q.shape)
    for k, v, mask in references:
        k, v = k.double(), v.double()
        for row in range(q.shape[0]):
            for query in range(q.shape[1]):
                for head in range(HEADS):
                    part = slice(head * DIM, (head + 1) * DIM)
                    scores = k[row, :, part] @ q[row, query, part] / math.sqrt(DIM)
                    weights = (scores - scores.max()).exp()
                    seen = weights / weights.sum() @ v[row, :, part]
                    flat[row, query, part] += mask[row, query].double() * seen
    return out


def fused(k, v):
    k, v = (x.unflatten(-1, (HEADS, DIM)).transpose(1, 2) for x in (k, v))
    return k.transpose(-1, -2) * DIM**-0.5, v


@pytest.mark.parametrize("batch", [2, 6])  # one latent per row, and three
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_fused_references_equal_the_loop(batch, masked, count):
    torch.manual_seed(count)
    rows, queries = 2, 5
    text, q = torch.randn(2, batch, queries, HEADS * DIM)
    per_row = batch // rows * queries
    references = [
        (
            torch.randn(rows, 3, HEADS * DIM),
            torch.randn(rows, 3, HEADS * DIM),
            torch.rand(rows, per_row) if masked else torch.ones(rows, per_row),
        )
        for _ in range(count)
    ]
    pairs = [fused(k, v) for k, v, _ in references]
    laid_out = Rows(
        torch.cat([k for k, _ in pairs], -1), torch.cat([v for _, v in pairs], -2), count
    )
    mask = torch.stack([m for _, _, m in references], -1)[:, None, :, :, None] if masked else None
    out = add_references(text, q, laid_out, mask, HEADS, attention)
    torch.testing.assert_close(out.double(), loop(text, q, references), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [2, 6])
def test_a_long_reference_equals_the_loop(batch):
    torch.manual_seed(0)
    rows, queries = 2, 5
    text, q = torch.randn(2, batch, queries, HEADS * DIM)
    k, v = torch.randn(2, rows, 200, HEADS * DIM)
    mask = torch.rand(rows, batch // rows * queries)
    out = add_references(text, q, Rows(k, v, 1), mask[:, None, :, None, None], HEADS, attention)
    expected = loop(text, q, [(k, v, mask)])
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)


def test_black_adds_nothing_and_inputs_stay():
    text, q = torch.randn(2, 2, 5, HEADS * DIM)
    before = text.clone(), q.clone()
    k, v = fused(*torch.randn(2, 2, 3, HEADS * DIM))
    black = torch.zeros(1, 1, 5, 1, 1)
    assert torch.equal(add_references(text, q, Rows(k, v, 1), black, HEADS, attention), text)
    add_references(text, q, Rows(k, v, 1), None, HEADS, attention)
    assert torch.equal(text, before[0])
    assert torch.equal(q, before[1])
