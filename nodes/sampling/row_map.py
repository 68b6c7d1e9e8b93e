"""Which conditioning the rows of a layer belong to, where another node repeats them.

Attention couple gives each region of a picture a text of its own: inside a cross-attention it
repeats the positive's queries, once for every text, and adds the results up again afterwards,
weighted by masks that sum to 1. What a reference adds to every copy, it so adds to their sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# For each block of a layer's rows, one row per latent: the place of its conditioning in the call.
RowMap = tuple[int, ...]


def row_maps(blocks: int, before: Sequence[int], now: Sequence[int]) -> list[RowMap]:
    """The ways in which so many blocks may be copies of a call's conditionings, likely ones first.

    ``before`` is the call's ``cond_or_uncond``, ``now`` that of the layer's options, into which some
    nodes put an entry for each copy: then it decides.
    """
    if len(now) == blocks and all(now.count(index) % before.count(index) == 0 for index in before):
        copies = {index: now.count(index) // before.count(index) for index in before}
        if [index for index in before for _ in range(copies[index])] == list(now):
            return [_repeated(before, copies)]
    maps: list[RowMap] = []
    # Texts of regions take the place of the positive's, which has index 0.
    first, others = before.count(0), len(before) - before.count(0)
    if first and blocks > others and (blocks - others) % first == 0:
        copies = {**dict.fromkeys(before, 1), 0: (blocks - others) // first}
        maps.append(_repeated(before, copies))
    if blocks % len(before) == 0:
        times = blocks // len(before)
        maps += [_repeated(before, dict.fromkeys(before, times)), (*range(len(before)),) * times]
    return list(dict.fromkeys(maps))


def _repeated(before: Sequence[int], copies: dict[int, int]) -> RowMap:
    return tuple(i for i, index in enumerate(before) for _ in range(copies[index]))


def told_by_contents(maps: Sequence[RowMap], q: Tensor, k: Tensor) -> list[RowMap]:
    """The map, if any, that the queries and the text's keys of a layer, both [rows, tokens, heads *
    dim], agree with. Copies have the same queries; only texts of regions differ between them."""
    same_queries = [rows for rows in maps if _copies_agree(q, rows)]
    same_texts = [rows for rows in same_queries if _copies_agree(k, rows)]
    return (same_texts or same_queries)[:1]


def _copies_agree(x: Tensor, rows: RowMap) -> bool:
    each = x.unflatten(0, (len(rows), -1))
    return all(torch.allclose(each[i], each[rows.index(cond)]) for i, cond in enumerate(rows))


def take_rows(x: Tensor, rows: RowMap, conds: int) -> Tensor:
    """Rows of x [conds * n, ...] in the order of the map, [len(rows) * n, ...]."""
    each = x.unflatten(0, (conds, -1))
    return torch.cat([each[cond] for cond in rows])


def mean_of_copies(x: Tensor, rows: RowMap, conds: int) -> Tensor:
    """The reverse, for what was measured: [len(rows) * n, ...] -> [conds * n, ...]."""
    each = x.unflatten(0, (len(rows), -1))
    copies = [[i for i, cond in enumerate(rows) if cond == number] for number in range(conds)]
    return torch.cat([torch.stack([each[i] for i in one]).mean(0) for one in copies])
