"""What adapter files hold, at tiny size: a function per published family."""

from __future__ import annotations

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class Random:
    """Weights that keep activations of order one."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def matrix(self, rows: int, columns: int) -> Tensor:
        return self.normal(rows, columns) * columns**-0.5

    def linear(self, name: str, rows: int, columns: int) -> Tensors:
        weight = self.matrix(rows, columns)
        return {f"{name}.weight": weight, f"{name}.bias": 0.1 * self.normal(rows)}

    def norm(self, name: str, size: int) -> Tensors:
        return {f"{name}.weight": 1 + 0.1 * self.normal(size), f"{name}.bias": torch.zeros(size)}


class Sizes:
    """Of an adapter: the text's width, the encoder's, tokens."""

    def __init__(self, context: int, width: int, tokens: int):
        self.context, self.width, self.tokens = context, width, tokens


def base(random: Random, sizes: Sizes) -> Tensors:
    proj = random.linear("proj", sizes.tokens * sizes.context, sizes.width)
    return proj | random.norm("norm", sizes.context)


def full(random: Random, sizes: Sizes) -> Tensors:
    first = random.linear("proj.0", sizes.width, sizes.width)
    second = random.linear("proj.2", sizes.context, sizes.width)
    return first | second | random.norm("proj.3", sizes.context)


def perceiver(
    random: Random, dim: int, inner: int, width: int, channels: int, depth: int = 4
) -> Tensors:
    tensors = random.linear("proj_in", dim, width) | random.linear("proj_out", channels, dim)
    tensors |= random.norm("norm_out", channels)
    for i in range(depth):
        attention, forward = f"layers.{i}.0", f"layers.{i}.1"
        tensors |= random.norm(f"{attention}.norm1", dim) | random.norm(f"{attention}.norm2", dim)
        tensors[f"{attention}.to_q.weight"] = random.matrix(inner, dim)
        tensors[f"{attention}.to_kv.weight"] = random.matrix(2 * inner, dim)
        tensors[f"{attention}.to_out.weight"] = random.matrix(dim, inner)
        tensors |= random.norm(f"{forward}.0", dim)
        tensors[f"{forward}.1.weight"] = random.matrix(4 * dim, dim)
        tensors[f"{forward}.3.weight"] = random.matrix(dim, 4 * dim)
    return tensors


def plus(random: Random, sizes: Sizes) -> Tensors:
    latents = {"latents": random.normal(1, 16, 96)}
    return latents | perceiver(random, 96, 128, sizes.width, sizes.context)


def unnorm(random: Random, sizes: Sizes) -> Tensors:
    latents = {"latents": random.normal(1, 16, 96)}
    return latents | perceiver(random, 96, 128, 512, sizes.context)


def faceid(random: Random, sizes: Sizes, channels: int | None = None) -> Tensors:
    channels = channels or sizes.context
    proj = random.linear("proj.0", 1024, 512)
    proj |= random.linear("proj.2", sizes.tokens * channels, 1024)
    return proj | random.norm("norm", channels)


def faceid_plus(random: Random, sizes: Sizes) -> Tensors:
    return face_perceiver(random, sizes, sizes.context, depth=4)


def face_perceiver(random: Random, sizes: Sizes, channels: int, depth: int) -> Tensors:
    inner = perceiver(random, channels, 64, sizes.width, channels, depth)
    named = {f"perceiver_resampler.{key}": tensor for key, tensor in inner.items()}
    return faceid(random, sizes, channels) | named


def kolors_faceid(random: Random, sizes: Sizes) -> Tensors:
    """4096 wide, as Kolors' text is before the UNet projects it; one layer deep."""
    tensors = faceid(random, sizes, 4096)
    inner = perceiver(random, 4096, 64, sizes.width, 4096, depth=1)
    inner["layers.0.1.1.weight"] = random.matrix(64, 4096)
    inner["layers.0.1.3.weight"] = random.matrix(4096, 64)
    return tensors | {f"perceiver_resampler.{key}": tensor for key, tensor in inner.items()}


KINDS = {
    "base": base,
    "full": full,
    "plus": plus,
    "faceid": faceid,
    "portrait": faceid,
    "faceid-plus": faceid_plus,
    "unnorm": unnorm,
    "kolors-faceid": kolors_faceid,
}
TOKENS = {"portrait": 16, "kolors-faceid": 6}
WITH_LORA = {"faceid", "faceid-plus"}


def adapter_file(
    widths: list[int],
    kind: str = "base",
    seed: int = 0,
    context: int = 64,
    width: int | None = None,
    tokens: int = 4,
    lora: bool | None = None,
) -> dict[str, Tensors]:
    """What an adapter file holds, nested as in a .bin.

    ``widths`` are the model's cross-attentions', ``context`` its text's, ``width`` the encoder's.
    """
    random = Random(seed)
    width = width or (32 if kind == "base" else 48)
    image_proj = KINDS[kind](random, Sizes(context, width, TOKENS.get(kind, tokens)))
    ip_adapter = {
        f"{2 * i + 1}.{name}.weight": random.matrix(rows, context)
        for i, rows in enumerate(widths)
        for name in ("to_k_ip", "to_v_ip")
    }
    if lora if lora is not None else kind in WITH_LORA:
        ip_adapter |= face_lora(random, widths, context)
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def face_lora(random: Random, widths: list[int], context: int, rank: int = 2) -> Tensors:
    """The LoRA of a FaceID file: self- and cross-attention of every layer in turn."""
    tensors: Tensors = {}
    for i, rows in enumerate(widths):
        for attention, source in ((2 * i, rows), (2 * i + 1, context)):
            for which, columns in (("q", rows), ("k", source), ("v", source), ("out", rows)):
                name = f"{attention}.to_{which}_lora"
                tensors[f"{name}.down.weight"] = random.matrix(rank, columns)
                tensors[f"{name}.up.weight"] = 0.2 * random.matrix(rows, rank)
    return tensors
