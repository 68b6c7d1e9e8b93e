"""Attention over image tokens, against a loop in float64 over every query."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.ipadapter.attention import AttentionProbe, PackedKV, add_references, value_norms
from ipadapter_pack.tests.near import assert_near

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
    laid_out = PackedKV(
        torch.cat([k for k, _ in pairs], -1), torch.cat([v for _, v in pairs], -2), count, HEADS
    )
    mask = torch.stack([m for _, _, m in references], -1)[:, None, :, :, None] if masked else None
    out = add_references(text, q, laid_out, mask, attention)
    expected = loop(text, q, references)
    assert_near(out, expected, 1e-5, effect=expected - text)


@pytest.mark.parametrize("batch", [2, 6])
def test_a_long_reference_equals_the_loop(batch):
    torch.manual_seed(0)
    rows, queries = 2, 5
    text, q = torch.randn(2, batch, queries, HEADS * DIM)
    k, v = torch.randn(2, rows, 200, HEADS * DIM)
    mask = torch.rand(rows, batch // rows * queries)
    out = add_references(text, q, PackedKV(k, v, 1, HEADS), mask[:, None, :, None, None], attention)
    expected = loop(text, q, [(k, v, mask)])
    assert_near(out, expected, 1e-5, effect=expected - text)


def test_black_adds_nothing_and_inputs_stay():
    text, q = torch.randn(2, 2, 5, HEADS * DIM)
    before = text.clone(), q.clone()
    k, v = fused(*torch.randn(2, 2, 3, HEADS * DIM))
    black = torch.zeros(1, 1, 5, 1, 1)
    assert torch.equal(add_references(text, q, PackedKV(k, v, 1, HEADS), black, attention), text)
    add_references(text, q, PackedKV(k, v, 1, HEADS), None, attention)
    assert torch.equal(text, before[0])
    assert torch.equal(q, before[1])


@pytest.mark.parametrize("batch", [2, 6])
@pytest.mark.parametrize("tokens", [3, 200])
@pytest.mark.parametrize("masked", [False, True])
def test_a_gauge_measures_attention_times_the_norm_of_the_values(batch, tokens, masked):
    """Of each reference by itself, and as much where a mask turns its sign."""
    torch.manual_seed(tokens)
    rows, queries, count = 2, 5, 1 if tokens == 200 else 3
    text, q = torch.randn(2, batch, queries, HEADS * DIM)
    per_row = batch // rows * queries
    k, v = torch.randn(2, count, rows, tokens, HEADS * DIM)
    mask = torch.randn(rows, 1, per_row, count, 1) if masked else None
    if count == 1:
        laid_out = PackedKV(k[0], v[0], 1, HEADS)
    else:
        ks, vs = zip(*map(fused, k, v), strict=True)
        laid_out = PackedKV(torch.cat(ks, -1), torch.cat(vs, -2), count, HEADS)
    found = []
    probe = AttentionProbe(value_norms(laid_out), found.append)
    out = add_references(text, q, laid_out, mask, attention, probe)
    assert torch.equal(out, add_references(text, q, laid_out, mask, attention))

    expected = torch.zeros(rows, per_row, count, dtype=torch.float64)
    q = q.double().reshape(rows, per_row, HEADS, DIM)
    k, v = (x.double().view(count, rows, tokens, HEADS, DIM) for x in (k, v))
    for row, query, n, head in itertools.product(*map(range, (*expected.shape, HEADS))):
        scores = (k[n, row, :, head] @ q[row, query, head] / math.sqrt(DIM)).exp()
        factor = 1 if mask is None else float(mask[row, 0, query, n, 0])
        for token in range(tokens):
            length = math.sqrt((v[n, row, token, head] ** 2).sum())
            seen = float(scores[token] / scores.sum()) * length
            expected[row, query, n] += abs(factor) * seen
    assert len(found) == 1
    assert found[0].dtype == torch.float32
    assert_near(found[0], expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [40, 64])
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_in_half_precision_it_is_as_exact_as_core(dtype, dim, size):
    """One reference of 16 tokens, beside the attention that ComfyUI would use for it."""
    heads, queries, tokens = 4, 128, 16
    generator = torch.Generator().manual_seed(0)
    q = (size * torch.randn(1, queries, heads * dim, generator=generator)).to(dtype)
    k = size * torch.randn(1, tokens, heads * dim, generator=generator)
    v = torch.randn(1, tokens, heads * dim, generator=generator).to(dtype)
    exact = attention(q.double(), k.double(), v.double(), heads)
    scaled = (k * dim**-0.5).to(dtype).float().unflatten(-1, (heads, dim)).permute(0, 2, 3, 1)
    kv = PackedKV(scaled, v.unflatten(-1, (heads, dim)).transpose(1, 2), 1, heads)
    found = add_references(torch.zeros_like(q), q, kv, None, attention)
    core = attention(q, k.to(dtype), v, heads)
    assert found.dtype == dtype
    assert (found.double() - exact).norm() < 1.5 * (core.double() - exact).norm()


def test_scores_beyond_what_float16_holds_stay_finite():
    generator = torch.Generator().manual_seed(0)
    q = (3000 * torch.randn(1, 8, HEADS * DIM, generator=generator)).half()
    k = 3000 * torch.randn(1, 3, HEADS * DIM, generator=generator)
    v = torch.randn(1, 3, HEADS * DIM, generator=generator).half()
    assert (q.float() @ k.transpose(1, 2)).abs().max() > 65504
    pair = fused(k.half().float(), v)
    found = add_references(torch.zeros_like(q), q, PackedKV(*pair, 1, HEADS), None, attention)
    assert_near(found, loop(torch.zeros_like(q), q, [(k.half(), v, torch.ones(1, 8))]), 1e-2)
