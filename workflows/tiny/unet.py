"""The U-Net and the autoencoder of the tiny checkpoint: random, but behaving like trained ones.

Trained weights remove the noise and keep what happens in one place in that place; random ones do
neither. So of the 32 groups of channels that each GroupNorm sees, the first half carries the
latent through, from the first convolution to the last, and the blocks write to the other half.
The first two channels of every group hold a constant, large enough that the norm stays the same
when something changes in one region. Convolutions look at one pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers import Random, Tensors, layer, norm

WIDTH = 320  # the only width that ComfyUI recognizes as SD1.5; every level has it
TEXT = 768
GROUPS = (32, WIDTH // 32)
STEADY = 60.0  # the constant in each group, where the latent is about 1
PASS = 0.52  # divides what leaves: noise in, the same noise out
NEW = 0.04  # how much of what the blocks wrote leaves
BELL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
DOT = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])


def channels(groups: slice, within: slice) -> Tensor:
    """1 for these channels, 0 for the others."""
    chosen = torch.zeros(GROUPS)
    chosen[groups, within] = 1
    return chosen.view(WIDTH)


LATENT = channels(slice(0, 16), slice(2, None))
WRITTEN = channels(slice(16, None), slice(2, None))
CONSTANT = STEADY * (channels(slice(None), slice(0, 1)) - channels(slice(None), slice(1, 2)))


def unet(random: Random) -> Tensors:
    prefix = "model.diffusion_model"
    latent = balanced(random.normal(WIDTH, 4, 1, 1, std=0.5), LATENT)
    read = latent / PASS + balanced(random.normal(WIDTH, 4, 1, 1, std=NEW), WRITTEN)
    yield from random.linear(f"{prefix}.time_embed.0", 4 * WIDTH, WIDTH)
    yield from random.linear(f"{prefix}.time_embed.2", 4 * WIDTH, 4 * WIDTH)
    yield from layer(f"{prefix}.input_blocks.0.0", latent * DOT, CONSTANT)
    for block in range(1, 12):
        name = f"{prefix}.input_blocks.{block}"
        if block % 3 == 0:
            yield from resize(f"{name}.0.op")
            continue
        yield from residual_block(random, f"{name}.0", WIDTH)
        if block < 9:
            yield from transformer(random, f"{name}.1")
    yield from residual_block(random, f"{prefix}.middle_block.0", WIDTH)
    yield from transformer(random, f"{prefix}.middle_block.1")
    yield from residual_block(random, f"{prefix}.middle_block.2", WIDTH)
    for block in range(12):
        name = f"{prefix}.output_blocks.{block}"
        yield from residual_block(random, f"{name}.0", 2 * WIDTH)
        if block >= 3:
            yield from transformer(random, f"{name}.1")
        if block in (2, 5, 8):
            yield from resize(f"{name}.{1 if block == 2 else 2}.conv")
    yield from norm(f"{prefix}.out.0", WIDTH)
    yield from layer(f"{prefix}.out.2", read.transpose(0, 1) * DOT)


def balanced(weight: Tensor, written: Tensor) -> Tensor:
    """Write only these channels, and so that each group adds up to 0, which GroupNorm sees."""
    written = written.view(WIDTH, *[1] * (weight.ndim - 1))
    weight = weight * written
    groups = weight.view(*GROUPS, *weight.shape[1:])
    mean = groups.sum(1, keepdim=True) / (GROUPS[1] - 2)
    return (groups - mean).view(weight.shape) * written


def writer(random: Random, into: int, gain: float) -> Tensor:
    """A convolution of one pixel onto the channels that are written."""
    return balanced(random.normal(WIDTH, into, 1, 1, std=gain / math.sqrt(into)), WRITTEN)


def resize(name: str) -> Tensors:
    yield from layer(name, torch.eye(WIDTH)[..., None, None] * DOT)


def residual_block(random: Random, name: str, width: int) -> Tensors:
    yield from norm(f"{name}.in_layers.0", width)
    yield from layer(f"{name}.in_layers.2", writer(random, width, gain=1.0) * DOT)
    yield from random.linear(f"{name}.emb_layers.1", WIDTH, 4 * WIDTH)
    yield from norm(f"{name}.out_layers.0", WIDTH)
    yield from layer(f"{name}.out_layers.3", writer(random, WIDTH, gain=0.5) * DOT)
    if width != WIDTH:  # from the level below comes what was written there, from the left all
        below, left = torch.diag(WRITTEN), torch.eye(WIDTH)
        yield from layer(f"{name}.skip_connection", torch.cat([below, left], 1)[..., None, None])


def transformer(random: Random, name: str) -> Tensors:
    block = f"{name}.transformer_blocks.0"
    yield from norm(f"{name}.norm", WIDTH)
    yield from layer(f"{name}.proj_in", writer(random, WIDTH, gain=1.0))
    for attention, context, gain in (("attn1", WIDTH, 0.1), ("attn2", TEXT, 1.0)):
        yield from random.linear(f"{block}.{attention}.to_q", WIDTH, WIDTH, bias=False)
        yield from random.linear(f"{block}.{attention}.to_k", WIDTH, context, bias=False)
        yield from random.linear(f"{block}.{attention}.to_v", WIDTH, context, bias=False)
        yield from random.linear(f"{block}.{attention}.to_out.0", WIDTH, WIDTH, gain)
    yield from random.linear(f"{block}.ff.net.0.proj", 8 * WIDTH, WIDTH)
    yield from random.linear(f"{block}.ff.net.2", WIDTH, 4 * WIDTH)
    for number in (1, 2, 3):
        yield from norm(f"{block}.norm{number}", WIDTH)
    yield from layer(f"{name}.proj_out", writer(random, WIDTH, gain=0.1))


def autoencoder(random: Random) -> Tensors:
    """TAESD, whose two stacks number their layers: soft colors, gray where the latent is 0."""
    encoder, decoder = (f"first_stage_model.taesd_{part}" for part in ("encoder", "decoder"))
    yield from soft(random, f"{encoder}.0", 64, 3)
    yield from stack(random, encoder, (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), (2, 6, 10))
    yield from soft(random, f"{encoder}.14", 4, 64)
    yield from soft(random, f"{decoder}.1", 64, 4)
    yield from stack(random, decoder, (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (7, 12, 17))
    colors = random.normal(3, 64, 1, 1, std=0.04)
    colors = (colors - colors.mean(1, keepdim=True)) * BELL
    yield from layer(f"{decoder}.19", colors, torch.full((3,), 0.5))


def stack(random: Random, name: str, blocks: tuple[int, ...], between: tuple[int, ...]) -> Tensors:
    """Residual blocks of three convolutions, and the convolutions where the size changes."""
    for block in blocks:
        for convolution in (0, 2, 4):
            yield from soft(random, f"{name}.{block}.conv.{convolution}", 64, 64, gain=0.5)
    for convolution in between:
        weight = torch.eye(64)[..., None, None] * BELL
        yield f"{name}.{convolution}.weight", tuple(weight.shape), weight


def soft(random: Random, name: str, out: int, into: int, gain: float = 1.0) -> Tensors:
    """A convolution that is random over the channels and a bell over the pixels."""
    weight = random.normal(out, into, 1, 1, std=gain / math.sqrt(into))
    yield from layer(name, weight * BELL)
