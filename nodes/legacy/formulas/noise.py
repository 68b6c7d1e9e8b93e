"""The noise pictures of version 2 of cubiq/ComfyUI_IPAdapter_plus (9d076a3), to steer away from.

Every kind takes squares [images, SIZE, SIZE, 3], a strength, 0 to 1, and the generator that it
draws from, and gives squares of that shape.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from ....ipadapter.errors import pick
from ....ipadapter.noise import SIZE, shuffled, square
from ....ipadapter.preprocess import without_alpha


def noise_picture(
    image: Tensor | None, kind: str, strength: float, blur: int, seeded_by_picture: bool = False
) -> Tensor:
    """Pictures [images, H, W, channels], or a black one, with noise: [images, SIZE, SIZE, 3].

    The noise of every picture is the same, unless ``seeded_by_picture``: then the sum of all their
    numbers decides it, and it runs on from picture to picture.
    """
    make = pick(KINDS, kind, "type")
    clean = torch.zeros(1, SIZE, SIZE, 3)
    if image is not None:
        clean = rearrange(square(without_alpha(image)), "images c h w -> images h w c")
    if seeded_by_picture:
        noisy = make(clean, strength, _generator(int(clean.sum()) % 1_000_000_007))
    else:
        noisy = torch.cat([make(one[None], strength, _generator(0)) for one in clean])
    return blurred(noisy.clamp(0, 1), blur)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blurred(pixels: Tensor, size: int) -> Tensor:
    """Pixels [images, H, W, 3] blurred with a Gaussian kernel of that many pixels, or one more to make
    it odd; 0 is not at all."""
    from torchvision.transforms.v2 import functional  # pyright: ignore[reportMissingTypeStubs]

    if size == 0:
        return pixels
    channels_first = rearrange(pixels, "images h w c -> images c h w")
    soft = functional.gaussian_blur(channels_first, [size | 1, size | 1])
    return rearrange(soft, "images c h w -> images h w c")


def fade(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pixels [images, H, W, 3] mixed with random colors."""
    return (1 - strength) * pixels + strength * _uniform(pixels, generator)


def dissolve(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pixels [images, H, W, 3], some of them replaced by random colors."""
    replaced = _uniform(pixels, generator) < strength
    return torch.where(replaced, _uniform(pixels, generator), pixels)


def gaussian(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pixels [images, H, W, 3] with grain."""
    return pixels + strength * _normal(pixels, generator)


def shuffle(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pixels [images, H, W, 3] in pieces: the stronger, the smaller, and the more grain over them."""
    from torchvision.transforms.v2 import functional  # pyright: ignore[reportMissingTypeStubs]

    channels_first = rearrange(pixels, "images h w c -> images c h w")
    pieces = shuffled(channels_first, 3.5 * (1 - strength), generator, functional)
    share = 0.75 * strength * _normal(pieces, generator)
    return pieces * (1 - share) + share


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like).uniform_(generator=generator)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)


KINDS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "fade": fade,
    "dissolve": dissolve,
    "gaussian": gaussian,
    "shuffle": shuffle,
}
