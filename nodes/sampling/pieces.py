"""Which part of which conditioning the rows of a UNet call are, where another node cuts calls up.

A tiled sampler cuts what ComfyUI hands to the UNet into tiles and stacks several of them in one
batch, others run each conditioning or each latent alone. They say nothing of it, but the numbers
do: a piece is found again, to the bit, in the call that it was cut from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor

from ...masks.layout import Area
from .types import CondChunk, Size

KEPT = 64  # layouts of pieces: what a step is cut into, unless it is another at every step


class WholeCall:
    """What ComfyUI hands to the UNet, before another node may cut it up.

    ``x`` is [chunks * latents, channels, H, W], ``context`` (None without text) [chunks * latents,
    tokens, dim]; ``indices`` is the call's ``cond_or_uncond``.
    """

    def __init__(
        self,
        x: Tensor,
        context: Tensor | None,
        chunks: tuple[CondChunk, ...],
        indices: tuple[int, ...],
    ):
        self.x, self.context, self.chunks, self.indices = x, context, chunks, indices
        self.latents = len(x) // len(chunks)

    def is_whole(self, x: Tensor, conds: int) -> bool:
        """Whether this is the input of a call of so many conditionings, with nothing cut off."""
        return x.shape[1:] == self.x.shape[1:] and len(x) == conds * self.latents

    def __deepcopy__(self, memo: object) -> WholeCall:
        return self


class Origin(NamedTuple):
    """Where a row of a piece comes from."""

    row: int  # of the whole call
    y: int  # the piece's top left corner in it
    x: int


class Piece(NamedTuple):
    """What a UNet call is of the sampling run's, whole or cut: blocks of rows with equal latents."""

    chunks: tuple[CondChunk, ...]  # of each block
    indices: tuple[int, ...]  # of each block, as in ``cond_or_uncond``
    latents: int  # of each block
    frames: tuple[int, ...] | None  # which of the batch these are; None for the first, second, ...

    def with_frames(self, window: tuple[int, ...] | None) -> Piece:
        """Of a batch that itself is a window of a long clip (None: is all of it)."""
        if window is None:
            return self
        own = range(self.latents) if self.frames is None else self.frames
        return self._replace(frames=tuple(window[i] for i in own))


class Pieces:
    """Finds pieces. What one step was cut into is tried first at the next."""

    def __init__(self) -> None:
        self._known: dict[tuple[torch.Size, torch.Size], list[tuple[Origin, ...]]] = {}

    def find(
        self, whole: WholeCall, x: Tensor, context: Tensor | None, latent_size: Size
    ) -> Piece | None:
        """The piece that rows x [rows, channels, h, w] with their texts [rows, tokens, dim] are;
        None where they are none, or could be several."""
        if x.ndim != 4 or x.shape[1] != whole.x.shape[1]:
            return None
        known = self._known.setdefault((whole.x.shape, x.shape), [])
        origins = next((each for each in known if _agrees(each, whole, x, context)), None)
        if origins is None:
            origins = _origins(whole, x, context)
        else:
            known.remove(origins)
        if origins is None:
            return None
        known.append(origins)  # last: at the next step those before it come before it again
        del known[:-KEPT]
        return _in_blocks(origins, whole, (x.shape[-2], x.shape[-1]), latent_size)


def _agrees(origins: Sequence[Origin], whole: WholeCall, x: Tensor, context: Tensor | None) -> bool:
    height, width = x.shape[-2:]
    cut = [whole.x[o.row, :, o.y : o.y + height, o.x : o.x + width] for o in origins]
    if not torch.equal(torch.stack(cut), x):
        return False
    if context is None or whole.context is None:
        return True
    return torch.equal(whole.context[[origin.row for origin in origins]], context)


def _origins(whole: WholeCall, x: Tensor, context: Tensor | None) -> tuple[Origin, ...] | None:
    """Where each row of x comes from, told by its numbers and its text's."""
    rows = len(whole.x)
    in_order = [[number % rows] for number in range(len(x))]
    # Equal latents may stand for each other, but each rather for itself.
    of_any = [
        sorted(range(rows), key=lambda r: (r - n) % whole.latents != 0) for n in range(len(x))
    ]
    cut = Cut(whole, x, context)
    # Tiles mostly have every row of the call, in its order; else any row may be any.
    for candidates in ([in_order] if len(x) % rows == 0 else []) + [of_any]:
        found = map(cut.origin, range(len(x)), candidates)
        origins = tuple(origin for origin in found if origin)
        if len(origins) == len(x):
            return origins
    return None


class Cut:
    """A call and what may be a piece of it, on the CPU."""

    def __init__(self, whole: WholeCall, x: Tensor, context: Tensor | None):
        self._whole = whole
        self._x, self._whole_x = x.cpu(), whole.x.cpu()
        self._texts: tuple[Tensor, Tensor] | None = None  # of the piece, of the whole
        if context is not None and whole.context is not None:
            self._texts = (context.cpu(), whole.context.cpu())

    def origin(self, number: int, candidates: Sequence[int]) -> Origin | None:
        """Where row ``number`` of the piece comes from; None where nothing, or too much, fits."""
        found = [
            Origin(row, *corner)
            for row in candidates
            if self._texts is None or torch.equal(self._texts[0][number], self._texts[1][row])
            for corner in islice(corners(self._whole_x[row], self._x[number]), 2)
        ]
        whole = self._whole
        meanings = {(whole.chunks[o.row // whole.latents], o.y, o.x) for o in found}
        return found[0] if len(meanings) == 1 else None


def corners(whole: Tensor, part: Tensor) -> Iterator[tuple[int, int]]:
    """Where part [channels, h, w] lies in whole [channels, H, W]: its top left corner (y, x)."""
    height, width = part.shape[-2:]
    down, across = whole.shape[-2] - height + 1, whole.shape[-1] - width + 1
    if down < 1 or across < 1:
        return
    for y, x in (whole[0, :down, :across] == part[0, 0, 0]).nonzero().tolist():
        if torch.equal(whole[:, y : y + height, x : x + width], part):
            yield y, x


def _in_blocks(
    origins: Sequence[Origin], whole: WholeCall, size: Size, latent_size: Size
) -> Piece | None:
    """The rows as blocks of one conditioning and place; None where their latents differ."""
    blocks = [
        (chunk, y, x, tuple(origin.row % whole.latents for origin in rows))
        for (chunk, y, x), rows in groupby(
            origins, lambda origin: (origin.row // whole.latents, origin.y, origin.x)
        )
    ]
    own, *others = {block[-1] for block in blocks}
    if others:
        return None
    chunks = (whole.chunks[block[0]] for block in blocks)
    return Piece(
        tuple(
            chunk._replace(area=part_of(chunk.area, y, x, size, latent_size))
            for chunk, (_, y, x, _) in zip(chunks, blocks, strict=True)
        ),
        tuple(whole.indices[block[0]] for block in blocks),
        len(own),
        None if own == tuple(range(whole.latents)) else own,
    )


def part_of(area: Area | None, y: int, x: int, size: Size, latent_size: Size) -> Area | None:
    """The rectangle of a size whose corner is (y, x) within an area; None is the whole latent."""
    top, left = (area.y, area.x) if area is not None else (0, 0)
    part = Area(top + y, left + x, *size)
    return None if part == (0, 0, *latent_size) else part
