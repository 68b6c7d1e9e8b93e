"""What a latent's cells and frames cover, as its VAE says."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...masks.video import Frames, Group, frame_groups, in_clips, one_each

# What is read of a VAE.
READ = (
    *("first_stage_model", "latent_dim", "output_channels", "crop_input"),
    *("downscale_ratio", "upscale_ratio"),
)


class Place(NamedTuple):
    """Where a mask goes: a latent's size, and what its cells and frames cover."""

    batch: int
    height: int  # in cells
    width: int
    ratio: int  # pixels per cell
    groups: list[Group]  # of frames, per latent frame
    is_video: bool  # whether its VAE counts frames
    cuts: bool  # whether its VAE cuts pictures to whole cells

    @property
    def picture(self) -> str:
        return f"{self.width * self.ratio}x{self.height * self.ratio}"


def read(latent: dict[str, Any], vae: Any) -> Place:
    """Sizes of a latent [batch, channels, (frames,) height, width]; IPAdapterError if it has none."""
    samples = latent.get("samples")
    if samples is None:
        raise IPAdapterError("latent has no samples: connect the latent that a sampler would take")
    if samples.is_nested:
        samples = samples.unbind()[0]
    if latent.get("type") == "audio" or samples.ndim not in (4, 5) or not samples.numel():
        raise IPAdapterError(
            f"latent has the shape {list(samples.shape)} and is not of pictures or a video: connect "
            "one with [batch, channels, height, width] or [batch, channels, frames, height, width]"
        )
    ratio = pixels_per_cell(vae)
    frames = frames_of(vae)
    length = samples.shape[2] if samples.ndim == 5 else 1
    if frames is None and length > 1:
        raise IPAdapterError(
            f"latent is a video of {length} latent frames, but vae is made for pictures: "
            "connect the VAE of the video model"
        )
    height, width = (round(side * resized(latent, samples, ratio)) for side in samples.shape[-2:])
    groups = frame_groups(frames or one_each, length)
    is_video = frames is not None or samples.ndim == 5
    return Place(len(samples), height, width, ratio, groups, is_video, vae.crop_input)


def pixels_per_cell(vae: Any) -> int:
    """IPAdapterError if the VAE does not say it, or is not for pictures."""
    if any(getattr(vae, name, None) is None for name in READ):
        raise IPAdapterError(
            "vae does not say how many pixels a latent cell covers: connect one from Load VAE, or "
            "from a checkpoint that contains a VAE"
        )
    if vae.latent_dim == 1 or vae.output_channels == 2:
        raise IPAdapterError(
            "vae is not for pictures or videos but for sound or shapes: connect the VAE of the "
            "model that will sample the latent"
        )
    return vae.spacial_compression_encode()


def frames_of(vae: Any) -> Frames | None:
    """How many frames the first n latent frames of a video VAE hold; None for pictures."""
    model = vae.first_stage_model
    if hasattr(model, "clip_length"):  # MiniMax H3, whose upscale_ratio is right for whole clips
        return in_clips(model.clip_length, model.vae_ratio_t)
    return vae.upscale_ratio[0] if vae.latent_dim == 3 else None


def resized(latent: dict[str, Any], samples: Tensor, ratio: int) -> float:
    """How a sampler will resize an empty latent [latents, channels, ..., H, W] that was made for cells
    of another size."""
    made_for = latent.get("downscale_ratio_spacial", ratio)
    if made_for == ratio or torch.count_nonzero(samples):
        return 1
    return made_for / ratio
