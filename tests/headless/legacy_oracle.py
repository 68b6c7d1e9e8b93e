"""Version 2's formulas, a few lines of float64 for each, written from them and from the tensors
of the adapter's file."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

File = dict[str, dict[str, Tensor]]


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """[queries, C], [tokens, C] twice -> [queries, C]: softmax(q K^T / sqrt(d)) V in float64"""
    q, k, v = (x.double().unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def penalty(k: Tensor, v: Tensor, w: float) -> tuple[Tensor, Tensor]:
    w, mean = w * v.shape[-1] / 1280, v.mean(1, keepdim=True)
    return w * k, (v - mean) + w * mean


def both_penalty(k: Tensor, v: Tensor, w: float) -> tuple[Tensor, Tensor]:
    w = w * v.shape[-1] / 1280
    return w * k, w * v


# B.1 and B.3: (K, V, w) -> (K, V) for "att(q, K, V)", each [images, tokens, C]
SCALING = {
    "V only": lambda k, v, w: (k, w * v),
    "K+V": lambda k, v, w: (w * k, w * v),
    "K+V w/ C penalty": both_penalty,
    "K+mean(V) w/ C penalty": penalty,
}
FIRST_VERSION = {
    "original": SCALING["V only"],
    "linear": SCALING["K+V"],
    "channel penalty": penalty,
}

# B.4: CLIP's or the recognizer's features of several pictures -> those of one
COMBINE = {
    "add": lambda e: e.sum(0),
    "subtract": lambda e: e[0] - e[1:].mean(0),
    "average": lambda e: e.mean(0),
    "norm average": lambda e: (e / e.pow(2).sum(0).sqrt()).mean(0),
}


def layer_norm(x: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return x * tensors[f"{name}.weight"].double() + tensors[f"{name}.bias"].double()


def linear(x: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    out = x @ tensors[f"{name}.weight"].double().T
    return out + tensors[f"{name}.bias"].double() if f"{name}.bias" in tensors else out


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def perceiver(tensors: dict[str, Tensor], features: Tensor, queries: Tensor) -> Tensor:
    """[images, clip tokens, width], [images, queries, dim] -> [images, queries, channels]"""
    seen = linear(features.double(), tensors, "proj_in")
    queries = queries.double()
    depth = sum(key.endswith(".to_kv.weight") for key in tensors)
    for i in range(depth):
        a, f = f"layers.{i}.0", f"layers.{i}.1"
        normed = layer_norm(queries, tensors, f"{a}.norm2")
        both = torch.cat([layer_norm(seen, tensors, f"{a}.norm1"), normed], 1)
        q, kv = linear(normed, tensors, f"{a}.to_q"), linear(both, tensors, f"{a}.to_kv")
        k, v = kv.chunk(2, -1)
        read = torch.stack(
            [attention(*rows, q.shape[-1] // 64) for rows in zip(q, k, v, strict=True)]
        )
        queries = queries + linear(read, tensors, f"{a}.to_out")
        hidden = gelu(linear(layer_norm(queries, tensors, f"{f}.0"), tensors, f"{f}.1"))
        queries = queries + linear(hidden, tensors, f"{f}.3")
    return layer_norm(linear(queries, tensors, "proj_out"), tensors, "norm_out")


def base_tokens(file: File, features: Tensor) -> Tensor:
    """[images, width] -> [images, tokens, channels]"""
    tensors = file["image_proj"]
    channels = len(tensors["norm.weight"])
    tokens = linear(features.double(), tensors, "proj").unflatten(-1, (-1, channels))
    return layer_norm(tokens, tensors, "norm")


def plus_tokens(file: File, features: Tensor) -> Tensor:
    """[images, clip tokens, width] -> [images, tokens, channels]"""
    tensors = file["image_proj"]
    return perceiver(tensors, features, tensors["latents"].expand(len(features), -1, -1))


def face_tokens(
    file: File, identity: Tensor, clip: Tensor | None = None, structure: float | None = None
) -> Tensor:
    """B.5: [images, 512], [images, clip tokens, width] -> [images, tokens, channels]"""
    tensors = file["image_proj"]
    channels = len(tensors["norm.weight"])
    hidden = gelu(linear(identity.double(), tensors, "proj.0"))
    x = linear(hidden, tensors, "proj.2").unflatten(-1, (-1, channels))
    x = layer_norm(x, tensors, "norm")
    if clip is None:
        return x
    inner = {key.removeprefix("perceiver_resampler."): w for key, w in tensors.items()}
    out = perceiver(inner, clip, x)
    return out if structure is None else x + structure * out


def seen_by_clip(encoder: Any, pictures: Tensor, feature: str) -> Tensor:
    """Of pictures of the encoder's size, [images, size, size, 3]: as its model has it."""
    mean, std = torch.tensor(encoder.image_mean), torch.tensor(encoder.image_std)
    normal = ((pictures.clamp(0, 1) * 255).round() / 255 - mean) / std
    seen = encoder.model(pixel_values=normal.movedim(-1, 1), intermediate_output=-2)
    return seen[{"penultimate_hidden_states": 1, "image_embeds": 2}[feature]]


def guessed_grid(latent: tuple[int, int], cells: int) -> tuple[int, int]:
    """B.7: what a layer's height and width are taken to be."""
    height, width = latent
    rows = math.floor(height / math.sqrt(height * width / cells))
    rows += cells % rows != 0
    return rows, cells // rows


def guessed_mask(mask: Tensor, latent: tuple[int, int], cells: int) -> Tensor:
    """B.7: [H, W] -> [cells, 1]"""
    rows, columns = guessed_grid(latent, cells)
    flat = between(between(mask.double(), rows).T, columns).T.flatten()
    missing = cells - len(flat)
    if missing > 0:
        flat = F.pad(flat, (missing // 2, missing - missing // 2))
    start = (len(flat) - cells) // 2
    return flat[start : start + cells, None]


def between(values: Tensor, cells: int) -> Tensor:
    """Straight lines between the two nearest rows, at the middle of each cell."""
    at = (torch.arange(cells).double() + 0.5) * len(values) / cells - 0.5
    at = at.clamp(0, len(values) - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=len(values) - 1)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[high] * share
